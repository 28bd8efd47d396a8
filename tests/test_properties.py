# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.properties}: here its tables; how it reads, and that no property
is missing, is tested in L{tests.test_legacy}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import ConfigError
from cmanager.properties import CARRIED, LEFT, MAX_DEPTH, MAX_FILE_BYTES, parse


class TableTests(SynchronousTestCase):
    """
    The two groups.
    """

    def test_disjoint(self) -> None:
        """
        No property is in both.
        """
        self.assertEqual(set(CARRIED) & set(LEFT), set())

    def test_reasons(self) -> None:
        """
        Each that is left behind has a reason, in the words of an operator.
        """
        for name, reason in LEFT.items():
            self.assertGreater(len(reason.split()), 3, name)


class ParsingTests(SynchronousTestCase):
    """
    Nested elements are dotted names.
    """

    def test_names(self) -> None:
        """
        The first of one name counts, the others are named.
        """
        self.assertEqual(
            parse(b"<jive><a><b>1</b><b>2</b></a><a>3</a></jive>"), ({"a.b": "1"}, ["a.b", "a"])
        )

    def test_refused(self) -> None:
        """
        Broken, foreign, typed, large and deep documents are refused.
        """
        for document in (
            b"<jive>",
            b"<x/>",
            b"<!DOCTYPE jive><jive/>",
            b" " * (MAX_FILE_BYTES + 1),
            b"<jive>" + b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH + b"</jive>",
        ):
            self.assertRaises(ConfigError, parse, document)
