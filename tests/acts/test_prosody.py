# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a large server offers, through the front: Prosody's own modules see nothing
unusual, and stock clients neither.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from tests.acts.actor import Actor, Event, Role
from tests.acts.case import JULIET, ROMEO, ProsodyCase, bare
from tests.acts.script import HEADER, NS_TLS, bind, plain
from tests.acts.stage import CLIENT_PORT, DOMAIN, TLS_PORT
from tests.acts.wire import Wire, dial
from tests.programs import find

ROOM = f"orchard@rooms.{DOMAIN}"
STREET = f"{bare(ROMEO)}/street"
AVATAR_BYTES = 100 * 1024


class ServerCase(ProsodyCase):
    """
    An act with a client that makes use of what the server has.
    """

    program = "rich"

    async def online(self, jid: str) -> Actor:
        """
        Log in, and be available.
        """
        actor = await self.stage.online(self.program, jid)
        actor.order("presence")
        await actor.expect("presence", **{"from": jid, "type": "available"})
        return actor

    async def shell(self, command: str) -> str:
        """
        Have Prosody's admin shell do something.
        """
        return await deferToThread(self.prosody.shell, command)

    async def settled(self, *roles: Role) -> None:
        """
        Wait until a client has got all that the server has for it.
        """
        for role in roles:
            role.order("ping", to=DOMAIN)
            await role.expect("pong")

    async def befriend(self, one: Role, first: str, other: Role, second: str) -> None:
        """
        Let two see each other's presence.
        """
        for role, peer, mine, theirs in (
            (one, other, first, second),
            (other, one, second, first),
        ):
            role.order("presence", to=bare(theirs), type="subscribe")
            await peer.expect("presence", **{"from": bare(mine), "type": "subscribe"})
            peer.order("presence", to=bare(mine), type="subscribed")
            await role.expect("presence", **{"from": theirs, "type": "available"})


class RoomTests(ServerCase):
    """
    Multi-user chat (XEP-0045).
    """

    hosts = f'Component "rooms.{DOMAIN}" "muc"\nmuc_room_locking = false\n'
    occupants = 20

    async def enter(self) -> dict[str, Role]:
        """
        Let all enter, out of two processes, one after the other.

        @return: Them, by nick.
        """
        processes = [self.stage.actor(self.program) for _ in range(2)]
        roles: dict[str, Role] = {}
        for number in range(self.occupants):
            nick = f"guest{number:02}"
            await deferToThread(self.prosody.addUser, f"{nick}@{DOMAIN}", "masked")
            roles[nick] = processes[number % 2].role(nick)
        for nick, role in roles.items():
            jid = f"{nick}@{DOMAIN}/ball"
            self.stage.connect(role, jid, password="masked")
            await role.expect("online", jid=jid)
        for nick, role in roles.items():
            role.order("enter", room=ROOM, nick=nick)
            await role.expect("entered", nick=nick)
        return roles

    async def test_twenty(self) -> None:
        """
        Each of twenty sees all and hears all, each word once and all in one order; and
        sees ten of them vanish.
        """
        roles = await self.enter()
        nicks = list(roles)
        places = {f"{ROOM}/{nick}" for nick in nicks}
        await self.settled(*roles.values())
        for role in roles.values():
            seen = role.take("occupant")
            self.assertEqual({event["from"] for event in seen}, places)
            self.assertEqual({event["type"] for event in seen}, {"available"})
            self.assertEqual(len(seen), len(places))
        for nick, role in roles.items():
            role.order("say", room=ROOM, body=f"I am {nick}")
        heard: list[list[Event]] = []
        for role in roles.values():
            heard.append([await role.expect("said") for _ in nicks])
        await self.settled(*roles.values())
        for words in heard:
            self.assertEqual(words, heard[0])
        self.assertEqual(
            sorted((word["from"], word["body"]) for word in heard[0]),
            [(f"{ROOM}/{nick}", f"I am {nick}") for nick in nicks],
        )
        for role in roles.values():
            self.assertEqual(role.take("said"), [])

        await roles[nicks[1]].actor.leave()
        gone = {f"{ROOM}/{nick}" for nick in nicks[1::2]}
        for nick in nicks[::2]:
            left = [await roles[nick].expect("occupant", type="unavailable") for _ in gone]
            self.assertEqual({event["from"] for event in left}, gone)


class MessageTests(ServerCase):
    """
    Copies and archives.
    """

    async def test_carbons(self) -> None:
        """
        A client that has asked for them gets copies of what another one of the same
        account receives and sends (XEP-0280).
        """
        romeo, street = await self.online(ROMEO), await self.online(STREET)
        juliet = await self.online(JULIET)
        street.order("enableCarbons")
        await street.expect("changed")
        juliet.order("message", to=ROMEO, body="What's in a name?")
        await romeo.expect("message", body="What's in a name?")
        carbon = await street.expect("carbon", way="received")
        self.assertEqual(
            (carbon["from"], carbon["to"], carbon["body"]), (JULIET, ROMEO, "What's in a name?")
        )
        romeo.order("message", to=JULIET, body="Call me but love")
        await juliet.expect("message", **{"from": ROMEO, "body": "Call me but love"})
        carbon = await street.expect("carbon", way="sent")
        self.assertEqual(
            (carbon["from"], carbon["to"], carbon["body"]), (ROMEO, JULIET, "Call me but love")
        )
        await self.settled(romeo, street, juliet)
        for role in (romeo, street, juliet):
            self.assertEqual(role.take("message") + role.take("carbon"), [])

    async def test_archive(self) -> None:
        """
        An archive of 55 messages comes in pages of ten (XEP-0313, XEP-0059), in order,
        while messages go on.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        romeo.order("burst", to=JULIET, count=55)
        for _ in range(55):
            await juliet.expect("message")
        juliet.order("fetchArchive", size=10, limit=100)
        romeo.order("message", to=JULIET, body="one more")
        archive = await juliet.expect("archive")
        pages = archive["pages"]
        self.assertEqual(
            [body for page in pages for body in page][:55], [str(n) for n in range(55)]
        )
        self.assertEqual([len(page) for page in pages[:5]], [10] * 5)
        await juliet.expect("message", body="one more")


class LossTests(ServerCase):
    """
    Clients that are killed.
    """

    # The server knows of the end of one client before it hears the next word of another.
    settings: ClassVar[dict[str, str]] = {"links": "1"}

    async def test_killed(self) -> None:
        """
        What is written to a client whose process was killed waits for its next login, each
        once; also what is written before anybody knows.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        await self.befriend(romeo, ROMEO, juliet, JULIET)
        await romeo.leave()
        juliet.order("burst", to=ROMEO, count=100)
        await juliet.expect("presence", **{"from": ROMEO, "type": "unavailable"})
        juliet.order("burst", to=bare(ROMEO), count=100, first=100)
        await self.settled(juliet)
        self.assertEqual(juliet.take("bounced"), [])
        again = await self.online(ROMEO)
        got = [await again.expect("message") for _ in range(200)]
        self.assertEqual(sorted(int(event["body"]) for event in got), list(range(200)))
        await self.settled(again)
        self.assertEqual(again.take("message"), [])

    async def test_killedAmidst(self) -> None:
        """
        Of messages that were on their way when a client was killed none is lost: those that
        were not in its socket wait for it, each once, those that were are in its archive.
        What the front gives back may stand behind what the server has stored meanwhile.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        juliet.order("burst", to=ROMEO, count=400)
        await romeo.expect("message", body="50")
        await romeo.leave()
        await self.settled(juliet)
        self.assertEqual(juliet.take("bounced"), [])
        again = await self.online(ROMEO)
        await self.settled(again)
        waited = [int(event["body"]) for event in again.take("message")]
        self.assertEqual(sorted(waited), list(range(400 - len(waited), 400)))
        again.order("fetchArchive", size=100, limit=100)
        archive = await again.expect("archive")
        self.assertEqual(
            [body for page in archive["pages"] for body in page], [str(n) for n in range(400)]
        )


class ContactTests(ServerCase):
    """
    Who knows whom.
    """

    # What 0.12 does in any case, and 13 only so.
    options = "bounce_blocked_messages = true\n"

    async def test_rosterPushes(self) -> None:
        """
        A change of the roster is pushed to both clients that have asked for it.
        """
        romeo, street = await self.online(ROMEO), await self.online(STREET)
        for role in (romeo, street):
            role.order("fetchRoster")
            await role.expect("roster", items=[])
        romeo.order("addToRoster", jid=bare(JULIET))
        await romeo.expect("changed")
        for role in (romeo, street):
            await role.expect("pushed", items={bare(JULIET): "none"})
        street.order("presence", to=bare(JULIET), type="subscribe")
        juliet = await self.online(JULIET)
        await juliet.expect("presence", **{"from": bare(ROMEO), "type": "subscribe"})
        juliet.order("presence", to=bare(ROMEO), type="subscribed")
        for role in (romeo, street):
            await role.expect("pushed", items={bare(JULIET): "to"})

    async def test_avatar(self) -> None:
        """
        An avatar of 100 KiB is published, announced to a contact and fetched by it
        (XEP-0084, XEP-0163).
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        await self.befriend(romeo, ROMEO, juliet, JULIET)
        romeo.order("publishAvatar", seed=3, size=AVATAR_BYTES)
        name = (await romeo.expect("published"))["id"]
        await juliet.expect("avatar", **{"from": bare(ROMEO), "id": name})
        juliet.order("fetchAvatar", jid=bare(ROMEO), id=name)
        await juliet.expect("picture", id=name, size=AVATAR_BYTES)

    async def test_blocking(self) -> None:
        """
        Who is blocked appears to be gone, and what it writes comes back; all clients of
        the account learn of it (XEP-0191).
        """
        romeo, street = await self.online(ROMEO), await self.online(STREET)
        juliet = await self.online(JULIET)
        await self.befriend(romeo, ROMEO, juliet, JULIET)
        for role in (romeo, street):
            role.order("fetchBlocked")
            await role.expect("changed")
        romeo.order("block", jid=bare(JULIET))
        await romeo.expect("changed")
        for role in (romeo, street):
            await role.expect("blocked", items=[bare(JULIET)])
        await juliet.expect("presence", **{"from": ROMEO, "type": "unavailable"})
        for to in (ROMEO, bare(ROMEO)):
            juliet.order("message", to=to, body="Wilt thou leave me so unsatisfied?")
        # Prosody drops what is for a client that is there: its absence is to be believed.
        await juliet.expect("bounced", **{"from": bare(ROMEO), "condition": "service-unavailable"})
        await self.settled(romeo)
        self.assertEqual(romeo.take("message"), [])
        romeo.order("unblock", jid=bare(JULIET))
        await romeo.expect("changed")
        for role in (romeo, street):
            await role.expect("unblocked", items=[bare(JULIET)])
        await juliet.expect("presence", **{"from": ROMEO, "type": "available"})
        juliet.order("message", to=ROMEO, body="Three words")
        await romeo.expect("message", body="Three words")


class RegistrationTests(ServerCase):
    """
    In-band registration (XEP-0077).
    """

    options = "allow_registration = true\n"
    nurse = f"nurse@{DOMAIN}/chamber"

    async def test_new(self) -> None:
        """
        A client makes its account and logs in with it, on one stream; afterwards the
        account is there.
        """
        actor = self.stage.actor(self.program)
        actor.order("registerFirst")
        self.stage.connect(actor, self.nurse)
        await actor.expect("registered")
        await actor.expect("online", jid=self.nurse)
        actor.order("close")
        await actor.expect("closed", condition=None)
        await self.stage.online("aio", self.nurse)

    async def test_taken(self) -> None:
        """
        An account that exists is not given away.
        """
        actor = self.stage.actor(self.program)
        actor.order("registerFirst")
        self.stage.connect(actor, ROMEO, password="mine")
        await actor.expect("refused", condition="conflict")
        await self.stage.online("aio", ROMEO)


class AdministratorTests(ServerCase):
    """
    What the admin shell shows and does.
    """

    async def arrive(self, resource: str, source: str, *, directTLS: bool = False) -> Wire:
        """
        Log in from an address.
        """
        port = TLS_PORT if directTLS else CLIENT_PORT
        wire = await dial(self.stage.reactor, self.stage.host, port, source)
        self.addCleanup(wire.close)
        steps = [(HEADER, "features"), (plain("romeo"), "success")]
        if not directTLS:
            wire.send(HEADER)
            await wire.take("features")
            wire.send(f"<starttls xmlns='{NS_TLS}'/>")
            await wire.take("proceed")
        wire.secure(DOMAIN)
        for xml, answer in steps:
            wire.send(xml)
            await wire.take(answer)
        wire.restart()
        wire.send(HEADER)
        await wire.take("features")
        wire.send(bind(resource))
        await wire.take("#s-bind")
        return wire

    async def test_show(self) -> None:
        """
        C{c2s:show()} lists the address from which each client comes, and how its
        connection is encrypted.
        """
        await self.arrive("orchard", "127.1.2.3")
        await self.arrive("street", "127.4.5.6", directTLS=True)
        shown = await self.shell('c2s:show(nil, "jid ip secure encryption")')
        rows = sorted(line.split("|") for line in shown.splitlines() if "@" in line)
        self.assertEqual(
            [[cell.strip() for cell in row] for row in rows],
            [
                [ROMEO, "127.1.2.3", "TLSv1.3", "TLS_AES_256_GCM_SHA384"],
                [STREET, "127.4.5.6", "TLSv1.3", "TLS_AES_256_GCM_SHA384"],
            ],
        )

    async def test_control(self) -> None:
        """
        C{prosodyctl} says the same, as an administrator's script calls it.
        """
        await self.arrive("orchard", "127.1.2.3")
        output, errors, status = await getProcessOutputAndValue(
            find("prosodyctl", "prosody"),
            ["--config", str(self.prosody.directory / "prosody.cfg.lua"), "shell", "c2s", "show"],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.prosody.directory)},
        )
        self.assertEqual(status, 0, errors)
        self.assertIn(ROMEO, output.decode())
        self.assertIn("TLSv1.3", output.decode())

    async def test_kick(self) -> None:
        """
        Whom an administrator ends is told why and is gone at once, for Prosody and for
        others, who stay.
        """
        romeo, street = await self.online(ROMEO), await self.online(STREET)
        juliet = await self.online(JULIET)
        await self.befriend(romeo, ROMEO, juliet, JULIET)
        await self.shell(f'c2s:close("{ROMEO}", "Banished", "policy-violation")')
        await romeo.expect("closed", condition="policy-violation")
        await juliet.expect("presence", **{"from": ROMEO, "type": "unavailable"})
        self.assertNotIn(ROMEO, await self.shell("c2s:show()"))
        await self.settled(street, juliet)
        await self.shell(f'c2s:close("{bare(ROMEO)}")')
        await street.expect("closed", condition=None)
        await self.settled(juliet)

    async def test_everybody(self) -> None:
        """
        So are all, when all are ended; and they may come back.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        await self.shell('c2s:closeall("Good night", "reset")')
        for actor, jid in ((romeo, ROMEO), (juliet, JULIET)):
            await actor.expect("closed", condition="reset")
            self.stage.connect(actor, jid)
            await actor.expect("online", jid=jid)
        self.assertEqual(self.stage.relay.accepted, self.stage.links)

    async def test_deleted(self) -> None:
        """
        Whose account is removed is told and gone.
        """
        romeo = await self.online(ROMEO)
        await self.shell(f'user:delete("{bare(ROMEO)}")')
        await romeo.expect("closed", condition="not-authorized")
