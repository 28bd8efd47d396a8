# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for C{docs/parity.rst}: the page is complete, and what it names exists.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from docutils import nodes
from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from cmanager.properties import CARRIED
from tests.test_legacy import PROPERTIES

HERE = Path(__file__).resolve().parent.parent
PAGE = HERE / "docs" / "parity.rst"

PITFALLS = [f"S-{number}" for number in range(1, 27)] + [f"C-{number}" for number in range(1, 44)]
SECTIONS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14}
"""
Of the inventory of the old program, those on what it does.
"""

ID = re.compile(r"[SC]-\d+|F-(\d+)\.\d+")
REASONS = ("Left out: ", "Later: ", "Not ours: ", "Not proved: ")


@cache
def tree() -> nodes.document:
    """
    Read the page.
    """
    return publish_doctree(PAGE.read_text(), source_path=str(PAGE))


def tableRows() -> list[list[nodes.entry]]:
    """
    Return the rows of all tables, without their heads.
    """
    return [
        list(row.findall(nodes.entry))
        for body in tree().findall(nodes.tbody)
        for row in body.findall(nodes.row)
    ]


def rows() -> list[tuple[str, nodes.entry]]:
    """
    Return the id and the proof of each row that has an id.
    """
    return [
        (row[0].astext(), row[-1])
        for row in tableRows()
        if ID.fullmatch(row[0].astext()) is not None
    ]


def properties() -> dict[str, str]:
    """
    Return what the page says of each property.
    """
    return {
        name.astext(): row[1].astext()
        for row in tableRows()
        if ID.fullmatch(row[0].astext()) is None
        for name in row[0].findall(nodes.literal)
    }


def tests(proof: nodes.entry) -> list[str]:
    """
    Return the tests a proof names.
    """
    names = (literal.astext() for literal in proof.findall(nodes.literal))
    return [name for name in names if name.startswith("tests.")]


def reasons(proof: nodes.entry) -> list[str]:
    """
    Return the paragraphs of a proof that give a reason.
    """
    texts = (paragraph.astext() for paragraph in proof.findall(nodes.paragraph))
    return [text for text in texts if text.startswith(REASONS)]


@cache
def classes(module: str) -> dict[str, ast.ClassDef]:
    """
    Return the classes of a module, by name.
    """
    path = HERE / (module.replace(".", "/") + ".py")
    if not path.exists():
        return {}
    parsed = ast.parse(path.read_text())
    return {node.name: node for node in parsed.body if isinstance(node, ast.ClassDef)}


def exists(test: str) -> bool:
    """
    Tell whether a test is there, in its class or in one that this inherits from in
    the same module, or in C{tests.x} as C{x.Base}.  A class that is no test case of trial's
    by itself has no tests.
    """
    first, name, method = test.rsplit(".", 2)
    todo, seen, isCase = [(first, name)], set(), False
    while todo:
        module, name = todo.pop(0)
        node = classes(module).get(name)
        if node is None:
            continue
        seen |= {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
        seen |= {part.name for part in node.body if isinstance(part, ast.AsyncFunctionDef)}
        bases = [ast.unparse(base) for base in node.bases]
        isCase = isCase or any(base.endswith("Case") for base in bases)
        for base in bases:
            other, dot, name = base.rpartition(".")
            todo.append((f"tests.{other}" if dot else module, name))
    return isCase and method.startswith("test_") and method in seen


class ParityTests(SynchronousTestCase):
    """
    The page is complete.
    """

    def test_pitfalls(self) -> None:
        """
        Each pitfall has one row, in order, and there are no others.
        """
        ids = [name for name, _ in rows() if not name.startswith("F-")]
        self.assertEqual(ids, PITFALLS)

    def test_features(self) -> None:
        """
        Each section of the inventory has rows, and none of them is there twice.
        """
        ids = [name for name, _ in rows() if name.startswith("F-")]
        self.assertEqual([name for name, count in Counter(ids).items() if count > 1], [])
        self.assertEqual({int(name[2:].partition(".")[0]) for name in ids}, SECTIONS)

    def test_proofs(self) -> None:
        """
        Each row names a test or gives a reason, and nothing stands there that is
        neither.
        """
        bare = []
        for name, proof in rows():
            paragraphs = [paragraph.astext() for paragraph in proof.findall(nodes.paragraph)]
            known = tests(proof) + reasons(proof)
            if not known or sorted(paragraphs) != sorted(known):
                bare.append(name)
        self.assertEqual(bare, [])

    def test_testsExist(self) -> None:
        """
        Each test that is named is there.
        """
        named = {test for _, proof in rows() for test in tests(proof)}
        self.assertEqual(sorted(test for test in named if not exists(test)), [])

    def test_properties(self) -> None:
        """
        Each property of the old program is there; where it has a counterpart, that is
        named.
        """
        said = properties()
        self.assertEqual(sorted(said), sorted(PROPERTIES))
        wrong = [name for name, key in CARRIED.items() if said[name] != key]
        self.assertEqual(wrong, [])


class ExistenceTests(SynchronousTestCase):
    """
    The look-up itself.
    """

    def test_found(self) -> None:
        """
        A test is found in its own class and in one that it inherits from.
        """
        self.assertTrue(exists("tests.test_parity.ExistenceTests.test_found"))
        self.assertTrue(exists("tests.acts.test_clients.SlixmppTests.test_messages"))
        self.assertTrue(exists("tests.test_outgoing.CloseTests.test_grace"))

    def test_missing(self) -> None:
        """
        No module, no class, no method, no test, or a class that trial does not run.
        """
        for name in (
            "tests.test_nobody.A.test_b",
            "tests.test_parity.NobodyTests.test_found",
            "tests.test_parity.ExistenceTests.test_nothing",
            "tests.suite.StreamCase.receive",
            "tests.acts.test_clients.ClientActs.test_messages",
        ):
            self.assertFalse(exists(name), name)
