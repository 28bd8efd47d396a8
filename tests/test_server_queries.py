# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.queries}.
"""

from __future__ import annotations

from twisted.words.xish.domish import Element

from cmanager.server.accounts import Bounds
from cmanager.server.queries import MAX_RESOURCE_BYTES
from tests.serverdoubles import SASL, Client, ServerTestCase, condition

ABOUT = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"
REGISTER = "jabber:iq:register"
AUTH = "jabber:iq:auth"


class QueryTestCase(ServerTestCase):
    """
    Requests of one client.
    """

    bounds = Bounds(private=2, elementBytes=100, accounts=3)

    def ask(self, client: Client, kind: str, query: str, to: str | None = None) -> Element:
        """
        Send a request and return the answer.
        """
        address = "" if to is None else f' to="{to}"'
        answer = client.ask(f'<iq type="{kind}" id="q"{address}>{query}</iq>')
        self.assertEqual(answer["id"], "q")
        return answer

    def refused(self, client: Client, kind: str, query: str, to: str | None = None) -> str:
        """
        Send a request and return the condition of the error.
        """
        answer = self.ask(client, kind, query, to)
        self.assertEqual(answer["type"], "error")
        return condition(answer)

    def granted(
        self, client: Client, kind: str, query: str, to: str | None = None
    ) -> Element | None:
        """
        Send a request and return the payload of the result.
        """
        answer = self.ask(client, kind, query, to)
        self.assertEqual(answer["type"], "result")
        return answer.firstChildElement()

    def guest(self) -> Client:
        """
        Return an anonymous client.
        """
        self.server.setConfiguration(mechanisms=("ANONYMOUS",))
        guest = Client([self.peer], "guest")
        guest.ask(f'<auth xmlns="{SASL}" mechanism="ANONYMOUS"/>')
        guest.bind("x")
        return guest


class BindTests(QueryTestCase):
    """
    RFC 6120 section 7.
    """

    def fresh(self, id: str = "s1") -> Client:
        """
        Return a client that has logged in.
        """
        client = Client([self.peer], id)
        client.plain("romeo", "r0meo")
        return client

    def test_wanted(self) -> None:
        """
        The resource may be wished for; it is prepared.
        """
        answer = self.fresh().bind("desk\u00ad")
        self.assertEqual(str(answer.bind.jid), "romeo@localhost/desk")
        self.assertEqual(answer["to"], "localhost/s1")

    def test_generated(self) -> None:
        """
        Without a wish there is one by lot.
        """
        for id, wish in (("s1", None), ("s2", "")):
            jid = str(self.fresh(id).bind(wish).bind.jid)
            self.assertEqual(len(jid), len("romeo@localhost/") + 16)

    def test_bad(self) -> None:
        """
        A resource has at most 1023 bytes that resourceprep allows.
        """
        client = self.fresh()
        for wish in ("x" * (MAX_RESOURCE_BYTES + 1), "\ue000", "\u00ad"):
            self.assertEqual(condition(client.bind(wish)), "bad-request")
        self.assertEqual(client.bind("x" * MAX_RESOURCE_BYTES)["type"], "result")

    def test_twice(self) -> None:
        """
        One session has one resource.
        """
        client = self.fresh()
        client.bind("a")
        self.assertEqual(condition(client.bind("b")), "service-unavailable")

    def test_conflict(self) -> None:
        """
        Who comes later wins; the other gets C{conflict}.
        """
        old, new = self.fresh(), self.fresh("s2")
        old.bind("a")
        self.assertEqual(new.bind("a")["type"], "result")
        (error,) = old.take()
        self.assertEqual((error.name, error.firstChildElement().name), ("error", "conflict"))
        (session,) = self.server.sessions
        self.assertEqual(session.id, "s2")

    def test_bound(self) -> None:
        """
        So many resources of one account, and no more.
        """
        self.serve(resources=2)
        answers = [self.fresh(f"s{n}").bind(f"r{n}") for n in range(3)]
        self.assertEqual([a["type"] for a in answers], ["result", "result", "error"])
        self.assertEqual(condition(answers[2]), "resource-constraint")

    def test_get(self) -> None:
        """
        Binding is a set.
        """
        bind = '<bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/>'
        self.assertEqual(self.refused(self.fresh(), "get", bind), "not-authorized")


class SmallTests(QueryTestCase):
    """
    Session, ping, and what is not known.
    """

    def test_results(self) -> None:
        """
        Session and ping get empty results, from the server and from the account.
        """
        romeo = self.client("romeo")
        for kind, query in (
            ("set", '<session xmlns="urn:ietf:params:xml:ns:xmpp-session"/>'),
            ("get", '<ping xmlns="urn:xmpp:ping"/>'),
        ):
            for to in (None, "localhost", "romeo@localhost"):
                self.assertIsNone(self.granted(romeo, kind, query, to))

    def test_unknown(self) -> None:
        """
        Anything else is not available, nor is it elsewhere or otherwise.
        """
        romeo = self.client("romeo")
        for kind, query, to in (
            ("get", '<query xmlns="urn:x"/>', None),
            ("set", '<ping xmlns="urn:xmpp:ping"/>', None),
            ("get", '<ping xmlns="urn:xmpp:ping"/>', "juliet@localhost"),
            ("get", '<query xmlns="jabber:iq:roster"/>', "juliet@localhost"),
            ("get", '<query xmlns="jabber:iq:roster"/>', "localhost"),
        ):
            self.assertEqual(self.refused(romeo, kind, query, to), "service-unavailable")


class DiscoTests(QueryTestCase):
    """
    Service discovery.
    """

    def test_server(self) -> None:
        """
        The server says what it is, and registration only where it is.
        """
        romeo = self.client("romeo")
        for enabled in (False, True):
            self.server.setConfiguration(register=enabled)
            query = self.granted(romeo, "get", f'<query xmlns="{ABOUT}"/>', "localhost")
            assert query is not None
            self.assertEqual((query.identity["category"], query.identity["type"]), ("server", "im"))
            features = [e["var"] for e in query.elements(ABOUT, "feature")]
            self.assertIn("urn:xmpp:ping", features)
            self.assertEqual(REGISTER in features, enabled)
        self.assertEqual(
            self.granted(romeo, "get", f'<query xmlns="{ITEMS}"/>', "localhost").children,  # type: ignore[union-attr] # else it fails
            [],
        )

    def test_account(self) -> None:
        """
        An account is shown to its owner and its subscribers only.
        """
        romeo = self.client("romeo", available=True)
        for to in (None, "romeo@localhost"):
            query = self.granted(romeo, "get", f'<query xmlns="{ABOUT}"/>', to)
            self.assertEqual(query.identity["category"], "account")  # type: ignore[union-attr] # else it fails
        juliet = self.client("juliet")
        for namespace in (ABOUT, ITEMS):
            query = f'<query xmlns="{namespace}"/>'
            self.assertEqual(
                self.refused(juliet, "get", query, "romeo@localhost"), "service-unavailable"
            )
        self.server.befriend("romeo", "juliet")
        items = self.granted(juliet, "get", f'<query xmlns="{ITEMS}"/>', "romeo@localhost")
        self.assertEqual([e["jid"] for e in items.elements()], ["romeo@localhost/a"])  # type: ignore[union-attr] # else it fails
        item = self.server.store.contact("romeo", "juliet@localhost")
        item.subscriptionFrom = False
        self.server.store.putContact("romeo", item)
        self.assertEqual(
            self.refused(juliet, "get", query, "romeo@localhost"), "service-unavailable"
        )

    def test_nodes(self) -> None:
        """
        There are no nodes.
        """
        romeo = self.client("romeo")
        for namespace in (ABOUT, ITEMS):
            query = f'<query xmlns="{namespace}" node="x"/>'
            self.assertEqual(self.refused(romeo, "get", query, "localhost"), "item-not-found")


class StorageTests(QueryTestCase):
    """
    vCards and private XML.
    """

    def test_vCard(self) -> None:
        """
        One's own vCard can be written, anybody's read.
        """
        romeo, juliet = self.client("romeo"), self.client("juliet")
        get = '<vCard xmlns="vcard-temp"/>'
        self.assertEqual(self.granted(romeo, "get", get).children, [])  # type: ignore[union-attr] # else it fails
        self.assertEqual(self.refused(juliet, "get", get, "romeo@localhost"), "item-not-found")
        card = '<vCard xmlns="vcard-temp"><FN>Romeo</FN></vCard>'
        self.assertIsNone(self.granted(romeo, "set", card))
        for client, to in ((romeo, None), (romeo, "romeo@localhost"), (juliet, "romeo@localhost")):
            self.assertEqual(str(self.granted(client, "get", get, to).FN), "Romeo")  # type: ignore[union-attr] # else it fails
        self.assertEqual(
            self.refused(juliet, "set", card, "romeo@localhost"), "service-unavailable"
        )
        large = f'<vCard xmlns="vcard-temp"><FN>{"x" * 100}</FN></vCard>'
        self.assertEqual(self.refused(romeo, "set", large), "resource-constraint")

    def test_private(self) -> None:
        """
        Private elements come back; what was never written is empty.
        """
        romeo = self.client("romeo")
        query = '<query xmlns="jabber:iq:private">%s</query>'
        self.assertEqual(
            self.granted(romeo, "get", query % '<a xmlns="urn:a"/>').toXml(),  # type: ignore[union-attr] # else it fails
            "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>",
        )
        self.assertIsNone(self.granted(romeo, "set", query % '<a xmlns="urn:a"><b>x</b></a>'))
        self.assertEqual(
            self.granted(romeo, "get", query % '<a xmlns="urn:a"/>').toXml(),  # type: ignore[union-attr] # else it fails
            "<query xmlns='jabber:iq:private'><a xmlns='urn:a'><b>x</b></a></query>",
        )
        for content in ("", "<a/>", '<a xmlns="urn:a"/><b xmlns="urn:b"/>', '<a xmlns=""/>'):
            self.assertEqual(self.refused(romeo, "set", query % content), "bad-request")
        self.granted(romeo, "set", query % '<b xmlns="urn:a"/>')
        self.assertEqual(
            self.refused(romeo, "set", query % '<c xmlns="urn:a"/>'), "resource-constraint"
        )

    def test_anonymous(self) -> None:
        """
        Nothing is kept for the anonymous.
        """
        self.server.setConfiguration(register=True)
        guest = self.guest()
        for kind, query in (
            ("set", '<vCard xmlns="vcard-temp"/>'),
            ("set", '<query xmlns="jabber:iq:private"><a xmlns="urn:a"/></query>'),
            ("get", f'<query xmlns="{REGISTER}"/>'),
            ("set", f'<query xmlns="{REGISTER}"><remove/></query>'),
        ):
            self.assertEqual(self.refused(guest, kind, query), "not-allowed")


class RegistrationTests(QueryTestCase):
    """
    XEP-0077.
    """

    FORM = f'<query xmlns="{REGISTER}"><username>%s</username><password>%s</password></query>'

    def setUp(self) -> None:
        """
        Enable it.
        """
        super().setUp()
        self.server.setConfiguration(register=True)

    def test_register(self) -> None:
        """
        Who has not logged in can make an account, and log in with it.
        """
        client = Client([self.peer], "s1")
        form = self.granted(client, "get", f'<query xmlns="{REGISTER}"/>')
        self.assertEqual(
            [e.name for e in form.elements()],
            ["instructions", "username", "password"],  # type: ignore[union-attr] # else it fails
        )
        self.assertIsNone(self.granted(client, "set", self.FORM % ("Mercutio", "x")))
        self.assertEqual(client.plain("mercutio", "x").name, "success")

    def test_refused(self) -> None:
        """
        Each fault has its condition.
        """
        client = Client([self.peer], "s1")
        for name, password, wanted in (
            ("romeo", "x", "conflict"),
            ("a@b", "x", "not-acceptable"),
            ("", "x", "not-acceptable"),
            ("a", "", "not-acceptable"),
        ):
            self.assertEqual(self.refused(client, "set", self.FORM % (name, password)), wanted)
        self.granted(client, "set", self.FORM % ("a", "x"))
        self.assertEqual(self.refused(client, "set", self.FORM % ("b", "x")), "resource-constraint")
        self.assertEqual(
            self.refused(client, "set", f'<query xmlns="{REGISTER}"/>'), "not-acceptable"
        )

    def test_disabled(self) -> None:
        """
        Where it is not enabled it is not available.
        """
        self.server.setConfiguration(register=False)
        bound, client = self.client("romeo"), Client([self.peer], "s1")
        for kind in ("get", "set"):
            for each in (bound, client):
                query = f'<query xmlns="{REGISTER}"/>'
                self.assertEqual(self.refused(each, kind, query), "service-unavailable")

    def test_registered(self) -> None:
        """
        Who has logged in is registered, and can change the password.
        """
        romeo = self.client("romeo")
        about = self.granted(romeo, "get", f'<query xmlns="{REGISTER}"/>', "localhost")
        self.assertIsNotNone(about.registered)  # type: ignore[union-attr] # else it fails
        self.assertEqual(str(about.username), "romeo")  # type: ignore[union-attr] # else it fails
        self.granted(romeo, "set", self.FORM % ("romeo", "new"))
        self.assertTrue(self.server.store.verify("romeo", "new"))
        self.assertEqual(self.refused(romeo, "set", self.FORM % ("juliet", "new")), "bad-request")
        query = f'<query xmlns="{REGISTER}"/>'
        self.assertEqual(self.refused(romeo, "set", query), "bad-request")

    def test_remove(self) -> None:
        """
        An account can be removed: its sessions end after the answer, and its contacts
        lose it.
        """
        self.server.befriend("romeo", "juliet")
        romeo, juliet = self.client("romeo", available=True), self.client("juliet", available=True)
        romeo.send(f'<iq type="set" id="q"><query xmlns="{REGISTER}"><remove/></query></iq>')
        answer, *_, error = romeo.take()
        self.assertEqual((answer["type"], answer["id"]), ("result", "q"))
        self.assertEqual(error.name, "error")
        self.assertFalse(self.server.store.hasAccount("romeo"))
        self.assertIn("unavailable", [e.getAttribute("type") for e in juliet.take()])
        (item,) = self.server.store.contacts("juliet")
        self.assertEqual((item.subscriptionTo, item.subscriptionFrom), (False, False))


class OldLoginTests(QueryTestCase):
    """
    XEP-0078.
    """

    def setUp(self) -> None:
        """
        Enable it.
        """
        super().setUp()
        self.server.setConfiguration(auth=True)
        self.one = Client([self.peer], "s1")

    def form(self, name: str, password: str, resource: str = "a") -> str:
        """
        Return a login.
        """
        return (
            f'<query xmlns="{AUTH}"><username>{name}</username><password>{password}</password>'
            f"<resource>{resource}</resource></query>"
        )

    def test_fields(self) -> None:
        """
        The fields are told; no digest.
        """
        fields = self.granted(self.one, "get", f'<query xmlns="{AUTH}"/>')
        self.assertEqual(
            [e.name for e in fields.elements()],
            ["username", "password", "resource"],  # type: ignore[union-attr] # else it fails
        )

    def test_login(self) -> None:
        """
        A login binds at once.
        """
        self.assertIsNone(self.granted(self.one, "set", self.form("romeo", "r0meo")))
        (session,) = self.server.sessions
        self.assertEqual(session.jid, "romeo@localhost/a")

    def test_wrong(self) -> None:
        """
        Wrong logins are C{not-authorized}, and the third ends the session.
        """
        for name, password in (("romeo", "x"), ("a@b", "x")):
            self.assertEqual(
                self.refused(self.one, "set", self.form(name, password)), "not-authorized"
            )
        self.assertEqual(len(self.server.sessions), 1)
        self.refused(self.one, "set", self.form("romeo", "x"))
        self.assertEqual(len(self.server.sessions), 0)

    def test_incomplete(self) -> None:
        """
        All fields are needed.
        """
        for query in (
            f'<query xmlns="{AUTH}"/>',
            f'<query xmlns="{AUTH}"><resource>a</resource></query>',
            f'<query xmlns="{AUTH}"><resource>a</resource><username>romeo</username></query>',
        ):
            self.assertEqual(self.refused(self.one, "set", query), "not-acceptable")

    def test_resource(self) -> None:
        """
        A resource that cannot be bound is told, and nobody is logged in.
        """
        wrong = self.form("romeo", "r0meo", "\ue000")
        self.assertEqual(self.refused(self.one, "set", wrong), "bad-request")
        self.assertEqual(self.one.plain("romeo", "r0meo").name, "success")

    def test_disabled(self) -> None:
        """
        Where it is not enabled it is not available.
        """
        self.server.setConfiguration(auth=False)
        self.assertEqual(
            self.refused(self.one, "get", f'<query xmlns="{AUTH}"/>'), "service-unavailable"
        )

    def test_loggedIn(self) -> None:
        """
        Who has logged in by SASL cannot log in or register so.
        """
        self.one.plain("romeo", "r0meo")
        for namespace in (AUTH, REGISTER):
            query = f'<query xmlns="{namespace}"/>'
            self.assertEqual(self.refused(self.one, "get", query), "not-authorized")
