# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.outbox}.
"""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from cmanager.openssl import MAX_RECORD_BYTES
from cmanager.outbox import MAX_CONTROL_BYTES, Outbox
from cmanager.records import Records
from cmanager.stanza import NS_CLIENT, Stanza
from tests.test_records import TLSClient, serverContext


def message(number: int, size: int = 50) -> Stanza:
    """
    A message of exactly C{size} bytes, at least 50.
    """
    head = b'<message id="%08d"><body>' % number
    tail = b"</body></message>"
    data = head + b"x" * (size - len(head) - len(tail)) + tail
    return Stanza("message", NS_CLIENT, {"id": str(number)}, data)


class Kernel:
    """
    A sink with room for so many bytes.
    """

    holds = False

    def __init__(self) -> None:
        self.room = 1 << 30
        self.bytes = b""
        self.sends: list[int] = []
        self.finished = self.released = False

    def send(self, data: bytes | memoryview) -> int:
        """
        Take what there is room for.
        """
        taken = min(len(data), self.room)
        self.room -= taken
        self.bytes += bytes(data[:taken])
        self.sends.append(len(data))
        return taken

    def redirect(self, writable: Callable[[], object]) -> None:
        """
        Keep it.
        """
        self.writable = writable

    def finish(self) -> None:
        """
        Note it.
        """
        self.finished = True

    def release(self) -> None:
        """
        Note it.
        """
        self.released = True


class OutboxCase(TestCase):
    """
    An outbox with a bound of 1000 bytes over a kernel that is full.
    """

    room = 0

    def setUp(self) -> None:
        self.kernel = Kernel()
        self.kernel.room = self.room
        self.outbox = Outbox(self.kernel, 1000)

    def deliver(self, *stanzas: Stanza) -> None:
        """
        Put stanzas.
        """
        for stanza in stanzas:
            self.outbox.put(stanza.data, stanza)

    def drain(self, room: int = 1 << 30) -> None:
        """
        Let the kernel have room again.
        """
        self.kernel.room = room
        self.outbox.writable()


class PlainTests(OutboxCase):
    """
    Without TLS.
    """

    def test_atOnce(self) -> None:
        """
        With room nothing waits.
        """
        self.kernel.room = 1000
        self.deliver(message(1))
        self.assertEqual(self.kernel.bytes, message(1).data)
        self.assertTrue(self.outbox.isEmpty)
        self.assertEqual(self.outbox.take(), [])
        self.assertFalse(self.outbox.isCut)

    def test_order(self) -> None:
        """
        What waits goes out in order, stanzas and others.
        """
        self.deliver(message(1))
        self.outbox.put(b" other ")
        self.deliver(message(2))
        self.assertFalse(self.outbox.isEmpty)
        self.drain()
        self.assertEqual(self.kernel.bytes, message(1).data + b" other " + message(2).data)
        self.assertTrue(self.outbox.isEmpty)

    def test_nothing(self) -> None:
        """
        Nothing to send is not sent.
        """
        self.outbox.put(b"")
        self.assertEqual(self.kernel.sends, [])

    def test_bound(self) -> None:
        """
        So many bytes fit while others wait, and not one more.
        """
        self.deliver(message(1, 500))
        self.assertTrue(self.outbox.fits(500))
        self.assertFalse(self.outbox.fits(501))

    def test_boundOfEmpty(self) -> None:
        """
        Where nothing waits any stanza fits.
        """
        self.assertTrue(self.outbox.fits(1 << 24))

    def test_boundBehindGiant(self) -> None:
        """
        A stanza larger than the bound, taken because nothing waited, leaves the whole
        bound to what comes behind it; not to another one of its kind.
        """
        self.kernel.room = 100
        self.deliver(message(1, 5000))
        self.assertTrue(self.outbox.fits(1000))
        self.assertFalse(self.outbox.fits(1001))
        self.deliver(message(2, 400))
        self.assertTrue(self.outbox.fits(600))
        self.assertFalse(self.outbox.fits(601))
        self.drain()
        self.assertTrue(self.outbox.isEmpty)

    def test_boundCountsWhatWaits(self) -> None:
        """
        What the kernel has taken of a stanza no longer counts.
        """
        self.kernel.room = 100
        self.deliver(message(1, 500))
        self.assertEqual(self.outbox.size, 400)
        self.assertTrue(self.outbox.fits(600))
        self.assertFalse(self.outbox.fits(601))
        self.drain(300)
        self.assertEqual(self.outbox.size, 100)

    def test_redirect(self) -> None:
        """
        Whoever takes over has a bound of its own, and hears when there is room.
        """
        self.deliver(message(1))
        self.assertFalse(self.outbox.fits(951))
        self.outbox.redirect(self.outbox.writable, 1001)
        self.assertTrue(self.outbox.fits(951))
        self.assertFalse(self.outbox.fits(952))
        self.kernel.room = 1000
        self.kernel.writable()
        self.assertTrue(self.outbox.isEmpty)

    def test_batch(self) -> None:
        """
        Waiting stanzas leave together, up to a batch.
        """
        stanzas = [message(n, 1000) for n in range(40)]
        self.deliver(*stanzas)
        self.kernel.sends.clear()
        self.drain()
        self.assertEqual(self.kernel.sends, [16000, 16000, 8000])
        self.assertEqual(self.kernel.bytes, b"".join(stanza.data for stanza in stanzas))

    def test_large(self) -> None:
        """
        A stanza larger than a batch leaves in several.
        """
        self.deliver(message(1, MAX_RECORD_BYTES + 1))
        self.drain()
        self.assertEqual(self.kernel.sends[1:], [MAX_RECORD_BYTES, 1])

    def test_anyRoom(self) -> None:
        """
        However little room there is at a time, the bytes are the same.
        """
        stanzas = [message(n, 50 + n) for n in range(20)]
        self.deliver(*stanzas)
        while not self.outbox.isEmpty:
            self.drain(7)
        self.assertEqual(self.kernel.bytes, b"".join(stanza.data for stanza in stanzas))
        self.assertEqual(self.outbox.size, 0)

    def test_takeExact(self) -> None:
        """
        Wherever the kernel stops, each stanza is wholly taken by it or handed out, none
        both, and the stream is cut if and only if it stopped within one.
        """
        stanzas = [message(n) for n in range(4)]
        for room in range(201):
            self.setUp()
            self.deliver(*stanzas)
            self.drain(room)
            undelivered = self.outbox.take()
            self.assertEqual(undelivered, stanzas[room // 50 :])
            self.assertEqual(self.outbox.isCut, room % 50 != 0)
            self.assertTrue(self.outbox.isEmpty)

    def test_takeAtOnce(self) -> None:
        """
        So it is for a stanza that was put with some room.
        """
        self.kernel.room = 10
        self.deliver(message(1))
        self.assertEqual([stanza.attributes for stanza in self.outbox.take()], [{"id": "1"}])
        self.assertTrue(self.outbox.isCut)

    def test_takeOthers(self) -> None:
        """
        What is no stanza is forgotten.
        """
        self.outbox.put(b"other")
        self.deliver(message(1))
        self.assertEqual(len(self.outbox.take()), 1)
        self.drain()
        self.assertEqual(self.kernel.bytes, b"")

    def test_takeTwice(self) -> None:
        """
        Each is handed out once.
        """
        self.deliver(message(1))
        self.outbox.take()
        self.assertEqual(self.outbox.take(), [])

    def test_afterTake(self) -> None:
        """
        Between two stanzas the stream may go on to its end.
        """
        self.deliver(message(1))
        self.outbox.take()
        self.outbox.put(b"</stream:stream>")
        self.drain()
        self.assertEqual(self.kernel.bytes, b"</stream:stream>")

    def test_cut(self) -> None:
        """
        Within one it may not.
        """
        self.deliver(message(1))
        self.drain(10)
        self.outbox.take()
        self.outbox.put(b"</stream:stream>")
        self.drain()
        self.assertEqual(self.kernel.bytes, message(1).data[:10])

    def test_held(self) -> None:
        """
        A sink that holds bytes on their way cuts the stream likewise.
        """
        self.deliver(message(1))
        self.kernel.holds = True
        self.outbox.take()
        self.assertTrue(self.outbox.isCut)

    def test_sink(self) -> None:
        """
        The end goes to the sink.
        """
        self.outbox.finish()
        self.outbox.release()
        self.assertTrue(self.kernel.finished and self.kernel.released)


class TLSTests(OutboxCase):
    """
    With TLS.
    """

    room = 1 << 30

    def setUp(self) -> None:
        super().setUp()
        self.records = Records(SSL.Connection(serverContext(), None))
        self.client = TLSClient()

    def flow(self) -> None:
        """
        Let the client have what the kernel has.
        """
        data, self.kernel.bytes = self.kernel.bytes, b""
        answer = self.client.exchange(data)
        if answer:
            self.records.receive(answer)
            self.outbox.flush()

    def start(self) -> None:
        """
        Begin with TLS.
        """
        self.outbox.startTLS(self.records)
        self.shakeHands()

    def shakeHands(self) -> None:
        """
        Let the handshake run its course: three flights.
        """
        for _ in range(4):
            self.flow()
        self.assertTrue(self.records.established)

    def test_encrypted(self) -> None:
        """
        What is put goes out encrypted, with nothing left.
        """
        self.start()
        self.deliver(message(1), message(2))
        self.assertTrue(self.outbox.isEmpty)
        self.assertNotIn(b"message", self.kernel.bytes)
        self.flow()
        self.assertEqual(self.client.received, message(1).data + message(2).data)

    def test_handshakeFirst(self) -> None:
        """
        What is put during the handshake waits for its end.
        """
        self.outbox.startTLS(self.records)
        self.deliver(message(1))
        self.assertFalse(self.outbox.isEmpty)
        self.shakeHands()
        self.assertEqual(self.client.received, message(1).data)

    def test_exact(self) -> None:
        """
        Wherever the kernel stops, each stanza reaches the client or is handed out, none
        both.
        """
        stanzas = [message(n, 10000) for n in range(5)]
        for room in range(0, 52000, 3571):
            self.setUp()
            self.start()
            self.kernel.room = room
            self.deliver(*stanzas)
            undelivered = self.outbox.take()
            self.outbox.put(b"</stream:stream>")
            self.drain()
            self.flow()
            received = self.client.received.removesuffix(b"</stream:stream>")
            whole = received[: len(received) // 10000 * 10000]
            self.assertEqual(
                whole + b"".join(s.data for s in undelivered), b"".join(s.data for s in stanzas)
            )
            self.assertIsNone(self.client.failure)

    def test_cut(self) -> None:
        """
        After half a record nothing more is sent, for it could not be read.
        """
        self.start()
        self.kernel.room = 20
        self.deliver(message(1))
        self.assertEqual(len(self.outbox.take()), 1)
        self.assertTrue(self.outbox.isCut)
        self.outbox.put(b"more")
        self.drain()
        self.assertEqual(len(self.kernel.bytes), 20)

    def test_stuck(self) -> None:
        """
        TLS's own answers to a client that does not read are bounded.
        """
        self.start()
        self.kernel.room = 0
        self.deliver(message(1))
        self.outbox._control = b"x" * MAX_CONTROL_BYTES
        self.assertFalse(self.outbox.isStuck)
        self.outbox._control += b"x"
        self.assertTrue(self.outbox.isStuck)

    def test_again(self) -> None:
        """
        TLS that has begun does not begin anew: what waits stays what it is.
        """
        self.start()
        self.kernel.room = 10
        self.deliver(message(1))
        self.outbox.startTLS(self.records)
        self.kernel.room = 1000
        self.outbox.writable()
        self.flow()
        self.assertEqual(self.client.received, message(1).data)

    def test_control(self) -> None:
        """
        TLS's own bytes go behind what is on its way; they cut no stanza in two.
        """
        self.start()
        self.kernel.room = 20
        self.deliver(message(1))
        self.records.close()
        self.outbox.flush()
        self.drain()
        self.flow()
        self.assertEqual(self.client.received, message(1).data)
        self.assertTrue(self.client.ended)

    def test_failed(self) -> None:
        """
        What can no longer be encrypted stays undelivered.
        """
        self.start()
        self.records.close()
        self.deliver(message(1))
        self.assertTrue(self.outbox.isCut)
        self.assertEqual(len(self.outbox.take()), 1)
