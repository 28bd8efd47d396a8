# Copyright the cmanager authors.
# See LICENSE for details.

"""
What comes for sessions that only the server knows.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.ghosts import CLOSES_AT_ONCE, FORGOTTEN_SECONDS, REMEMBERED, Ghosts
from cmanager.metrics import Metrics
from cmanager.multiplex import MAX_UPWARD_BYTES
from cmanager.stanza import NS_CLIENT, NS_SASL, Stanza
from tests.doubles import FakeLink
from tests.play import element


def parsed(text: str) -> Stanza:
    """
    Return an element.
    """
    stanza = element(text)
    assert stanza is not None
    return stanza


class GhostTests(SynchronousTestCase):
    """
    What can be returned is, and the server drops the session.
    """

    def setUp(self) -> None:
        """
        A link.
        """
        self.clock = Clock()
        self.clock.advance(1000)
        self.metrics = Metrics()
        self.ghosts = Ghosts(self.metrics, self.clock.seconds)
        self.link = FakeLink()

    def routed(self, text: str, streamID: str = "x") -> list[str]:
        """
        Let something come for a ghost; return what the link was asked.
        """
        del self.link.log[:]
        self.ghosts.routed(self.link, streamID, parsed(text))
        self.assertEqual(self.link.load, 0)
        return [line for line in self.link.log if "adopt" not in line and "forget" not in line]

    def test_message(self) -> None:
        """
        A message is returned; then the session is closed.
        """
        self.assertEqual(self.routed("<message/>"), ["S: failed <message/>", "S: close"])
        self.assertEqual(self.metrics.value("messages_returned"), 1)
        self.assertEqual(self.metrics.value("ghosts_closed"), 1)

    def test_request(self) -> None:
        """
        A request is answered with an error, without its payload.
        """
        answer, close = self.routed("<iq type='get' id='1' from='a@b'><x xmlns='urn:x'/></iq>")
        self.assertIn('to="a@b" type="error"', answer)
        self.assertIn("service-unavailable", answer)
        self.assertNotIn("urn:x", answer)
        self.assertEqual(close, "S: close")

    def test_tooLarge(self) -> None:
        """
        Of a message too large to go up again the sender is told.
        """
        data = b"<message>%s</message>" % (b"x" * MAX_UPWARD_BYTES)
        message = Stanza("message", NS_CLIENT, {"id": "1", "from": "a@b"}, data)
        self.ghosts.routed(self.link, "x", message)
        _, answer, _, _, close = self.link.log
        self.assertIn('S< <message id="1" to="a@b" type="error">', answer)
        self.assertLess(len(answer), 200)
        self.assertEqual(close, "S: close")

    def test_dropped(self) -> None:
        """
        Errors, results, presence and SASL are dropped; the session is closed all the
        same.
        """
        for number, text in enumerate(
            (
                "<message type='error'/>",
                "<iq type='result' id='1'/>",
                "<iq type='error' id='1'/>",
                "<presence/>",
                f"<success xmlns='{NS_SASL}'/>",
            )
        ):
            self.assertEqual(self.routed(text, str(number)), ["S: close"])
        self.assertEqual(self.metrics.value("stanzas_dropped", "unknown-session"), 5)

    def test_once(self) -> None:
        """
        The server is told once, and again when it has forgotten.
        """
        self.routed("<presence/>")
        self.assertEqual(self.routed("<presence/>"), [])
        self.assertEqual(self.routed("<message/>"), ["S: failed <message/>"])
        self.clock.advance(FORGOTTEN_SECONDS - 1)
        self.assertEqual(self.routed("<presence/>"), [])
        self.clock.advance(1)
        self.assertEqual(self.routed("<presence/>"), ["S: close"])

    def test_rate(self) -> None:
        """
        Of very many sessions only so many are closed at once; the others when something
        comes for them again.
        """
        closed = [bool(self.routed("<presence/>", str(n))) for n in range(CLOSES_AT_ONCE + 1)]
        self.assertEqual(closed, [True] * CLOSES_AT_ONCE + [False])
        self.clock.advance(1)
        self.assertEqual(self.routed("<presence/>", str(CLOSES_AT_ONCE)), ["S: close"])

    def test_remembered(self) -> None:
        """
        Only so many ids are remembered.
        """
        for number in range(REMEMBERED + 1):
            self.clock.advance(0.02)
            self.routed("<presence/>", str(number))
            if number == REMEMBERED - 1:
                self.assertEqual(len(self.ghosts._closed), REMEMBERED)
        self.assertEqual(len(self.ghosts._closed), REMEMBERED)
        self.assertNotIn("0", self.ghosts._closed)
