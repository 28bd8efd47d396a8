# Copyright the cmanager authors.
# See LICENSE for details.

"""
What hostile clients send over WebSocket: the table of L{tests.hostile} as messages, and
what is hostile in frames alone.

Each entry's bytes are what goes over the wire behind the request.
"""

from __future__ import annotations

from attrs import evolve

from cmanager.framed import NS_FRAMING
from cmanager.stanza import NS_SASL, NS_TLS
from tests.hostile import (
    DOMAIN,
    EITHER,
    HEADER,
    POLICY,
    RESTRICTED,
    UNSUPPORTED,
    XML,
    Hostile,
    fresh,
    loggedIn,
)
from tests.test_frames import ViolationTests
from tests.ways import WebSocketWay, spelled
from tests.websockets import PING, PONG, TEXT, fragments, frame, hangup, text

FORMAT = frozenset({"bad-format"})
NAMESPACE = frozenset({"invalid-namespace"})
ENCODING = frozenset({"unsupported-encoding"})

OPEN = spelled(HEADER % DOMAIN)

_OF_STREAMS = {
    "wrong stream namespace",
    "wrong content namespace",
    "link header",
    "undeclared root prefix",
    "double header without a declaration",
    "header attribute bomb",
    "giant white space",
    "giant garbage",
    "giant header",
    "HTTP",
    "TLS",
    "SSH",
    "NUL",
}
"""
Rows about the header of a stream, and about what is no stream at all.
"""

_OTHERWISE = {
    # A message is whole, or it is none.
    "wrong root": XML,
    "root without a namespace": XML,
    "UTF-16": XML,
    "double header": FORMAT,
    "second header": FORMAT,
    "injection behind starttls": frozenset[str](),
    "half an injection behind starttls": frozenset[str](),
}
"""
What becomes of a row over WebSocket, where it is something else than over TCP.
"""


def _messages(data: bytes) -> list[bytes]:
    """
    Take apart what a client says that begins with headers.
    """
    found = []
    while data.startswith(b"<?xml version='1.0'?><stream:stream") and b">" in data[22:]:
        end = data.index(b">", 22) + 1
        found.append(data[:end])
        data = data[end:]
    starttls = b"<starttls xmlns='%s'/>" % NS_TLS.encode()
    if data.startswith(starttls):
        found.append(starttls)
        data = data[len(starttls) :]
    return [*found, data] if data else found


def _framed(rows: list[Hostile]) -> list[Hostile]:
    way = WebSocketWay()
    return [
        evolve(
            row,
            data=b"".join(map(way.framed, _messages(row.data))),
            streamError=_OTHERWISE.get(row.name, row.streamError),
        )
        for row in rows
        if row.name not in _OF_STREAMS
    ]


def _violations(before: bytes) -> list[Hostile]:
    return [
        Hostile(f"frames: {name}", before + data, frozenset({condition}))
        for name, (data, _, condition) in ViolationTests.TABLE.items()
    ]


def framedLoggedIn(stanzaBytes: int = 262144) -> list[Hostile]:
    """
    Return the table for clients that may send stanzas.
    """
    presence = spelled(b"<presence/>")
    message = spelled(b"<message to='nurse@%s'><body>%s</body></message>" % (DOMAIN, b"x" * 500))
    giant = text(b"x" * (stanzaBytes + 1))[:10]
    return [
        *_framed(loggedIn(stanzaBytes)),
        *_violations(b""),
        Hostile("two in one", text(presence + presence), XML),
        Hostile("nothing", text(b""), FORMAT),
        Hostile("nothing in fragments", b"".join([frame(TEXT, isLast=False), frame(0)]), FORMAT),
        Hostile("white space", text(b" "), FORMAT),
        Hostile("white space before", text(b"\n" + presence), FORMAT),
        Hostile("no namespace", text(b"<presence/>"), NAMESPACE),
        Hostile("byte order mark", text(b"\xef\xbb\xbf" + presence), XML),
        Hostile("half a message", text(presence[:-1]), XML),
        Hostile("end of a stream", text(b"</stream:stream>"), XML),
        Hostile("header of another kind", text(HEADER % DOMAIN), XML),
        Hostile("second open", text(OPEN), FORMAT),
        Hostile("other framing", text(b"<x xmlns='%s'/>" % NS_FRAMING.encode()), UNSUPPORTED),
        Hostile("giant announced", giant, POLICY),
        Hostile(
            "giant in small fragments",
            b"".join(
                fragments(b"<message xmlns='jabber:client'>" + b"<a/>" * (stanzaBytes // 4), 4096)
            ),
            POLICY,
        ),
        # Good, if strange
        Hostile("declaration", text(b"<?xml version='1.0' encoding='utf-8'?>" + presence)),
        Hostile("in many fragments", b"".join(fragments(message, 1))),
        Hostile(
            "pings between fragments",
            b"".join(frame(PING, b"x") + part for part in fragments(message, 50)),
        ),
        Hostile(
            "empty fragments",
            frame(TEXT, isLast=False) + frame(0, isLast=False) * 100 + frame(0, message),
        ),
        Hostile("pongs", frame(PONG, b"x" * 125) * 10),
        Hostile("mask of nothing", frame(TEXT, message, mask=bytes(4))),
    ]


def framedFresh() -> list[Hostile]:
    """
    Return the table for clients whose request has just been granted.
    """
    raw = [
        Hostile(row.name, row.data, FORMAT)
        for row in fresh()
        if row.name in ("HTTP", "TLS", "SSH", "NUL")
    ]
    auth = b"<auth xmlns='%s' mechanism='PLAIN'/>" % NS_SASL.encode()
    return [
        *raw,
        *_framed(fresh()),
        *_violations(b""),
        Hostile("XML without frames", HEADER % DOMAIN, FORMAT),
        Hostile("stream header", text(HEADER % DOMAIN), XML),
        Hostile(
            "stream header, closed",
            text((HEADER % DOMAIN)[:-1] + b"/>"),
            NAMESPACE,
        ),
        Hostile("open without a namespace", text(b"<open to='%s'/>" % DOMAIN), NAMESPACE),
        Hostile(
            "open in another namespace",
            text(OPEN.replace(NS_FRAMING.encode(), b"jabber:client")),
            NAMESPACE,
        ),
        Hostile("half an open", text(OPEN[:-2] + b">"), XML),
        Hostile("end before the beginning", text(b"<close xmlns='%s'/>" % NS_FRAMING.encode())),
        Hostile("end of the WebSocket", hangup(1001)),
        Hostile("login before open", text(auth), FORMAT),
        Hostile("comment before", text(b"<!-- -->" + OPEN), RESTRICTED),
        Hostile("doctype before", text(b"<!DOCTYPE x>" + OPEN), EITHER),
        Hostile(
            "UTF-16 declared, open",
            text(b"<?xml version='1.0' encoding='UTF-16'?>" + OPEN),
            ENCODING,
        ),
        Hostile("giant open", text(OPEN[:-2] + b" a='" + b"x" * 10000 + b"'/>"), POLICY),
        Hostile(
            "open as a bomb",
            text(OPEN[:-2] + b"".join(b" a%d='x'" % n for n in range(65)) + b"/>"),
            POLICY,
        ),
        Hostile(
            "starttls",
            text(OPEN) + text(b"<starttls xmlns='%s'/>" % NS_TLS.encode()),
            answer=b"<failure",
        ),
    ]
