# Copyright the cmanager authors.
# See LICENSE for details.

"""
Workers in memory, and the wires between them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from cmanager.answering import Answering
from cmanager.asking import Colleague
from cmanager.directory import Directory
from cmanager.httpbind import Desk
from tests.bosh import BareBOSHWay, BOSHWay, Connection, SecureBOSHWay
from tests.suite import Origin


class End:
    """
    One end of a wire, and the transport of the protocol there.

    @ivar isFull: The other end does not read.
    """

    def __init__(self) -> None:
        self.sent = b""
        self.isLost = False
        self.isFull = False
        self.producer: Any = None
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        """
        Take it; if nobody reads it, no more of it.
        """
        assert isinstance(data, bytes)
        self.sent += data
        if self.isFull and self.producer is not None:
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Tell C{producer}.
        """
        assert streaming
        self.producer = producer

    def drain(self) -> None:
        """
        The other end reads again.
        """
        self.isFull = False
        self.producer.resumeProducing()

    def abortConnection(self) -> None:
        """
        Cut the wire.
        """
        self.isLost = True

    loseConnection = abortConnection


class Wire:
    """
    A connection from who asks to who answers.
    """

    def __init__(self, asking: Any, answering: Any, random: Random) -> None:
        self._random = random
        self.asking, self.answering = End(), End()
        for end, protocol in ((self.asking, asking), (self.answering, answering)):
            end.protocol = protocol
            protocol.makeConnection(end)

    @property
    def isLost(self) -> bool:
        """
        Somebody has cut it.
        """
        return self.asking.isLost or self.answering.isLost

    def move(self) -> bool:
        """
        Let some of what was said arrive.

        @return: Something has.
        """
        hasMoved = False
        for end, other in ((self.asking, self.answering), (self.answering, self.asking)):
            if end.sent and not (end.isFull or self.isLost):
                cut = self._random.choice((len(end.sent), self._random.randint(1, len(end.sent))))
                data, end.sent = end.sent[:cut], end.sent[cut:]
                other.protocol.dataReceived(data)
                hasMoved = True
        return hasMoved

    def cut(self) -> None:
        """
        Cut it; both hear of it.
        """
        self.asking.isLost = True
        for end in (self.asking, self.answering):
            end.protocol.connectionLost(Failure(ConnectionDone()))


class Crew:
    """
    Several workers.  Nothing moves between them but in L{flush}.

    @param hubs: What is of each of them.
    @ivar absent: The slots of those that are gone.
    """

    def __init__(self, hubs: list[Any], clock: Any, seed: int = 0) -> None:
        self._advance = clock.advance
        self._clock = clock
        self._hubs = hubs
        self._random = Random(seed)
        self.absent: set[int] = set()
        self.wires: list[Wire] = []
        for slot in range(len(hubs)):
            self._begin(slot)

    def _begin(self, slot: int) -> None:
        hub = self._hubs[slot]
        hub.bosh.colleagues = {
            other: Colleague(
                self._connector(other), self._presence(other), self._clock, hub.metrics
            )
            for other in range(len(self._hubs))
            if other != slot
        }

    def _presence(self, slot: int) -> Callable[[], bool]:
        return lambda: slot not in self.absent

    def _connector(self, slot: int) -> Callable[[Factory], Deferred[IProtocol]]:
        def connect(factory: Factory) -> Deferred[IProtocol]:
            if slot in self.absent:
                return fail(ConnectionRefusedError())
            asking: Any = factory.buildProtocol(None)
            answering = Answering(Desk(self._hubs[slot]), self._clock)
            self.wires.append(Wire(asking, answering, self._random))
            return succeed(asking)

        return connect

    def flush(self) -> None:
        """
        Let all that was said arrive, piece by piece, and wires that were cut be lost.
        """
        isMoving = True
        while isMoving:
            moved = [wire.move() for wire in self.wires]
            isMoving = any(moved)
            for wire in [wire for wire in self.wires if wire.isLost]:
                self.wires.remove(wire)
                wire.cut()
                isMoving = True
            self._advance(0)

    def kill(self, slot: int) -> None:
        """
        A worker is killed, and others hear of it.  There is another in its slot.
        """
        wires, self.wires = self.wires, []
        for wire in wires:
            wire.answering.protocol.connectionLost(Failure(ConnectionDone()))
        self._begin(slot)

    def die(self, slot: int) -> None:
        """
        A worker is gone, and everybody knows.
        """
        self.absent.add(slot)
        for wire in self.wires:
            wire.asking.isLost = True
        self.flush()


class Deputy:
    """
    What is of another worker: streams of BOSH.  All else is the first one's.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self.bosh = Directory(hub.bosh.settings, 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)


def spread(hub: Any, clock: Any) -> Crew:
    """
    Set a second worker beside one that is alone: C{hub.deputy}.  What they have to say to each
    other is said when time goes on.
    """
    hub.bosh = Directory(hub.bosh.settings, 0)
    hub.deputy = Deputy(hub)
    crew = hub.crew = Crew([hub, hub.deputy], clock)
    advance = clock.advance

    def advanceAll(seconds: float) -> None:
        advance(seconds)
        crew.flush()

    clock.advance = advanceAll
    return crew


class SpreadWay(BOSHWay):
    """
    A client whose first connection comes to one worker, the others to either, in turn.
    """

    def visit(self, origin: Any, peer: Any = None) -> None:
        """
        See L{BOSHWay}.
        """
        super().visit(origin, peer)
        other = Origin(origin.reactor, origin.listener, origin.hub.deputy)
        self._others = cycle([other, origin])

    def connect(self) -> Connection:
        """
        See L{BOSHWay}.
        """
        first = self._origin
        if self.sid is not None:
            self._origin = next(self._others)
        try:
            return super().connect()
        finally:
            self._origin = first


class SecureSpreadWay(SpreadWay, SecureBOSHWay):
    """
    One in TLS.
    """


class BareSpreadWay(SpreadWay, BareBOSHWay):
    """
    One as L{BareBOSHWay}.
    """
