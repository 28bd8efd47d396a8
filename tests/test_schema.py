# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.schema}.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from enum import Enum
from typing import Annotated

from attrs import evolve, field, frozen
from twisted.trial.unittest import SynchronousTestCase

from cmanager.schema import (
    MASK,
    SHOWN_CHARACTERS,
    between,
    differences,
    matching,
    problems,
    render,
    strictConverter,
    toTOML,
)


class Colour(Enum):
    """
    A closed set.
    """

    RED = "red"
    BLUE = "blue"


@frozen
class Bird:
    """
    A table of an array.
    """

    name: str
    wings: Annotated[int, between(0, 2)] = 2


@frozen
class Nest:
    """
    A table.
    """

    strawLength: float = 1.0
    soft: bool = True
    colour: Colour = Colour.RED
    tags: tuple[str, ...] = ()
    label: Annotated[str, matching("[a-z]+", "small letters")] | None = None


@frozen
class Tree:
    """
    The root of it all.
    """

    nest: Nest = Nest()
    birds: tuple[Bird, ...] = field(default=(), metadata={"key": "bird"})
    secret: str = field(default="", repr=False, metadata={"key": None})
    notes: tuple[str, ...] = field(default=(), metadata={"key": None})


@frozen
class Rest:
    """
    A table with keys of somebody else.
    """

    type: str
    options: Mapping[str, object] = field(factory=dict, metadata={"key": None, "rest": True})


class Case(SynchronousTestCase):
    """
    Reading trees.
    """

    def read(self, text: str) -> Tree:
        """
        Read TOML.
        """
        return strictConverter().structure(tomllib.loads(text), Tree)

    def wrong(self, text: str) -> list[str]:
        """
        Read TOML that cannot be read, and return what is wrong.
        """
        error = self.assertRaises(Exception, self.read, text)
        return list(problems(error))


class ReadingTests(Case):
    """
    Tables become objects.
    """

    def test_everything(self) -> None:
        """
        Each kind of value, with the key made from the attribute's name.
        """
        tree = self.read(
            '[nest]\nstraw-length = 2\nsoft = false\ncolour = "blue"\ntags = ["a"]\nlabel = "x"\n'
            '[[bird]]\nname = "n"\nwings = 0\n'
        )
        self.assertEqual(tree, Tree(Nest(2.0, False, Colour.BLUE, ("a",), "x"), (Bird("n", 0),)))

    def test_defaults(self) -> None:
        """
        What is not there has its default.
        """
        self.assertEqual(self.read(""), Tree())


class RefusalTests(Case):
    """
    Nothing is converted that was not meant.
    """

    def test_types(self) -> None:
        """
        A truth is no number, a number no truth, a text neither, and a text no list.
        """
        for line, must in (
            ("soft = 1", "true or false"),
            ('soft = "true"', "true or false"),
            ("straw-length = true", "a number"),
            ('straw-length = "1"', "a number"),
            ("straw-length = nan", "a number"),
            ("straw-length = inf", "a number"),
            ("colour = 1", 'one of "red", "blue"'),
            ('colour = "RED"', 'one of "red", "blue"'),
            ('tags = "abc"', "a list"),
            ("label = 1", "a text in quotes, small letters"),
            ('label = "A"', "small letters"),
        ):
            key = line.split(" = ")[0]
            (problem,) = self.wrong(f"[nest]\n{line}\n")
            self.assertEqual(problem, f"nest.{line}: must be {must}", key)

    def test_numbers(self) -> None:
        """
        A whole number is not a fraction, a truth or a text, and stays in its range.
        """
        for value in ("2.0", "true", '"2"', "3", "-1", str(10**30)):
            (problem,) = self.wrong(f'[[bird]]\nname = "n"\nwings = {value}\n')
            self.assertEqual(
                problem, f"bird[0].wings = {value}: must be a whole number from 0 to 2"
            )

    def test_shapes(self) -> None:
        """
        A table is a table, and an array of tables is one.
        """
        self.assertEqual(self.wrong("nest = 1\n"), ["nest = 1: must be a table"])
        self.assertEqual(
            self.wrong("[bird]\nname = 'n'\n"),
            ['bird = {name = "n"}: must be one or more [[tables]]'],
        )
        self.assertEqual(self.wrong("bird = [1]\n"), ["bird[0] = 1: must be a table"])
        self.assertEqual(self.wrong("[nest]\ntags = [1]\n")[0][:16], "nest.tags[0] = 1")

    def test_missing(self) -> None:
        """
        A key without a default must be there.
        """
        self.assertEqual(self.wrong("[[bird]]\n"), ["bird[0].name: is missing"])

    def test_unknown(self) -> None:
        """
        An unknown key is named with the known one that looks like it; one that is
        kept out of files is unknown too.
        """
        self.assertEqual(
            self.wrong("[nest]\nstraw_lenght = 1\nxyz = 2\n"),
            [
                "nest.straw_lenght: unknown key; did you mean straw-length?",
                "nest.xyz: unknown key",
            ],
        )
        self.assertIn("notes: unknown key", self.wrong("notes = 1\n")[0])
        (problem,) = self.wrong('secret = "hunter2"\n')
        self.assertNotIn("hunter2", problem)

    def test_long(self) -> None:
        """
        A long value is cut where it is repeated.
        """
        for length in (SHOWN_CHARACTERS - 2, SHOWN_CHARACTERS - 1):
            (problem,) = self.wrong('[nest]\ncolour = "' + "x" * length + '"\n')
            shown = problem.partition(" = ")[2].partition(":")[0]
            self.assertEqual(len(shown), SHOWN_CHARACTERS)
            self.assertEqual(shown.endswith("..."), length == SHOWN_CHARACTERS - 1)

    def test_foreign(self) -> None:
        """
        An error that is not about a value is not swallowed.
        """
        self.assertRaises(ZeroDivisionError, list, problems(ZeroDivisionError()))


class WritingTests(SynchronousTestCase):
    """
    Objects become TOML again.
    """

    def test_values(self) -> None:
        """
        Each kind of value reads back as itself.
        """
        for value in (
            True,
            False,
            1,
            1.5,
            'a"\\\n\x7f\U0001f600',
            ["a", [1]],
            {"a b": 1, "c": "d"},
        ):
            self.assertEqual(tomllib.loads(f"x = {toTOML(value)}")["x"], value)
        self.assertEqual(toTOML(Colour.RED), '"red"')

    def test_render(self) -> None:
        """
        What is written reads back as the same settings; unset keys are left out and the
        secret is masked.
        """
        tree = Tree(Nest(label="x"), (Bird("a"), Bird("b", 1)), "hunter2", ("note",))
        text = render(tree)
        again = strictConverter().structure(tomllib.loads(text), Tree)
        self.assertEqual(again, evolve(tree, secret="", notes=()))
        self.assertNotIn("hunter2", text)
        self.assertIn(MASK, text)
        self.assertNotIn("notes", text)
        self.assertNotIn("label", render(Tree()))
        self.assertNotIn(MASK, render(Tree()))

    def test_rest(self) -> None:
        """
        Foreign keys are written beside our own, and masked where their name says
        that they are secret.
        """
        text = render(Rest("x", {"words": ["a"], "api-token": "hunter2", "in": {"password": "p"}}))
        self.assertEqual(
            tomllib.loads(text),
            {"type": "x", "words": ["a"], "api-token": MASK, "in": {"password": MASK}},
        )


class DifferencesTests(SynchronousTestCase):
    """
    What has changed, by name.
    """

    def changed(self, new: Tree) -> list[str]:
        """
        Return what differs from a tree with two birds.
        """
        return list(differences(Tree(birds=(Bird("a"), Bird("b")), secret="s"), new))

    def test_paths(self) -> None:
        """
        Keys in tables and in arrays of tables are named; an array that is longer or
        shorter as a whole.
        """
        old = Tree(birds=(Bird("a"), Bird("b")), secret="s")
        self.assertEqual(self.changed(old), [])
        self.assertEqual(
            self.changed(evolve(old, nest=Nest(2, tags=("x",)), birds=(Bird("a"), Bird("c")))),
            ["nest.straw-length", "nest.tags", "bird[1].name"],
        )
        self.assertEqual(self.changed(evolve(old, birds=())), ["bird"])

    def test_secret(self) -> None:
        """
        A changed secret is named, a note is not.
        """
        old = Tree(birds=(Bird("a"), Bird("b")), secret="t", notes=("x",))
        self.assertEqual(self.changed(old), ["secret"])
