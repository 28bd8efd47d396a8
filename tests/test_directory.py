# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.directory}.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cmanager.directory import SID_BYTES, Directory
from cmanager.settings import BOSHSettings


class DirectoryTests(SynchronousTestCase):
    """
    Streams by their sid.
    """

    def setUp(self) -> None:
        self.directory = Directory(BOSHSettings())
        self.streams: list[Any] = [object(), object()]

    def test_find(self) -> None:
        """
        Each has a sid of its own, by which it can be found until it is taken out.
        """
        sids = [self.directory.add(stream) for stream in self.streams]
        self.assertEqual(len(self.directory), 2)
        self.assertEqual([self.directory.find(sid) for sid in sids], self.streams)
        self.directory.remove(sids[0])
        self.assertEqual([self.directory.find(sid) for sid in sids], [None, self.streams[1]])
        self.assertEqual(len(self.directory), 1)

    def test_unknown(self) -> None:
        """
        There is nothing by another sid, or by none.
        """
        sid = self.directory.add(self.streams[0])
        for other in (None, "", sid[:-1], sid + "A", sid.swapcase()):
            self.assertIsNone(self.directory.find(other))

    def test_sid(self) -> None:
        """
        A sid has more random bits than anybody can guess, and fits a client's request as it is.
        """
        sids = {self.directory.add(self.streams[0]) for _ in range(1000)}
        self.assertEqual(len(sids), 1000)
        self.assertGreaterEqual(SID_BYTES * 8, 128)
        for sid in sids:
            self.assertIsNotNone(re.fullmatch(r"[A-Za-z0-9_-]{32}", sid))


class WorkersTests(SynchronousTestCase):
    """
    The streams of several workers.
    """

    def setUp(self) -> None:
        self.directory = Directory(BOSHSettings(), 2)
        self.other: Any = object()
        self.directory.colleagues = {1: self.other}
        self.stream: Any = object()

    def test_own(self) -> None:
        """
        A sid names the worker, is as random as ever, and is found here only.
        """
        sid = self.directory.add(self.stream)
        self.assertIsNotNone(re.fullmatch(r"[A-Za-z0-9_-]{32}-2", sid))
        self.assertIs(self.directory.find(sid), self.stream)
        self.assertIsNone(self.directory.colleague(sid))

    def test_others(self) -> None:
        """
        Another's is found there; where its random part has a number at its end, too.
        """
        for sid in ("x-1", "a-2-1", "_-1", "--1", "x-0001"):
            self.assertIs(self.directory.colleague(sid), self.other)

    def test_nobody(self) -> None:
        """
        What names no worker there is, is nobody's.
        """
        for sid in (None, "", "-", "1", "-1", "x1", "x-", "x-3", "x-1x", "x-1 ", "x-\u0661"):
            self.assertIsNone(self.directory.colleague(sid), sid)

    def test_alone(self) -> None:
        """
        Nor is there another where there is one process.
        """
        self.assertIsNone(Directory(BOSHSettings()).colleague("x-1"))
