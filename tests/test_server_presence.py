# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.presence}.
"""

from __future__ import annotations

from cmanager.server.presence import MAX_DIRECTED
from tests.serverdoubles import Client, ServerTestCase, condition, told


class PresenceTestCase(ServerTestCase):
    """
    Romeo and Juliet, who see each other; only he is available.
    """

    def setUp(self) -> None:
        """
        Log both in.
        """
        super().setUp()
        self.server.befriend("romeo", "juliet")
        self.romeo = self.client("romeo", available=True)
        self.juliet = self.client("juliet")

    def got(self, client: Client) -> list[tuple[str | None, str | None]]:
        """
        Return types and senders of what a client got.
        """
        return [(kind, sender) for _, kind, sender, _ in told(client.take())]


class BroadcastTests(PresenceTestCase):
    """
    Presence to everybody who may see it.
    """

    def test_initial(self) -> None:
        """
        Initial presence goes to subscribers and to one's own resources, and shows who
        else is there.
        """
        second = self.client("juliet", "b", available=True)
        self.quiet()
        self.juliet.send("<presence><show>away</show></presence>")
        self.assertEqual(
            told(self.romeo.take()), [("presence", None, "juliet@localhost/a", "romeo@localhost")]
        )
        self.assertEqual(self.got(second), [(None, "juliet@localhost/a")])
        self.assertEqual(
            self.got(self.juliet),
            [
                (None, "juliet@localhost/a"),
                (None, "romeo@localhost/a"),
                (None, "juliet@localhost/b"),
            ],
        )

    def test_later(self) -> None:
        """
        Later presence does not ask for the others' again.
        """
        self.juliet.send("<presence/>")
        self.quiet()
        self.juliet.send("<presence><status>x</status></presence>")
        self.assertEqual(self.got(self.juliet), [(None, "juliet@localhost/a")])
        self.assertEqual(str(self.romeo.take()[0].status), "x")

    def test_unavailable(self) -> None:
        """
        Unavailable presence goes where presence went, once.
        """
        self.juliet.send("<presence/>")
        self.quiet()
        for _ in range(2):
            self.juliet.send('<presence type="unavailable"><status>bye</status></presence>')
        self.assertEqual(self.got(self.romeo), [("unavailable", "juliet@localhost/a")])
        self.assertEqual(self.juliet.take(), [])

    def test_close(self) -> None:
        """
        A session that ends becomes unavailable.
        """
        self.juliet.send("<presence/>")
        self.quiet()
        self.peer.session("<close/>", self.juliet.id)
        self.assertEqual(self.got(self.romeo), [("unavailable", "juliet@localhost/a")])

    def test_oneWay(self) -> None:
        """
        Who has not approved is not seen, whatever the other's roster says.
        """
        item = self.server.store.contact("romeo", "juliet@localhost")
        item.subscriptionFrom = False
        self.server.store.putContact("romeo", item)
        self.juliet.send("<presence/>")
        self.assertEqual(self.got(self.juliet), [(None, "juliet@localhost/a")])
        self.romeo.take()
        self.romeo.send("<presence/>")
        self.assertEqual(self.juliet.take(), [])

    def test_priority(self) -> None:
        """
        Priorities lie between -128 and 127.
        """
        for priority in ("-128", "127", " 5 "):
            self.juliet.send(f"<presence><priority>{priority}</priority></presence>")
            self.assertIsNone(self.juliet.take()[0].getAttribute("type"))
        for priority in ("-129", "128", "x", ""):
            answer = self.juliet.ask(f"<presence><priority>{priority}</priority></presence>")
            self.assertEqual(condition(answer), "bad-request")
        (session,) = self.server.sessions.of("juliet")
        self.assertEqual(session.priority, 5)

    def test_types(self) -> None:
        """
        Unknown types are a bad request, errors to nobody are dropped.
        """
        for presence in (
            '<presence type="x"/>',
            '<presence type="probe"/>',
            '<presence type="subscribe"/>',
        ):
            self.assertEqual(condition(self.juliet.ask(presence)), "bad-request")
        self.juliet.send('<presence type="error"/>')
        self.assertEqual(self.juliet.take(), [])


class DirectedTests(PresenceTestCase):
    """
    Presence to one address.
    """

    def setUp(self) -> None:
        """
        Let them be strangers.
        """
        super().setUp()
        for name, other in (("romeo", "juliet"), ("juliet", "romeo")):
            self.server.store.dropContact(name, f"{other}@localhost")

    def test_sent(self) -> None:
        """
        It goes to that resource, or to all of an account, and to nobody who is away.
        """
        for to in ("romeo@localhost/a", "romeo@localhost"):
            self.juliet.send(f'<presence to="{to}"/>')
            self.assertEqual(
                told(self.romeo.take()), [("presence", None, "juliet@localhost/a", to)]
            )
        for to in ("romeo@localhost/b", "nobody@localhost", "localhost"):
            self.juliet.send(f'<presence to="{to}"/>')
        self.assertEqual(self.romeo.take() + self.juliet.take(), [])

    def test_error(self) -> None:
        """
        An error goes to its address.
        """
        self.juliet.send('<presence type="error" to="romeo@localhost/a"/>')
        self.assertEqual(self.got(self.romeo), [("error", "juliet@localhost/a")])

    def test_end(self) -> None:
        """
        Who has been sent presence directly learns of its end.
        """
        self.juliet.send('<presence to="romeo@localhost/a"/>')
        self.quiet()
        self.peer.session("<close/>", self.juliet.id)
        self.assertEqual(self.got(self.romeo), [("unavailable", "juliet@localhost/a")])

    def test_taken(self) -> None:
        """
        Unless that has been taken back.
        """
        self.juliet.send('<presence to="romeo@localhost/a"/>')
        self.juliet.send('<presence to="romeo@localhost/a" type="unavailable"/>')
        self.quiet()
        self.peer.session("<close/>", self.juliet.id)
        self.assertEqual(self.romeo.take(), [])

    def test_bound(self) -> None:
        """
        So many addresses, and no more.
        """
        for number in range(MAX_DIRECTED):
            self.juliet.send(f'<presence to="u{number}@localhost"/>')
        self.juliet.send('<presence to="u0@localhost"/>')
        self.assertEqual(self.juliet.take(), [])
        answer = self.juliet.ask('<presence to="romeo@localhost"/>')
        self.assertEqual(condition(answer), "resource-constraint")


class ProbeTests(PresenceTestCase):
    """
    Probes.
    """

    def test_answered(self) -> None:
        """
        A probe shows the resources of one who may be seen.
        """
        self.juliet.send('<presence type="probe" to="romeo@localhost"/>')
        self.assertEqual(self.got(self.juliet), [(None, "romeo@localhost/a")])

    def test_stranger(self) -> None:
        """
        A stranger learns nothing.
        """
        self.server.store.dropContact("romeo", "juliet@localhost")
        for to in ("romeo@localhost", "nobody@localhost", "localhost"):
            self.juliet.send(f'<presence type="probe" to="{to}"/>')
        self.assertEqual(self.juliet.take(), [])
