# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.messages}.
"""

from __future__ import annotations

from cmanager.server.accounts import Bounds
from tests.serverdoubles import Client, ServerTestCase, condition

BODY = "<body>x</body>"


class MessageTestCase(ServerTestCase):
    """
    Juliet writes to Romeo.
    """

    bounds = Bounds(messages=2)

    def setUp(self) -> None:
        """
        Log her in.
        """
        super().setUp()
        self.juliet = self.client("juliet", available=True)

    def resource(self, resource: str, priority: int | None) -> Client:
        """
        Log Romeo in, with a priority or without presence.
        """
        client = self.client("romeo", resource)
        if priority is not None:
            client.send(f"<presence><priority>{priority}</priority></presence>")
        self.quiet()
        return client

    def write(self, to: str, type: str | None = "chat", body: str = BODY) -> str | None:
        """
        Send a message; return the condition of the error, if one came back.
        """
        kind = "" if type is None else f' type="{type}"'
        self.juliet.send(f'<message to="{to}"{kind}>{body}</message>')
        answers = self.juliet.take()
        return condition(answers[0]) if answers else None

    def bodies(self, client: Client) -> list[str]:
        """
        Return the texts a client got.
        """
        return [str(element.body) for element in client.take() if element.name == "message"]


class FullTests(MessageTestCase):
    """
    To one resource.
    """

    def test_exact(self) -> None:
        """
        It goes to that resource, available or not, as it is but for the sender.
        """
        romeo = self.resource("a", None)
        other = self.resource("b", 0)
        self.assertIsNone(self.write("romeo@localhost/a"))
        (message,) = romeo.take()
        self.assertEqual(
            message.toXml(),
            "<message to='romeo@localhost/a' type='chat' from='juliet@localhost/a'>"
            "<body>x</body></message>",
        )
        self.assertEqual(other.take(), [])

    def test_forged(self) -> None:
        """
        Whatever the sender says of itself.
        """
        romeo = self.resource("a", 0)
        self.juliet.send(f'<message to="romeo@localhost/a" from="pope@localhost">{BODY}</message>')
        self.assertEqual(romeo.take()[0]["from"], "juliet@localhost/a")

    def test_gone(self) -> None:
        """
        Where the resource is gone, chat and normal messages are as to the account,
        headlines and errors are dropped, groupchat is refused.
        """
        romeo = self.resource("a", 0)
        for kind in ("chat", None, "normal", "unheard-of"):
            self.assertIsNone(self.write("romeo@localhost/b", kind))
            self.assertEqual(self.bodies(romeo), ["x"])
        for kind in ("headline", "error"):
            self.assertIsNone(self.write("romeo@localhost/b", kind))
        self.assertEqual(self.write("romeo@localhost/b", "groupchat"), "service-unavailable")
        self.assertEqual(self.bodies(romeo), [])


class BareTests(MessageTestCase):
    """
    To an account.
    """

    def test_priorities(self) -> None:
        """
        It goes to all resources that are not negative.
        """
        clients = [self.resource(f"p{p}", p) for p in (1, 0, -1)] + [self.resource("none", None)]
        for kind in ("chat", "headline"):
            self.write("romeo@localhost", kind)
            self.assertEqual([self.bodies(c) for c in clients], [["x"], ["x"], [], []])

    def test_self(self) -> None:
        """
        Without an address it goes to the sender's own account.
        """
        self.juliet.send(f"<message>{BODY}</message>")
        self.assertEqual(self.bodies(self.juliet), ["x"])

    def test_refused(self) -> None:
        """
        What cannot go anywhere is refused, unless it is an error.
        """
        self.assertEqual(self.write("nobody@localhost"), "service-unavailable")
        self.assertEqual(self.write("localhost"), "service-unavailable")
        self.assertEqual(self.write("romeo@localhost", "groupchat"), "service-unavailable")
        self.assertEqual(self.write("a@elsewhere.example"), "remote-server-not-found")
        self.assertEqual(self.write("@"), "jid-malformed")
        for to in ("nobody@localhost", "romeo@localhost"):
            self.assertIsNone(self.write(to, "error"))

    def test_anonymous(self) -> None:
        """
        An anonymous user can be written to while there, but nothing is kept.
        """
        self.server.setConfiguration(mechanisms=("ANONYMOUS",))
        guest = Client([self.peer], "guest")
        guest.ask('<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>')
        guest.bind("x")
        (session,) = [s for s in self.server.sessions if s.anonymous]
        self.assertEqual(self.write(session.bare), "service-unavailable")
        guest.send("<presence/>")
        guest.take()
        self.assertIsNone(self.write(session.bare))
        self.assertEqual(self.bodies(guest), ["x"])
        self.server.messages.returned(session, self.juliet.ask("<message>" + BODY + "</message>"))


class WaitingTests(MessageTestCase):
    """
    Messages for those who are away.
    """

    def test_kept(self) -> None:
        """
        They wait for presence that is not negative, in order, with the time they came.
        """
        self.resource("negative", -1)
        for text in ("1", "2"):
            self.write("romeo@localhost", body=f"<body>{text}</body>")
        negative = self.resource("more", -1)
        self.assertEqual(self.bodies(negative), [])
        self.clock.advance(60)
        romeo = self.client("romeo")
        romeo.send("<presence/>")
        messages = [e for e in romeo.take() if e.name == "message"]
        self.assertEqual([str(m.body) for m in messages], ["1", "2"])
        self.assertEqual(
            (messages[0].delay["stamp"], messages[0].delay["from"]),
            ("2023-11-14T22:13:20Z", "localhost"),
        )
        romeo.send("<presence/>")
        self.assertEqual(self.bodies(romeo), [])

    def test_notKept(self) -> None:
        """
        Headlines, and messages without text, are not kept.
        """
        self.write("romeo@localhost", "headline")
        self.write("romeo@localhost", body="<composing xmlns='urn:x'/>")
        self.assertEqual(self.server.store.waiting("romeo"), 0)

    def test_bound(self) -> None:
        """
        So many, and no more: the sender of the next is told.
        """
        outcome = [self.write("romeo@localhost") for _ in range(3)]
        self.assertEqual(outcome, [None, None, "service-unavailable"])

    def test_noLink(self) -> None:
        """
        A message for a session whose manager has no link is kept.
        """
        self.serve(grace=60)
        juliet = self.client("juliet", available=True)
        self.resource("a", 0)
        (session,) = self.server.sessions.of("romeo")
        session.manager = "gone"
        for to in ("romeo@localhost", "romeo@localhost/a"):
            juliet.send(f'<message to="{to}" type="chat">{BODY}</message>')
        self.assertEqual(self.server.store.waiting("romeo"), 2)


class ReturnedTests(MessageTestCase):
    """
    Messages that a manager returns.
    """

    def returned(self, client: Client, xml: str) -> int:
        """
        Return a message; tell how many wait.
        """
        self.peer.session(f"<failed>{xml}</failed>", client.id)
        self.assertEqual(self.peer.take()[0]["type"], "result")
        return self.server.store.waiting("romeo")

    def test_kept(self) -> None:
        """
        Text for one reader is kept, with the delay it has already.
        """
        romeo = self.resource("a", 0)
        head = '<message xmlns="jabber:client" from="juliet@localhost/a"'
        delay = '<delay xmlns="urn:xmpp:delay" stamp="old"/>'
        self.assertEqual(self.returned(romeo, f"{head}>{BODY}{delay}</message>"), 1)
        for kind in ("error", "headline", "groupchat"):
            self.assertEqual(self.returned(romeo, f'{head} type="{kind}">{BODY}</message>'), 1)
        (message,) = self.server.store.takeWaiting("romeo")
        self.assertEqual([d["stamp"] for d in message.elements("urn:xmpp:delay", "delay")], ["old"])

    def test_notLoggedIn(self) -> None:
        """
        For a session that has not logged in there is nowhere to keep it.
        """
        client = Client([self.peer], "s1")
        self.assertEqual(
            self.returned(client, f'<message xmlns="jabber:client">{BODY}</message>'), 0
        )

    def test_bound(self) -> None:
        """
        Beyond the bound they are lost.
        """
        romeo = self.resource("a", 0)
        counts = [
            self.returned(romeo, f'<message xmlns="jabber:client">{BODY}</message>')
            for _ in range(3)
        ]
        self.assertEqual(counts, [1, 2, 2])
