# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a client's stanza must be like, and the errors that answer one.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import StanzaError
from cmanager.profile import isCanonical
from cmanager.stanza import Stanza
from cmanager.traffic import TYPES, checked, refusal, returned, routeError
from tests.play import element


def parsed(text: str) -> Stanza:
    """
    Return a stanza as a scanner hands it out.
    """
    stanza = element(text)
    assert stanza is not None
    return stanza


class CheckTests(SynchronousTestCase):
    """
    L{checked}.
    """

    def refused(self, text: str) -> str:
        """
        Return the condition a stanza is refused with.
        """
        return self.assertRaises(StanzaError, checked, parsed(text), None).condition

    def test_untouched(self) -> None:
        """
        A stanza in order is passed as it is, the same object.
        """
        for text in (
            '<message to="a@b/c"/>',
            "<presence/>",
            '<iq id="1" type="get"><x xmlns="urn:x"/></iq>',
            '<iq id="1" type="result"/>',
        ):
            stanza = parsed(text)
            self.assertIs(checked(stanza, None), stanza)

    def test_types(self) -> None:
        """
        Each type of the RFCs passes, any other does not.
        """
        for name, kinds in TYPES.items():
            for kind in kinds:
                attribute = f' type="{kind}"' if kind else ""
                checked(parsed(f'<{name} id="1"{attribute}><x xmlns="urn:x"/></{name}>'), None)
            self.assertEqual(self.refused(f'<{name} id="1" type="GET"/>'), "bad-request")
            self.assertEqual(self.refused(f'<{name} id="1" type=""/>'), "bad-request")

    def test_iq(self) -> None:
        """
        An iq has an id, and a request a child.
        """
        self.assertEqual(self.refused('<iq type="get"><x/></iq>'), "bad-request")
        self.assertEqual(self.refused('<iq type="get" id=""><x/></iq>'), "bad-request")
        self.assertEqual(self.refused('<iq type="set" id="1"/>'), "bad-request")
        checked(parsed('<iq type="set" id="1"><x/></iq>'), None)

    def test_rewritten(self) -> None:
        """
        Whatever is changed, bytes and attributes say the same, in the profile.
        """
        for text, lang in (
            ('<message from="x" to="A@B" id="&quot;&lt;"><body>&amp;</body></message>', "de"),
            ('<message to="A@b"/>', None),
            ('<message from="x"/>', None),
            ("<presence/>", "de"),
        ):
            stanza = checked(parsed(text), lang)
            again = parsed(stanza.data.decode())
            self.assertEqual(again.attributes, stanza.attributes)
            self.assertEqual(again.data, stanza.data)
            self.assertTrue(isCanonical(stanza.data))
            self.assertNotIn("from", stanza.attributes)
            self.assertEqual(stanza.attributes.get("xml:lang"), lang)

    def test_address(self) -> None:
        """
        An address that is none is refused.
        """
        for bad in ("", "@", "a@", "@b", "a b@c", "a@b/", "x" * 1024 + "@b"):
            self.assertEqual(self.refused(f'<message to="{bad}"/>'), "jid-malformed")


class ErrorTests(SynchronousTestCase):
    """
    Errors to clients, and to those who wrote to them.
    """

    def test_refusal(self) -> None:
        """
        The client gets its id back, from whom it wrote to.
        """
        answer = refusal(parsed('<message id="1" to="a@b"/>'), StanzaError("not-allowed"))
        self.assertEqual(
            answer,
            b'<message id="1" from="a@b" type="error"><error type="cancel">'
            b'<not-allowed xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></message>',
        )

    def test_refusalOfNonsense(self) -> None:
        """
        An iq of no type there is is answered, one that answers is not.
        """
        error = StanzaError("bad-request", "modify")
        self.assertIsNot(refusal(parsed('<iq id="1" type="x"/>'), error), None)
        self.assertIs(refusal(parsed('<iq type="result"/>'), error), None)
        self.assertIs(refusal(parsed('<message type="error"/>'), error), None)
        self.assertIs(refusal(parsed('<auth xmlns="urn:x"/>'), error), None)

    def test_malformed(self) -> None:
        """
        A malformed address does not come back as a sender.
        """
        answer = refusal(parsed('<message to="a@"/>'), StanzaError("jid-malformed", "modify"))
        self.assertNotIn(b"from=", answer or b"")

    def test_returned(self) -> None:
        """
        An error for a server's stanza has its addresses swapped, and attributes that
        say the same.
        """
        answer = returned(parsed('<iq id="1" type="get" from="a@b" to="c@d"/>'), StanzaError("x"))
        assert answer is not None
        self.assertEqual(
            answer.attributes, {"id": "1", "from": "c@d", "to": "a@b", "type": "error"}
        )
        self.assertEqual(parsed(answer.data.decode()).attributes, answer.attributes)
        self.assertTrue(isCanonical(answer.data))

    def test_returnedNothing(self) -> None:
        """
        Errors are never answered; what is missing is left out.
        """
        self.assertIs(returned(parsed('<message type="error"/>'), StanzaError("x")), None)
        answer = returned(parsed("<message/>"), StanzaError("x"))
        assert answer is not None
        self.assertEqual(answer.attributes, {"type": "error"})

    def test_routeError(self) -> None:
        """
        The server's condition gets the type that goes with it.
        """
        self.assertEqual(routeError("bad-request").type, "modify")
        self.assertEqual(routeError("unknown").type, "cancel")
