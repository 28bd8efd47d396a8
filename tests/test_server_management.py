# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.management}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element

from cmanager.server.management import chosenIndex, closeOf, javaHash, routeOf
from cmanager.server.multiplexer import Habits
from cmanager.server.sessions import ClientSession
from tests.serverdoubles import NS, Client, Peer, ServerTestCase, condition, fragment

MESSAGE = (
    "<message xmlns='jabber:client' from='juliet@localhost/b' type='chat'><body>x</body></message>"
)
TLS = (
    '<tls xmlns="urn:cmanager:tls:0" version="TLSv1.3">'
    '<channel-binding type="tls-unique">YQ==</channel-binding></tls>'
)
NONSENSE = TLS.replace("YQ==", "?")


def detail(stanza: Element) -> str | None:
    """
    Return the application's condition of an error stanza.
    """
    children = list(next(e for e in stanza.elements() if e.name == "error").elements())
    return children[1].name if len(children) > 1 else None


class HashTests(SynchronousTestCase):
    """
    The choice of a link by Java's hash.
    """

    def test_values(self) -> None:
        """
        The values are Java's, beyond the basic plane too.
        """
        known = {"": 0, "a": 97, "hello": 99162322, "polygenelubricants": -2147483648}
        self.assertEqual({text: javaHash(text) for text in known}, known)
        self.assertEqual(javaHash("\U0001f600"), 31 * 0xD83D + 0xDE00)

    def test_index(self) -> None:
        """
        It is the remainder of the absolute value.
        """
        self.assertEqual(chosenIndex("hello", 1), 0)
        self.assertEqual(chosenIndex("hello", 5), 99162322 % 5)

    def test_least(self) -> None:
        """
        The least integer has no absolute value: no link, unless it divides evenly.
        """
        self.assertIsNone(chosenIndex("polygenelubricants", 3))
        self.assertEqual(chosenIndex("polygenelubricants", 2), 0)


class ChoiceTests(ServerTestCase):
    """
    Which link carries what.
    """

    def test_downstream(self) -> None:
        """
        A stream's elements come down on the link its hash chooses, whichever it uses.
        """
        other = Peer(self.server, "cm/two")
        for id in ("a", "b"):
            client = Client([self.peer, other], id)
            client.send("<presence/>")
            before = self.peer.raw
            client.take()
            came = 0 if self.peer.raw != before else 1
            self.assertEqual(came, javaHash(id) % 2)

    def test_unlucky(self) -> None:
        """
        The stream with the unlucky hash gets nothing.
        """
        peers = [self.peer, Peer(self.server, "cm/two"), Peer(self.server, "cm/three")]
        client = Client(peers, "polygenelubricants")
        client.send("<presence/>")
        self.assertEqual(client.take(), [])

    def test_answers(self) -> None:
        """
        Answers come on any link, by a lot that can be repeated.
        """
        runs = []
        for _ in range(2):
            self.serve(seed=7)
            other = Peer(self.server, "cm/two")
            for _ in range(20):
                self.peer.session("<close/>")
            runs.append((len(self.peer.take()), len(other.take())))
        self.assertEqual(runs[0], runs[1])
        self.assertEqual(sum(runs[0]), 20)
        self.assertTrue(all(runs[0]))

    def test_managersApart(self) -> None:
        """
        Stream IDs of one manager mean nothing to another.
        """
        Client([self.peer], "s1")
        other = Peer(self.server, "else/one")
        other.session("<close/>", "s1")
        self.assertEqual(condition(other.take()[0]), "item-not-found")
        self.assertEqual(self.server.managers.links("cm"), [self.peer.link])
        self.assertEqual(len(self.server.managers.links()), 2)


class IQTests(ServerTestCase):
    """
    Management iqs and their errors.
    """

    def answer(self, xml: str) -> Element:
        """
        Send an iq and return the answer.
        """
        self.peer.send(xml)
        (answer,) = self.peer.take()
        return answer

    def action(self, action: str, id: str | None = "s1") -> Element:
        """
        Send an action and return the answer.
        """
        self.peer.session(action, id)
        (answer,) = self.peer.take()
        return answer

    def test_create(self) -> None:
        """
        C{create} makes a session, and the result repeats the request.
        """
        answer = self.action('<create><host name="a" address="192.0.2.7"/></create>')
        self.assertEqual((answer["type"], answer["id"], answer["to"]), ("result", "q1", "cm/one"))
        self.assertEqual(answer.session["id"], "s1")
        self.assertIsNotNone(answer.session.create)
        (session,) = self.server.sessions
        self.assertEqual((session.id, session.manager, session.peer), ("s1", "cm", "192.0.2.7"))
        self.assertEqual(session.jid, "localhost/s1")

    def test_createWithoutHost(self) -> None:
        """
        The client's address may be left out.
        """
        self.assertEqual(self.action("<create/>")["type"], "result")
        self.assertEqual(self.action("<create><host name='x'/></create>", "s2")["type"], "result")
        self.assertEqual([session.peer for session in self.server.sessions], ["", ""])

    def test_createAgain(self) -> None:
        """
        A stream ID that is in use changes hands.
        """
        self.action("<create/>")
        (old,) = self.server.sessions
        self.action("<create/>")
        (new,) = self.server.sessions
        self.assertIsNot(old, new)

    def test_createRefused(self) -> None:
        """
        The server can be told to refuse.
        """
        self.server.refuseCreates(True)
        self.assertEqual(condition(self.action("<create/>")), "not-allowed")
        self.server.refuseCreates(False)
        self.assertEqual(self.action("<create/>")["type"], "result")

    def test_createBound(self) -> None:
        """
        So many sessions are taken, and no more.
        """
        self.serve(sessions=2)
        answers = [self.action("<create/>", f"s{n}") for n in range(3)]
        self.assertEqual([a["type"] for a in answers], ["result", "result", "error"])
        self.assertEqual(condition(answers[2]), "resource-constraint")

    def test_close(self) -> None:
        """
        C{close} ends a session; again, it is not found.
        """
        self.action("<create/>")
        self.assertEqual(self.action("<close/>")["type"], "result")
        self.assertEqual(len(self.server.sessions), 0)
        self.assertEqual(condition(self.action("<close/>")), "item-not-found")

    def test_errors(self) -> None:
        """
        The table of errors.
        """
        self.action("<create/>")
        for action, id, wanted, extra in (
            ("<create/>", None, "bad-request", "id-required"),
            ("<failed/>", "s1", "bad-request", "invalid-payload"),
            (f"<failed>{MESSAGE * 2}</failed>", "s1", "bad-request", "invalid-payload"),
            ("<failed><iq/></failed>", "s1", "bad-request", "unknown-stanza"),
            ("<bogus/>", "s1", "bad-request", None),
            ("", "s1", "bad-request", None),
            ("<bogus/>", "s2", "item-not-found", None),
            (f"<failed>{MESSAGE}</failed>", "s2", "item-not-found", None),
        ):
            answer = self.action(action, id)
            self.assertEqual((condition(answer), detail(answer)), (wanted, extra))
            self.assertEqual(answer.firstChildElement().name, "session")
        error = next(self.action("<bogus/>").elements(None, "error"), None) or answer.error
        self.assertEqual((error["code"], error["type"]), ("404", "cancel"))

    def test_otherPayload(self) -> None:
        """
        A payload that is no session is a bad request, with C{get} any.
        """
        for xml in (
            f'<iq type="set" id="1"><other xmlns="{NS}" id="s1"/></iq>',
            '<iq type="get" id="1"><ping xmlns="urn:xmpp:ping"/></iq>',
            '<iq id="1"><ping xmlns="urn:xmpp:ping"/></iq>',
        ):
            self.assertEqual(condition(self.answer(xml)), "bad-request")

    def test_resultsIgnored(self) -> None:
        """
        Results and errors are not answered.
        """
        self.peer.send('<iq type="result" id="1"/><iq type="error" id="2"/>')
        self.assertEqual(self.peer.take(), [])

    def test_fatal(self) -> None:
        """
        An iq without a payload of its own, or with an empty stream ID, ends the link,
        and so does a returned message in the namespace it inherits.
        """
        Client([self.peer], "s1")
        for xml in (
            '<iq type="set" id="1"/>',
            '<iq type="set" id="1"><session id="s1"><close/></session></iq>',
            f'<iq type="set" id="1"><session xmlns="{NS}" id=""><close/></session></iq>',
            f'<iq type="set" id="1"><session xmlns="{NS}" id="s1"><failed><message/></failed></session></iq>',
        ):
            peer = Peer(self.server, "cm/two")
            peer.send(xml)
            self.assertEqual((peer.transport.disconnecting, peer.take()), (True, []))

    def test_failed(self) -> None:
        """
        A returned message waits for its receiver.
        """
        client = self.client("romeo")
        answer = self.action(f"<failed>{MESSAGE}</failed>", client.id)
        self.assertEqual(answer["type"], "result")
        client.send("<presence/>")
        self.assertEqual([e.name for e in client.take()], ["presence", "message"])

    def test_notProven(self) -> None:
        """
        Before the handshake everything is C{not-authorized}, and the link goes on.
        """
        peer = Peer(self.server, "else/one", proven=False)
        peer.open()
        peer.take()
        peer.session("<create/>")
        peer.route("s1", "<presence/>")
        self.assertEqual([condition(e) for e in peer.take()], ["not-authorized"] * 2)
        peer.prove()
        self.assertTrue(peer.link.isReady)


class ExtensionTests(ServerTestCase):
    """
    What managers tell of the client's TLS and stream.
    """

    def setUp(self) -> None:
        """
        Have habits of our own.
        """
        super().setUp()
        self.serve(habits="own")

    def action(self, action: str, id: str = "s1") -> str:
        """
        Send an action and return what came of it.
        """
        self.peer.session(action, id)
        (answer,) = self.peer.take()
        if answer["type"] == "result":
            return "result"
        return f"{condition(answer)} {detail(answer)}"

    def session(self, id: str = "s1") -> ClientSession:
        """
        Return a session.
        """
        session = self.server.sessions.get("cm", id)
        assert session is not None
        return session

    def test_create(self) -> None:
        """
        Both extensions may stand in C{create}.
        """
        stream = '<stream xmlns="urn:cmanager:stream:0" to="localhost" lang="it"/>'
        self.assertEqual(
            self.action(f'<create><host address="::1"/>{TLS}{stream}</create>'), "result"
        )
        session = self.session()
        self.assertEqual((session.peer, session.to, session.lang), ("::1", "localhost", "it"))
        assert session.tls is not None
        self.assertEqual(
            (session.tls.version, session.tls.bindings), ("TLSv1.3", {"tls-unique": b"a"})
        )

    def test_neither(self) -> None:
        """
        Neither has to; what is optional in them is.
        """
        self.assertEqual(self.action("<create/>"), "result")
        self.assertEqual((self.session().tls, self.session().to, self.session().lang), (None,) * 3)
        self.action('<create><stream xmlns="urn:cmanager:stream:0"/></create>', "s2")
        self.assertEqual((self.session("s2").to, self.session("s2").lang), (None, None))

    def test_impossible(self) -> None:
        """
        What cannot be true is refused, and whatever session there was goes on.
        """
        self.action("<create/>")
        session = self.session()
        for create in (f"<create>{NONSENSE}</create>", f"<create>{TLS * 2}</create>", NONSENSE):
            self.assertEqual(self.action(create), "bad-request invalid-payload")
        self.assertIs(self.session(), session)
        self.assertIsNone(session.tls)

    def test_late(self) -> None:
        """
        TLS may be described later, once.
        """
        self.action("<create/>")
        self.assertEqual(self.action(TLS), "result")
        tls = self.session().tls
        assert tls is not None
        self.assertEqual(tls.bindings, {"tls-unique": b"a"})
        self.assertEqual(self.action(TLS), "bad-request invalid-payload")
        self.assertIs(self.session().tls, tls)

    def test_again(self) -> None:
        """
        Not where C{create} has done it.
        """
        self.action(f"<create>{TLS}</create>")
        self.assertEqual(self.action(TLS), "bad-request invalid-payload")

    def test_tooLate(self) -> None:
        """
        Not once a login has begun, however it went.
        """
        auth = '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="%s">%s</auth>'
        for id, mechanism, token in (
            ("begun", "PLAIN", ""),
            ("failed", "PLAIN", "AGEAYg=="),
            ("unknown", "X", ""),
            ("over", "PLAIN", "AHJvbWVvAHIwbWVv"),
        ):
            client = Client([self.peer], id)
            client.send(auth % (mechanism, token))
            client.take()
            self.assertEqual(self.action(TLS, id), "bad-request invalid-payload")
            self.assertIsNone(self.session(id).tls)

    def test_unknownSession(self) -> None:
        """
        A session that is not there is not found.
        """
        self.assertEqual(self.action(TLS), "item-not-found None")

    def test_otherNamespace(self) -> None:
        """
        The same names in other namespaces mean nothing.
        """
        tls = '<tls xmlns="urn:x"/><stream xmlns="urn:x" to="a" lang="b"/>'
        self.assertEqual(self.action(f"<create>{tls}</create>"), "result")
        self.assertEqual((self.session().tls, self.session().to), (None, None))
        self.assertEqual(self.action('<tls xmlns="urn:x"/>'), "bad-request None")

    def test_notAnnounced(self) -> None:
        """
        The other habits know nothing of this.
        """
        stream = '<stream xmlns="urn:cmanager:stream:0" to="localhost" lang="it"/>'
        for habits in Habits:
            if not habits.hasExtensions:
                self.serve(habits=habits)
                self.assertEqual(self.action(f"<create>{NONSENSE}{stream}</create>"), "result")
                session = self.session()
                self.assertEqual((session.tls, session.to, session.lang), (None,) * 3)
                self.assertEqual(self.action(TLS), "bad-request None")


class RouteTests(ServerTestCase):
    """
    Routes and their errors.
    """

    def refused(self, id: str, xml: str) -> Element:
        """
        Send a route that is refused.
        """
        self.peer.route(id, xml)
        (answer,) = self.peer.take()
        self.assertEqual(
            (answer.name, answer["type"], answer["streamid"], answer["id"]),
            ("route", "error", id, "r1"),
        )
        self.assertEqual((answer["to"], answer["from"]), ("cm/one", "localhost"))
        return answer

    def test_unknownSession(self) -> None:
        """
        A session that is not there is not found; the stanza is not returned.
        """
        answer = self.refused("nobody", "<presence/>")
        self.assertEqual(condition(answer), "item-not-found")
        self.assertEqual(len(list(answer.elements())), 1)

    def test_unknownStanza(self) -> None:
        """
        What cannot be routed is a bad request.
        """
        Client([self.peer], "s1")
        for xml in (
            '<enable xmlns="urn:xmpp:sm:3"/>',
            '<abort xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>',
            '<message xmlns="urn:x"/>',
        ):
            answer = self.refused("s1", xml)
            self.assertEqual((condition(answer), detail(answer)), ("bad-request", "unknown-stanza"))

    def test_bug(self) -> None:
        """
        A bug while routing is the server's error, and the link goes on.
        """
        client = self.client("romeo")
        self.server.store.close()
        self.assertEqual(condition(self.refused(client.id, "<presence/>")), "internal-server-error")
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_fatal(self) -> None:
        """
        A route without a stream ID or without an element ends the link.
        """
        for xml in (
            "<route><presence/></route>",
            '<route streamid=""><presence/></route>',
            '<route streamid="s1"/>',
            '<route streamid="s1">text</route>',
        ):
            peer = Peer(self.server, "cm/two")
            peer.send(xml)
            self.assertEqual((peer.transport.disconnecting, peer.take()), (True, []))

    def test_firstOnly(self) -> None:
        """
        Of several elements the first is used.
        """
        client = self.client("romeo")
        client.send("<presence/><message to='juliet@localhost'><body>x</body></message>")
        self.assertEqual([e.name for e in client.take()], ["presence"])
        self.assertEqual(self.server.store.waiting("juliet"), 0)

    def test_namespaces(self) -> None:
        """
        A stanza in jabber:client, or in no namespace, is as one that inherits the
        link's; inner namespaces stay.
        """
        romeo = self.client("romeo", available=True)
        for declaration in ("", ' xmlns="jabber:client"', ' xmlns=""', ' xmlns="jabber:server"'):
            romeo.send(
                f'<message{declaration} to="romeo@localhost"><body>x</body>'
                '<f xmlns="urn:f"><message xmlns="jabber:client"/></f></message>'
            )
            (message,) = romeo.take()
            self.assertEqual(
                message.toXml(),
                "<message to='romeo@localhost' from='romeo@localhost/a'><body>x</body>"
                "<f xmlns='urn:f'><message xmlns='jabber:client'/></f></message>",
            )


class TextTests(SynchronousTestCase):
    """
    What is written with strings.
    """

    def test_escaped(self) -> None:
        """
        Attributes are escaped.
        """
        route = fragment(routeOf("d", "<m>", 'a"b', "<x/>"))
        self.assertEqual((route["streamid"], route["to"], route["from"]), ('a"b', "<m>", "d"))

    def test_close(self) -> None:
        """
        A close request can hold a stream error behind C{<close/>}.
        """
        error = '<stream:error xmlns:stream="s"/>'
        iq = fragment(closeOf("d", "m", 'a"b', "1", error))
        session = iq.firstChildElement()
        self.assertEqual((session.uri, session["id"]), (NS, 'a"b'))
        self.assertEqual([e.name for e in session.elements()], ["close", "error"])
        plain = fragment(closeOf("d", "m", "s", "1")).firstChildElement()
        self.assertEqual([(e.uri, e.name) for e in plain.elements()], [(NS, "close")])
