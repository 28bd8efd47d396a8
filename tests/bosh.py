# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client by BOSH, over HTTP connections in memory: speaks as over TCP, keeps a request here
as clients do, and is as strict with what it gets as the standard allows.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from xml.parsers import expat

from attrs import frozen
from lxml import etree
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from cmanager.arrival import Arrival
from cmanager.body import NS_BODY, NS_XBOSH
from cmanager.bosh import BOSHStream
from cmanager.door import HTTP_1_1
from cmanager.httpbind import BOSHPlace
from cmanager.httptransport import HTTPTransport
from cmanager.places import Places
from cmanager.records import Records
from cmanager.stanza import FOOTER, NS_STREAMS, Stanza, StreamHeader
from cmanager.web import Channel
from tests.test_outbox import message
from tests.test_records import TLSClient
from tests.ways import TCPWay, spelled

PATH = "/http-bind"
FIRST_RID = 1573741820
HOLD = 1
MAX_POLLS = 100

_NAMESPACES = f"xmlns='{NS_BODY}' xmlns:stream='{NS_STREAMS}' xmlns:xmpp='{NS_XBOSH}'"
_XMLNS = b' xmlns="jabber:client"'
_HEADER = re.compile(rb"(?:<\?xml version='1\.0'\?>)?<stream:stream(\s[^<>]*)>")
_ATTRIBUTE = re.compile(rb"""\s([\w:]+)=['"]([^'"]*)['"]""")
_NO_URI = ("is not a valid URI", "is not absolute")
_HEADERS = {
    b"server": b"cmanager",
    b"x-content-type-options": b"nosniff",
    b"content-type": b"text/xml; charset=utf-8",
    b"cache-control": b"no-store",
    b"access-control-allow-origin": b"*",
}


@frozen
class Got:
    """
    An HTTP response.

    @ivar headers: By name in lower case.
    """

    status: int
    headers: dict[bytes, bytes]
    data: bytes


class Socket(StringTransport):
    """
    A transport in memory that notes its end.
    """

    isOver = False

    def loseConnection(self) -> None:
        """
        Note it.
        """
        self.isOver = True

    abortConnection = loseConnection


class Connection:
    """
    One connection to a listener.

    @ivar rid: Of the request that waits for its answer.
    @ivar isCut: What is sent to the client does not arrive any more.
    """

    def __init__(self, origin: Any, peer: Any = None, *, isEncrypted: bool = False) -> None:
        self.socket = Socket(peerAddress=peer or IPv4Address("TCP", "192.0.2.1", 5000))
        self.rid: int | None = None
        self.isCut = False
        self.tls: TLSClient | None = None
        arrival = Arrival()
        if isEncrypted:
            self.tls = TLSClient(name="a.example", alpn=[HTTP_1_1])
            creator = origin.hub.tls.creator(None, (HTTP_1_1,))
            arrival = Arrival(records=Records(creator.serverConnectionForTLS(None)))
        channel = Channel(Places(origin, {PATH: BOSHPlace(origin)}), origin.hub.wheel.schedule)
        self.http = HTTPTransport(origin, arrival, channel, lambda inner: None)
        self.http.makeConnection(self.socket)
        self._buffer = b""
        if self.tls is not None:
            self.http.dataReceived(self.tls.exchange())
            self.take()

    @property
    def isFree(self) -> bool:
        """
        A request can be sent.
        """
        return self.rid is None and not self.socket.isOver

    def receive(self, data: bytes) -> None:
        """
        Let bytes come.
        """
        self.http.dataReceived(data if self.tls is None else self.tls.send(data))

    def take(self) -> list[Got]:
        """
        Return the responses that have come since the last call.
        """
        while data := self.socket.value():
            self.socket.clear()
            if self.tls is not None:
                answer = self.tls.exchange(data)
                data, self.tls.received = self.tls.received, b""
                if answer:
                    self.http.dataReceived(answer)
            if not self.isCut:
                self._buffer += data
        found = []
        while (got := self._response()) is not None:
            found.append(got)
            self.rid = None
        return found

    def _response(self) -> Got | None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        status, *lines = head.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [A-Za-z -]+", status)
        assert match is not None, status
        headers: dict[bytes, bytes] = {}
        for line in lines:
            name, _, value = line.partition(b": ")
            assert name.lower() not in headers, name
            headers[name.lower()] = value
        size = int(headers.get(b"content-length", b"0"))
        if len(rest) < size:
            return None
        self._buffer = rest[size:]
        return Got(int(match[1]), headers, rest[:size])

    def fill(self) -> None:
        """
        Let the kernel take no more, from the next write on.
        """
        write = self.socket.write

        def full(data: bytes) -> None:
            write(data)
            self.socket.producer.pauseProducing()

        self.socket.write = full  # type: ignore[method-assign]  # this one only

    def drain(self) -> None:
        """
        Let it take again what there is.
        """
        self.socket.write = partial(type(self.socket).write, self.socket)  # type: ignore[method-assign]  # likewise
        if self.socket.producer is not None:
            self.socket.producer.resumeProducing()

    def lose(self) -> None:
        """
        Lose it.
        """
        self.socket.isOver = True
        self.http.connectionLost(Failure(ConnectionDone()))


def post(body: bytes, *headers: bytes, path: str = PATH, method: str = "POST") -> bytes:
    """
    Return an HTTP request.
    """
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"%s %s HTTP/1.1\r\nHost: a.example\r\n%bContent-Length: %d\r\n\r\n%b" % (
        method.encode(),
        path.encode(),
        lines,
        len(body),
        body,
    )


def elements(data: bytes) -> list[bytes]:
    """
    Return the children of a document's root as they stand there.
    """
    parser = expat.ParserCreate("UTF-8")
    depth = begin = 0
    isOpen = False
    found: list[bytes] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, begin, isOpen
        if depth == 1:
            begin = parser.CurrentByteIndex
        depth += 1
        isOpen = True

    def end(name: str) -> None:
        nonlocal depth, isOpen
        depth -= 1
        if depth == 1:
            at = parser.CurrentByteIndex  # behind it where it is empty
            isEmpty = isOpen and data[at - 2 : at] == b"/>"
            found.append(data[begin : at if isEmpty else data.index(b">", at) + 1])
        isOpen = False

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.Parse(data, True)
    return found


def judged(got: Got) -> Any:
    """
    See that a response is one of BOSH, and return its root.
    """
    assert got.status == 200, got
    headers = {name: value for name, value in got.headers.items() if name != b"date"}
    assert headers.pop(b"content-length") == b"%d" % len(got.data)
    headers.pop(b"connection", None)
    assert headers == _HEADERS, headers
    parser = etree.XMLParser(recover=True, resolve_entities=False)
    root = etree.fromstring(got.data, parser)
    # Namespaces that are no URIs are well-formed.
    errors = [e.message for e in parser.error_log if not e.message.endswith(_NO_URI)]
    assert root is not None and not errors, errors
    assert root.tag == f"{{{NS_BODY}}}body", root.tag
    assert not (root.text or "").strip(), "nothing but elements"
    return root


class BOSHWay(TCPWay):
    """
    One client that comes by BOSH.

    @ivar stream: Its stream, if it was let in.
    @ivar condition: The binding condition it was told at the end.
    @ivar isEnded: It was told of the end.
    @ivar isAhead: The program knows its header, and it has not been said.
    @ivar isPolling: It always has a request here.
    """

    name = "bosh"
    extra = len(_XMLNS)

    def __init__(self) -> None:
        super().__init__()
        self.tls = None  # each connection has its own
        self.sid: str | None = None
        self.rid = FIRST_RID
        self.read = FIRST_RID - 1
        self.condition: str | None = None
        self.isEnded = False
        self.isPolling = True
        self.connections: list[Connection] = []
        self.attributes: dict[str, str] = {}
        self._responses: dict[int, Got] = {}
        self._rids: deque[tuple[int, int]] = deque()  # length of what was said, and its rid
        self._current: Connection | None = None
        self._left = 0
        self._isBegun = False
        self.isAhead = False

    def visit(self, origin: Any, peer: Any = None) -> None:
        """
        Say where it connects, and where from.
        """
        self._origin = origin
        self._peer = peer

    @property
    def ours(self) -> BOSHStream | None:
        """
        Its stream.
        """
        return self._origin.hub.bosh.find(self.sid)  # type: ignore[no-any-return]

    def anticipate(self, stream: BOSHStream) -> None:
        """
        Its stream has been made, by a header that is said to be said only later.  The sid is
        known before there is a response.
        """
        self.isAhead = True
        self.sid = stream.sid

    # Its voice

    def framed(self, token: bytes) -> bytes:
        """
        Return an element as it stands in a body.
        """
        return spelled(token)

    def said(self, *tokens: bytes) -> bytes:
        """
        Return one request for what it says, or none for the header that has made the session.
        """
        attributes: dict[str, str] = {}
        content = b""
        isHeader = False
        for token in tokens:
            header = _HEADER.fullmatch(token)
            if header is not None:
                isHeader = True
                attributes |= self._header(header[1])
            elif token == FOOTER:
                attributes["type"] = "terminate"
            elif token.strip():
                content += self.framed(token)
        if isHeader and not attributes and not content:
            return b""
        return self.request(attributes, content)

    def _header(self, text: bytes) -> dict[str, str]:
        found = {name.decode(): value.decode() for name, value in _ATTRIBUTE.findall(text)}
        wanted = {name: found[name] for name in ("to", "from", "xml:lang") if name in found}
        if "version" in found:
            wanted["xmpp:version"] = found["version"]
        if not self._isBegun:
            self._isBegun = True
            return {
                "wait": "60",
                "hold": str(HOLD),
                "ver": "1.11",
                "ack": "1",
                **wanted,
                **self.attributes,
            }
        if self.isAhead:
            self.isAhead = False
            return {}
        return {"xmpp:restart": "true", **wanted}

    def request(self, attributes: dict[str, str] | None = None, content: bytes = b"") -> bytes:
        """
        Return the next request.
        """
        data = self.body(self.rid, attributes or {}, content)
        self._rids.append((len(data), self.rid))
        self.rid += 1
        return data

    def body(self, rid: int, attributes: dict[str, str], content: bytes = b"") -> bytes:
        """
        Return a request.
        """
        attributes = {"rid": str(rid), **attributes}
        if self.sid is not None:
            attributes = {"sid": self.sid, **attributes}
            if self.read < rid - 1 and self.read >= FIRST_RID:
                attributes["ack"] = str(self.read)
        text = "".join(f" {name}='{value}'" for name, value in attributes.items())
        tag = f"<body {_NAMESPACES}{text}".encode()
        return post(tag + (b">" + content + b"</body>" if content else b"/>"))

    def exactly(self, number: int, size: int) -> bytes:
        """
        Return a request that has so many bytes, without what is HTTP's.
        """
        over = len(self.body(self.rid, {}, self.framed(message(number, size).data)))
        over -= len(post(b"x" * size))
        return self.said(message(number, size - over).data)

    # The wire

    def connect(self) -> Connection:
        """
        Connect once more.
        """
        connection = Connection(self._origin, self._peer, isEncrypted=self.isEncrypted)
        self.connections.append(connection)
        return connection

    def _free(self) -> Connection:
        self._collect()
        self.connections = [one for one in self.connections if not one.socket.isOver]
        for connection in self.connections:
            if connection.isFree and connection is not self._current:
                return connection
        return self.connect()

    def arrive(self, data: bytes) -> None:
        """
        Let some of what was L{said} come, or all of it.
        """
        while data:
            if not self._left:
                self._current = None
                self._current = self._free()
                self._left, self._current.rid = (
                    self._rids.popleft() if self._rids else (len(data), None)
                )
            part, data = data[: self._left], data[self._left :]
            self._left -= len(part)
            assert self._current is not None, "it has been chosen"
            connection = self._current
            if not self._left:
                self._current = None
            connection.receive(part)

    def answered(self, rid: int, got: Got) -> None:
        """
        There is a response to a request that somebody else has sent.
        """
        self._responses[rid] = got

    def _collect(self) -> bool:
        isMoving = False
        for connection in self.connections:
            rid = connection.rid
            for got in connection.take():
                isMoving = True
                assert rid is not None, got
                self._responses[rid] = got
        while (response := self._responses.pop(self.read + 1, None)) is not None:
            self.read += 1
            self.got += b"".join(self._sayings(judged(response), response.data))
        return isMoving

    def told(self, turn: Callable[[], object]) -> bytes:
        """
        Return what it is told, and go on asking.

        @param turn: Lets the program go on.
        """
        before = len(self.got)
        isMoving = True
        polls = 0
        while isMoving:
            turn()
            isMoving = self._collect()
            if self.isPolling and self.sid and not self.isEnded and not self._isWaiting:
                isMoving = True
                polls += 1
                assert polls < MAX_POLLS, "nothing is held"
                data = self.body(self.rid, {})
                connection = self._free()
                connection.rid = self.rid
                self.rid += 1
                connection.receive(data)
        return self.got[before:]

    @property
    def _isWaiting(self) -> bool:
        return any(connection.rid is not None for connection in self.connections)

    def lose(self) -> None:
        """
        Lose all connections.
        """
        lost, self.connections = self.connections, []
        self._current, self._left = None, 0
        self.isPolling = False
        for connection in lost:
            connection.lose()

    # Its ear

    def delivered(self, number: int, size: int) -> Stanza:
        """
        Return a message to it that takes so many bytes.
        """
        return message(number, size)

    def _sayings(self, root: Any, data: bytes) -> Iterator[bytes]:
        attributes = root.attrib
        if "sid" in attributes:
            assert self.read == FIRST_RID, "once, at first"
            self.sid = attributes["sid"]
        if "authid" in attributes:
            yield StreamHeader(
                id=attributes["authid"],
                from_=attributes.get("from"),
                to=attributes.get("to"),
                lang=attributes.get("{http://www.w3.org/XML/1998/namespace}lang"),
                version=attributes.get(f"{{{NS_XBOSH}}}version"),
            ).encode()
        for element in elements(data):
            end = element.index(b">")
            if element.startswith(b"<stream:"):
                yield element
            else:
                assert b" xmlns=" in element[:end], "it says that it is not in the body's"
                yield element[:end].replace(_XMLNS, b"", 1) + element[end:]
        if attributes.get("type") == "terminate":
            self.isEnded = True
            self.condition = attributes.get("condition")
            yield FOOTER


class SecureBOSHWay(BOSHWay):
    """
    One in TLS.
    """

    isEncrypted = True

    def __init__(self) -> None:
        super().__init__()
        self.tls = None


class BareBOSHWay(BOSHWay):
    """
    One that leaves it to the body to say which namespace its elements are in.
    """

    extra = 0

    def framed(self, token: bytes) -> bytes:
        """
        Return the element as it is.
        """
        return token


class SilentExchange:
    """
    An HTTP request without HTTP.

    @ivar answers: What it was answered with.
    @ivar isPending: The kernel has not taken all of that.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, bytes]] = []
        self.isPending = False
        self.target: Any = None

    def answer(self, status: int, type_: str, data: bytes) -> None:
        """
        Note it.
        """
        self.answers.append((status, type_, data))

    @property
    def told(self) -> Any:
        """
        What is in its only answer, an element.
        """
        ((status, _, data),) = self.answers
        assert status == 200, status
        return etree.fromstring(data)
