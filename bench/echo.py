# Copyright the cmanager authors.
# See LICENSE for details.

"""
What says back whatever it is told, for L{bench.farend}, as cheaply as that can be done.
"""

from __future__ import annotations

import selectors
import socket
from typing import TYPE_CHECKING

from bench.clients import stanza
from bench.web import KEY, MASK, NAMESPACE, textFrame
from cmanager.upgrade import UpgradeRequest, accepted

if TYPE_CHECKING:
    from bench.farend import FarEnd

READ_BYTES = 262144


class Echo:
    """
    One accepted connection.
    """

    def __init__(self, end: FarEnd, sock: socket.socket) -> None:
        self.end = end
        self.sock = sock
        self.pending = b""
        self.unread = b""

    def readable(self) -> None:
        """
        Read what has come.
        """
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.received(data)
        else:
            self.end.selector.unregister(self.sock)
            self.sock.close()

    def received(self, data: bytes) -> None:
        """
        Say it back.
        """
        self.send(data)

    def send(self, data: bytes) -> None:
        """
        Send C{data}, or what the socket takes of it now.
        """
        if self.pending:
            self.pending += data
            return
        try:
            taken = self.sock.send(data) if data else 0
        except BlockingIOError:
            taken = 0
        if taken < len(data):
            self.pending = data[taken:]
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self.end.selector.modify(self.sock, both, self)

    def writable(self) -> None:
        """
        Send what waits.
        """
        data, self.pending = self.pending, b""
        self.end.selector.modify(self.sock, selectors.EVENT_READ, self)
        self.send(data)


class WebSocketEcho(Echo):
    """
    A WebSocket: the frames of a client are masked, and those to it are not.
    """

    def __init__(self, end: FarEnd, sock: socket.socket) -> None:
        super().__init__(end, sock)
        message = stanza(end.domain, NAMESPACE)
        self.frame = textFrame(message, b"")
        self.size = len(textFrame(message, MASK))
        self.isOpen = False

    def received(self, data: bytes) -> None:
        """
        See L{Echo.received}.
        """
        data = self.unread + data
        if not self.isOpen:
            if b"\r\n\r\n" in data:
                self.isOpen = True
                self.send(accepted(UpgradeRequest(b"", [(b"sec-websocket-key", KEY.encode())])))
                data = b""
        elif count := len(data) // self.size:
            # They are all alike.
            data = data[count * self.size :]
            self.send(self.frame * count)
        self.unread = data


class BOSHEcho(Echo):
    """
    A server that answers each request at once.
    """

    def __init__(self, end: FarEnd, sock: socket.socket) -> None:
        super().__init__(end, sock)
        body = b'<body xmlns="http://jabber.org/protocol/httpbind">%s</body>'
        body %= stanza(end.domain, NAMESPACE)
        self.answer = (
            b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n"
            b"Content-Type: text/xml; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s"
        ) % (len(body), body)

    def received(self, data: bytes) -> None:
        """
        See L{Echo.received}.
        """
        self.unread += data
        if count := self.unread.count(b"</body>"):
            self.unread = self.unread[self.unread.rindex(b"</body>") + len(b"</body>") :]
            self.send(self.answer * count)
