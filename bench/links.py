# Copyright the cmanager authors.
# See LICENSE for details.

"""
The server's end of a link, for L{bench.farend}.
"""

from __future__ import annotations

import base64
import json
import re
import socket
from typing import TYPE_CHECKING

from bench.echo import Echo

if TYPE_CHECKING:
    from bench.farend import FarEnd

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
_ELEMENT = re.compile(
    rb"<route\b.*?</route>|<iq\b[^>]*/>|<iq\b.*?</iq>|<handshake\b.*?</handshake>", re.DOTALL
)
_STREAM = re.compile(rb'\bstreamid="([^"]*)"')
_ID = re.compile(rb'<iq\b[^>]*\bid="([^"]*)"')
_RESPONSE = re.compile(rb"<auth\b[^>]*>([^<]*)<")
_SESSION = re.compile(rb'<session\b[^>]*\bid="([^"]*)"')
_MESSAGE = re.compile(rb'<message\b[^>]*?\bto="([^"@]*)@')


class Link(Echo):
    """
    It takes the handshake, pushes a configuration, logs in whoever asks and binds
    resources.  A message to somebody who has logged in goes down to that session, and any
    other to the one it came from.  Once no more will log in it returns what comes as it is,
    unread.

    @ivar names: Who has logged in by which stream.
    """

    def __init__(self, end: FarEnd, sock: socket.socket) -> None:
        super().__init__(end, sock)
        self.names: dict[bytes, bytes] = {}
        self.said: list[bytes] = []
        self.hasHeader = False

    def received(self, data: bytes) -> None:
        """
        See L{Echo.received}.
        """
        if self.hasHeader and not self.unread and not self.end.isLoggingIn:
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
