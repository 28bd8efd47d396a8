# Copyright the cmanager authors.
# See LICENSE for details.

"""
The writes of many sessions into one transport.  Layer 4; knows no XML.

What is written within one turn of the reactor leaves in one piece.  While the
transport is full the rest waits here, bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from cmanager import diagnosis
from cmanager.errors import LinkError
from cmanager.sinks import SocketSink, socketOf
from cmanager.turn import Turn

FLUSH_BYTES = 65536
"""
So much leaves before the end of the turn; and with more waiting behind a server
that does not read, those who write are paused.
"""

BACKLOG_BYTES = 67108864
"""
With more waiting, the server is given up.  Who is paused adds only what was on its
way, and the closing of clients who leave.
"""


@implementer(IPushProducer)
class Funnel:
    """
    The way out of one link.

    @param pause: Called when those who write should be paused,
    @param resume: and when they may go on.
    @param give: Called with a L{LinkError} when the server takes nothing any more;
        L{stop} must follow.
    @ivar stanzas: How many of what was written count as stanzas; for the writer to
        increase before L{write}.
    """

    def __init__(
        self,
        clock: Any,  # IReactorTime
        turn: Turn,
        *,
        stalledAfter: float,
        pause: Callable[[], None],
        resume: Callable[[], None],
        give: Callable[[LinkError], None],
        backlog: int = BACKLOG_BYTES,
    ) -> None:
        self.stanzas = 0
        self._clock = clock
        self._turn = turn
        self._stalledAfter = stalledAfter
        self._pause = pause
        self._resume = resume
        self._give = give
        self._backlog = backlog
        self._transport: Any = None  # ITransport with IConsumer
        self._sink: SocketSink | None = None
        self._rest: bytes | memoryview = b""  # handed over, and not taken by the sink yet
        self._parts: list[bytes] = []
        self._size = 0
        self._isTurning = False  # it is flushed at the end of the turn
        self._watch: Any = None  # IDelayedCall
        self._isBusy = False
        self._busySince = 0.0
        self._isPausing = False
        # Of the stanzas: handed to the transport, taken by it.
        self._handed = 0
        self._taken = 0

    @property
    def untaken(self) -> int:
        """
        How many stanzas are still here, or in a transport that is full, or were written
        in this turn.  What the kernel has taken is beyond anybody's knowledge.
        """
        return self.stanzas - self._taken

    def start(self, transport: Any) -> None:
        """
        Write to C{transport} from here on.
        """
        self._transport = transport
        transport.registerProducer(self, True)

    def goDirect(self) -> None:
        """
        Write to the socket from here on, if the transport is that and no more, as one
        with TLS is not: a turn's writes then leave in it, without the reactor having to
        find the socket writable.
        """
        transport = self._transport
        handle = None if self._isBusy else socketOf(transport)
        if handle is not None:
            transport.unregisterProducer()
            self._sink = SocketSink(transport, handle, self._writable)
            # What the transport was handed goes first.
            self.pauseProducing()
            self._sink.ask()

    def stop(self, *, isGone: bool = False) -> None:
        """
        Forget what waits; write nothing any more.

        @param isGone: There is no connection any more: a transport that once had TLS
            cannot even be told that there is no producer.
        """
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        self._watch = None
        self._parts = []
        self._rest = b""
        self._size = 0
        self._sink = None
        transport, self._transport = self._transport, None
        if transport is not None and not isGone:
            transport.unregisterProducer()

    def write(self, data: bytes) -> None:
        """
        Send, in this turn of the reactor unless the server does not read.
        """
        if self._transport is None:
            return
        self._parts.append(data)
        self._size = size = self._size + len(data)
        if self._isBusy:
            if size > self._backlog:
                self._give(diagnosis.swamped(self._backlog))
            elif size > FLUSH_BYTES and not self._isPausing:
                self._isPausing = True
                self._pause()
        elif size >= FLUSH_BYTES:
            self.flush()
        elif not self._isTurning:
            self._isTurning = True
            self._turn.atEnd(self._turned)

    def flush(self) -> None:
        """
        Do not wait for the end of the turn.
        """
        if self._isBusy or not self._parts:
            return
        data = b"".join(self._parts)
        self._parts = []
        self._size = 0
        sink = self._sink
        if sink is None:
            # Not full since the turn before: it has got rid of what it was handed then.
            self._taken = self._handed
            self._handed = self.stanzas
            self._transport.write(data)
            return
        self._handed = self.stanzas
        taken = sink.send(data)
        if taken == len(data):
            self._taken = self._handed
        else:
            self._rest = memoryview(data)[taken:]
            self.pauseProducing()

    def _writable(self) -> None:
        """
        The socket has room again.
        """
        rest = self._rest
        if rest:
            assert self._sink is not None, "it calls"
            self._rest = rest = rest[self._sink.send(rest) :]
        if not rest:
            self.resumeProducing()

    def finish(self, last: bytes) -> None:
        """
        Hand everything over with C{last} behind it, whatever waits, and stop.
        """
        transport = self._transport
        data = b"".join((self._rest, *self._parts, last))
        self.stop()
        transport.write(data)

    def confirm(self) -> None:
        """
        The server has read everything.
        """
        self._taken = self.stanzas

    def _turned(self) -> None:
        self._isTurning = False
        self.flush()

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}: the transport is full.
        """
        self._isBusy = True
        self._busySince = self._clock.seconds()
        # One timer runs on from one piece to the next: a full link is full often.
        if self._watch is None:
            self._watch = self._clock.callLater(self._stalledAfter, self._look)

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}: it is empty.
        """
        self._isBusy = False
        self._taken = self._handed
        self.flush()
        if self._isPausing:
            self._isPausing = False
            self._resume()

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}: the connection is gone, and its protocol knows.
        """

    def _look(self) -> None:
        self._watch = None
        if not self._isBusy:
            return
        left = self._busySince + self._stalledAfter - self._clock.seconds()
        if left <= 0:
            self._give(diagnosis.stalled(self._stalledAfter))
        else:
            self._watch = self._clock.callLater(left, self._look)
