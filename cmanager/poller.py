# Copyright the cmanager authors.
# See LICENSE for details.

"""
The readiness of many sockets, in one C{epoll} of our own.  Layer 4; knows nothing of
what the sockets are for.

The reactor sees a single descriptor.  What is ready is dealt with in one go, without
what a reactor does around each; and the sockets are looked at again only when L{ENOUGH}
of them can be expected to be ready, or C{gather} seconds are over: a process that is
woken for every stanza pays several times as much for each.  The whole process sleeps
for that, as a network card holds back its interrupts: links and timers wait as well, for
as short a time, and are found ready together.  One that is busy all the time does not sleep.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager.turn import Turn

READABLE = 1  # EPOLLIN
WRITABLE = 4  # EPOLLOUT
_ONCE = 1 << 31  # EPOLLET: of the end, which is told in any case

MAX_EVENTS = 512
"""
Sockets dealt with before the reactor has its turn.
"""

ENOUGH = 32
"""
Sockets ready at a time that make it cheap: nobody waits for more.
"""

WINDOW_SECONDS = 0.01
"""
For so long at least it is counted how many become ready, to know what can be expected.
"""

isAvailable = hasattr(select, "epoll")


class Descriptor(Protocol):
    """
    What has a socket.  It may be called once too often: its number may have been another's
    a moment ago.
    """

    def doRead(self) -> None:
        """
        There is something to read, or the end.
        """

    def doWrite(self) -> None:
        """
        There is room.
        """

    def hungUp(self) -> None:
        """
        There is an error, or the end of both directions, and no interest in reading.
        """

    def failed(self, reason: Failure) -> None:
        """
        A bug: the one of these that was called has raised.
        """


@implementer(IReadDescriptor)
class Poller:
    """
    Tells descriptors what they can do.  Is there for as long as it has any.

    @param reactor: L{IReactorFDSet <twisted.internet.interfaces.IReactorFDSet>}.
    @param gather: Seconds from one look to the next, at most; 0: look whenever anything is ready.
    @param turn: What is dealt with in one go is one.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        gather: float,
        turn: Turn,
        now: Callable[[], float] = monotonic,
        sleep: Callable[[float], object] = sleep,
    ) -> None:
        self._reactor = reactor
        self._gather = gather
        self._turn = turn
        self._now = now
        self._sleep = sleep
        self._epoll: select.epoll | None = None
        self._descriptors: dict[int, Descriptor] = {}
        self._pause = gather  # seconds from look to look
        self._last = 0.0  # when it was looked
        self._since = self._now()  # when counting began
        self._count = 0  # sockets found ready since then
        self._isBusy = False  # more than one was ready then: a client by itself is not kept waiting

    def __len__(self) -> int:
        return len(self._descriptors)

    def add(self, number: int, descriptor: Descriptor, interests: int) -> None:
        """
        Begin with the socket whose file has that number.

        @param interests: L{READABLE}, L{WRITABLE}, both or none.  The end of both directions,
            and any by an error, is told all the same; with no interests once.
        @raise OSError: There cannot be one more.
        """
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        try:
            self._epoll.register(number, interests or _ONCE)
            self._descriptors[number] = descriptor
        finally:
            self._closeIfIdle()

    def change(self, number: int, interests: int) -> None:
        """
        Have other interests.
        """
        assert self._epoll is not None, "it was added"
        self._epoll.modify(number, interests or _ONCE)

    def remove(self, number: int) -> None:
        """
        Have no more to do with it.  Before it is closed.
        """
        assert self._epoll is not None, "it was added"
        del self._descriptors[number]
        self._epoll.unregister(number)
        self._closeIfIdle()

    def _closeIfIdle(self) -> None:
        if self._epoll is not None and not self._descriptors:
            self._reactor.removeReader(self)
            epoll, self._epoll = self._epoll, None
            epoll.close()

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return self._epoll.fileno() if self._epoll is not None else -1

    def doRead(self) -> None:
        """
        See L{IReadDescriptor}: something is ready.
        """
        now = self._now()
        elapsed = now - self._since
        if elapsed >= WINDOW_SECONDS:
            expected = max(self._count, 1) / elapsed  # ready in a second
            self._pause = min(self._gather, ENOUGH / expected)
            self._since, self._count = now, 0
        wait = self._last + self._pause - now
        if wait > 0 and self._isBusy:
            self._sleep(wait)
            now += wait
        self._last = now
        self._turn.begin()
        try:
            self._look()
        finally:
            self._turn.end()

    def _look(self) -> None:
        epoll = self._epoll
        if epoll is None:
            return
        ready = epoll.poll(0, MAX_EVENTS)
        self._count += len(ready)
        self._isBusy = len(ready) > 1
        find = self._descriptors.get
        for number, events in ready:
            # One that was dealt with before may have closed this one.
            descriptor = find(number)
            if descriptor is None:
                continue
            try:
                if events & READABLE:
                    descriptor.doRead()
                elif events & ~WRITABLE:
                    descriptor.hungUp()
                if events & WRITABLE and find(number) is descriptor:
                    descriptor.doWrite()
            except Exception:  # noqa: BLE001 - a bug must cost one client, not all
                self.failed(descriptor, Failure())

    def failed(self, descriptor: Descriptor, reason: Failure) -> None:
        """
        End a descriptor that has a bug.
        """
        self.log.failure("a client's connection failed", reason)
        self._end(descriptor, reason)

    def _end(self, descriptor: Descriptor, reason: Failure) -> None:
        try:
            descriptor.failed(reason)
        except Exception:  # noqa: BLE001 - likewise
            self.log.failure("a client's connection failed")

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}: the reactor stops.
        """
        for descriptor in list(self._descriptors.values()):
            self._end(descriptor, reason)

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "clients"
