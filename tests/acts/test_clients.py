# Copyright the cmanager authors.
# See LICENSE for details.

"""
Stock clients log in and talk to each other: over TLS, through the program in a
process of its own, each client in its own.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import gatherResults

from tests.acts.actor import Actor, Event
from tests.acts.case import JULIET, ROMEO, ActCase, ProsodyCase, bare
from tests.acts.stage import DOMAIN

MESSAGES = 1000


class ClientActs:
    """
    What every client is to find; mixed into an L{ActCase}.

    @cvar program: The client's program.
    @cvar mechanisms: Which of the server's mechanisms it knows.
    """

    program: str
    mechanisms: tuple[str, ...]

    async def couple(self) -> tuple[Actor, Actor]:
        """
        Return Romeo and Juliet, who see each other's presence.
        """
        romeo = await self.stage.online(self.program, ROMEO)
        juliet = await self.stage.online(self.program, JULIET, directTLS=True)
        for actor in (romeo, juliet):
            actor.order("presence")
        for one, other, address in ((romeo, juliet, JULIET), (juliet, romeo, ROMEO)):
            one.order("presence", to=bare(address), type="subscribe")
            await other.expect("presence", type="subscribe")
            other.order("presence", to=bare(ROMEO if one is romeo else JULIET), type="subscribed")
            await one.expect("presence", **{"from": address, "type": "available"})
        return romeo, juliet

    async def loginEach(self, **how: Any) -> None:
        """
        Log in with each mechanism, use the session, and leave.
        """
        actor = self.stage.actor(self.program)
        for mechanism in self.mechanisms:
            self.stage.connect(actor, ROMEO, mechanism=mechanism, **how)
            await actor.expect("online", jid=ROMEO)
            actor.order("ping", to=DOMAIN)
            await actor.expect("pong")
            actor.order("close")
            await actor.expect("closed", condition=None)

    async def test_login(self) -> None:
        """
        A client logs in, with each mechanism it knows; over TCP after STARTTLS.
        """
        await self.loginEach()

    async def test_loginDirectTLS(self) -> None:
        """
        A client logs in at the port for TLS from the first byte, with each mechanism it
        knows.
        """
        await self.loginEach(directTLS=True)

    async def test_roster(self) -> None:
        """
        A client puts a contact into its roster and finds it there, also next time.
        """
        romeo = await self.stage.online(self.program, ROMEO)
        romeo.order("fetchRoster")
        await romeo.expect("roster", items=[])
        romeo.order("addToRoster", jid=bare(JULIET))
        await romeo.expect("changed")
        romeo.order("close")
        await romeo.expect("closed")
        again = await self.stage.online(self.program, ROMEO)
        again.order("fetchRoster")
        await again.expect("roster", items=[bare(JULIET)])

    async def test_presence(self) -> None:
        """
        Two clients subscribe to each other and see each other come and go.
        """
        romeo, juliet = await self.couple()
        juliet.order("presence", type="unavailable")
        await romeo.expect("presence", **{"from": JULIET, "type": "unavailable"})
        romeo.order("close")
        await romeo.expect("closed", condition=None)
        juliet.order("presence")
        again = await self.stage.online(self.program, ROMEO)
        again.order("presence")
        await juliet.expect("presence", **{"from": ROMEO, "type": "available"})
        await again.expect("presence", **{"from": JULIET, "type": "available"})

    async def test_messages(self) -> None:
        """
        A thousand messages each way arrive, in order, each once, over links that stay.
        """
        romeo, juliet = await self.couple()
        romeo.order("burst", to=JULIET, count=MESSAGES)
        juliet.order("burst", to=ROMEO, count=MESSAGES)
        for actor, sender in ((romeo, JULIET), (juliet, ROMEO)):
            got = await gatherResults([actor.expect("message") for _ in range(MESSAGES)])
            self.assertEqual([event["body"] for event in got], [str(n) for n in range(MESSAGES)])
            self.assertEqual({event["from"] for event in got}, {sender})
        # Whatever was doubled has come before this.
        for actor in (romeo, juliet):
            actor.order("ping", to=DOMAIN)
            await actor.expect("pong")
            self.assertEqual(actor.take("message"), [])
        self.assertEqual(self.stage.relay.accepted, self.stage.links)

    async def test_cleanClose(self) -> None:
        """
        A client that ends its stream gets the end of the server's, and is gone for others.
        """
        romeo, juliet = await self.couple()
        romeo.order("close")
        await romeo.expect("closed", condition=None)
        await juliet.expect("presence", **{"from": ROMEO, "type": "unavailable"})

    async def test_abruptClose(self) -> None:
        """
        A client that vanishes is gone for others, and what is written to it from then
        on waits for it.
        """
        romeo, juliet = await self.couple()
        await romeo.leave()
        await juliet.expect("presence", **{"from": ROMEO, "type": "unavailable"})
        juliet.order("burst", to=bare(ROMEO), count=20)
        juliet.order("ping", to=DOMAIN)
        await juliet.expect("pong")
        again = await self.stage.online(self.program, ROMEO)
        again.order("presence")
        got = await gatherResults([again.expect("message") for _ in range(20)])
        self.assertEqual([event["body"] for event in got], [str(n) for n in range(20)])

    async def test_conflict(self) -> None:
        """
        Who logs in with a resource that is in use ends the other session, or gets
        another resource.
        """
        first = await self.stage.online(self.program, ROMEO)
        second = self.stage.actor(self.program)
        self.stage.connect(second, ROMEO)
        jid = (await second.expect("online"))["jid"]
        if jid == ROMEO:
            self.assertEqual((await first.expect("closed"))["condition"], "conflict")
        second.order("ping", to=DOMAIN)
        await second.expect("pong")

    async def test_wrongPassword(self) -> None:
        """
        A wrong password is refused, for all mechanisms; the right one still works.
        """
        actor = self.stage.actor(self.program)
        for mechanism in self.mechanisms:
            self.stage.connect(actor, ROMEO, password="wrong", mechanism=mechanism)
            await actor.expect("refused", condition="not-authorized")
            await actor.expect("closed")
        self.stage.connect(actor, ROMEO)
        await actor.expect("online")

    async def test_kick(self) -> None:
        """
        A session that the server ends is closed, and gone for others, who stay.
        """
        romeo, juliet = await self.couple()
        await self.stage.backend.kick(ROMEO)
        if not self.stage.backend.announcesKicks:
            # COMPAT Openfire >= 4.3: found out when the client next sends something.
            romeo.order("message", to=JULIET, body="?")
        await romeo.expect("closed")
        await juliet.expect("presence", **{"from": ROMEO, "type": "unavailable"})
        juliet.order("ping", to=DOMAIN)
        await juliet.expect("pong")

    async def test_reconnect(self) -> None:
        """
        A client whose session has ended logs in again, many times, to the same address.
        """
        _, juliet = await self.couple()
        for _ in range(5):
            juliet.order("close")
            await juliet.expect("closed", condition=None)
            self.stage.connect(juliet, JULIET)
            await juliet.expect("online", jid=JULIET)


class SlixmppTests(ClientActs, ActCase):
    """
    slixmpp.
    """

    program = "slix"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")


class AioxmppTests(ClientActs, ActCase):
    """
    aioxmpp.
    """

    program = "aio"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")


class WokkelTests(ClientActs, ActCase):
    """
    wokkel.
    """

    program = "wok"
    mechanisms = ("PLAIN",)


class Openfire42Tests(ClientActs, ActCase):
    """
    A server with the habits of Openfire 4.2.
    """

    program = "slix"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")
    habits = "openfire-4.2"


class Openfire47Tests(ClientActs, ActCase):
    """
    A server with the habits of Openfire 4.7.
    """

    program = "aio"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")
    habits = "openfire-4.7"


class ProsodySlixmppTests(ClientActs, ProsodyCase):
    """
    slixmpp, and Prosody.
    """

    program = "slix"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")


class ProsodyAioxmppTests(ClientActs, ProsodyCase):
    """
    aioxmpp, and Prosody.
    """

    program = "aio"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")


class ProsodyWokkelTests(ClientActs, ProsodyCase):
    """
    wokkel, and Prosody.
    """

    program = "wok"
    mechanisms = ("PLAIN",)


class TogetherActs:
    """
    Clients of different making; mixed into an L{ActCase}.

    @cvar programs: Their programs.
    """

    programs: tuple[str, ...] = ("slix", "aio", "wok")

    async def test_messages(self) -> None:
        """
        All understand each other.
        """
        addresses = {program: f"romeo@{DOMAIN}/{program}" for program in self.programs}
        actors = {p: await self.stage.online(p, addresses[p]) for p in self.programs}
        for sender in self.programs:
            for receiver in self.programs:
                actors[sender].order("message", to=addresses[receiver], body="O & <O> \U0001f339")
                event: Event = await actors[receiver].expect("message")
                self.assertEqual(event["body"], "O & <O> \U0001f339")
                self.assertEqual(event["from"], addresses[sender])


class TogetherTests(TogetherActs, ActCase):
    """
    With the embedded server.
    """


class ProsodyTogetherTests(TogetherActs, ProsodyCase):
    """
    With Prosody.
    """
