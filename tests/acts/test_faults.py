# Copyright the cmanager authors.
# See LICENSE for details.

"""
What becomes of messages and sessions when somebody does not read, does not answer or
does not agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from twisted.internet.defer import gatherResults

from cmanager.server.service import Server
from tests.acts.actor import Actor
from tests.acts.backends import EmbeddedBackend
from tests.acts.case import JULIET, ROMEO, ActCase, ProsodyCase, bare
from tests.acts.stage import DOMAIN, LINK_READY

BODY_BYTES = 8192
OTHER = f"romeo@{DOMAIN}/street"


def ascending(numbers: list[int]) -> list[list[int]]:
    """
    Tell into how few ascending rows numbers can be sorted without looking ahead: no fewer
    ways have they come, if each kept their order.
    """
    rows: list[list[int]] = []
    for number in numbers:
        row = next((row for row in rows if row[-1] < number), None)
        if row is None:
            rows.append([number])
        else:
            row.append(number)
    return rows


class FaultActs:
    """
    What is done in an act with any server behind; mixed into an L{ActCase}.
    """

    program = "slix"

    async def online(self, jid: str) -> Actor:
        """
        Log in.
        """
        return await self.stage.online(self.program, jid)

    async def answered(self, *actors: Actor) -> None:
        """
        See that clients are served.
        """
        for actor in actors:
            actor.order("ping", to=DOMAIN)
            await actor.expect("pong")
            self.assertEqual(actor.take("closed"), [])


class FaultCase(FaultActs, ActCase):
    """
    An act that looks into the embedded server.
    """

    @property
    def server(self) -> Server:
        """
        The server.
        """
        backend = self.stage.backend
        assert isinstance(backend, EmbeddedBackend)
        assert backend.server is not None
        return backend.server

    def stored(self, name: str) -> list[int]:
        """
        Return the numbers in the messages that wait for an account.
        """
        return [int(str(message.body)) for message in self.server.store.takeWaiting(name)]


class SlowReaderActs(FaultActs):
    """
    A client does not read.
    """

    settings: ClassVar[dict[str, str]] = {
        "links": "1",
        "more": "[client]\nqueue-bytes = 262144\n"
        "[limits]\nbytes-per-second = 1073741824\nbytes-burst = 1073741824",
    }
    maxRounds = 400
    perRound = 16

    async def test_nothingLost(self) -> None:
        """
        Each message to a client that stops reading is either read by it, once it reads on, or
        stored by the server until it is back; none is lost, none doubled, and the order is
        kept.  Who shares the link with it gets everything meanwhile.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        romeo.order("stopReading")
        await romeo.expect("changed")
        sent = 0
        for number in range(self.maxRounds):
            juliet.order("burst", to=ROMEO, count=self.perRound, size=BODY_BYTES, first=sent)
            sent += self.perRound
            # The witness, and the pace: all before has left the server.
            juliet.order("message", to=JULIET, body=str(number))
            await juliet.expect("message", body=str(number))
            if "client.queue-bytes" in self.front.output:
                break
        else:
            self.fail(f"{sent} messages, and no end")
        await self.answered(juliet)
        romeo.order("readOn")
        await romeo.expect("closed")
        read = [int(event["body"]) for event in romeo.take("message")]
        again = await self.online(ROMEO)
        again.order("presence")
        stored = sent - len(read)
        self.assertTrue(read)
        self.assertGreaterEqual(stored * BODY_BYTES, 262144)
        for _ in range(stored):
            read.append(int((await again.expect("message"))["body"]))
        self.assertEqual(read, list(range(sent)))
        await self.answered(juliet, again)
        self.assertEqual(again.take("message"), [])
        self.assertEqual(self.stage.relay.accepted, self.stage.links)


class SlowReaderTests(SlowReaderActs, ActCase):
    """
    With the embedded server.
    """


class TwistedSlowReaderTests(SlowReaderActs, ActCase):
    """
    The same over Twisted's own transports.
    """

    settings: ClassVar[dict[str, str]] = {
        **SlowReaderActs.settings,
        "listener": 'transport = "twisted"',
    }


class ProsodySlowReaderTests(SlowReaderActs, ProsodyCase):
    """
    With Prosody.
    """


class DeafServerTests(FaultCase):
    """
    The server reads nothing for a while.
    """

    # It looks at the memory of one process, and at its link.
    settings: ClassVar[dict[str, str]] = {
        "workers": "1",
        "links": "1",
        "more": "[limits]\nbytes-per-second = 1073741824\nbytes-burst = 1073741824",
    }
    messages = 6000
    growthBytes = 16 << 20

    def memory(self) -> int:
        """
        Return how much memory the program has, in bytes.
        """
        transport = self.front.transport
        assert transport is not None
        status = Path(f"/proc/{transport.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    async def test_readsOn(self) -> None:
        """
        Clients are paused, so that what they send stays with them and not in our memory; when
        the server reads on, all of it arrives, in order.
        """
        romeo, other = await self.online(ROMEO), await self.online(OTHER)
        [link] = self.server.connections
        before = self.memory()
        link.stopReading()
        romeo.order("burst", to=bare(JULIET), count=self.messages, size=BODY_BYTES)
        romeo.order("watchSending")
        stuck = await romeo.expect("stuck")
        self.assertGreater(stuck["left"], self.growthBytes)
        self.assertLess(self.memory() - before, self.growthBytes)
        link.transport.resumeProducing()
        await self.answered(romeo, other)
        self.assertEqual(self.stored("juliet"), list(range(self.messages)))
        self.assertEqual(self.stage.relay.accepted, 1)


class StalledServerTests(FaultCase):
    """
    The server never reads on.
    """

    settings: ClassVar[dict[str, str]] = {
        **DeafServerTests.settings,
        "server": "stalled-after = 2",
    }

    async def test_givenUp(self) -> None:
        """
        A link whose server takes nothing is given up, and another one made.  Clients are told,
        and served again once the server has noticed.
        """
        romeo = await self.online(ROMEO)
        [link] = self.server.connections
        link.stopReading()
        romeo.order("burst", to=bare(JULIET), count=DeafServerTests.messages, size=BODY_BYTES)
        await self.front.until(r"is lost: the server has not taken what was written for 2 s")
        # It is told why; with so much unread it may see only that the connection is gone.
        await self.front.until(r"closed: remote-connection-failed: all links were lost")
        await romeo.expect("closed")
        await self.front.until(LINK_READY, times=2)
        link.transport.abortConnection()
        other = await self.online(OTHER)
        await self.answered(other)


class SilentLinkActs(FaultActs):
    """
    Links on which nothing comes, of a server whose heart beats twice a second.
    """

    settings: ClassVar[dict[str, str]] = {"server": "heartbeat = 1\ndead-after = 4"}

    async def test_one(self) -> None:
        """
        A link that has become half-open is found out and closed; its sessions go on over the
        other.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        self.stage.relay.silence(1)
        await self.front.until(r"is lost")
        self.stage.relay.heal()  # the server finds out, too
        await self.front.until(LINK_READY, times=self.stage.links + 1)
        await self.answered(romeo, juliet)

    async def test_all(self) -> None:
        """
        A server that has become a black hole: the clients are told, and served again when it is
        there again.
        """
        romeo = await self.online(ROMEO)
        self.stage.relay.silence()
        await romeo.expect("closed", condition="remote-connection-failed")
        self.stage.relay.heal()
        await self.front.until(LINK_READY, times=2 * self.stage.links)
        self.stage.connect(romeo, OTHER)
        await romeo.expect("online", jid=OTHER)
        await self.answered(romeo)


class SilentLinkTests(SilentLinkActs, FaultCase):
    """
    With the embedded server.
    """

    async def setUp(self) -> None:
        """
        Make its heart beat faster.
        """
        await super().setUp()
        heart = self.server._heart
        heart.stop()
        heart.start(0.5)


class ProsodySilentLinkTests(SilentLinkActs, ProsodyCase):
    """
    With Prosody.
    """

    options = "connection_manager_keepalive = 0.5\n"


class LostUnderLoadActs(FaultActs):
    """
    A link breaks while it is in use.
    """

    settings: ClassVar[dict[str, str]] = {"more": "[limits]\nbytes-per-second = 524288"}
    messages = 1000
    afterwards = 100
    ways = 4

    async def test_order(self) -> None:
        """
        No session ends.  What was on its way over the link may be gone, the rest arrives, each
        once; what is sent once both ends know that the link is lost arrives whole, in order,
        and behind all that.

        Before, each end takes what is left of the link while it has begun with another.  So
        there are two ways up and two ways down, and only of one way is the order kept.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        for actor, to in ((romeo, JULIET), (juliet, ROMEO)):
            actor.order("burst", to=to, count=self.messages, size=1000)
        await gatherResults([actor.expect("message") for actor in (romeo, juliet)])
        # The server changes the link of a session when there is one more, and its order with it.
        self.stage.relay.deaf = True
        await gatherResults([self.stage.relay.cut(1), self.front.until(r"is lost")])
        end = self.messages + self.afterwards
        for actor, to in ((romeo, JULIET), (juliet, ROMEO)):
            actor.order("burst", to=to, count=self.afterwards, first=self.messages)
        for actor in (romeo, juliet):
            await actor.expect("message", body=str(end - 1))
            read = [int(event["body"]) for event in actor.take("message")]
            read, last = read[: 1 - self.afterwards], read[1 - self.afterwards :]
            self.assertEqual(last, list(range(self.messages, end - 1)))
            self.assertEqual(len(read), len(set(read)))
            self.assertLessEqual(len(ascending(read)), self.ways)
        self.stage.relay.heal()
        await self.front.until(LINK_READY, times=self.stage.links + 1)
        await self.answered(romeo, juliet)


class LostUnderLoadTests(LostUnderLoadActs, ActCase):
    """
    With the embedded server.
    """


class ProsodyLostUnderLoadTests(LostUnderLoadActs, ProsodyCase):
    """
    With Prosody.
    """


class RefusalTests(FaultCase):
    """
    The server does not want what we bring.
    """

    settings: ClassVar[dict[str, str]] = {"server": "wait-for-link = 0.5"}

    async def test_create(self) -> None:
        """
        A client whose session the server refuses is told, others stay, and it can come
        back when the server takes it.
        """
        juliet = await self.online(JULIET)
        self.server.refuseCreates(True)
        romeo = self.stage.actor(self.program)
        self.stage.connect(romeo, ROMEO)
        await romeo.expect("closed", condition="policy-violation")
        await self.front.until(r"refused by the server's IP list")
        await self.answered(juliet)
        self.server.refuseCreates(False)
        self.stage.connect(romeo, ROMEO)
        await romeo.expect("online", jid=ROMEO)


class SecretActs(FaultActs):
    """
    The secret is not the server's.
    """

    settings: ClassVar[dict[str, str]] = {"server": "wait-for-link = 0.5"}

    async def test_secret(self) -> None:
        """
        With the wrong secret no link becomes ready: the log says what to compare, and
        clients are told that the server cannot be reached.
        """
        await self.front.stop()
        (self.stage.directory / "secret").write_text("the balcony, at noon")
        self.stage.startFront()
        record = await self.front.until(r"compare the secret with xmpp\.multiplex\.defaultSecret")
        self.assertIn(record["level"], ("warn", "error"))
        romeo = self.stage.actor(self.program)
        self.stage.connect(romeo, ROMEO)
        await romeo.expect("closed", condition="remote-connection-failed")
        self.assertNotIn("at noon", self.front.output)


class SecretTests(SecretActs, ActCase):
    """
    With the embedded server.
    """


class ProsodySecretTests(SecretActs, ProsodyCase):
    """
    With Prosody.
    """
