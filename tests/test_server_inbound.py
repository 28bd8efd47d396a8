# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.inbound}.
"""

from __future__ import annotations

import base64

from scramp import ScramClient

from tests.serverdoubles import SASL, Client, ServerTestCase, condition


class LoginTests(ServerTestCase):
    """
    SASL as the client sees it.
    """

    def setUp(self) -> None:
        """
        Announce a client.
        """
        super().setUp()
        self.server.setConfiguration(
            mechanisms=("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "ANONYMOUS", "EXTERNAL")
        )
        self.one = Client([self.peer], "s1")

    def auth(self, mechanism: str, text: str = "", name: str = "auth") -> tuple[str, str]:
        """
        Send C{<auth/>} and return name and text, or condition, of the answer.
        """
        answer = self.one.ask(f'<{name} xmlns="{SASL}" mechanism="{mechanism}">{text}</{name}>')
        child = answer.firstChildElement()
        return answer.name, child.name if child is not None else str(answer)

    def test_scram(self) -> None:
        """
        SCRAM, with a challenge and the server's signature in C{<success/>}.
        """
        for kind in ("SCRAM-SHA-1", "SCRAM-SHA-256"):
            self.one = Client([self.peer], kind)
            client = ScramClient([kind], "romeo", "r0meo")
            first = base64.b64encode(client.get_client_first().encode()).decode()
            name, text = self.auth(kind, first)
            self.assertEqual(name, "challenge")
            client.set_server_first(base64.b64decode(text).decode())
            final = base64.b64encode(client.get_client_final().encode()).decode()
            name, text = self.auth("", final, "response")
            self.assertEqual(name, "success")
            client.set_server_final(base64.b64decode(text).decode())
            self.assertEqual(self.one.bind("a")["type"], "result")

    def test_laterResponse(self) -> None:
        """
        Without an initial response there is an empty challenge first.
        """
        self.assertEqual(self.auth("PLAIN"), ("challenge", ""))
        token = base64.b64encode(b"\0romeo\0r0meo").decode()
        self.assertEqual(self.auth("", token, "response"), ("success", ""))

    def test_anonymous(self) -> None:
        """
        ANONYMOUS needs no response.
        """
        self.assertEqual(self.auth("ANONYMOUS"), ("success", ""))
        self.assertEqual(self.one.bind("a")["type"], "result")

    def test_failures(self) -> None:
        """
        Each fault has its condition.
        """
        for mechanism, text, name, wanted in (
            ("X", "", "auth", "invalid-mechanism"),
            ("EXTERNAL", "", "auth", "invalid-mechanism"),
            ("PLAIN", "?", "auth", "incorrect-encoding"),
            ("PLAIN", "=", "auth", "malformed-request"),
            ("", "", "response", "not-authorized"),
        ):
            self.one = Client([self.peer], wanted + mechanism)
            self.assertEqual(self.auth(mechanism, text, name), ("failure", wanted))

    def test_notOffered(self) -> None:
        """
        A mechanism that is not offered cannot be used.
        """
        for mechanisms in (("PLAIN",), None):
            self.server.setConfiguration(mechanisms=mechanisms)
            self.assertEqual(self.auth("ANONYMOUS"), ("failure", "invalid-mechanism"))

    def test_again(self) -> None:
        """
        Who has logged in cannot do so again.
        """
        self.assertEqual(self.auth("ANONYMOUS"), ("success", ""))
        for _ in range(3):
            self.assertEqual(self.auth("ANONYMOUS"), ("failure", "not-authorized"))
        self.assertEqual(len(self.server.sessions), 1)

    def test_retries(self) -> None:
        """
        The third failure ends the session, with a close request.
        """
        for left in (True, True, False):
            self.assertEqual(self.one.plain("romeo", "wrong").name, "failure")
            self.assertEqual(bool(len(self.server.sessions)), left)
            self.assertEqual([e.name for e in self.peer.take()], ["iq"] * (not left))

    def test_exchangeOver(self) -> None:
        """
        A failure ends the exchange.
        """
        self.auth("PLAIN")
        self.assertEqual(self.auth("", "=", "response"), ("failure", "malformed-request"))
        self.assertEqual(self.auth("", "=", "response"), ("failure", "not-authorized"))


class StanzaTests(ServerTestCase):
    """
    Where stanzas go.
    """

    def test_notLoggedIn(self) -> None:
        """
        Before login, and before binding, stanzas are C{not-authorized}.
        """
        client = Client([self.peer], "s1")
        for ready in (False, True):
            if ready:
                client.plain("romeo", "r0meo")
            for xml in (
                "<presence/>",
                "<message to='juliet@localhost'/>",
                "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
                "<iq type='get' id='1'/>",
                "<iq id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
            ):
                answer = client.ask(xml)
                self.assertEqual(condition(answer), "not-authorized")
                self.assertEqual(answer["to"], "localhost/s1")

    def test_silent(self) -> None:
        """
        Errors and results are never answered.
        """
        client = Client([self.peer], "s1")
        for xml in (
            "<presence type='error'/>",
            "<message type='error'/>",
            "<iq type='error' id='1'/>",
            "<iq type='result' id='1'/>",
        ):
            client.send(xml)
        bound = self.client("romeo")
        for xml in (
            "<iq type='result' id='1'/>",
            "<iq type='result' id='1' to='romeo@localhost/gone'/>",
            "<iq type='error' id='1' to='@'/>",
            "<message type='error' to='a@elsewhere.example'/>",
        ):
            bound.send(xml)
        self.assertEqual(client.take() + bound.take(), [])

    def test_betweenClients(self) -> None:
        """
        An iq to a full address goes there, of whatever type.
        """
        romeo, juliet = self.client("romeo"), self.client("juliet")
        for kind in ("get", "set", "result", "error"):
            romeo.send(f"<iq type='{kind}' id='1' to='juliet@localhost/a'><x xmlns='urn:x'/></iq>")
            (iq,) = juliet.take()
            self.assertEqual((iq["type"], iq["from"]), (kind, "romeo@localhost/a"))

    def test_iqErrors(self) -> None:
        """
        Each fault has its condition.
        """
        romeo = self.client("romeo")
        for xml, wanted in (
            ("<iq id='1'/>", "bad-request"),
            ("<iq type='x' id='1'><a xmlns='urn:x'/></iq>", "bad-request"),
            ("<iq type='get' id='1'/>", "bad-request"),
            ("<iq type='get' id='1'><a xmlns='urn:x'/><b xmlns='urn:x'/></iq>", "bad-request"),
            ("<iq type='get' id='1'><a/></iq>", "service-unavailable"),
            (
                "<iq type='get' id='1' to='juliet@localhost/a'><a xmlns='u:x'/></iq>",
                "service-unavailable",
            ),
            (
                "<iq type='get' id='1' to='localhost/x'><ping xmlns='urn:xmpp:ping'/></iq>",
                "service-unavailable",
            ),
            (
                "<iq type='get' id='1' to='elsewhere.example'><a xmlns='u:x'/></iq>",
                "remote-server-not-found",
            ),
        ):
            answer = romeo.ask(xml)
            self.assertEqual((condition(answer), answer["id"]), (wanted, "1"))
