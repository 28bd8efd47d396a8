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

from cmanager.server.elements import address, build
from cmanager.server.service import Server
from tests.acts.actor import Actor
from tests.acts.backends import EmbeddedBackend
from tests.acts.case import JULIET, ROMEO, ActCase, bare
from tests.acts.stage import DOMAIN, LINK_READY

BODY_BYTES = 8192
OTHER = f"romeo@{DOMAIN}/street"


class FaultCase(ActCase):
    """
    An act with the embedded server behind.
    """

    program = "slix"

    @property
    def server(self) -> Server:
        """
        The server.
        """
        backend = self.stage.backend
        assert isinstance(backend, EmbeddedBackend)
        assert backend.server is not None
        return backend.server

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

    def stored(self, name: str) -> list[int]:
        """
        Return the numbers in the messages that wait for an account.
        """
        return [int(str(message.body)) for message in self.server.store.takeWaiting(name)]


class SlowReaderTests(FaultCase):
    """
    A client does not read.
    """

    settings: ClassVar[dict[str, str]] = {
        "links": "1",
        "more": "[client]\nqueue-bytes = 65536",
    }
    maxRounds = 200
    perRound = 32

    def send(self, jid: str, body: str) -> None:
        """
        Send a message from the server.
        """
        message = build(None, "message", type="chat", to=jid, **{"from": DOMAIN})
        message.addElement("body", content=body)
        self.server.messages.deliver(message, address(jid))

    async def test_nothingLost(self) -> None:
        """
        Each message to a client that stops reading is either read by it, once it reads on, or
        stored by the server; none is lost, none doubled, and the order is kept.  Who shares
        the link with it gets everything meanwhile.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        romeo.order("stopReading")
        await romeo.expect("changed")
        front = self.stage.front
        assert front is not None
        sent = 0
        for number in range(self.maxRounds):
            for _ in range(self.perRound):
                self.send(ROMEO, str(sent).ljust(BODY_BYTES))
                sent += 1
            # The witness, and the pace: all before has left the server.
            self.send(JULIET, str(number))
            await juliet.expect("message", body=str(number))
            if "client.queue-bytes" in front.output:
                break
        else:
            self.fail(f"{sent} messages, and no end")
        await self.answered(juliet)
        romeo.order("readOn")
        await romeo.expect("closed")
        read = [int(event["body"]) for event in romeo.take("message")]
        stored = self.stored("romeo")
        self.assertTrue(read)
        self.assertTrue(stored)
        self.assertEqual(read + stored, list(range(sent)))
        self.assertEqual(self.stage.relay.accepted, 1)
        await self.answered(juliet)
        again = await self.online(ROMEO)
        await self.answered(again)


class DeafServerTests(FaultCase):
    """
    The server reads nothing for a while.
    """

    settings: ClassVar[dict[str, str]] = {
        "links": "1",
        "more": "[limits]\nbytes-per-second = 1073741824\nbytes-burst = 1073741824",
    }
    messages = 6000
    growthBytes = 16 << 20

    def memory(self) -> int:
        """
        Return how much memory the program has, in bytes.
        """
        front = self.stage.front
        assert front is not None
        assert front.transport is not None
        status = Path(f"/proc/{front.transport.pid}/status").read_text()
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
        front = self.stage.front
        assert front is not None
        await front.until(r"is lost: the server has not taken what was written for 2 s")
        await romeo.expect("closed", condition="remote-connection-failed")
        await front.until(LINK_READY, times=2)
        link.transport.resumeProducing()
        other = await self.online(OTHER)
        await self.answered(other)


class SilentLinkTests(FaultCase):
    """
    Links on which nothing comes.
    """

    settings: ClassVar[dict[str, str]] = {"server": "heartbeat = 1\ndead-after = 4"}

    async def setUp(self) -> None:
        """
        Have a server whose heart beats faster than that.
        """
        await super().setUp()
        heart = self.server._heart
        heart.stop()
        heart.start(0.5)

    async def test_one(self) -> None:
        """
        A link that has become half-open is found out and closed; its sessions go on over the
        other.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        front = self.stage.front
        assert front is not None
        self.stage.relay.silence(1)
        await front.until(r"is lost")
        self.stage.relay.heal()  # the server finds out, too
        await front.until(LINK_READY, times=3)
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
        front = self.stage.front
        assert front is not None
        await front.until(LINK_READY, times=4)
        self.stage.connect(romeo, OTHER)
        await romeo.expect("online", jid=OTHER)
        await self.answered(romeo)


class LostUnderLoadTests(FaultCase):
    """
    A link breaks while it is in use.
    """

    messages = 1000

    async def test_order(self) -> None:
        """
        No session ends; what was on its way over the link may be gone, the rest arrives, in
        order, each once, up to the last.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        for actor, to in ((romeo, JULIET), (juliet, ROMEO)):
            actor.order("burst", to=to, count=self.messages, size=1000)
        await gatherResults([actor.expect("message") for actor in (romeo, juliet)])
        # The server changes the link of a session when there is one more, and its order with it.
        self.stage.relay.deaf = True
        self.stage.relay.cut(1)
        front = self.stage.front
        assert front is not None
        await front.until(r"is lost")
        for actor, to in ((romeo, JULIET), (juliet, ROMEO)):
            actor.order("message", to=to, body=str(self.messages))
        for actor in (romeo, juliet):
            await actor.expect("message", body=str(self.messages))
            read = [int(event["body"]) for event in actor.take("message")]
            self.assertEqual(read, sorted(set(read)))
        self.stage.relay.heal()
        await front.until(LINK_READY, times=3)
        await self.answered(romeo, juliet)


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
        front = self.stage.front
        assert front is not None
        await front.until(r"refused by the server's IP list")
        await self.answered(juliet)
        self.server.refuseCreates(False)
        self.stage.connect(romeo, ROMEO)
        await romeo.expect("online", jid=ROMEO)

    async def test_secret(self) -> None:
        """
        With the wrong secret no link becomes ready: the log says what to compare, and
        clients are told that the server cannot be reached.
        """
        front = self.stage.front
        assert front is not None
        await front.stop()
        (self.stage.directory / "secret").write_text("the balcony, at noon")
        front = self.stage.startFront()
        record = await front.until(r"compare the secret with xmpp\.multiplex\.defaultSecret")
        self.assertIn(record["level"], ("warn", "error"))
        romeo = self.stage.actor(self.program)
        self.stage.connect(romeo, ROMEO)
        await romeo.expect("closed", condition="remote-connection-failed")
        self.assertNotIn("at noon", front.output)
