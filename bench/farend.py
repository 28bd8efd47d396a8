# Copyright the cmanager authors.
# See LICENSE for details.

"""
What stands behind a subject of L{bench.cost}: it says back whatever it is told, as
cheaply as that can be done, so that the subject is what is measured.

On a port for links it first does what a server has to: it takes the handshake, pushes a
configuration, logs in whoever asks and binds resources.  A message to somebody who has
logged in goes down to that session, and any other to the one it came from.  Once it is
told that no more will log in it returns the bytes of a link as they are, unread.  On a
port for clients, behind a proxy, it only returns.

Reads its plan, a line of JSON, from standard input; says C{{"event": "listening"}}, and
C{configured} for each link that has taken its configuration.  To each further line it
answers C{done}, with how many C{sessions} there are.  Ends with standard input.
"""

from __future__ import annotations

import base64
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
HEADER = (
    b'<?xml version="1.0"?><stream:stream xmlns="jabber:connectionmanager"'
    b' xmlns:stream="http://etherx.jabber.org/streams" id="1" version="1.0">'
    b"<stream:features/>"
)
SUCCESS = b'<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>'
BOUND = (
    '<iq type="result" id="{id}"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind">'
    "<jid>{name}@{domain}/{stream}</jid></bind></iq>"
)
ROUTE_END = b"</route>"
READ_BYTES = 262144
_ELEMENT = re.compile(
    rb"<route\b.*?</route>|<iq\b[^>]*/>|<iq\b.*?</iq>|<handshake\b.*?</handshake>", re.DOTALL
)
_STREAM = re.compile(rb'\bstreamid="([^"]*)"')
_ID = re.compile(rb'<iq\b[^>]*\bid="([^"]*)"')
_RESPONSE = re.compile(rb"<auth\b[^>]*>([^<]*)<")
_SESSION = re.compile(rb'<session\b[^>]*\bid="([^"]*)"')
_MESSAGE = re.compile(rb'<message\b[^>]*?\bto="([^"@]*)@')


class Connection:
    """
    One accepted connection.

    @ivar names: Who has logged in by which stream.
    """

    def __init__(self, end: FarEnd, sock: socket.socket, isLink: bool) -> None:
        self.end = end
        self.sock = sock
        self.isLink = isLink
        self.names: dict[bytes, bytes] = {}
        self.said: list[bytes] = []
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
        # The session elements are few and at the start; messages are returned unread.
        elif not self.isLink or (self.hasHeader and not self.unread and not self.end.isLoggingIn):
            self.send(data)
        else:
            self.read(data)
            self.end.flush()

    def read(self, data: bytes) -> None:
        """
        Say what a server says to C{data}.
        """
        self.unread += data
        if not self.hasHeader:
            at = self.unread.find(b">", self.unread.find(b"<stream:stream"))
            if at < 0:
                return
            self.unread = self.unread[at + 1 :]
            self.hasHeader = True
            self.say(HEADER)
        position = 0
        for match in _ELEMENT.finditer(self.unread):
            position = match.end()
            self.reply(match.group())
        self.unread = self.unread[position:]
        if self.unread.isspace():
            # A link on which nothing ever comes back would be taken for dead.
            self.say(self.unread)
            self.unread = b""

    def reply(self, element: bytes) -> None:
        """
        Say what a server says to one element.
        """
        if element.startswith(b"<handshake"):
            self.say(b"<handshake/>" + CONFIGURATION.format(domain=self.end.domain).encode())
        elif element.startswith(b"<iq"):
            self.replyToManager(element)
        else:
            found = _STREAM.search(element)
            self.replyToClient(found.group(1) if found is not None else b"", element)

    def replyToManager(self, element: bytes) -> None:
        """
        Take note of a session that ends; all others are welcome.
        """
        identity = _ID.search(element)
        if identity is None or b'"set"' not in element:
            if b'"result"' in element:
                print(json.dumps({"event": "configured"}), flush=True)
            return
        if b"<close" in element:
            session = _SESSION.search(element)
            name = self.names.pop(session.group(1), None) if session is not None else None
            if name is not None:
                self.end.sessions.pop(name, None)
        self.say(b'<iq type="result" id="' + identity.group(1) + b'"/>')

    def replyToClient(self, stream: bytes, element: bytes) -> None:
        """
        Log in, bind, or pass a message on.
        """
        head = b'<route streamid="' + stream + b'">'
        found = _MESSAGE.search(element)
        if found is not None:
            there = self.end.sessions.get(found.group(1))
            if there is None:
                self.say(element)
            else:
                connection, head = there
                connection.say(head + element[element.index(b">") + 1 :])
        elif (response := _RESPONSE.search(element)) is not None:
            self.names[stream] = base64.b64decode(response.group(1)).split(b"\0")[1]
            self.say(head + SUCCESS + ROUTE_END)
        elif b"urn:ietf:params:xml:ns:xmpp-bind" in element:
            identity = _ID.search(element)
            name = self.names[stream]
            self.end.sessions[name] = self, head
            bound = BOUND.format(
                id=identity.group(1).decode() if identity else "",
                name=name.decode(),
                stream=stream.decode(),
                domain=self.end.domain,
            )
            self.say(head + bound.encode() + ROUTE_END)

    def say(self, data: bytes) -> None:
        """
        Send C{data} when all has been read that came with it.
        """
        self.said.append(data)
        self.end.speaking.add(self)

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

    @ivar isLoggingIn: Links are looked into.
    @ivar sessions: Where to route to somebody: the link, and the start of the element.
    @ivar speaking: Connections that have something to send.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.domain: str = plan["domain"]
        self.isLoggingIn = True
        self.sessions: dict[bytes, tuple[Connection, bytes]] = {}
        self.speaking: set[Connection] = set()
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
                    print(json.dumps({"event": "done", "sessions": len(self.sessions)}), flush=True)
                else:
                    sock, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection = Connection(self, sock, found == "links")
                    self.selector.register(sock, selectors.EVENT_READ, connection)

    def flush(self) -> None:
        """
        Send what has been said.
        """
        for connection in self.speaking:
            connection.send(b"".join(connection.said))
            connection.said.clear()
        self.speaking.clear()


def main() -> None:
    """
    Serve as the line of JSON on standard input says.
    """
    FarEnd(json.loads(sys.stdin.readline())).run()


if __name__ == "__main__":
    main()
