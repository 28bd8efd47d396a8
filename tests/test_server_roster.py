# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.roster}.
"""

from __future__ import annotations

from cmanager.linkevents import TLSPolicy
from cmanager.server.accounts import Bounds
from cmanager.server.roster import MAX_GROUPS, MAX_LABEL_BYTES
from tests.serverdoubles import Client, ServerTestCase, condition, told

NS_ROSTER = "jabber:iq:roster"


class RosterTestCase(ServerTestCase):
    """
    Romeo and Juliet, available, and interested in their rosters.
    """

    def setUp(self) -> None:
        """
        Log both in.
        """
        super().setUp()
        self.romeo = self.client("romeo", available=True)
        self.juliet = self.client("juliet", available=True)
        for client in (self.romeo, self.juliet):
            client.ask(f'<iq type="get" id="r"><query xmlns="{NS_ROSTER}"/></iq>')

    def put(self, item: str) -> list[tuple[str | None, ...]]:
        """
        Change Romeo's roster and return what he is told.
        """
        self.romeo.send(f'<iq type="set" id="s"><query xmlns="{NS_ROSTER}">{item}</query></iq>')
        return told(self.romeo.take())

    def roster(self, client: Client) -> dict[str, tuple[str | None, str | None]]:
        """
        Return subscription and C{ask} of each entry.
        """
        answer = client.ask(f'<iq type="get" id="r"><query xmlns="{NS_ROSTER}"/></iq>')
        return {
            item["jid"]: (item.getAttribute("subscription"), item.getAttribute("ask"))
            for item in answer.query.elements()
        }

    def subscriptions(self) -> tuple[object, object]:
        """
        Return what each has of the other on the roster.
        """
        return (
            self.roster(self.romeo).get("juliet@localhost"),
            self.roster(self.juliet).get("romeo@localhost"),
        )

    def send(self, client: Client, type: str) -> None:
        """
        Send a subscription stanza to the other.
        """
        other = "juliet" if client is self.romeo else "romeo"
        client.send(f'<presence type="{type}" to="{other}@localhost"/>')

    def kinds(self, client: Client) -> list[tuple[str, str | None]]:
        """
        Return what a client got: names and types.
        """
        return [(e.name, e.getAttribute("type")) for e in client.take()]

    def subscribe(self, client: Client, other: Client) -> None:
        """
        Let one subscribe to the other.
        """
        self.send(client, "subscribe")
        self.send(other, "subscribed")
        self.quiet()


class QueryTests(RosterTestCase):
    """
    Roster queries.
    """

    def test_set(self) -> None:
        """
        Each interested resource gets a push, addressed to it, and then the result comes.
        """
        second = self.client("romeo", "b", available=True)
        idle = self.client("romeo", "c")
        second.ask(f'<iq type="get" id="r"><query xmlns="{NS_ROSTER}"/></iq>')
        self.quiet()
        self.romeo.send(
            f'<iq type="set" id="s"><query xmlns="{NS_ROSTER}">'
            '<item jid="Juliet@localhost/x" name="J"><group>g</group><group>f</group></item></query></iq>'
        )
        push, answer = self.romeo.take()
        self.assertEqual((push["type"], push["to"]), ("set", "romeo@localhost/a"))
        self.assertEqual(
            push.query.item.toXml(),
            f"<item xmlns='{NS_ROSTER}' jid='juliet@localhost' name='J' subscription='none'>"
            f"{''.join(f'<group>{g}</group>' for g in (str(e) for e in push.query.item.elements()))}</item>",
        )
        self.assertEqual((answer["type"], answer["id"]), ("result", "s"))
        self.assertEqual(told(second.take()), [("iq", "set", None, "romeo@localhost/b")])
        self.assertEqual(idle.take(), [])

    def test_change(self) -> None:
        """
        Name and groups change, the subscription does not.
        """
        self.subscribe(self.romeo, self.juliet)
        self.put('<item jid="juliet@localhost" name="New" subscription="both"/>')
        self.assertEqual(self.subscriptions()[0], ("to", None))

    def test_versions(self) -> None:
        """
        A client that has the current version gets an empty result.
        """
        query = f'<iq type="get" id="r"><query xmlns="{NS_ROSTER}" ver="%s"/></iq>'
        full = self.romeo.ask(query % "")
        version = full.query["ver"]
        self.assertIsNone(self.romeo.ask(query % version).query)
        self.put('<item jid="juliet@localhost"/>')
        changed = self.romeo.ask(query % version)
        self.assertNotEqual(changed.query["ver"], version)

    def test_bad(self) -> None:
        """
        Each fault has its condition.
        """
        long = "x" * (MAX_LABEL_BYTES + 1)
        groups = "".join(f"<group>{n}</group>" for n in range(MAX_GROUPS + 1))
        for item, wanted in (
            ("", "bad-request"),
            ('<item jid="a@localhost"/><item jid="b@localhost"/>', "bad-request"),
            ("<item/>", "bad-request"),
            ('<item jid="@"/>', "jid-malformed"),
            ('<item jid="a@localhost" subscription="remove"/>', "item-not-found"),
            (f'<item jid="a@localhost" name="{long}"/>', "not-acceptable"),
            (f'<item jid="a@localhost"><group>{long}</group></item>', "not-acceptable"),
            ('<item jid="a@localhost"><group/></item>', "not-acceptable"),
            (f'<item jid="a@localhost">{groups}</item>', "not-acceptable"),
        ):
            answer = self.romeo.ask(
                f'<iq type="set" id="s"><query xmlns="{NS_ROSTER}">{item}</query></iq>'
            )
            self.assertEqual(condition(answer), wanted)

    def test_labels(self) -> None:
        """
        Labels may be as long, and as many, as the bounds say.
        """
        groups = "".join(f"<group>{n}</group>" for n in range(MAX_GROUPS))
        name = "x" * MAX_LABEL_BYTES
        outcome = self.put(f'<item jid="a@localhost" name="{name}">{groups}</item>')
        self.assertEqual(outcome[-1][1], "result")

    def test_anonymous(self) -> None:
        """
        Nothing is kept for the anonymous.
        """
        self.server.setConfiguration(starttls=TLSPolicy.DISABLED, mechanisms=("ANONYMOUS",))
        guest = Client([self.peer], "guest")
        guest.ask('<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>')
        guest.bind("x")
        self.assertEqual(self.roster(guest), {})
        answer = guest.ask(
            f'<iq type="set" id="s"><query xmlns="{NS_ROSTER}"><item jid="a@localhost"/></query></iq>'
        )
        self.assertEqual(condition(answer), "not-allowed")
        answer = guest.ask('<presence type="subscribe" to="romeo@localhost"/>')
        self.assertEqual(condition(answer), "not-allowed")


class SubscriptionTests(RosterTestCase):
    """
    RFC 6121 section 3.
    """

    def test_subscribe(self) -> None:
        """
        The request goes from bare to bare address, and is pending on one side.
        """
        self.send(self.romeo, "subscribe")
        self.assertEqual(self.kinds(self.romeo), [("iq", "set")])
        self.assertEqual(
            told(self.juliet.take()),
            [("presence", "subscribe", "romeo@localhost", "juliet@localhost")],
        )
        self.assertEqual(self.subscriptions(), (("none", "subscribe"), None))

    def test_subscribed(self) -> None:
        """
        Approval changes both rosters, and shows the contact's presence.
        """
        self.send(self.romeo, "subscribe")
        self.quiet()
        self.send(self.juliet, "subscribed")
        self.assertEqual(
            self.kinds(self.romeo), [("presence", "subscribed"), ("iq", "set"), ("presence", None)]
        )
        self.assertEqual(self.kinds(self.juliet), [("iq", "set")])
        self.assertEqual(self.subscriptions(), (("to", None), ("from", None)))

    def test_both(self) -> None:
        """
        Both ways.
        """
        self.subscribe(self.romeo, self.juliet)
        self.subscribe(self.juliet, self.romeo)
        self.assertEqual(self.subscriptions(), (("both", None), ("both", None)))

    def test_waits(self) -> None:
        """
        A request waits for a contact who is away, and comes at each initial presence
        until it is answered.
        """
        self.juliet.send('<presence type="unavailable"/>')
        self.send(self.romeo, "subscribe")
        self.send(self.romeo, "subscribe")
        for _ in range(2):
            self.quiet()
            self.juliet.send("<presence/>")
            self.assertEqual(
                self.kinds(self.juliet), [("presence", None), ("presence", "subscribe")]
            )
            self.juliet.send('<presence type="unavailable"/>')

    def test_already(self) -> None:
        """
        Who has approved is not asked again: approval is repeated for it.
        """
        self.subscribe(self.romeo, self.juliet)
        item = self.server.store.contact("romeo", "juliet@localhost")
        item.subscriptionTo = False
        self.server.store.putContact("romeo", item)
        self.send(self.romeo, "subscribe")
        self.assertEqual(
            self.kinds(self.romeo), [("iq", "set"), ("presence", "subscribed"), ("iq", "set")]
        )
        self.assertEqual(self.juliet.take(), [])
        self.send(self.romeo, "subscribe")
        self.assertEqual(self.romeo.take(), [])

    def test_notAsked(self) -> None:
        """
        Approval that nobody asked for changes nothing.
        """
        self.send(self.juliet, "subscribed")
        self.assertEqual(self.romeo.take() + self.juliet.take(), [])

    def test_grantNotAwaited(self) -> None:
        """
        Approval that comes in for one who no longer asks is ignored.
        """
        self.send(self.romeo, "subscribe")
        self.server.store.dropContact("romeo", "juliet@localhost")
        self.quiet()
        self.send(self.juliet, "subscribed")
        self.assertEqual(self.kinds(self.romeo), [("presence", None)])

    def test_unsubscribe(self) -> None:
        """
        The subscriber ends it: both rosters change, the contact becomes unavailable.
        """
        self.subscribe(self.romeo, self.juliet)
        self.send(self.romeo, "unsubscribe")
        self.assertEqual(self.kinds(self.romeo), [("iq", "set"), ("presence", "unavailable")])
        self.assertEqual(self.kinds(self.juliet), [("presence", "unsubscribe"), ("iq", "set")])
        self.assertEqual(self.subscriptions(), (("none", None), ("none", None)))

    def test_unsubscribeAsked(self) -> None:
        """
        A request can be taken back.
        """
        self.send(self.romeo, "subscribe")
        self.quiet()
        self.send(self.romeo, "unsubscribe")
        self.assertEqual(self.kinds(self.juliet), [("presence", "unsubscribe")])
        self.assertEqual(self.server.store.requests("juliet"), [])
        self.assertEqual(self.subscriptions(), (("none", None), None))
        self.send(self.romeo, "unsubscribe")
        self.send(self.juliet, "unsubscribe")
        self.assertEqual(self.romeo.take() + self.juliet.take(), [])

    def test_unsubscribed(self) -> None:
        """
        The contact ends it: both rosters change, and it becomes unavailable.
        """
        self.subscribe(self.romeo, self.juliet)
        self.send(self.juliet, "unsubscribed")
        self.assertEqual(
            self.kinds(self.romeo),
            [("presence", "unavailable"), ("presence", "unsubscribed"), ("iq", "set")],
        )
        self.assertEqual(self.kinds(self.juliet), [("iq", "set")])
        self.assertEqual(self.subscriptions(), (("none", None), ("none", None)))

    def test_denied(self) -> None:
        """
        A request can be denied; without one there is nothing to deny.
        """
        self.send(self.romeo, "subscribe")
        self.quiet()
        self.send(self.juliet, "unsubscribed")
        self.assertEqual(self.kinds(self.romeo), [("presence", "unsubscribed"), ("iq", "set")])
        self.assertEqual(self.subscriptions(), (("none", None), None))
        self.quiet()
        self.send(self.juliet, "unsubscribed")
        self.assertEqual(self.romeo.take() + self.juliet.take(), [])

    def test_denialNotAwaited(self) -> None:
        """
        A denial that comes in for one who no longer asks is ignored.
        """
        self.send(self.romeo, "subscribe")
        self.server.store.dropContact("romeo", "juliet@localhost")
        self.quiet()
        self.send(self.juliet, "unsubscribed")
        self.assertEqual(self.romeo.take(), [])

    def test_remove(self) -> None:
        """
        Taking an entry off ends both subscriptions.
        """
        self.subscribe(self.romeo, self.juliet)
        self.subscribe(self.juliet, self.romeo)
        self.put('<item jid="juliet@localhost" subscription="remove"/>')
        self.assertEqual(
            self.kinds(self.juliet),
            [
                ("presence", "unsubscribe"),
                ("iq", "set"),
                ("presence", "unavailable"),
                ("presence", "unsubscribed"),
                ("iq", "set"),
            ],
        )
        self.assertEqual(self.subscriptions(), (None, ("none", None)))

    def test_removeOther(self) -> None:
        """
        An entry for somebody of another domain can be taken off too.
        """
        self.put('<item jid="a@elsewhere.example"/>')
        outcome = self.put('<item jid="a@elsewhere.example" subscription="remove"/>')
        self.assertEqual([entry[1] for entry in outcome], ["set", "result"])

    def test_nobody(self) -> None:
        """
        A request to nobody, to oneself or to the server is dropped without a word.
        """
        for to in ("nobody@localhost", "romeo@localhost", "localhost"):
            self.romeo.send(f'<presence type="subscribe" to="{to}"/>')
        self.assertEqual(self.kinds(self.romeo), [("iq", "set")])


class BoundTests(RosterTestCase):
    """
    Rosters have a bound.
    """

    bounds = Bounds(contacts=1)

    def test_set(self) -> None:
        """
        One entry too many is C{resource-constraint}.
        """
        self.assertEqual(self.put('<item jid="a@localhost"/>')[-1][1], "result")
        answer = self.romeo.ask(
            f'<iq type="set" id="s"><query xmlns="{NS_ROSTER}"><item jid="b@localhost"/></query></iq>'
        )
        self.assertEqual(condition(answer), "resource-constraint")

    def test_requests(self) -> None:
        """
        Requests beyond the bound are dropped.
        """
        self.server.addAccount("mercutio", "x")
        mercutio = Client([self.peer], "m")
        mercutio.plain("mercutio", "x")
        mercutio.bind("m")
        self.send(self.romeo, "subscribe")
        self.assertEqual(self.kinds(self.juliet), [("presence", "subscribe")])
        mercutio.send('<presence type="subscribe" to="juliet@localhost"/>')
        self.assertEqual(self.juliet.take(), [])
