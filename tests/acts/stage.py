# Copyright the cmanager authors.
# See LICENSE for details.

"""
Where the acts are played: the program as C{twistd} runs it, in a process of its
own, with a server behind it and a relay between the two that can cut the links and
count what they carry.

A stage has a loopback address to itself, so that all use the same ports and several
stages can stand at once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IPushProducer
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.acts.actor import HERE, PATIENCE_SECONDS, Actor, ActorError, Role
from tests.certificates import Authority, authority

CLIENT_PORT = 5222
TLS_PORT = 5223
LINK_PORT = 5262
STOP_SECONDS = 30.0
DOMAIN = "verona.example"
PASSWORD = "wherefore art thou"
SECRET = "the balcony, at midnight"
LINK_READY = r"^link .* is ready"
WORKER_UP = re.compile(r"^worker \d+ takes clients")
WORKERS = os.environ.get("CMANAGER_WORKERS", "1")
"""
How many processes share the clients where an act does not say.
"""

CONFIGURATION = """
[manager]
workers = {workers}
drain = 0.2
grace = 1.0
{manager}

[log]
level = "debug"
format = "json"

[tls]
certificates = "{directory}/certificates"
{tls}

[[listener]]
type = "tcp"
endpoint = "tcp:{clientPort}:interface={address}"
{listener}

[[listener]]
type = "tls"
endpoint = "tcp:{tlsPort}:interface={address}"
{listener}
{listeners}
[[server]]
domains = [{domains}]
address = "{address}:{linkPort}"
secret-file = "{directory}/secret"
security = "{security}"
ca = "{directory}/authority.pem"
retry-initial = 0.1
retry-max = 0.5
links = {links}
{server}

{more}
"""

BLOCK = 1 << 12
"""
So many addresses a process claims at a time, of the 2 ** 22 that there are for all.
"""


def claim() -> Iterator[str]:
    """
    Yield addresses of blocks that no other process has.

    A datagram socket on a block's first address, which stays open as long as this process
    lives, is the claim.
    """
    for block in range(1 << 10):
        name = 64 << 16 | (os.getpid() + block) % (1 << 10) * BLOCK
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            held.bind((str(ip_address(127 << 24 | name)), LINK_PORT))
        except OSError:
            held.close()
            continue
        held.detach()
        yield from (str(ip_address(127 << 24 | name + number)) for number in range(BLOCK))


_addresses = claim()


def loopback() -> str:
    """
    Return an address of this machine that no other stage has.
    """
    return next(_addresses)


@implementer(IPushProducer)
class Half(Protocol):
    """
    One end of one relayed connection: of the other end it is the producer.

    @ivar carried: How many bytes have come in.
    @ivar ended: Fires when it is gone.
    """

    other: Half | None = None

    def __init__(self, count: Callable[[int], None]) -> None:
        self.count = count
        self.carried = 0
        self.early: list[bytes] = []
        self.ended: Deferred[None] = Deferred()

    def join(self, other: Half) -> None:
        """
        Pass on to C{other} what comes, and has come.
        """
        self.other = other
        assert other.transport is not None
        other.transport.registerProducer(self, True)
        for data in self.early:
            other.transport.write(data)
        if not self.connected:
            other.end()

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol}.
        """
        self.count(len(data))
        self.carried += len(data)
        if self.other is None:
            self.early.append(data)
        elif self.other.connected:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        See L{Protocol}.
        """
        self.connected = 0  # Twisted leaves it as it was
        if self.other is not None and self.other.connected:
            self.other.end()
        self.ended.callback(None)

    def end(self) -> None:
        """
        Say that nothing more comes, and wait until that is heard.
        """
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
        self.transport.loseWriteConnection()

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}: L{connectionLost} does what there is to do.
        """


class Relay(Factory):
    """
    Stands between the links and the server.

    @ivar accepted: How many links have been opened.
    @ivar deaf: Links that are opened from now on stay without an answer.
    @ivar up: Bytes towards the server; C{down}: bytes back.
    """

    noisy = False

    def __init__(self, reactor: Any, target: Callable[[], tuple[str, int]]) -> None:
        self.reactor = reactor
        self.target = target
        self.accepted = self.up = self.down = 0
        self.pairs: list[tuple[Half, Half]] = []  # towards the program, and towards the server
        self.port: IListeningPort | None = None
        self.deaf = False
        self._halfOpen: list[Half] = []

    async def listen(self, address: str) -> None:
        """
        Begin to relay.
        """
        self.port = await TCP4ServerEndpoint(self.reactor, LINK_PORT, interface=address).listen(
            self
        )

    def buildProtocol(self, _: IAddress | None) -> Half:
        """
        See L{Factory}.
        """
        self.accepted += 1
        near = Half(self._countUp)
        if self.deaf:
            self._halfOpen.append(near)
            return near
        far = Factory.forProtocol(lambda: Half(self._countDown))
        far.noisy = False

        def joined(half: Any) -> None:
            near.join(half)
            half.join(near)
            self.pairs.append((near, half))

        host, port = self.target()
        connecting = TCP4ClientEndpoint(self.reactor, host, port).connect(far)
        connecting.addCallbacks(joined, lambda _: near.transport.abortConnection())
        return near

    def _countUp(self, size: int) -> None:
        self.up += size

    def _countDown(self, size: int) -> None:
        self.down += size

    def _alive(self) -> list[tuple[Half, Half]]:
        return [pair for pair in self.pairs if pair[0].connected and pair[1].connected]

    def cut(self, number: int | None = None) -> Deferred[Any]:
        """
        Break links without a word: the C{number} that have carried most to the server, or all.

        @return: Fires when the server has read what had come through, and the end.
        """
        busiest = sorted(self._alive(), key=lambda pair: -pair[0].carried)[:number]
        for near, _ in busiest:
            near.transport.abortConnection()
        return gatherResults([far.ended for _, far in busiest])

    def silence(self, number: int | None = None) -> None:
        """
        Carry nothing any more on the C{number} oldest links, or on all and those to come,
        and leave them open: half-open links, as behind a firewall that has forgotten them.
        """
        self.deaf = number is None
        for pair in self._alive()[:number]:
            for half in pair:
                half.transport.unregisterProducer()
                half.transport.pauseProducing()
                self._halfOpen.append(half)

    def heal(self) -> None:
        """
        Break what is half-open, and carry new links again.
        """
        self.deaf = False
        while self._halfOpen:
            self._halfOpen.pop().transport.abortConnection()

    async def stop(self) -> None:
        """
        Let go of everything.
        """
        if self.port is not None:
            await self.port.stopListening()
        self.heal()
        for pair in self.pairs:
            for half in pair:
                half.transport.abortConnection()


class FrontProcess(ProcessProtocol):
    """
    C{twistd -n cmanager}.

    @ivar records: Its log.
    @ivar status: Its exit status, or the signal that ended it as a negative number.
    """

    def __init__(self, reactor: Any, arguments: list[str], path: str, **environment: str) -> None:
        self.reactor = reactor
        self.records: list[dict[str, Any]] = []
        self.output = ""
        self.status: int | None = None
        self.ended: Deferred[int] = Deferred()
        self._partial = b""
        self._waiting: list[tuple[re.Pattern[str], Deferred[dict[str, Any]]]] = []
        reactor.spawnProcess(
            self,
            str(Path(sys.executable).with_name("twistd")),
            ["twistd", *arguments],
            env={**os.environ, "PYTHONPATH": str(HERE), **environment},
            path=path,
        )

    def outReceived(self, data: bytes) -> None:
        """
        See L{ProcessProtocol}.
        """
        self.output += data.decode(errors="replace")
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            record = (
                json.loads(line)
                if line.startswith(b"{")
                else {"message": line.decode(), "level": "text"}
            )
            self.records.append(record)
            for waiting in [w for w in self._waiting if w[0].search(record["message"])]:
                self._waiting.remove(waiting)
                waiting[1].callback(record)

    errReceived = outReceived

    def until(self, pattern: str, *, times: int = 1) -> Deferred[dict[str, Any]]:
        """
        Wait until the log holds so many records whose message matches.
        """
        expression = re.compile(pattern)
        found = [record for record in self.records if expression.search(record["message"])]
        if len(found) >= times:
            return succeed(found[times - 1])
        result: Deferred[dict[str, Any]] = Deferred()
        waiting = (expression, result)
        self._waiting.append(waiting)

        def late(_: object, seconds: float) -> Any:
            self._waiting.remove(waiting)
            raise ActorError(f"no log of {pattern!r} in {seconds} s: {self.output[-4000:]}")

        result.addTimeout(PATIENCE_SECONDS, self.reactor, late)
        if times > len(found) + 1:
            result.addCallback(lambda _: self.until(pattern, times=times))
        return result

    def signal(self, name: str) -> None:
        """
        Send a signal.
        """
        assert self.transport is not None
        self.transport.signalProcess(name)

    def pids(self) -> dict[int, int]:
        """
        Return the last process of each worker, by slot; none if it works alone.
        """
        return {
            record["worker"]: record["pid"]
            for record in self.records
            if WORKER_UP.search(record["message"])
        }

    def kill(self) -> None:
        """
        Have it die, and all workers with it.
        """
        for pid in self.pids().values():
            os.kill(pid, signal.SIGKILL)
        self.signal("KILL")

    def processEnded(self, reason: Failure) -> None:
        """
        See L{ProcessProtocol}.
        """
        value: Any = reason.value
        self.status = value.exitCode if value.signal is None else -value.signal
        for _, result in self._waiting:
            result.errback(ActorError(f"twistd ended, {self.status}: {self.output[-4000:]}"))
        self._waiting = []
        self.ended.callback(self.status)

    async def stop(self) -> int:
        """
        End it in an orderly way.

        @return: Its exit status.
        """
        if self.status is None:
            self.signal("TERM")
            self.ended.addTimeout(
                STOP_SECONDS, self.reactor, lambda *_: self.signal("KILL") or -signal.SIGKILL
            )
            return await self.ended
        return self.status


class Backend(ABC):
    """
    The server behind, with the accounts C{romeo} and C{juliet} in L{DOMAIN}.

    @ivar security: The C{security} of its links.
    @ivar announcesKicks: Whether managers are told of the end of a bound session.
    """

    security: str
    announcesKicks: bool

    @abstractmethod
    async def start(self) -> None:
        """
        Start, with what an earlier start has kept.
        """

    @abstractmethod
    def address(self) -> tuple[str, int]:
        """
        Where it takes links.
        """

    @abstractmethod
    async def kick(self, jid: str) -> None:
        """
        End the session of a full JID.
        """

    @abstractmethod
    async def halt(self) -> None:
        """
        Stop, and keep what is to be kept.
        """


class Stage:
    """
    The program with a server behind.

    @ivar host: The address of its ports.
    @ivar authority: A file of what clients trust.
    @ivar environment: Of the program, beyond that of the tests.
    @cvar listeners: Configuration of further ones, where C{{address}} stands for that.
    """

    listeners = ""

    def __init__(self, reactor: Any, directory: Path, backend: Backend, **settings: str) -> None:
        """
        @param settings: C{workers}: how many there are; C{links}: of each; C{domains}: of the server, each in
            quotes; C{manager}, C{tls}, C{listener}, C{server} and C{more}: lines of
            configuration for these tables and behind them, where C{{authority}} stands for the file of our authority.
        """
        self.reactor = reactor
        self.directory = directory
        self.backend = backend
        self.host = loopback()
        self.authority = directory / "authority.pem"
        self.relay = Relay(reactor, backend.address)
        self.actors: list[Actor] = []
        self.front: FrontProcess | None = None
        self.environment: dict[str, str] = {}
        self._values = {
            "workers": WORKERS,
            "links": "2",
            "domains": f'"{DOMAIN}"',
            "manager": "",
            "tls": "",
            "listener": "",
            "server": "",
            "more": "",
            **settings,
        }
        self._write()

    @property
    def workers(self) -> int:
        """
        How many processes share the clients.
        """
        return int(self._values["workers"])

    @property
    def links(self) -> int:
        """
        How many links there are, of all workers.
        """
        return int(self._values["links"]) * self.workers

    def issuer(self) -> Authority:
        """
        Return who issues the certificate that clients see.
        """
        return authority()

    def _write(self) -> None:
        (self.directory / "certificates").mkdir()
        trusted = {authority(): None, self.issuer(): None}
        self.authority.write_bytes(b"".join(issuer.pem for issuer in trusted))
        self.issuer().issue(DOMAIN).write(self.directory / "certificates", DOMAIN)
        (self.directory / "secret").write_text(SECRET)
        (self.directory / "secret").chmod(0o600)
        values = self._values
        values["tls"] = values["tls"].format(authority=self.authority)
        (self.directory / "cmanager.toml").write_text(
            CONFIGURATION.format(
                directory=self.directory,
                address=self.host,
                clientPort=CLIENT_PORT,
                tlsPort=TLS_PORT,
                linkPort=LINK_PORT,
                security=self.backend.security,
                listeners=self.listeners.format(address=self.host),
                **values,
            )
        )

    async def start(self) -> None:
        """
        Start all, and wait until all links are ready.
        """
        await self.backend.start()
        await self.relay.listen(self.host)
        await self.startFront().until(LINK_READY, times=self.links)

    def startFront(self) -> FrontProcess:
        """
        Start the program.
        """
        configuration = str(self.directory / "cmanager.toml")
        self.front = FrontProcess(
            self.reactor,
            ["-n", "--pidfile=", "cmanager", "--config", configuration],
            str(self.directory),
            **self.environment,
        )
        return self.front

    async def stop(self) -> None:
        """
        Stop all.

        @raise AssertionError: The program did not end well, or complained.
        """
        front = self.front
        try:
            for actor in self.actors:
                await actor.leave()
            status = await front.stop() if front is not None else 0
        finally:
            await self.relay.stop()
            await self.backend.halt()
        if front is not None:
            assert status == 0, f"exit status {status}: {front.output[-4000:]}"
            complaints = [r for r in front.records if r["level"] in ("critical", "text")]
            complaints += [r for r in front.records if "traceback" in r]
            assert not complaints, complaints

    def actor(self, program: str) -> Actor:
        """
        Start a client program; it ends with the stage.
        """
        actor = Actor(self.reactor, program)
        self.actors.append(actor)
        return actor

    def connect(
        self,
        actor: Role,
        jid: str,
        *,
        password: str = PASSWORD,
        directTLS: bool = False,
        mechanism: str | None = None,
        **more: Any,
    ) -> None:
        """
        Have C{actor} log in.

        @param more: What only its program knows.
        """
        actor.order(
            "connect",
            jid=jid,
            password=password,
            authority=str(self.authority),
            mechanism=mechanism,
            **self.way(actor.actor.program, directTLS),
            **more,
        )

    def way(self, program: str, directTLS: bool) -> dict[str, Any]:
        """
        Return where the clients of a program connect.
        """
        port = TLS_PORT if directTLS else CLIENT_PORT
        return {"host": self.host, "port": port, "directTLS": directTLS}

    async def online(self, program: str, jid: str, **how: Any) -> Actor:
        """
        Start a client and log it in as a full JID.
        """
        actor = self.actor(program)
        self.connect(actor, jid, **how)
        await actor.expect("online", jid=jid)
        return actor
