# Copyright the cmanager authors.
# See LICENSE for details.

"""
The ways in, from a client's side: how what it says becomes bytes, and what it makes of
those that come.

Whoever tests what is common to all ways speaks as over TCP: a header, elements, a footer,
and white space for nothing at all.  Each way spells that as it has to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.ssl import PrivateCertificate

from cmanager.arrival import Arrival
from cmanager.framed import NS_FRAMING
from cmanager.listening import Listening
from cmanager.records import RECORD_OVERHEAD, Records
from cmanager.stanza import FOOTER, NS_STREAMS, Stanza, StreamHeader
from cmanager.stream import ClientStream
from cmanager.tcp import TCPStream, TLSStream
from cmanager.tls import XMPP_CLIENT
from cmanager.turn import Turn
from cmanager.upgrade import UpgradeRequest
from cmanager.websocket import WebSocketStream
from tests.certificates import authority
from tests.pollers import HandReactor
from tests.test_outbox import message
from tests.test_records import TLSClient
from tests.tlsforger import APPLICATION
from tests.websockets import PING, PONG, TEXT, Judge, frame, hangup, headers, text
from tests.wires import SecureWire, SocketWire, StockWire, Transport

_XMLNS = b' xmlns="jabber:client"'
_XMLNS_STREAM = f' xmlns:stream="{NS_STREAMS}"'.encode()
_HEADER = StreamHeader(id="", from_=None).encode().partition(b" id=")[0]
_NAME = re.compile(rb"<[^\s<>/!?]+")
_DECLARES = re.compile(rb"""<[^<>]*?\sxmlns=['"]""")
_STREAM = re.compile(rb"(?:<\?xml version='1\.0'\?>)?<stream:stream(\s[^<>]*)>")
_ATTRIBUTES = re.compile(rb"""\s[\w:]+=(?:'[^']*'|"[^"]*")""")


class TCPWay:
    """
    One client that comes over TCP.

    @cvar isEncrypted: In TLS from its first byte.
    @cvar extra: How many bytes an element has more than its text over TCP.
    @ivar got: All that it was told, as over TCP.
    """

    name = "tcp"
    isEncrypted = False
    extra = 0

    def __init__(self) -> None:
        self.tls = TLSClient(name="a.example") if self.isEncrypted else None
        self.got = b""
        self._over = 0  # of a record

    def stream(self, origin: Any) -> ClientStream:
        """
        Make its stream.
        """
        return TCPStream(origin)

    def wire(self, clock: HandReactor, peer: Any) -> Any:
        """
        Return what its connection is to be.
        """
        return Transport(peer)

    def ports(self, reactor: Any) -> Any:
        """
        Return what listens for it.
        """
        return reactor

    def handle(self, transport: Any) -> Any:
        """
        Return the socket of such a transport.
        """
        return transport.getHandle()

    def weight(self, data: bytes) -> int:
        """
        Return what one read of C{data} counts.
        """
        return len(data)

    def listener(self, *, keepalive: float | None = None) -> dict[str, Any]:
        """
        Return what a listener has to say of it.
        """
        return {"type": self.name, "endpoint": "tcp:0"}

    # Its voice

    def framed(self, token: bytes) -> bytes:
        """
        Return the bytes of a header, an element, a footer, or nothing.
        """
        return token

    def said(self, *tokens: bytes) -> bytes:
        """
        Return what goes over the wire.
        """
        plain = b"".join(map(self.framed, tokens))
        if self.tls is None:
            return plain
        encrypted = self.tls.send(plain)
        self._over = len(encrypted) - len(plain)
        return encrypted

    def stanza(self, number: int, size: int) -> bytes:
        """
        Return a message that counts as so many bytes.
        """
        return message(number, size - self.extra).data

    def exactly(self, number: int, size: int) -> bytes:
        """
        Return what goes over the wire for a message, so many bytes in all.
        """
        over = len(self.framed(message(number, size).data)) - size + self._over
        return self.said(message(number, size - over).data)

    # Its ear

    def delivered(self, number: int, size: int) -> Stanza:
        """
        Return a message to it that takes so many bytes, before encryption.
        """
        return message(number, size)

    def hears(self, data: bytes) -> bytes:
        """
        Take what has come.

        @return: What has to be answered for TLS.
        """
        answer = b""
        if self.tls is not None:
            self.tls.received = b""
            answer = self.tls.exchange(data)
            data = self.tls.received
        self.got += b"".join(self._meanings(data))
        return answer

    def _meanings(self, data: bytes) -> Iterator[bytes]:
        yield data


class TLSWay(TCPWay):
    """
    One in TLS from the first byte.
    """

    name = "tls"
    isEncrypted = True

    def stream(self, origin: Any) -> ClientStream:
        """
        Make its stream.
        """
        return TLSStream(origin, Arrival(records=_records(origin)))


class TCPSocketWay(TCPWay):
    """
    One over a transport of our own.
    """

    def wire(self, clock: HandReactor, peer: Any) -> Any:
        """
        Return what its connection is to be.
        """
        return SocketWire(clock, peer)

    def ports(self, reactor: Any) -> Any:
        """
        Return what listens for it.
        """
        return Listening(reactor, 0.001, Turn(reactor))


class TLSSocketWay(TCPSocketWay, TLSWay):
    """
    One in TLS from the first byte, over a transport of our own.
    """

    def stream(self, origin: Any) -> ClientStream:
        """
        Make its stream.
        """
        return TLSStream(origin, Arrival(tls=origin.hub.tls.creator(None, (XMPP_CLIENT,))))

    def weight(self, data: bytes) -> int:
        """
        Return what one read of C{data} counts: a step of the handshake is a record.
        """
        return len(data) if data[0] == APPLICATION else RECORD_OVERHEAD


class SSLPorts:
    """
    Listens in TLS.
    """

    def __init__(self, listening: Any, contextFactory: Any) -> None:
        self._listening = listening
        self._contextFactory = contextFactory

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """
        See L{IReactorTCP}.
        """
        return self._listening.listenSSL(port, factory, self._contextFactory, backlog, interface)


class SSLWay(TCPWay):
    """
    One over TCP whose transport has TLS in it: Twisted's.

    @ivar contextFactory: As endpoints make it.
    @ivar factory: What the endpoint listens for.
    """

    isEncrypted = True

    def __init__(self) -> None:
        super().__init__()
        identity = authority().issue("a.example")
        pem = identity.certificatePEM + identity.keyPEM
        self.contextFactory: Any = PrivateCertificate.loadPEM(pem).options()
        self.factory = Factory()

    def wire(self, clock: HandReactor, peer: Any) -> Any:
        """
        Return what its connection is to be.
        """
        return StockWire(clock, peer, self.contextFactory, self.factory)

    def ports(self, reactor: Any) -> Any:
        """
        Return what listens for it.
        """
        return SSLPorts(reactor, self.contextFactory)

    def handle(self, transport: Any) -> Any:
        """
        Return the socket of such a transport.
        """
        return transport.transport.getHandle()

    def said(self, *tokens: bytes) -> bytes:
        """
        Return what goes over the wire.
        """
        wire = super().said(*tokens)
        self._over = 0  # is not the stream's
        return wire

    def weight(self, data: bytes) -> int:
        """
        Return what one read of C{data} counts: its text.
        """
        return len(data) - RECORD_OVERHEAD if data[0] == APPLICATION else 0


class SSLSocketWay(SSLWay):
    """
    One over TCP whose transport has TLS in it: ours.
    """

    def wire(self, clock: HandReactor, peer: Any) -> Any:
        """
        Return what its connection is to be.
        """
        return SecureWire(clock, peer, self.contextFactory, self.factory)

    def ports(self, reactor: Any) -> Any:
        """
        Return what listens for it.
        """
        return super().ports(Listening(reactor, 0.001, Turn(reactor)))

    def handle(self, transport: Any) -> Any:
        """
        Return the socket of such a transport.
        """
        return transport.getHandle()


def _records(origin: Any) -> Records:
    creator = origin.hub.tls.creator(None, (XMPP_CLIENT,))
    return Records(creator.serverConnectionForTLS(None))


class WebSocketWay(TCPWay):
    """
    One over WebSocket, whose request has been read.

    @ivar judge: Its ear for what XMPP does not say.
    """

    name = "websocket"
    extra = len(_XMLNS)

    def __init__(self) -> None:
        super().__init__()
        self.judge = Judge()

    def stream(self, origin: Any) -> ClientStream:
        """
        Make its stream.
        """
        arrival = Arrival(records=_records(origin)) if self.isEncrypted else None
        return WebSocketStream(origin, arrival, UpgradeRequest(b"/ws", headers()))

    def listener(self, *, keepalive: float | None = None) -> dict[str, Any]:
        """
        Return what a listener has to say of it.
        """
        settings = super().listener()
        return settings if keepalive is None else settings | {"ping": keepalive}

    def framed(self, token: bytes) -> bytes:
        """
        Return frames.
        """
        if token == FOOTER:
            return text(f"<close xmlns='{NS_FRAMING}'/>".encode()) + hangup()
        if not token.strip():
            return frame(PONG)
        return text(spelled(token))

    def delivered(self, number: int, size: int) -> Stanza:
        """
        Return a message to it that takes so many bytes, before encryption.
        """
        return message(number, size - len(_XMLNS) - (2 if size < 128 else 4))

    def _meanings(self, data: bytes) -> Iterator[bytes]:
        before = len(self.judge.frames)
        self.judge.feed(data)
        for got in self.judge.frames[before:]:
            if got.opcode == TEXT:
                yield meaning(got.payload)
            elif got.opcode == PING:
                yield b" "


class SecureWebSocketWay(WebSocketWay):
    """
    One over WebSocket in TLS.
    """

    isEncrypted = True


def spelled(token: bytes) -> bytes:
    """
    Return what stands in a stream over TCP as a document of its own.
    """
    stream = _STREAM.fullmatch(token)
    if stream is not None:
        attributes = _ATTRIBUTES.findall(stream[1])
        kept = [one for one in attributes if not one.lstrip().startswith(b"xmlns")]
        return b"<open xmlns='%s'%s/>" % (NS_FRAMING.encode(), b"".join(kept))
    name = _NAME.match(token)
    if name is None:
        return token
    added = b"" if _DECLARES.match(token) or b":" in name[0] else _XMLNS
    rest = token[name.end() :]
    if b"stream:" in token and b"xmlns:stream" not in token:
        # Where the program puts what it has to declare for a client over TCP.
        rest = re.sub(rb"(?=/?>)", _XMLNS_STREAM, rest, count=1)
    return name[0] + added + rest


def meaning(payload: bytes) -> bytes:
    """
    Return what a message of ours would be in a stream over TCP.
    """
    namespace = f' xmlns="{NS_FRAMING}"'.encode()
    if payload.startswith(b"<open" + namespace):
        assert payload.endswith(b"/>"), "an empty element"
        return _HEADER + payload[len(b"<open" + namespace) : -2] + b">"
    if payload.startswith(b"<close" + namespace):
        return FOOTER
    end = payload.index(b">")
    assert b" xmlns" in payload[:end], "it stands on its own"
    declared = _XMLNS_STREAM if payload.startswith(b"<stream:") else _XMLNS
    return payload[:end].replace(declared, b"", 1) + payload[end:]
