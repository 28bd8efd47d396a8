# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.records}, of those that have a socket.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport

from cmanager.openssl import MAX_RECORD_BYTES
from cmanager.outbox import Outbox
from cmanager.records import Records, SocketRecords, recordsOn
from cmanager.stanza import Stanza
from tests.pollers import TransportCase, connected
from tests.properties import given, settings, st
from tests.test_outbox import message
from tests.test_records import TLSClient, serverContext
from tests.tlsforger import Forger


class SocketRecordsCase(TransportCase):
    """
    TLS on a socket of its own, with little room in it, spoken to by another.  A Unix socket's
    kernel does nothing by itself, later.

    @ivar plain: What the server's end has read.
    """

    family = socket.AF_UNIX
    room = 4608
    newest = SSL.TLS1_3_VERSION

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def start(self, client: TLSClient | None = None, context: SSL.Context | None = None) -> None:
        """
        Connect anew; nothing is said yet.
        """
        self.context = context or serverContext()
        self.context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        self.connect()
        self.client = client or TLSClient(newest=self.newest)
        handle: Any = self.transport.getHandle()
        for end in (handle, self.far.socket):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.room)
        self.plain: list[bytes] = []
        self.begin()

    def begin(self) -> None:
        """
        Hand over to TLS.
        """
        sock = self.transport.handOver()
        self.records = SocketRecords(SSL.Connection(self.context, sock), self.transport)
        self.outbox = Outbox(self.transport, 1000)
        self.outbox.redirect(self.outbox.writable, 1000)
        self.outbox.startTLS(self.records)
        self.protocol.does["data"] = self.receive

    def receive(self) -> None:
        """
        Read, and end as streams do.
        """
        plain = self.records.receive(b"")
        if plain:
            self.plain.append(plain)
        self.outbox.flush()
        if self.records.failure is not None:
            self.records.close()
            self.transport.loseConnection()

    def send(self, data: bytes) -> None:
        """
        Let the client send that, as it is, and the server read.
        """
        while data:
            data = data[self.far.send(data) :]
            self.reactor.turn()

    def exchange(self, data: bytes = b"") -> None:
        """
        Let the client send that, and both answer as long as they have anything to say.
        """
        self.send(data)
        while True:
            isDone = not self.reactor.turn()
            got = self.far.read()
            answer = self.client.exchange(got)
            self.send(answer)
            if isDone and not got and not answer:
                return

    def drained(self) -> bytes:
        """
        Return all that there is for the client.
        """
        wire = b""
        while True:
            isDone = not self.reactor.turn()
            got = self.far.read()
            wire += got
            if isDone and not got:
                return wire

    def deliver(self, *stanzas: Stanza) -> None:
        """
        Put stanzas.
        """
        for stanza in stanzas:
            self.outbox.put(stanza.data, stanza)

    def cutOff(self) -> None:
        """
        End it where half a record stands.
        """
        self.records.close()
        self.outbox.finish()

    @property
    def failure(self) -> str | None:
        """
        Why it cannot go on.
        """
        return self.records.failure

    def exactly(self, stanzas: list[Stanza], reads: list[int], *, isHasty: bool = False) -> None:
        """
        Deliver C{stanzas} to a client that reads so much, and take back what can be had.

        @param isHasty: Not the poller says when there is room.
        """
        self.client.received = b""
        wire = b""
        for stanza in stanzas:
            self.deliver(stanza)
        for size in reads:
            wire += self.far.read(size)
            if isHasty:
                self.outbox.writable()
            self.reactor.turn()
        undelivered = self.outbox.take()
        self.deliver(message(99))
        if self.outbox.isCut:
            self.cutOff()
        wire += self.drained()
        self.assertEqual(bool(self.far.ended), self.outbox.isCut)
        self.client.exchange(wire)
        if not self.outbox.isCut:
            self.assertTrue(self.client.received.endswith(message(99).data))
            self.client.received = self.client.received[:-50]
        whole = stanzas[: len(stanzas) - len(undelivered)]
        self.assertEqual(undelivered, stanzas[len(whole) :])
        text = b"".join(stanza.data for stanza in whole)
        if undelivered:
            # Of one that was handed out the client may have the first records.
            rest = self.client.received[len(text) :]
            self.assertTrue(undelivered[0].data.startswith(rest))
            self.assertLess(len(rest), len(undelivered[0].data))
            self.assertTrue(self.outbox.isCut or not rest)
        self.assertEqual(self.client.received[: len(text)], text)
        self.assertIsNone(self.client.failure)


class SocketRecordsTests(SocketRecordsCase):
    """
    The same as of records in memory, and what only sockets have.
    """

    def test_handshake(self) -> None:
        """
        After the handshake the end is established, and not before.
        """
        self.assertIs(self.records.description(), None)
        self.exchange()
        found = self.records.description()
        assert found is not None
        self.assertEqual(found.version, {772: "TLSv1.3", 771: "TLSv1.2"}[self.newest])
        self.assertEqual(self.plain, [])
        self.assertEqual(self.records.receive(b""), b"")

    def test_byteByByte(self) -> None:
        """
        It does not matter how the bytes are split.
        """
        data = self.client.exchange()
        while data:
            for n in range(len(data)):
                self.send(data[n : n + 1])
            data = self.client.exchange(self.far.read())
        self.assertTrue(self.records.established)

    def test_receive(self) -> None:
        """
        Records are read one at a time, however many have come, and counted.
        """
        self.exchange()
        text = bytes(range(256)) * 400
        amounts = []
        read = self.protocol.does["data"]

        def reading() -> None:
            read()
            amounts.append(self.records.amount)

        self.protocol.does["data"] = reading
        self.exchange(self.client.send(text))
        self.assertEqual(b"".join(self.plain), text)
        self.assertEqual(max(map(len, self.plain)), MAX_RECORD_BYTES)
        self.assertGreaterEqual(sum(amounts), len(text) + len(self.plain) * 22)
        self.assertEqual(self.records.outgoing(), b"")

    def test_behindHandshake(self) -> None:
        """
        What the client sends right behind its handshake is read.
        """
        data = self.client.exchange()
        while not self.records.established:
            self.send(data)
            data = self.client.exchange(self.far.read())
            with contextlib.suppress(SSL.Error):
                data += self.client.send(b"hello")
        self.send(data)
        self.settle()
        self.assertEqual(set(self.plain), {b"hello"})

    def test_waiting(self) -> None:
        """
        What is put during the handshake goes out when that is done, without anything more
        from the client.
        """
        self.deliver(message(1), message(2))
        self.assertFalse(self.outbox.isEmpty)
        self.outbox.redirect(self.outbox.writable, 1000)
        self.exchange()
        self.assertEqual(self.client.received, message(1).data + message(2).data)
        self.assertTrue(self.outbox.isEmpty)
        self.assertFalse(self.outbox.take() or self.outbox.isCut)

    def test_large(self) -> None:
        """
        A stanza of many records goes out as there is room, and others behind it.
        """
        self.exchange()
        stanzas = [message(1, 100000), message(2), message(3, 40000)]
        self.deliver(*stanzas)
        self.assertTrue(self.records.holds)
        self.exchange()
        self.assertEqual(self.client.received, b"".join(stanza.data for stanza in stanzas))
        self.assertTrue(self.outbox.isEmpty)
        self.assertFalse(self.records.holds)

    def test_bothWays(self) -> None:
        """
        With half a record on its way out, records come in.
        """
        self.exchange()
        self.deliver(message(1, 50000))
        self.send(self.client.send(b"hello"))
        self.reactor.settle()
        self.assertEqual(self.plain, [b"hello"])
        self.deliver(message(2))
        self.exchange()
        self.assertEqual(self.client.received, message(1, 50000).data + message(2).data)

    def test_exact(self) -> None:
        """
        Wherever the kernel stops, each stanza reaches the client or is handed out, none
        both, and the stream is cut if that was within a record.
        """
        for size in range(900, 30000, 1877):
            for reads in (0, 1, 3):
                self.start()
                self.exchange()
                self.exactly([message(n, size) for n in range(40)], [5000] * reads)

    @settings(max_examples=60)
    @given(
        st.lists(st.integers(50, 40000), min_size=1, max_size=12),
        st.lists(st.integers(1, 40000), max_size=6),
    )
    def test_exactProperty(self, sizes: list[int], reads: list[int]) -> None:
        """
        Whatever their sizes, and however much is read meanwhile.
        """
        self.start()
        self.exchange()
        self.exactly([message(n, size) for n, size in enumerate(sizes)], reads)

    def test_peerEnds(self) -> None:
        """
        The peer's end is noted, once; what stands behind it is of no use, and read.
        """
        self.exchange()
        data = self.client.send(b"last")
        self.client.connection.shutdown()
        self.exchange(data + self.client.connection.bio_read(1000))
        self.assertEqual((self.plain, self.records.ended), ([b"last"], True))
        self.send(b"garbage" * 10000)
        self.settle()
        self.deliver(message(1))
        self.assertTrue(self.outbox.isEmpty)
        self.assertEqual(self.protocol.events, ["made"])
        self.far.socket.close()
        self.settle()
        self.assertEqual(self.plain, [b"last"])
        self.assertEqual(self.protocol.events, ["made", "lost"])

    def test_cutOff(self) -> None:
        """
        The end of the connection is its end, without the peer's word or with half a record.
        """
        for data in (b"", self.client.exchange()[:9]):
            self.start()
            self.send(data)
            self.far.socket.close()
            self.settle()
            self.assertLost(ConnectionDone)
        for half in (False, True):
            self.start()
            self.exchange()
            if half:
                self.send(self.client.send(b"hello")[:-1])
            self.far.socket.close()
            self.settle()
            self.assertLost(ConnectionDone)
            self.assertEqual((self.plain, self.records.failure), ([], None))
            self.assertFalse(self.records.ended)

    def test_close(self) -> None:
        """
        C{close} tells the peer.
        """
        self.exchange()
        self.deliver(message(1))
        self.records.close()
        self.exchange()
        self.assertEqual(self.client.received, message(1).data)
        self.assertTrue(self.client.ended)
        late = message(2)
        self.deliver(late)
        self.assertEqual(self.outbox.take(), [late])
        self.settle()

    def test_closeFull(self) -> None:
        """
        Where there is no room for that, it can be told again.
        """
        self.exchange()
        handle, size = self.transport.getHandle(), 0
        with contextlib.suppress(BlockingIOError):
            while True:
                size += handle.send(b"x")
        self.assertFalse(self.records.close())
        self.assertFalse(self.records.close())
        wire = self.drained()
        self.assertEqual(wire, b"x" * size)
        self.assertTrue(self.records.close())
        self.exchange()
        self.assertTrue(self.client.ended)

    def test_closeEarly(self) -> None:
        """
        Before the handshake is done there is nothing to tell; nor with half a record on its
        way, which could not be read then.
        """
        self.records.close()
        self.exchange()
        self.deliver(message(1, 50000))
        self.records.close()
        self.exchange()
        self.assertEqual(self.client.received, message(1, 50000).data)
        self.assertFalse(self.client.ended)

    def test_garbage(self) -> None:
        """
        What is not TLS is a failure; the client finds the end, and where it has spoken TLS
        at all an alert that says so, however much else it has sent.
        """
        for data, isTLS in (
            (b"<stream:stream to='a.example'>", False),
            (b"GET / HTTP/1.1\r\n" * 2000, False),
            (b"\x16\x03\x01\0\x04what" * 2000, True),
        ):
            self.start()
            self.far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self.send(data)
            self.settle()
            self.assertIsNotNone(self.records.failure)
            self.assertLost(ConnectionDone)
            self.client.exchange(self.far.read())
            self.assertIs(self.far.ended, True)
            self.assertTrue(self.client.failure is not None or not isTLS)

    def test_damaged(self) -> None:
        """
        Good records before a damaged one are read; then it has failed, and an alert says so.
        """
        self.exchange()
        good, bad = self.client.send(b"good"), bytearray(self.client.send(b"bad"))
        bad[-1] ^= 1
        self.send(good + bytes(bad) + b"more")
        self.settle()
        self.assertEqual(self.plain, [b"good"])
        self.assertIn("bad record mac", str(self.records.failure))
        self.client.exchange(self.far.read())
        self.assertIn("bad record mac", str(self.client.failure))
        self.assertIs(self.far.ended, True)
        # Nothing more is read or sent.
        self.assertEqual((self.records.receive(b""), self.records.send(b"x")), (b"", 0))
        self.records.close()

    def test_alert(self) -> None:
        """
        The client's own alert is a failure, in the handshake and later.
        """
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_verify(SSL.VERIFY_PEER, lambda *args: False)
        context.set_max_proto_version(self.newest)
        self.start(TLSClient(context=context))
        self.exchange()
        self.assertIsNotNone(self.records.failure)
        self.assertLost(ConnectionDone)

    def test_failedStays(self) -> None:
        """
        While somebody holds on to what has failed, what comes is read for the end behind it.
        """
        self.protocol.does["data"] = lambda: self.plain.append(self.records.receive(b""))
        self.send(b"garbage" * 5000)
        self.settle()
        self.assertEqual(set(self.plain), {b""})
        self.deliver(message(1))
        self.settle()
        self.far.socket.close()
        self.settle()
        self.assertEqual(self.protocol.events, ["made", "lost"])

    def test_noCommonProtocol(self) -> None:
        """
        An ALPN callback that refuses ends the handshake with an alert.
        """
        client = TLSClient(alpn=[b"h2"], newest=self.newest)
        self.start(client, serverContext(alpn=True))
        self.exchange()
        self.assertIn("application protocols", str(self.records.failure))
        self.assertIn("no application protocol", str(client.failure))

    def test_fullBefore(self) -> None:
        """
        A handshake whose answer there is no room for waits until there is some, even if it
        is paused meanwhile.
        """
        for isPaused in (False, True):
            self.start()
            while self.transport.send(b"x" * 10000) == 10000:
                pass
            self.begin()
            self.far.socket.send(self.client.exchange())
            self.settle()
            if isPaused:
                self.transport.pauseProducing()
            wire = self.drained()
            self.transport.resumeProducing()
            wire += self.drained()
            self.send(self.client.exchange(wire.lstrip(b"x")))
            self.exchange()
            self.assertTrue(self.records.established)

    def test_lost(self) -> None:
        """
        Once the connection is lost, in a handshake or later, nothing goes to its socket's
        number, which is another's by then.
        """
        for isEstablished in (False, True):
            self.start()
            if isEstablished:
                self.exchange()
            else:
                self.send(self.client.exchange())
            number = self.transport.getHandle().fileno()
            self.transport.abortConnection()
            self.settle()
            others = connected(socket.AF_UNIX)
            for other in others:
                self.addCleanup(other.close)
            self.assertIn(number, [other.fileno() for other in others])
            for other in others:
                other.send(b"theirs")
            self.assertEqual(self.records.receive(b""), b"")
            self.assertEqual(self.records.send(b"x"), 0)
            late = message(1)
            self.deliver(late)
            self.records.close()
            self.outbox.finish()
            self.outbox.release()
            taken = self.outbox.take()
            self.outbox.forget()
            self.assertIs(self.records.description(), None)
            self.outbox.put(b"x")
            self.assertEqual(self.records.receive(b""), b"")
            self.assertEqual([other.recv(100) for other in others], [b"theirs"] * 2)
            self.assertEqual(taken, [late])

    def test_broken(self) -> None:
        """
        What cannot be sent, since the peer is gone, can be had back, and it is lost then.
        """
        self.exchange()
        stanzas = [message(1, 50000), message(2)]
        self.deliver(stanzas[0])
        self.transport.pauseProducing()
        self.far.socket.close()
        self.deliver(stanzas[1])
        self.settle()
        self.assertEqual(self.outbox.take(), stanzas)
        self.assertEqual(self.protocol.events, ["made", "lost"])

    def test_aborted(self) -> None:
        """
        What is put into a connection that has been given up can be had back.
        """
        self.exchange()
        self.transport.abortConnection()
        late = message(1)
        self.deliver(late)
        self.settle()
        self.assertEqual(self.outbox.take(), [late])

    def test_brokenUnread(self) -> None:
        """
        When sending has failed it is lost, even if it is not read.
        """
        self.exchange()
        self.deliver(message(1, 50000))
        self.transport.pauseProducing()
        self.far.socket.send(self.client.send(b"hello"))
        self.far.socket.close()
        self.settle()
        self.assertLost(ConnectionLost)
        self.assertIs(self.records.failure, None)

    def test_smaller(self) -> None:
        """
        A client that wants smaller records gets those, and it is known of each whether it was
        taken.
        """
        connection: Any = None

        class Small:
            pending = done = 0

            def __getattr__(self, name: str) -> Any:
                return getattr(connection, name)

            def send(self, data: bytes) -> int:
                # What OpenSSL does: one record, but more behind one that was on its way.
                while True:
                    wasPending = self.pending
                    part = data[self.done : self.done + (self.pending or 512)]
                    self.pending = len(part)
                    self.done += connection.send(part)
                    self.pending = 0
                    if not wasPending or self.done == len(data):
                        done, self.done = self.done, 0
                        return done

        small: Any
        for reads in range(1, 9):
            self.start()
            self.exchange()
            connection, small = self.records.connection, Small()
            self.records.connection = small
            self.exactly([message(n, 600) for n in range(60)], [600] * reads, isHasty=True)

    def test_redirect(self) -> None:
        """
        Somebody else can be told of room, and whoever has let go is not.
        """
        self.exchange()
        told: list[str] = []
        for isReleased in (False, True):
            self.records.redirect(lambda: told.append("room"))
            while self.records.send(b"x" * 10000) == 10000:
                pass
            if isReleased:
                self.records.release()
            self.drained()
        self.assertEqual(told, ["room"])

    def test_reset(self) -> None:
        """
        A reset is no end.
        """
        self.exchange()
        # With something unread a Unix socket's end is a reset.
        self.deliver(message(1))
        self.far.socket.close()
        self.settle()
        self.assertLost(ConnectionLost)

    def test_recordsOn(self) -> None:
        """
        TLS has the socket of a transport of ours, as long as that is there, and memory on
        any other.
        """

        class Creator:
            def connection(self, sock: Any) -> SSL.Connection:
                return SSL.Connection(serverContext(), sock)

        creator: Any = Creator()
        self.assertIs(type(recordsOn(self.transport, creator)), SocketRecords)
        self.transport.abortConnection()
        self.settle()
        for transport in (self.transport, StringTransport()):
            self.assertIs(type(recordsOn(transport, creator)), Records)


class SocketRecords12Tests(SocketRecordsTests):
    """
    The same in TLS 1.2.
    """

    newest = SSL.TLS1_2_VERSION


class ForgedTests(SocketRecordsCase):
    """
    What no library would send.
    """

    def setUp(self) -> None:
        super().setUp()
        self.forger = Forger()
        self.start(TLSClient(context=self.forger.context))
        self.exchange()
        self.reads = 0
        read = self.protocol.does["data"]

        def reading() -> None:
            read()
            self.reads += 1
            self.amount += self.records.amount

        self.amount = 0
        self.protocol.does["data"] = reading

    def test_plain(self) -> None:
        """
        A forged record is as good as any.
        """
        self.send(self.forger.record(b"hello"))
        self.assertEqual(self.plain, [b"hello"])

    def test_updates(self) -> None:
        """
        Of new keys, too, one is read at a time, and each counts: a client that sends nothing
        else keeps nobody else waiting.
        """
        handle: Any = self.far.socket
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        data = b"".join(self.forger.keyUpdate(isRequest=False) for _ in range(100))
        handle.send(data + self.forger.record(b"hello"))
        self.settle()
        self.assertEqual(self.plain, [b"hello"])
        self.assertGreaterEqual(self.reads, 101)
        self.assertGreaterEqual(self.amount, 100 * 22)

    def test_answers(self) -> None:
        """
        One that asks for new keys and does not read them is read no more, until it does;
        what is waiting for it, and what it sends behind, is not lost.
        """
        self.far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        data = b"".join(self.forger.keyUpdate(isRequest=True) for _ in range(1000))
        self.far.socket.send(data + self.forger.record(b"hello"))
        self.settle()
        self.assertEqual(self.plain, [])
        self.assertLess(self.reads, 1000)
        self.deliver(message(1, 20000), message(2))
        self.client.exchange(self.drained())
        self.assertEqual(self.client.received, message(1, 20000).data + message(2).data)
        self.assertEqual(self.plain, [b"hello"])

    def test_answerBehindHalf(self) -> None:
        """
        With half a record on its way new keys are for the next one.
        """
        self.deliver(message(1, 50000))
        self.assertTrue(self.records.holds)
        self.send(self.forger.keyUpdate(isRequest=True) + self.forger.record(b"hello"))
        self.settle()
        self.deliver(message(2))
        self.client.exchange(self.drained())
        self.assertEqual(self.client.received, message(1, 50000).data + message(2).data)
        self.assertEqual(self.plain, [b"hello"])

    def test_answerBehindHalfAgain(self) -> None:
        """
        Whoever asks for new keys and then has some of its own, all while it does not read, asks
        too much of OpenSSL; what it was to be sent can be had back.
        """
        late = message(1, 50000)
        self.deliver(late)
        for isRequest in (True, False):
            self.send(self.forger.keyUpdate(isRequest=isRequest))
            self.settle()
        self.assertEqual(self.records.failure, "bad length")
        self.assertEqual(self.outbox.take(), [late])
        self.assertLost(ConnectionDone)

    def test_nothing(self) -> None:
        """
        Records with nothing in them count, and do not last.
        """
        for _ in range(32):
            self.far.send(self.forger.record(b""))
            self.settle()
        self.assertGreaterEqual(self.amount, 32 * 22)
        self.assertEqual(self.plain, [])

    @settings(max_examples=150)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("deliver"), st.integers(50, 40000)),
                st.tuples(st.just("read"), st.integers(1, 40000)),
                st.tuples(st.sampled_from(("say", "update", "ask", "pause", "resume")), st.just(0)),
            ),
            max_size=30,
        ),
        st.booleans(),
    )
    def test_anyOrder(self, steps: list[tuple[str, int]], isTaken: bool) -> None:
        """
        In whatever order keys change, either end speaks, and is read or not, each gets
        all that the other has said, or the beginning of what is not handed out.  After one
        request for new keys no others come, as above.
        """
        self.forger = Forger()
        self.start(TLSClient(context=self.forger.context))
        self.exchange()
        self.far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        stanzas: list[Stanza] = []
        wire, said, isAsked = b"", 0, False
        for what, size in steps:
            if what == "deliver":
                stanzas.append(message(len(stanzas), size))
                self.deliver(stanzas[-1])
            elif what == "read":
                wire += self.far.read(size)
            elif what == "say":
                said += 1
                self.far.socket.send(self.forger.record(b"%d," % said))
            elif what == "pause":
                self.transport.pauseProducing()
            elif what == "resume":
                self.transport.resumeProducing()
            elif not isAsked:
                isAsked = what == "ask"
                self.far.socket.send(self.forger.keyUpdate(isRequest=isAsked))
            self.settle()
        undelivered = self.outbox.take() if isTaken else []
        if self.outbox.isCut:
            self.outbox.finish()
        self.transport.resumeProducing()
        wire += self.drained()
        self.client.exchange(wire)
        self.assertEqual((self.client.failure, self.failure), (None, None), steps)
        if not self.outbox.isCut:
            self.assertEqual(b"".join(self.plain), b"".join(b"%d," % n for n in range(1, said + 1)))
        whole = stanzas[: len(stanzas) - len(undelivered)]
        self.assertEqual(undelivered, stanzas[len(whole) :])
        text, got = b"".join(stanza.data for stanza in whole), self.client.received
        rest = got[len(text) :]
        self.assertEqual(got[: len(text)], text, steps)
        if undelivered:
            self.assertTrue(undelivered[0].data.startswith(rest))
            self.assertLess(len(rest), len(undelivered[0].data))
        else:
            self.assertEqual(rest, b"")
