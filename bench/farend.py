# Copyright the cmanager authors.
# See LICENSE for details.

"""
What stands behind a subject of L{bench.cost}: it says back whatever it is told, as
cheaply as that can be done, so that the subject is what is measured.

On a port for links it first does what a server has to: it takes the handshake, pushes a
configuration, logs in whoever asks and binds resources.  From then on it returns the
bytes of the link as they are: a stanza that was routed up goes down to the session it
came from.  On a port for clients, behind a proxy, it only returns.

Reads its plan, a line of JSON, from standard input; says C{{"event": "listening"}}, and
C{configured} for each link that has taken its configuration.  Ends with standard input.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
from typing import Any

NS_LINK = "http://jabber.org/protocol/connectionmanager"
CONFIGURATION = (
    '<iq type="set" id="c1" from="{domain}"><configuration xmlns="' + NS_LINK + '">'
    '<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>'
    '<mechanisms xmlns="urn:ietf:params:xml:ns:xmpp-sasl">'
    "<mechanism>SCRAM-SHA-1</mechanism></mechanisms>"
    "</configuration></iq>"
)
SUCCESS = '<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>'
BOUND = (
    '<iq type="result" id="{id}"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind">'
    "<jid>u{stream}@{domain}/r</jid></bind></iq>"
)
READ_BYTES = 262144
_ELEMENT = re.compile(
    rb"<route\b.*?</route>|<iq\b[^>]*/>|<iq\b.*?</iq>|<handshake\b.*?</handshake>", re.DOTALL
)
_STREAM = re.compile(rb'\bstreamid="([^"]*)"')
_ID = re.compile(rb'<iq\b[^>]*\bid="([^"]*)"')


class Connection:
    """
    One accepted connection.
    """

    def __init__(self, end: FarEnd, sock: socket.socket, isLink: bool) -> None:
        self.end = end
        self.sock = sock
        self.isLink = isLink
        self.pending = b""
        self.unread = b""
        self.hasHeader = False

    def readable(self) -> None:
        """
        Return what has come.
        """
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.end.selector.unregister(self.sock)
            self.sock.close()
            return
        if self.isLink:
            data = self.answer(data)
        self.send(data)

    def answer(self, data: bytes) -> bytes:
        """
        Return what a server says to C{data}.
        """
        # The session elements are few and at the start; messages are returned unread.
        if self.hasHeader and not self.unread and not self.end.isLoggingIn:
            return data
        self.unread += data
        answers = []
        if not self.hasHeader:
            at = self.unread.find(b">", self.unread.find(b"<stream:stream"))
            if at < 0:
                return b""
            self.unread = self.unread[at + 1 :]
            self.hasHeader = True
            answers.append(
                b'<?xml version="1.0"?><stream:stream xmlns="jabber:connectionmanager"'
                b' xmlns:stream="http://etherx.jabber.org/streams" id="1" version="1.0">'
                b"<stream:features/>"
            )
        position = 0
        for match in _ELEMENT.finditer(self.unread):
            position = match.end()
            answers.append(self.reply(match.group()))
        self.unread = self.unread[position:]
        return b"".join(answers)

    def reply(self, element: bytes) -> bytes:
        """
        Return the answer to one element.
        """
        domain = self.end.domain
        if element.startswith(b"<handshake"):
            return b"<handshake/>" + CONFIGURATION.format(domain=domain).encode()
        if element.startswith(b"<iq"):
            found = _ID.search(element)
            if found is None or b'"set"' not in element:
                if b'"result"' in element:
                    print(json.dumps({"event": "configured"}), flush=True)
                return b""
            return b'<iq type="result" id="' + found.group(1) + b'"/>'
        found = _STREAM.search(element)
        stream = found.group(1).decode() if found is not None else ""
        if b"<auth" in element:
            payload = SUCCESS
        elif b"urn:ietf:params:xml:ns:xmpp-bind" in element:
            identity = _ID.search(element)
            payload = BOUND.format(
                id=identity.group(1).decode() if identity else "", stream=stream, domain=domain
            )
        else:
            return element
        return f'<route streamid="{stream}">{payload}</route>'.encode()

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


class FarEnd:
    """
    All of them.

    @ivar isLoggingIn: Links are still looked into.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.domain: str = plan["domain"]
        self.isLoggingIn = True
        self.selector = selectors.DefaultSelector()
        for kind in ("links", "clients"):
            if plan.get(kind):
                port = socket.create_server((plan["host"], plan[kind]), backlog=4096)
                port.setblocking(False)
                self.selector.register(port, selectors.EVENT_READ, kind)
        self.selector.register(sys.stdin, selectors.EVENT_READ, "orders")

    def run(self) -> None:
        """
        Serve until standard input ends.
        """
        print(json.dumps({"event": "listening"}), flush=True)
        while True:
            for key, events in self.selector.select():
                found = key.data
                if isinstance(found, Connection):
                    if events & selectors.EVENT_WRITE:
                        found.writable()
                    if events & selectors.EVENT_READ:
                        found.readable()
                elif found == "orders":
                    line = sys.stdin.readline()
                    if not line:
                        return
                    self.isLoggingIn = json.loads(line)["isLoggingIn"]
                    print(json.dumps({"event": "done"}), flush=True)
                else:
                    sock, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection = Connection(self, sock, found == "links")
                    self.selector.register(sock, selectors.EVENT_READ, connection)


def main() -> None:
    """
    Serve as the line of JSON on standard input says.
    """
    FarEnd(json.loads(sys.stdin.readline())).run()


if __name__ == "__main__":
    main()
