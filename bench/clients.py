# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a client of a measurement says, and a client over TCP or TLS that says it.
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections import deque
from typing import Any

STANZA_BYTES = 200
END_TAG = b"</message>"
CONNECT_SECONDS = 120.0
IP_BIND_ADDRESS_NO_PORT = 24
"""
Of Linux; C{socket} has it from Python 3.12 on.
"""
READ_BYTES = 65536
HEADER = (
    '<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams"'
    ' to="{domain}" version="1.0">'
)
AUTH = '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="SCRAM-SHA-1">{response}</auth>'
BIND = '<iq type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>'


def stanza(domain: str, namespace: str = "") -> bytes:
    """
    Return a message of L{STANZA_BYTES}.

    @param namespace: An attribute that declares it, where nothing around does.
    """
    frame = (
        f'<message{namespace} to="juliet@{domain}/r" type="chat" id="m"><body>%s</body></message>'
    )
    return (frame % ("x" * (STANZA_BYTES - len(frame) + 2))).encode()


def auth(name: str) -> str:
    """
    Return the element by which somebody logs in.
    """
    return AUTH.format(response=base64.b64encode(f"\0{name}\0password".encode()).decode())


def connect(plan: dict[str, Any]) -> socket.socket:
    """
    Return a connection, made blocking.
    """
    sock = socket.socket()
    sock.settimeout(CONNECT_SECONDS)
    # Otherwise bind() itself looks for a port, and among thousands it looks for long.
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((plan["source"], 0))
    sock.connect((plan["host"], plan["port"]))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Session:
    """
    One client, over a connection of its own.

    @ivar sent: When each of the stanzas that are on their way was due.
    """

    def __init__(self, sock: socket.socket, plan: dict[str, Any]) -> None:
        self.sock = sock
        self.domain: str = plan["domain"]
        self.sent: deque[float] = deque()
        self.unread = b""
        self.isResumed = False
        self.stanza = stanza(self.domain)

    def open(self, isLogin: bool) -> None:
        """
        Do what comes before the first stanza; blocking.

        @param isLogin: Log in; otherwise there is nobody to log in to.
        """
        if isLogin:
            header = HEADER.format(domain=self.domain)
            self.talk(header, b"</stream:features>")
            self.talk(auth("user"), b"<success")
            self.talk(header, b"</stream:features>")
            self.talk(BIND, b"<jid>")

    def talk(self, data: str, until: bytes) -> None:
        """
        Say C{data} and read up to C{until}; blocking.
        """
        self.sock.sendall(data.encode())
        self.until(until)

    def until(self, wanted: bytes) -> bytes:
        """
        Return what comes, up to when C{wanted} is in it.
        """
        read = b""
        while wanted not in read:
            try:
                more = self.sock.recv(READ_BYTES)
            except TimeoutError:
                more = b""
            if not more:
                raise ConnectionError(f"no {wanted!r} behind {read[-300:]!r}")
            read += more
        return read

    def say(self) -> None:
        """
        Send a stanza.
        """
        self.send(self.stanza)

    def send(self, data: bytes) -> None:
        """
        Send all of C{data} at once.
        """
        if self.sock.send(data) != len(data):
            raise ConnectionError("a session takes no more")

    def read(self) -> bytes:
        """
        Return what has come, which may be nothing.
        """
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        if not data:
            raise ConnectionError("a session was closed")
        return data

    def receive(self) -> int:
        """
        Return how many stanzas are complete now that more has come.
        """
        data = self.unread + self.read()
        count = data.count(END_TAG)
        self.unread = data[data.rfind(END_TAG) + len(END_TAG) if count else 0 :]
        self.unread = self.unread[1 - len(END_TAG) :]
        return count
