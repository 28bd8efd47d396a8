# Copyright the cmanager authors.
# See LICENSE for details.

"""
The language of conversations, and the doubles it uses.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager.interfaces import IClientStream, ILink, ISessionHub
from cmanager.stanza import NS_CLIENT, Stanza
from cmanager.table import Ghost
from tests.doubles import FakeClientStream, FakeHub, FakeLink
from tests.play import Play


class DoubleTests(SynchronousTestCase):
    """
    The doubles keep the contracts of what they stand for.
    """

    def test_interfaces(self) -> None:
        """
        Each double provides its interface.
        """
        self.assertTrue(verifyObject(IClientStream, FakeClientStream()))
        self.assertTrue(verifyObject(ILink, FakeLink()))
        self.assertTrue(verifyObject(ISessionHub, FakeHub()))

    def test_linkObjects(self) -> None:
        """
        A link objects to anything for a session it was not told of.
        """
        message = Stanza("message", NS_CLIENT, {}, b"<message/>")
        self.assertRaises(AssertionError, FakeLink().route, Ghost("x"), message)
        self.assertRaises(AssertionError, FakeLink().fail, Ghost("x"), message)
        self.assertRaises(AssertionError, FakeLink().close, Ghost("x"))

    def test_streamObjects(self) -> None:
        """
        A stream objects to being closed twice.
        """
        stream = FakeClientStream()
        stream.close(b"")
        self.assertRaises(AssertionError, stream.close, b"")


class PlayTests(SynchronousTestCase):
    """
    A script is what happens, all of it and in order.
    """

    def test_matches(self) -> None:
        """
        What is said as expected passes; an ellipsis stands for anything.
        """
        Play()("""
        C> HEADER
        C< <?xml … id="ID" …
        C< <stream:features>…
        = negotiating
        """)

    def test_differs(self) -> None:
        """
        A failure shows the whole conversation, with what was missing and what was said.
        """
        error = self.assertRaises(
            AssertionError,
            Play(),
            """
            C> HEADER
            C< <?xml…
            C< <nothing/>
            """,
        )
        self.assertIn("- C< <nothing/>", str(error))
        self.assertIn("+ C< <stream:features>", str(error))
        self.assertIn("  C> HEADER", str(error))

    def test_nothingLeftOut(self) -> None:
        """
        What the script does not mention is a difference.
        """
        self.assertRaises(AssertionError, Play(), "C> HEADER")
