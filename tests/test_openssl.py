# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.openssl}; what becomes of messages of TLS itself is tested with
L{cmanager.records}.
"""

from __future__ import annotations

import contextlib
import socket

from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.trial.unittest import SynchronousTestCase

from cmanager.openssl import MAX_RECORD_BYTES, move, prepare, receive, send, shutdown
from tests.test_records import serverContext


def pair(room: int = 1 << 20) -> tuple[SSL.Connection, SSL.Connection, socket.socket]:
    """
    Return a server's and a client's end, on sockets that do not block, with the handshake done,
    and the client's socket.
    """
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    server = SSL.Connection(serverContext(), ends[0])
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), ends[1])
    server.set_accept_state()
    client.set_connect_state()
    waiting = [client, server]
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except SSL.WantReadError:
            waiting.append(end)
    return server, client, ends[1]


class OpenSSLTests(SynchronousTestCase):
    """
    What does the same as pyOpenSSL's own C{recv} and C{send}.
    """

    def setUp(self) -> None:
        self.server, self.client, self.far = pair()

    def settle(self) -> None:
        """
        Let the client read the server's tickets.
        """
        with self.assertRaises(SSL.WantReadError):
            self.client.recv(1)

    def test_receive(self) -> None:
        """
        One record is returned at a time, whatever its size.
        """
        for text in (b"x", b"y" * MAX_RECORD_BYTES, bytes(range(256))):
            self.client.send(text)
        received = [receive(self.server) for _ in range(3)]
        self.assertEqual(received, [b"x", b"y" * MAX_RECORD_BYTES, bytes(range(256))])

    def test_nothing(self) -> None:
        """
        Where nothing has come, that is raised.
        """
        with self.assertRaises(SSL.WantReadError):
            receive(self.server)

    def test_end(self) -> None:
        """
        The peer's end is raised behind what came before.
        """
        self.client.send(b"last")
        self.client.shutdown()
        self.assertEqual(receive(self.server), b"last")
        with self.assertRaises(SSL.ZeroReturnError):
            receive(self.server)

    def test_cut(self) -> None:
        """
        An end without a word is raised as pyOpenSSL does.
        """
        self.client.sock_shutdown(socket.SHUT_RDWR)
        with self.assertRaises(SSL.SysCallError) as caught:
            receive(self.server)
        self.assertEqual(caught.exception.args, (-1, "Unexpected EOF"))

    def test_garbage(self) -> None:
        """
        What is no record is an error of TLS.
        """
        self.far.send(b"<presence/>")
        with self.assertRaises(SSL.Error) as caught:
            receive(self.server)
        self.assertNotIsInstance(caught.exception, SSL.SysCallError)

    def test_send(self) -> None:
        """
        What is sent arrives, whether of bytes or of a view.
        """
        self.settle()
        self.assertEqual(send(self.server, b"bytes"), 5)
        self.assertEqual(send(self.server, memoryview(b"a view")), 6)
        self.assertEqual([self.client.recv(100), self.client.recv(100)], [b"bytes", b"a view"])

    def test_full(self) -> None:
        """
        Where there is no room, that is raised; the same, offered again, arrives once, wherever
        it is by then.
        """
        server, client, _ = pair(4608)
        # As older pyOpenSSL leaves it.
        lib.SSL_clear_mode(server._ssl, lib.SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        prepare(server)
        data = bytes(range(256)) * 64
        with self.assertRaises(SSL.WantWriteError):
            send(server, data)
        taken, received = 0, b""
        while not taken:
            with contextlib.suppress(SSL.WantReadError):
                received += client.recv(len(data))
            with contextlib.suppress(SSL.WantWriteError):
                taken = send(server, bytes(bytearray(data)))
        while len(received) < len(data):
            received += client.recv(len(data))
        self.assertEqual((taken, received), (len(data), data))

    def test_reset(self) -> None:
        """
        Of what a socket had to say nothing is left for the next connection.
        """
        for act in (receive, lambda server: send(server, b"x"), shutdown):
            server, _, far = pair()
            # What it has not read makes it a reset.
            far.close()
            with self.assertRaises(SSL.SysCallError) as caught:
                act(server)
            self.assertGreater(caught.exception.args[0], 0)
            self.assertEqual(lib.ERR_peek_error(), 0)

    def test_sendAfterEnd(self) -> None:
        """
        Behind our own end nothing can be sent.
        """
        self.server.shutdown()
        with self.assertRaises(SSL.Error):
            send(self.server, b"late")


class MoveTests(SynchronousTestCase):
    """
    From memory to a socket.
    """

    def test_moved(self) -> None:
        """
        What was made for memory goes on with a socket; nothing is left in memory.
        """
        ends = socket.socketpair()
        for end in ends:
            self.addCleanup(end.close)
            end.setblocking(False)
        connection = SSL.Connection(serverContext(), None)
        move(connection, ends[0])
        connection.set_accept_state()
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), ends[1])
        client.set_connect_state()
        for end in (client, connection, client):
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
        client.send(b"hello")
        connection.do_handshake()
        self.assertEqual(receive(connection), b"hello")
        self.assertEqual(connection.fileno(), ends[0].fileno())
        with self.assertRaises(TypeError):
            connection.bio_read(1)
