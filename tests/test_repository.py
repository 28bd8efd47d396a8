# Copyright the cmanager authors.
# See LICENSE for details.

"""
What holds for the repository as a whole: tests for every module, documents whose
links lead somewhere, and the words of the style guide.
"""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.gates import closingLine, conclusion, counts, leftOut
from tests.programs import find, findMellium, findNode

HERE = Path(__file__).resolve().parent.parent
SOURCES = ("cmanager", "tests", "bench", "twisted", "docs", "changes", "contrib", "etc", ".ci")
TOP_FILES = ("README.rst", "NEWS.rst", "Makefile", "setup.cfg", "setup.py", "pyproject.toml")
BINARY = {".pyc", ".so", ".pem", ".cache"}
MAX_MODULE_LINES = 450

HEADER = "# Copyright the cmanager authors.\n# See LICENSE for details.\n"

# Written so that they do not find themselves.
FORBIDDEN = {
    "a path of somebody's machine": re.compile(r"/wor[k]/|/roo[t]/|/home/[a-z]|[.]librar[y]"),
    "unfinished": re.compile(r"NotImplementedErro[r]|\bFIXM[E]\b|\bXX[X]\b|\bTOD[O]\b(?! #\d)"),
    "an ignore without a code": re.compile(r"# type: ignor[e](?!\[)|# noq[a](?!: [A-Z])"),
    "an error passed over": re.compile(r"except Exceptio[n]: *(pass|\n\s*pass)"),
}
EMPTY_WORDS = re.compile(r"(Handler|Helper|Utils?|Processor|Packet|Info|Proc)$")


def files() -> Iterator[Path]:
    """
    Yield the text files of the repository.
    """
    for name in TOP_FILES:
        if (HERE / name).exists():
            yield HERE / name
    for folder in SOURCES:
        for path in sorted((HERE / folder).rglob("*")):
            if path.is_file() and path.suffix not in BINARY and "__pycache__" not in path.parts:
                yield path


def documents() -> Iterator[Path]:
    """
    Yield the documents.
    """
    return (path for path in files() if path.suffix == ".rst")


def pythonFiles() -> Iterator[Path]:
    """
    Yield the Python files that hold code.
    """
    return (path for path in files() if path.suffix == ".py" and path.stat().st_size)


def name(path: Path) -> str:
    """
    Return C{path} as one reads it from the top of the repository.
    """
    return str(path.relative_to(HERE))


class ModuleTests(SynchronousTestCase):
    """
    The shape of modules.
    """

    def test_everyModuleHasItsTests(self) -> None:
        """
        C{cmanager/x.py} is tested by C{tests/test_x.py}, and C{cmanager/server/x.py}
        by C{tests/server/test_x.py} or C{tests/test_server_x.py}.
        """
        missing = []
        for path in sorted((HERE / "cmanager").rglob("*.py")):
            if path.name == "__init__.py":
                continue
            places = [HERE / "tests" / f"test_{path.name}"]
            if path.parent.name == "server":
                places = [
                    HERE / "tests" / f"test_server_{path.name}",
                    HERE / "tests" / "server" / f"test_{path.name}",
                ]
            if not any(place.exists() for place in places):
                missing.append(name(path))
        self.assertEqual(missing, [])

    def test_header(self) -> None:
        """
        Each Python file begins with the two lines on copyright.
        """
        wrong = [name(path) for path in pythonFiles() if not path.read_text().startswith(HEADER)]
        self.assertEqual(wrong, [])

    def test_length(self) -> None:
        """
        A module of the package is short enough to hold one job.
        """
        long = [
            name(path)
            for path in pythonFiles()
            if path.is_relative_to(HERE / "cmanager")
            and path.read_text().count("\n") > MAX_MODULE_LINES
        ]
        self.assertEqual(long, [])

    def test_testsStateTheirRule(self) -> None:
        """
        Each test method has a docstring.
        """
        silent = [
            f"{name(path)}:{node.name}"
            for path in pythonFiles()
            if path.is_relative_to(HERE / "tests")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
            and not ast.get_docstring(node)
        ]
        self.assertEqual(silent, [])

    def test_classNames(self) -> None:
        """
        No class of the package is named by an empty word.
        """
        empty = [
            f"{name(path)}:{node.name}"
            for path in pythonFiles()
            if path.is_relative_to(HERE / "cmanager")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef) and EMPTY_WORDS.search(node.name)
        ]
        self.assertEqual(empty, [])

    def test_possessiveGroups(self) -> None:
        """
        No regular expression repeats a group possessively, C{(...)*+}: before Python
        3.11.5 that matches what it must not (gh-106052).  C{(?>(...)*)} is right.
        """
        found = [
            f"{name(path)}:{number}"
            for path in pythonFiles()
            if path.is_relative_to(HERE / "cmanager")
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if re.search(r"\)[*+?]\+", line)
        ]
        self.assertEqual(found, [])

    def test_words(self) -> None:
        """
        Nothing is left half-done, nor holds a path of the machine it was written on.
        """
        found = [
            f"{name(path)}:{text[: match.start()].count(chr(10)) + 1}: {why}"
            for path in files()
            for text in [path.read_text(errors="replace")]
            for why, pattern in FORBIDDEN.items()
            for match in pattern.finditer(text)
        ]
        self.assertEqual(found, [])


class DocumentTests(SynchronousTestCase):
    """
    Documents can be read, and their links lead somewhere.
    """

    def test_valid(self) -> None:
        """
        Each document is reStructuredText without errors or warnings.
        """
        from docutils.core import publish_doctree

        wrong = []
        for path in documents():
            messages = io.StringIO()
            publish_doctree(
                path.read_text(),
                source_path=name(path),
                settings_overrides={
                    "warning_stream": messages,
                    "report_level": 2,
                    "syntax_highlight": "none",
                },
            )
            if messages.getvalue():
                wrong.append(messages.getvalue())
        self.assertEqual(wrong, [])

    def test_links(self) -> None:
        """
        A link to a file of the repository names one that exists.
        """
        broken = []
        link = re.compile(r"`[^`<]*<([^`>:]+)>`_|^\.\. _[^:]+: (?!\w+:)(\S+)$", re.MULTILINE)
        for path in documents():
            for match in link.finditer(path.read_text()):
                target = (match.group(1) or match.group(2)).partition("#")[0].rstrip("_")
                if target and not (path.parent / target).exists():
                    broken.append(f"{name(path)}: {target}")
        self.assertEqual(broken, [])

    def test_fragments(self) -> None:
        """
        News fragments are named for an issue and a kind of change.
        """
        wrong = [
            path.name
            for path in (HERE / "changes").iterdir()
            if path.name != "README.rst"
            and not re.fullmatch(
                r"\d+(\.\w+)?\.(feature|bugfix|doc|removal|misc)(\.\d+)?\.rst", path.name
            )
        ]
        self.assertEqual(wrong, [])


class CountTests(SynchronousTestCase):
    """
    The closing line of C{make test} says what trial said.
    """

    def test_passed(self) -> None:
        """
        A run without failures counts its successes and skips.
        """
        output = "Ran 7 tests in 0.1s\n\nPASSED (skips=2, successes=5)\n"
        self.assertEqual(counts(output), (5, 0, 2))

    def test_failed(self) -> None:
        """
        Failures, errors and surprises have all failed.
        """
        output = (
            "Ran 9 tests in 0.1s\n\n"
            "FAILED (failures=1, errors=2, unexpectedSuccesses=1, expectedFailures=1, successes=4)\n"
        )
        self.assertEqual(counts(output), (5, 4, 0))

    def test_broken(self) -> None:
        """
        A run that ends without trial's last words, or runs no test, has failed.
        """
        self.assertEqual(counts("Segmentation fault\n"), (0, 1, 0))
        self.assertEqual(counts("Ran 0 tests in 0.0s\n\nPASSED\n"), (0, 1, 0))

    def test_line(self) -> None:
        """
        Skips are named only where there are any.
        """
        self.assertEqual(closingLine(3, 0, 0), "3 passed, 0 failed")
        self.assertEqual(closingLine(3, 1, 2), "3 passed, 1 failed, 2 skipped")


class LeftOutTests(SynchronousTestCase):
    """
    Tests that need a program the machine does not have.
    """

    output = (
        "  test_a ...  [SKIPPED]\n\n"
        f"{'=' * 79}\n[SKIPPED]\nit is not installed; on Debian\nor Ubuntu: apt install it\n\n"
        f"tests.test_a.A.test_1\ntests.test_a.A.test_2\ntests.test_a.B.test_1\n{'=' * 79}\n"
        f"[SKIPPED]\nno moon\n\ntests.test_b.A.test_1\n{'-' * 79}\nRan 9 tests in 0.1s\n"
    )

    def test_named(self) -> None:
        """
        The end of C{make test} names each class that was left out, below what it lacks.
        """
        self.assertEqual(
            leftOut(self.output),
            [
                "3 left out: it is not installed; on Debian or Ubuntu: apt install it",
                "    tests.test_a.A (2)",
                "    tests.test_a.B (1)",
                "1 left out: no moon",
                "    tests.test_b.A (1)",
            ],
        )
        self.assertEqual(leftOut("Ran 7 tests in 0.1s\n\nPASSED (successes=7)\n"), [])

    def test_missing(self) -> None:
        """
        A test whose program is missing is skipped with the words that get it; where all
        tests are required it fails with them.
        """
        words = "prosody is not installed; on Debian or Ubuntu: apt install prosody"
        bare = {"PATH": "/nowhere"}
        self.assertEqual(str(self.assertRaises(SkipTest, find, "prosody", "prosody", bare)), words)
        required = {**bare, "CMANAGER_REQUIRE_ALL_ACTS": "1"}
        self.assertEqual(
            str(self.assertRaises(AssertionError, find, "prosody", "prosody", required)), words
        )
        self.assertEqual(find("sh", "dash", {"PATH": "/bin"}), "/bin/sh")

    def test_nodeMissing(self) -> None:
        """
        A test that needs Node says so, or that npm is missing which installs its
        packages, or that they were not installed.
        """
        machine, packages = Path(self.mktemp()), Path(self.mktemp())
        machine.mkdir()
        environment = {"PATH": str(machine)}

        def missing() -> str:
            return str(self.assertRaises(SkipTest, findNode, environment, packages))

        words = "is not installed; on Debian or Ubuntu: apt install"
        self.assertEqual(missing(), f"node {words} nodejs npm")
        for name in ("node", "npm"):
            (machine / name).touch(mode=0o755)
            if name == "node":
                self.assertEqual(missing(), f"npm {words} npm")
        self.assertEqual(missing(), f"{packages} is not installed; sh requirements/install test")
        packages.with_suffix(".pins").touch()
        self.assertEqual(findNode(environment, packages), str(machine / "node"))

    def test_goMissing(self) -> None:
        """
        A test that needs our client in Go says so where there is no Go, or that it was
        not built.
        """
        machine, built = Path(self.mktemp()), Path(self.mktemp())
        machine.mkdir()
        environment = {"PATH": str(machine)}

        def missing() -> str:
            return str(self.assertRaises(SkipTest, findMellium, environment, built))

        self.assertEqual(
            missing(), "go is not installed; on Debian or Ubuntu: apt install golang-go"
        )
        (machine / "go").touch(mode=0o755)
        self.assertEqual(missing(), f"{built} is not built; sh requirements/install test")
        built.with_suffix(".pins").touch()
        self.assertEqual(findMellium(environment, built), str(built))

    def test_conclusion(self) -> None:
        """
        What was left out is said last but for the counts; where nothing may be, it is one
        more failure.
        """
        missing = ["2 left out: no moon"]
        self.assertEqual(conclusion(5, 0, 2, missing), [*missing, "5 passed, 0 failed, 2 skipped"])
        self.assertEqual(
            conclusion(5, 0, 2, missing, isRequired=True),
            [*missing, "5 passed, 1 failed, 2 skipped"],
        )
        self.assertEqual(conclusion(5, 0, 0, [], isRequired=True), ["5 passed, 0 failed"])

    def test_absent(self) -> None:
        """
        On a machine that lacks a program trial's words are understood: a skip, or an
        error where nothing may be left out.
        """
        test = "tests.test_prosody_module.LintTests"
        folder = Path(self.mktemp()).absolute()
        for required, expected in (("", (0, 0, 1)), ("1", (0, 1, 0))):
            done = subprocess.run(
                [sys.executable, "-m", "twisted.trial", f"--temp-directory={folder}", test],
                cwd=HERE,
                env={**os.environ, "PATH": "/nowhere", "CMANAGER_REQUIRE_ALL_ACTS": required},
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(counts(done.stdout), expected, done.stdout + done.stderr)
            words = "luacheck is not installed; on Debian or Ubuntu: apt install lua-check"
            self.assertIn(words, done.stdout)
            if not required:
                self.assertEqual(leftOut(done.stdout), [f"1 left out: {words}", f"    {test} (1)"])
