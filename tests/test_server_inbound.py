# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.inbound}.
"""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.serialization import Encoding
from scramp import ScramClient
from twisted.words.xish.domish import Element

from cmanager.server.configuration import Offer
from tests.certificates import authority
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


class BoundTests(ServerTestCase):
    """
    Logins that depend on what the manager says of the client's TLS.
    """

    def setUp(self) -> None:
        """
        Have habits of our own, and a certificate for Romeo.
        """
        super().setUp()
        self.serve(habits="own")
        identity = authority().issue(xmpp=["romeo@localhost"])
        der = base64.b64encode(identity.certificate.public_bytes(Encoding.DER)).decode()
        self.children = (
            f'<channel-binding type="tls-unique">{base64.b64encode(b"abc").decode()}</channel-binding>'
            f'<certificate verified="true">{der}</certificate>'
        )
        self.number = 0

    def secured(self, children: str | None = None) -> Client:
        """
        Announce a client with TLS.
        """
        self.number += 1
        client = Client([self.peer], f"s{self.number}", created=False)
        tls = self.children if children is None else children
        self.peer.session(
            f'<create><tls xmlns="urn:cmanager:tls:0">{tls}</tls></create>', client.id
        )
        (answer,) = self.peer.take()
        self.assertEqual(answer["type"], "result")
        return client

    def auth(self, client: Client, mechanism: str, content: bytes | None) -> Element:
        """
        Begin a login.
        """
        text = "" if content is None else base64.b64encode(content).decode() or "="
        return client.ask(f'<auth xmlns="{SASL}" mechanism="{mechanism}">{text}</auth>')

    def scram(self, client: Client, kind: str, data: bytes | None) -> str:
        """
        Log in with SCRAM and return the name of the answer, or the condition.
        """
        binding = None if data is None else ("tls-unique", data)
        scram = ScramClient([kind], "romeo", "r0meo", binding)
        answer = self.auth(client, kind, scram.get_client_first().encode())
        if answer.name == "challenge":
            scram.set_server_first(base64.b64decode(str(answer)).decode())
            final = base64.b64encode(scram.get_client_final().encode()).decode()
            answer = client.ask(f'<response xmlns="{SASL}">{final}</response>')
        if answer.name != "success":
            return str(answer.firstChildElement().name)
        scram.set_server_final(base64.b64decode(str(answer)).decode())
        return "success"

    def test_plus(self) -> None:
        """
        SCRAM with channel binding, by the data the manager has sent.
        """
        for kind in ("SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"):
            client = self.secured()
            self.assertEqual(self.scram(client, kind, b"abc"), "success")
            self.assertEqual(client.bind(kind)["type"], "result")
            self.assertEqual(self.scram(self.secured(), kind, b"abd"), "not-authorized")
            self.assertEqual(self.scram(self.secured(""), kind, b"abc"), "not-authorized")
            client = Client([self.peer], kind)
            self.assertEqual(self.scram(client, kind, b"abc"), "not-authorized")

    def test_downgrade(self) -> None:
        """
        A client that could bind, and believes we cannot, is warned by a failure, unless
        it is right.
        """
        kind = "SCRAM-SHA-256"
        self.assertEqual(self.scram(self.secured(), kind, b"abc"), "not-authorized")
        self.assertEqual(self.scram(self.secured(), kind, None), "success")
        self.assertEqual(self.scram(self.secured(""), kind, b"abc"), "success")
        for offer in (Offer(("EXTERNAL",)), Offer(bindings=("tls-exporter",))):
            self.server.offer = offer
            self.assertEqual(self.scram(self.secured(), kind, b"abc"), "success")

    def test_external(self) -> None:
        """
        EXTERNAL, by the certificate, with an initial response or without.
        """
        for content in (None, b"", b"romeo@localhost"):
            client = self.secured()
            answer = self.auth(client, "EXTERNAL", content)
            if content is None:
                self.assertEqual((answer.name, str(answer)), ("challenge", ""))
                answer = client.ask(f'<response xmlns="{SASL}"/>')
            self.assertEqual(answer.name, "success")
            self.assertEqual(client.bind(f"a{self.number}")["type"], "result")

    def test_externalRefused(self) -> None:
        """
        Not without a verified certificate, nor for somebody else.
        """
        unverified = self.children.replace("true", "false")
        for children, content in (
            (self.children, b"juliet@localhost"),
            (unverified, b""),
            (unverified, b"romeo@localhost"),
            ("", b""),
        ):
            answer = self.auth(self.secured(children), "EXTERNAL", content)
            self.assertEqual(answer.firstChildElement().name, "not-authorized")
        answer = self.auth(Client([self.peer], "plain"), "EXTERNAL", b"romeo@localhost")
        self.assertEqual(answer.firstChildElement().name, "not-authorized")

    def test_notOffered(self) -> None:
        """
        What is not announced is not there, and it is announced by the extension only.
        """
        mechanisms = ("SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "EXTERNAL")
        self.server.offer = Offer(())
        for habits in ("own", "openfire-4.2", "openfire-4.7", "openfire-4.8"):
            if habits != "own":
                self.serve(habits=habits)
            self.server.setConfiguration(mechanisms=mechanisms)
            self.peer.take()
            for mechanism in mechanisms:
                answer = self.auth(self.secured(), mechanism, b"")
                self.assertEqual(answer.firstChildElement().name, "invalid-mechanism")


class LanguageTests(ServerTestCase):
    """
    The language of a client's stream.
    """

    def test_language(self) -> None:
        """
        Stanzas without a language are given that of the stream, if it is known.
        """
        self.serve(habits="own")
        romeo = self.client("romeo", available=True)
        for lang, own, wanted in (
            (' lang="it"', "", "it"),
            (' lang="it"', " xml:lang='de'", "de"),
            (' lang="it"', " xml:lang=''", ""),
            ("", "", None),
        ):
            juliet = Client([self.peer], "s1", created=False)
            stream = f'<stream xmlns="urn:cmanager:stream:0"{lang}/>'
            self.peer.session(f"<create>{stream}</create>", "s1")
            self.assertEqual(juliet.plain("juliet", "jul1et").name, "success")
            self.assertEqual(juliet.bind("a")["type"], "result")
            juliet.send(f"<message to='romeo@localhost'{own}><body>x</body></message>")
            (message,) = romeo.take()
            key = ("http://www.w3.org/XML/1998/namespace", "lang")
            self.assertEqual(message.getAttribute(key), wanted)
            self.peer.session("<close/>", "s1")
            self.quiet()


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
