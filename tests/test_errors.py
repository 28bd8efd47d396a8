# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.errors}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import (
    BOSHError,
    CManagerError,
    ConfigError,
    LinkError,
    PrefaceError,
    StanzaError,
    StreamError,
)


class StreamErrorTests(SynchronousTestCase):
    """
    What a peer reads and what the operator reads are two things.
    """

    def test_reasonStaysHere(self) -> None:
        """
        A C{reason} of its own is for the log: the peer's C{text} is unchanged.
        """
        error = StreamError("host-unknown", reason="client asked for mantua.example")
        self.assertIsNone(error.text)
        self.assertEqual(str(error), "host-unknown: client asked for mantua.example")

    def test_textIsReason(self) -> None:
        """
        Where the peer may know, the operator reads the same.
        """
        self.assertEqual(StreamError("policy-violation", "too big").reason, "too big")

    def test_bareCondition(self) -> None:
        """
        A condition alone is its own reason, told once.
        """
        self.assertEqual(str(StreamError("reset")), "reset")


class OtherErrorTests(SynchronousTestCase):
    """
    The other errors carry what their one speaker needs.
    """

    def test_stanzaError(self) -> None:
        """
        A stanza error is a C{cancel} unless it says otherwise.
        """
        self.assertEqual(StanzaError("service-unavailable").type, "cancel")

    def test_boshError(self) -> None:
        """
        An error of BOSH has a condition for the client and a reason for the operator.
        """
        error = BOSHError("item-not-found", "the rid is outside the window")
        self.assertEqual(error.condition, "item-not-found")
        self.assertEqual(str(error), "item-not-found: the rid is outside the window")

    def test_prefaceError(self) -> None:
        """
        A preface error says why, to the operator alone.
        """
        error = PrefaceError("no PROXY preface")
        self.assertEqual((error.reason, str(error)), ("no PROXY preface", "no PROXY preface"))

    def test_linkErrorAdvice(self) -> None:
        """
        A link error tells what happened and, where there is something, what to do.
        """
        self.assertEqual(
            str(LinkError("refused", "enable the listener")), "refused (enable the listener)"
        )
        self.assertEqual(str(LinkError("closed by the server")), "closed by the server")

    def test_configErrorAllAtOnce(self) -> None:
        """
        A configuration error holds every problem, one a line.
        """
        error = ConfigError(["a: no", "b: no"])
        self.assertEqual(error.problems, ("a: no", "b: no"))
        self.assertEqual(str(error), "a: no\nb: no")

    def test_oneFamily(self) -> None:
        """
        Whoever must stop everything of ours can.
        """
        for kind in (ConfigError, LinkError, PrefaceError, StanzaError, StreamError):
            self.assertTrue(issubclass(kind, CManagerError))
