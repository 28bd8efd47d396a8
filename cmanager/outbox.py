# Copyright the cmanager authors.
# See LICENSE for details.

"""
What waits for a client, and how far the kernel has got with it.  Layer 4.

Whatever a client's kernel buffers cannot take is kept here, stanza by stanza,
not in the transport (L{cmanager.sinks}): from there it could not be had back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

from cmanager.openssl import MAX_RECORD_BYTES
from cmanager.records import Records, SocketRecords
from cmanager.sinks import Sink
from cmanager.stanza import Stanza

MAX_CONTROL_BYTES = 65536
"""
Handshake bytes and answers to key updates that may wait: a peer can ask for these
without reading any.
"""


class Outbox:
    """
    Bytes for one client, in order, and the stanzas they belong to.

    At most one record or L{MAX_RECORD_BYTES} of plain bytes are on their way at a
    time.  While all is taken at once, nothing is kept, not even an empty queue.

    @ivar size: Bytes waiting, before encryption.
    @ivar isCut: Half a stanza has been sent of which the rest is given up: no byte
        may follow.
    """

    __slots__ = (
        "_blocked",
        "_control",
        "_covers",
        "_limit",
        "_offset",
        "_queue",
        "_records",
        "_sink",
        "_wire",
        "isCut",
        "size",
    )

    def __init__(self, sink: Sink, limit: int) -> None:
        self._sink = sink
        self._limit = limit
        self._records: Records | None = None
        self._queue: deque[tuple[bytes, Stanza | None]] | None = None
        self._offset = 0  # bytes of the queue's first entry that are taken
        self._wire: bytes | memoryview = b""  # on its way, as it goes over the wire
        self._covers = 0  # bytes of the queue that _wire completes
        self._control = b""  # goes over the wire after _wire
        self._blocked = False
        self.size = 0
        self.isCut = False

    @property
    def isEmpty(self) -> bool:
        """
        The kernel has everything.
        """
        return not self.size and not self._wire

    @property
    def isStuck(self) -> bool:
        """
        The peer makes us answer and does not read: drop it.
        """
        return len(self._control) > MAX_CONTROL_BYTES

    def fits(self, amount: int) -> bool:
        """
        So much more may wait.  Where nothing waits anything does, and a stanza larger
        than the bound does not count until it is gone: a client that reads is not to be
        closed for the size of what the server sends it.
        """
        size = self.size
        if not size or size + amount <= self._limit:
            return True
        queue = self._queue
        if queue and len(queue[0][0]) > self._limit:
            size -= len(queue[0][0]) - self._offset
        return size + amount <= self._limit

    def put(self, data: bytes, stanza: Stanza | None = None) -> None:
        """
        Send C{data} after all that waits.  The caller has asked L{fits}.
        """
        if self.isCut or not data:
            return
        queue = self._queue
        if queue is None:
            if not self._blocked and self._records is None:
                taken = self._sink.send(data)
                if taken == len(data):
                    return
                self._blocked = True
                self._offset = taken
                self.size = -taken
            queue = self._queue = deque()
        queue.append((data, stanza))
        self.size += len(data)
        self.flush()

    def redirect(self, writable: Callable[[], object], limit: int) -> None:
        """
        Serve another: call C{writable}, and let so much wait, from now on.
        """
        self._sink.redirect(writable)
        self._limit = limit

    def startTLS(self, records: Records) -> None:
        """
        Encrypt what is L{put} from now on, if that is not so already.  Nothing waits.
        """
        if isinstance(records, SocketRecords):
            self._sink = records
        else:
            self._records = records

    def writable(self) -> None:
        """
        There is room again.
        """
        self._blocked = False
        self.flush()

    def flush(self) -> None:
        """
        Give the kernel what it takes.
        """
        if self._records is not None:
            self._control += self._records.outgoing()
        while not self._blocked and not self.isCut:
            if not self._wire and not self._next():
                return
            wire = self._wire
            taken = self._sink.send(wire)
            if taken == len(wire):
                self._wire = b""
                covers, self._covers = self._covers, 0
                self._taken(covers)
                continue
            self._blocked = True
            if self._records is not None:
                self._wire = memoryview(wire)[taken:]
            else:
                self._wire = b""
                self._covers = 0
                self._taken(taken)

    def _next(self) -> bool:
        """
        Put what comes next on its way.

        @return: L{False} if there is nothing.
        """
        records = self._records
        wire, self._control = self._control, b""
        if self._queue and (records is None or records.established):
            batch = self._batch(self._queue)
            record = batch if records is None else records.encrypt(batch)
            self._covers = len(batch) if record else 0
            self.isCut = not record
            wire += record
        self._wire = wire
        return bool(wire)

    def _batch(self, queue: deque[tuple[bytes, Stanza | None]]) -> bytes:
        first = queue[0][0][self._offset : self._offset + MAX_RECORD_BYTES]
        parts, room = [first], MAX_RECORD_BYTES - len(first)
        for data, _ in islice(queue, 1, None):
            room -= len(data)
            if room < 0:
                break
            parts.append(data)
        return b"".join(parts)

    def _taken(self, amount: int) -> None:
        """
        The kernel has so many more bytes of the queue.
        """
        queue = self._queue
        if queue is None:
            return
        self.size -= amount
        amount += self._offset
        while queue and amount >= len(queue[0][0]):
            amount -= len(queue.popleft()[0])
        self._offset = amount
        if not queue:
            self._queue = None

    def take(self) -> list[Stanza]:
        """
        Give up all that the kernel has not wholly taken; return the stanzas of it.
        """
        # A record on its way cannot be left out: the next could not be decrypted.
        if self._offset or self._covers or self._sink.holds:
            self.isCut = True
            self._wire = b""
            self._covers = 0
        stanzas = [stanza for _, stanza in self._queue or () if stanza is not None]
        self._queue = None
        self._offset = 0
        self.size = 0
        return stanzas

    def finish(self) -> None:
        """
        Send nothing any more, what the kernel has taken excepted.
        """
        self._sink.finish()

    def release(self) -> None:
        """
        Let go of the transport.
        """
        self._sink.release()

    def forget(self) -> None:
        """
        Hold on to nothing: the connection is gone.  What OpenSSL keeps for it is large, and
        would wait for the garbage collector.
        """
        self._records = None
        if isinstance(self._sink, SocketRecords):
            self._sink.forget()
