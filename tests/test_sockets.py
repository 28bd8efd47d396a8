# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.sockets}.
"""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from cmanager.sockets import Socket, addressOf
from tests.pollers import connected


class AddressTests(SynchronousTestCase):
    """
    Names, as the kernel has them.
    """

    def test_internet(self) -> None:
        """
        Those of both versions of IP have a port; scopes stay in the text.
        """
        self.assertEqual(addressOf(("192.0.2.1", 4711)), IPv4Address("TCP", "192.0.2.1", 4711))
        name = ("fe80::1%eth0", 4711, 7, 3)
        self.assertEqual(addressOf(name), IPv6Address("TCP", "fe80::1%eth0", 4711, 7, 3))

    def test_unix(self) -> None:
        """
        A Unix socket has a path, or a name that is none, or, as clients', nothing.
        """
        self.assertEqual(addressOf("/run/x"), UNIXAddress("/run/x"))
        self.assertEqual(addressOf(b"\0x"), UNIXAddress(b"\0x"))
        for none in ("", b"", None):
            self.assertIs(addressOf(none).name, None)  # type: ignore[attr-defined]  # UNIXAddress


class SocketTests(SynchronousTestCase):
    """
    What can be asked of a connection.
    """

    def connect(self, family: int) -> Socket:
        """
        Connect one.
        """
        sock, self.far = connected(family)
        self.addCleanup(self.far.close)
        self.addCleanup(sock.close)
        peer = "" if family == socket.AF_UNIX else self.far.getsockname()
        return Socket(sock, peer)

    def test_addresses(self) -> None:
        """
        Both ends' addresses are known, the peer's even when it is gone.
        """
        one = self.connect(socket.AF_INET)
        port, peer = one.getHandle().getsockname()[1], self.far.getsockname()[1]  # type: ignore[union-attr]  # it is there
        self.assertEqual(one.getHost(), IPv4Address("TCP", "127.0.0.1", port))
        self.assertEqual(one.getPeer(), IPv4Address("TCP", "127.0.0.1", peer))
        one.socket.close()  # type: ignore[union-attr]  # it is there
        one.socket = None
        self.assertEqual(one.getPeer(), IPv4Address("TCP", "127.0.0.1", peer))
        self.assertEqual(one.getHost(), UNIXAddress(None))
        self.assertIs(one.getHandle(), None)

    def test_unix(self) -> None:
        """
        A Unix socket knows its path, and its client has none.  Options of TCP do not matter
        to it.
        """
        path = str(Path("/tmp") / f"cmanager-{id(self)}")  # mktemp is too long for a socket
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(path)
        self.addCleanup(Path(path).unlink)
        listening.listen()
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(path)
        sock, peer = listening.accept()
        self.addCleanup(sock.close)
        one = Socket(sock, peer)
        self.assertEqual(one.getHost(), UNIXAddress(path))
        self.assertEqual(one.getPeer(), UNIXAddress(None))
        one.setTcpNoDelay(True)

    def test_options(self) -> None:
        """
        Options are the socket's, and there are none without one.
        """
        one = self.connect(socket.AF_INET)
        for enabled in (True, False, True):
            one.setTcpNoDelay(enabled)
            one.setTcpKeepAlive(enabled)
            self.assertIs(one.getTcpNoDelay(), enabled)
            self.assertIs(one.getTcpKeepAlive(), enabled)
        sock, one.socket = one.socket, None
        one.setTcpNoDelay(True)
        one.setTcpKeepAlive(True)
        self.assertFalse(one.getTcpNoDelay() or one.getTcpKeepAlive())
        assert sock is not None
        sock.close()
        # Whose descriptor is gone without our doing takes no options, and that is all.
        one.socket = sock
        one.setTcpNoDelay(True)
