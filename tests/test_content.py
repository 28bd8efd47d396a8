# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.content}.  How bodies come over connections is tested with
L{cmanager.web}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from cmanager.content import START_BYTES, Content

MOST = 4 * START_BYTES


class Source:
    """
    A connection, and who the body is for.
    """

    maxBodyBytes = MOST

    def __init__(self) -> None:
        self.transport = self
        self.heard: list[object] = []
        self.asked: list[bytes] = []
        self.allowed: int | Deferred[int] = 2 * START_BYTES

    def allowance(self, start: bytes) -> int | Deferred[int]:
        """
        Say how much may come.
        """
        self.asked.append(start)
        return self.allowed

    def pauseProducing(self) -> None:
        """
        Note it.
        """
        self.heard.append("pause")

    def resumeProducing(self) -> None:
        """
        Note it.
        """
        self.heard.append("resume")

    def refuse(self, code: int) -> None:
        """
        Note it.
        """
        self.heard.append(code)


class ContentTests(SynchronousTestCase):
    """
    A body comes piece by piece.
    """

    def setUp(self) -> None:
        self.source = Source()
        self.content = Content(self.source)
        self.content.expect(self.source)

    def receive(self, *sizes: int) -> None:
        """
        Let pieces come of these sizes.
        """
        for size in sizes:
            self.content.received(bytes(size))

    def test_unwanted(self) -> None:
        """
        Nobody wants one unless somebody says so.
        """
        content = Content(self.source)
        content.expect(object())
        content.received(b"x")
        self.assertEqual(self.source.heard, [413])

    def test_start(self) -> None:
        """
        The start may come, whoever sends it; then it is asked, once, how much more may.
        """
        self.receive(START_BYTES)
        self.assertEqual(self.source.asked, [])
        self.receive(1, START_BYTES - 1)
        self.assertEqual(self.source.asked, [bytes(START_BYTES)])
        self.assertEqual(self.source.heard, [])
        self.receive(1)
        self.assertEqual(self.source.heard, [413])
        self.assertEqual(len(self.content.data.getvalue()), 2 * START_BYTES)

    def test_never(self) -> None:
        """
        However much is allowed, it is not more than the most.
        """
        for allowed in (MOST + 1, Deferred[int]()):
            self.setUp()
            self.source.allowed = allowed
            self.receive(MOST)
            if isinstance(allowed, Deferred):
                allowed.callback(MOST + 1)
            self.receive(1)
            self.assertEqual(self.source.heard[-1], 413)

    def test_waits(self) -> None:
        """
        Where that takes time, nothing more is read meanwhile, and on afterwards.
        """
        allowed = self.source.allowed = Deferred()
        self.receive(START_BYTES + 1, START_BYTES)
        self.assertEqual(self.source.heard, ["pause"])
        allowed.callback(3 * START_BYTES)
        self.assertEqual(self.source.heard, ["pause", "resume"])
        self.receive(START_BYTES - 1)
        self.assertEqual(self.source.heard, ["pause", "resume"])
        self.receive(1)
        self.assertEqual(self.source.heard, ["pause", "resume", 413])
        self.assertEqual(len(self.source.asked), 1)

    def test_tooMuch(self) -> None:
        """
        What has come meanwhile may be too much; so that this is seen, the connection is read.
        """
        for over in (0, 1):
            self.setUp()
            allowed = self.source.allowed = Deferred()
            self.receive(START_BYTES + 1 + over)
            allowed.callback(START_BYTES + 1)
            self.assertEqual(self.source.heard, ["pause", *[413] * over, "resume"])

    def test_complete(self) -> None:
        """
        What was complete before is not refused any more.
        """
        allowed = self.source.allowed = Deferred()
        self.receive(START_BYTES + 1)
        self.content.isComplete = True
        allowed.callback(0)
        self.assertEqual(self.source.heard, ["pause", "resume"])
