# Copyright the cmanager authors.
# See LICENSE for details.

"""
Clients as in browsers, by WebSocket and by BOSH, for L{bench.pace}: all they say is made
beforehand, as far as it does not change.
"""

from __future__ import annotations

import re
import socket
import struct
from itertools import cycle
from typing import Any

from bench.clients import BIND, END_TAG, Session, auth, stanza

WEBSOCKET_PATH = "/ws"
BOSH_PATH = "/http-bind"
NAMESPACE = ' xmlns="jabber:client"'
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x37\xfa\x21\x3d"
FIRST_REQUEST = 1000000000
"""
All of a session have ten digits.
"""
BROWSER = (
    "Host: {domain}\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: */*\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Origin: https://{domain}\r\n"
)
"""
What a browser says with every request, cookies and the like left out.
"""
UPGRADE = (
    f"GET {WEBSOCKET_PATH} HTTP/1.1\r\n{BROWSER}"
    f"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n"
)
OPEN = '<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="{domain}" version="1.0"/>'
POST = (
    f"POST {BOSH_PATH} HTTP/1.1\r\n{BROWSER}Connection: keep-alive\r\n"
    "Content-Type: text/xml; charset=utf-8\r\nContent-Length: {length}\r\n\r\n"
)
BODY = '<body xmlns="http://jabber.org/protocol/httpbind" rid="%010d"'
CREATION = (
    ' to="{domain}" wait="60" hold="1" ver="1.6" xml:lang="en" content="text/xml; charset=utf-8"'
    ' xmpp:version="1.0" xmlns:xmpp="urn:xmpp:xbosh"/>'
)
RESTART = ' to="{domain}" xmpp:restart="true" xmlns:xmpp="urn:xmpp:xbosh"/>'
_SID = re.compile(rb"""\bsid=["']([^"']*)""")
_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)\r\n", re.IGNORECASE)


def textFrame(payload: bytes, mask: bytes) -> bytes:
    """
    Return a text frame.

    @param mask: Of a client; a server's is empty.
    """
    size, bit = len(payload), 0x80 if mask else 0
    head = struct.pack("!BB", 0x81, bit | size) if size < 126 else b""
    head = head or struct.pack("!BBH", 0x81, bit | 126, size)
    if mask:
        payload = bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))
    return head + mask + payload


class WebSocketSession(Session):
    """
    One client by WebSocket (RFC 7395).
    """

    def __init__(self, sock: socket.socket, plan: dict[str, Any]) -> None:
        super().__init__(sock, plan)
        self.stanza = textFrame(stanza(self.domain, NAMESPACE), MASK)

    def open(self, isLogin: bool) -> None:
        """
        See L{Session.open}.
        """
        self.sock.sendall(UPGRADE.format(domain=self.domain).encode())
        if b" 101 " not in self.until(b"\r\n\r\n"):
            raise ConnectionError("no WebSocket")
        if isLogin:
            header = OPEN.format(domain=self.domain)
            self.talk(header, b"features>")
            self.talk(auth("user"), b"<success")
            self.talk(header, b"features>")
            self.talk(BIND.replace("<iq", f"<iq{NAMESPACE}"), b"<jid>")

    def talk(self, data: str, until: bytes) -> None:
        """
        See L{Session.talk}.
        """
        self.sock.sendall(textFrame(data.encode(), MASK))
        self.until(until)


class BOSHSession(Session):
    """
    One client by BOSH (XEP-0124), over one connection: a request carries a stanza, and is
    answered with the one that comes back.  What is due before that waits here.
    """

    def __init__(self, sock: socket.socket, plan: dict[str, Any]) -> None:
        super().__init__(sock, plan)
        self.number = FIRST_REQUEST
        self.sid = b' sid="0123456789abcdef"'
        self.awaited = self.waiting = 0
        self.isAsking = False

    def open(self, isLogin: bool) -> None:
        """
        See L{Session.open}.
        """
        if isLogin:
            self.sid = b""
            answer = self.ask(CREATION.format(domain=self.domain), b"")
            found = _SID.search(answer)
            if found is None:
                raise ConnectionError(f"no session: {answer!r}")
            self.sid = b' sid="' + found.group(1) + b'"'
            if b"features>" not in answer:
                self.ask("/>", b"features>")
            self.ask(f">{auth('user')}</body>", b"<success")
            self.ask(RESTART.format(domain=self.domain), b"features>")
            self.ask(">" + BIND.replace("<iq", f"<iq{NAMESPACE}") + "</body>", b"<jid>")
        self.stanza = self.template(b">" + stanza(self.domain, NAMESPACE) + b"</body>")

    def ask(self, body: str, wanted: bytes) -> bytes:
        """
        Make a request, and more if C{wanted} is not in the answer; blocking.

        @return: The last answer.
        """
        self.request(self.template(body.encode()))
        while True:
            self.unread += self.read()
            answer = self.answer()
            if answer is not None:
                if wanted in answer:
                    return answer
                self.request(self.template(b"/>"))

    def template(self, rest: bytes) -> bytes:
        """
        Return a request that lacks its number.

        @param rest: Of the body, behind C{sid}.
        """
        body = BODY.encode() + self.sid + rest
        length = len(body % 0)
        return POST.format(domain=self.domain, length=length).encode() + body

    def request(self, template: bytes) -> None:
        """
        Send a request.
        """
        self.isAsking = True
        self.send(template % self.number)
        self.number += 1

    def answer(self) -> bytes | None:
        """
        Return the next answer, if it is complete.
        """
        end = self.unread.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        found = _LENGTH.search(self.unread, 0, end)
        if found is None or not self.unread.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"not an answer: {self.unread[:300]!r}")
        length = int(found.group(1))
        if len(self.unread) < end + length:
            return None
        answer, self.unread = self.unread[end : end + length], self.unread[end + length :]
        self.isAsking = False
        return answer

    def say(self) -> None:
        """
        See L{Session.say}.
        """
        self.awaited += 1
        if self.isAsking:
            self.waiting += 1
        else:
            self.request(self.stanza)

    def receive(self) -> int:
        """
        See L{Session.receive}.
        """
        self.unread += self.read()
        answer = self.answer()
        if answer is None:
            return 0
        count = answer.count(END_TAG)
        self.awaited -= count
        if self.waiting:
            self.waiting -= 1
            self.request(self.stanza)
        elif self.awaited:
            self.request(self.template(b"/>"))
        return count
