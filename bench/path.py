# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the way of a stanza costs between a client's bytes and a link's, without any system
call: the real scanners, sessions, router and link, between streams and sockets that
are none.

    python -m bench.path [--instructions]

C{up} is from a client's read to the link's C{send}, C{down} from a link's read to the
stream's C{deliver}; with so many stanzas in one turn, each of another session.  C{cold} is
what it takes after something else has had the processor's caches.  Instructions are
counted by C{valgrind}, where that is, and are the same in each run.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as anyReactor

from bench.clients import stanza as chat
from cmanager.config import Security, ServerSettings
from cmanager.framing import ENGINE, Scanner
from cmanager.host import Host
from cmanager.link import Link
from cmanager.router import Router
from cmanager.session import Session
from cmanager.settings import ManagerSettings, Settings, TLSSettings
from cmanager.stanza import Stanza
from cmanager.table import State
from tests.doubles import FakeClientStream

reactor: Any = anyReactor
DOMAIN = "capulet.example"
SESSIONS = 100
ROUNDS = 7
SECONDS = 0.2
COLD_TURNS = 400
COLD_BYTES = 1 << 23
"""
More than a processor's own caches hold.
"""
FEW_STANZAS, MANY_STANZAS = 2000, 5000
"""
Between the two instructions are counted; before, a link has much to remember first.
"""
OPENING = (
    b'<?xml version="1.0"?><stream:stream xmlns="jabber:connectionmanager"'
    b' xmlns:stream="http://etherx.jabber.org/streams" id="1" version="1.0"><stream:features/>'
)
HEADER = (
    b'<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams"'
    b' to="capulet.example" version="1.0">'
)


class Stream(FakeClientStream):
    """
    A client's stream that takes everything and keeps nothing.
    """

    def deliver(self, stanza: Stanza) -> bool:
        """
        See L{cmanager.interfaces.IClientStream.deliver}.
        """
        return True


class Socket(socket.socket):
    """
    A socket that takes everything.
    """

    def send(self, data: Any, flags: int = 0) -> int:
        """
        See L{socket.socket.send}.
        """
        return len(data)


class Transport:
    """
    As much of a link's transport as is asked for.
    """

    disconnecting = False

    def __init__(self) -> None:
        self.socket = Socket()

    def getHandle(self) -> Socket:
        """
        See L{twisted.internet.interfaces.ITCPTransport}.
        """
        return self.socket

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        See L{twisted.internet.interfaces.IConsumer}.
        """
        self.producer = producer

    def unregisterProducer(self) -> None:
        """
        See L{twisted.internet.interfaces.IConsumer}.
        """

    def startWriting(self) -> None:
        """
        See L{twisted.internet.abstract.FileDescriptor}.
        """
        self.producer.resumeProducing()

    def write(self, data: bytes) -> None:
        """
        See L{twisted.internet.interfaces.ITransport}.
        """


class Owner:
    """
    As much of a link's pool as is asked for.
    """

    configuration = None

    def __init__(self, hub: Router) -> None:
        self.hub = hub
        self.settings = ServerSettings(
            domains=(DOMAIN,),
            address="192.0.2.1:5262",
            secret="secret",
            security=Security.PLAIN,
        )

    def linkReady(self, link: Link) -> None:
        """
        See L{cmanager.linkstream.IOwner}.
        """

    def newIQ(self, kind: str, streamID: str) -> str:
        """
        See L{cmanager.linkstream.IOwner}.
        """
        return kind


class Path:
    """
    Sessions that are bound, on one link.
    """

    def __init__(self) -> None:
        settings = Settings(
            tls=TLSSettings(certificates="x"),
            listeners=(),
            servers=(),
            manager=ManagerSettings(name="cm"),
        )
        router = Router(reactor, settings)
        self.turn = router.turn
        self.link = link = Link(Owner(router), reactor, "cm", "1", "192.0.2.1", None)
        link.makeConnection(Transport())  # type: ignore[no-untyped-call]  # Twisted's
        reactor.runUntilCurrent()
        for said in (OPENING, b"<handshake/>"):
            link.dataReceived(said)
        host = Host(DOMAIN)
        self.stanza = chat(DOMAIN)
        self.ways: list[tuple[Any, Session]] = []
        self.routes: list[bytes] = []
        for number in range(SESSIONS):
            session = router.openSession(Stream())
            session.host = host
            router.table.pin(session, link)
            link.open(session)
            session.bound(f"user{number}@{DOMAIN}/r")
            scanner = Scanner(1, 1 << 18)
            scanner.feed(HEADER)
            self.ways.append((scanner, session))
            # As bench.farend sends a route back.
            route = b'<route to="%s" from="cm/1" streamid="%s" id="%x">%s</route>'
            values = DOMAIN.encode(), session.id.encode(), number + 4096, self.stanza
            self.routes.append(route % values)
            assert session.state is State.BOUND
        reactor.runUntilCurrent()
        assert link.isReady
        self._next = 0

    def _some(self, count: int) -> int:
        self._next = start = self._next + count if self._next + 2 * count <= SESSIONS else 0
        return start

    def up(self, count: int) -> Callable[[], None]:
        """
        Return what sends stanzas of so many sessions in one turn.
        """

        def turn() -> None:
            start, data = self._some(count), self.stanza
            self.turn.begin()
            for scanner, session in self.ways[start : start + count]:
                for event in scanner.feed(data):
                    session.stanzaReceived(event)
            self.turn.end()

        return turn

    def down(self, count: int) -> Callable[[], None]:
        """
        Return what brings stanzas for so many sessions in one read.
        """
        reads = [b"".join(self.routes[n : n + count]) for n in range(0, SESSIONS, count)]

        def turn() -> None:
            self.link.dataReceived(reads[self._some(count) // count])

        return turn

    def turns(self) -> dict[str, tuple[int, Callable[[], None]]]:
        """
        Return all ways, by name, with the number of stanzas of a turn.
        """
        return {
            "up": (1, self.up(1)),
            "down": (1, self.down(1)),
            "up, 20": (20, self.up(20)),
            "down, 20": (20, self.down(20)),
        }


def warm(turn: Callable[[], None], count: int) -> float:
    """
    Return the microseconds of a stanza, at their best.
    """
    found = []
    for _ in range(ROUNDS):
        turns = 0
        began = time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            for _ in range(20):
                turn()
            turns += 20
        found.append((time.perf_counter() - began) / turns / count)
    return min(found) * 1e6


def cold(turn: Callable[[], None], count: int) -> float:
    """
    Return the median of what it takes with caches full of something else.
    """
    other = bytearray(COLD_BYTES)
    found = []
    for _ in range(COLD_TURNS):
        other[::64] = bytes(len(other) // 64)
        began = time.perf_counter()
        turn()
        found.append(time.perf_counter() - began)
    return sorted(found)[len(found) // 2] / count * 1e6


def instructions(name: str, turns: int) -> int:
    """
    Return how many instructions another process takes for everything.
    """
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command += [sys.executable, "-m", "bench.path", "--way", name, "--turns", str(turns)]
    # Which entries of a dictionary collide depends on it.
    more = {**os.environ, "PYTHONHASHSEED": "1"}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=more)
    found = re.search(r"I\s+refs:\s+([\d,]+)", said.stderr)
    assert found is not None, said.stderr
    return int(found.group(1).replace(",", ""))


def main(arguments: list[str]) -> int:
    """
    Print a table.
    """
    parser = argparse.ArgumentParser(description="What the way of a stanza costs.")
    parser.add_argument("--instructions", action="store_true", help="takes minutes")
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    parser.add_argument("--turns", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    path = Path()
    gc.collect()
    gc.freeze()
    ways = path.turns()
    if options.way:
        _, turn = ways[options.way]
        for _ in range(options.turns):
            turn()
        return 0
    print(f"a stanza of {len(path.stanza)} bytes, engine {ENGINE}; Python {sys.version[:7]}")
    print(f"{'':10}{'µs':>8}{'cold µs':>9}{'instructions':>14}")
    for name, (count, turn) in ways.items():
        counted = ""
        if options.instructions:
            few, many = (
                instructions(name, stanzas // count) for stanzas in (FEW_STANZAS, MANY_STANZAS)
            )
            counted = f"{(many - few) / (MANY_STANZAS - FEW_STANZAS):.0f}"
        print(f"{name:10}{warm(turn, count):>8.2f}{cold(turn, count):>9.2f}{counted:>14}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
