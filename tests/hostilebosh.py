# Copyright the cmanager authors.
# See LICENSE for details.

"""
What hostile clients send by BOSH: the table of L{tests.hostile} within bodies, and what is
hostile in bodies and in HTTP alone.
"""

from __future__ import annotations

import gzip
from http import HTTPStatus

from attrs import evolve, frozen

from cmanager.body import MAX_RID, NS_BODY, NS_XBOSH
from cmanager.stanza import NS_SASL, NS_STREAMS, NS_TLS
from tests.bosh import PATH
from tests.hostile import (
    DOMAIN,
    EITHER,
    HEADER,
    POLICY,
    XML,
    Hostile,
    fresh,
    loggedIn,
)

FORMAT = frozenset({"bad-format"})
NOT_FOUND = frozenset({"item-not-found"})
BAD = frozenset({"bad-request"})
LENGTH = b"{length}"

_PRESENCE = b"<presence xmlns='jabber:client'/>"
_MESSAGE = b"<message xmlns='jabber:client' to='nurse@%s'><body>%s</body></message>"
_NAMESPACES = f"xmlns='{NS_BODY}' xmlns:stream='{NS_STREAMS}' xmlns:xmpp='{NS_XBOSH}'".encode()

_OF_STREAMS = {
    "wrong root",
    "root without a namespace",
    "undeclared root prefix",
    "wrong stream namespace",
    "wrong content namespace",
    "link header",
    "old version",
    "giant header",
    "header attribute bomb",
    "giant white space",
    "double header",
    "double header without a declaration",
    "HTTP",
    "TLS",
    "SSH",
    "NUL",
    "UTF-16",
    "UTF-16 declared",
    "Latin-1 declared",
    "billion laughs",
    "external DTD",
    "comment first",
    "giant garbage",
}
"""
Rows about the header of a stream, and about what is no stream at all.
"""

_OTHERWISE = {
    # Nothing but a restart can be meant.
    "second header": FORMAT,
    # STARTTLS is over with what is behind it.
    "injection behind starttls": frozenset[str](),
    "half an injection behind starttls": frozenset[str](),
}
"""
What becomes of a row in a body, where it is something else than over TCP.
"""


@frozen(kw_only=True)
class HostileRequest:
    """
    One hostile request over HTTP.  In C{head} and C{body} stand C{{sid}}, C{{rid}}, the next
    one, and others, for what the client knows; and L{LENGTH}, in C{head}, for the length of
    the body.

    @ivar status: Of the response.
    @ivar conditions: The binding condition of the response is one of these; empty if it has
        none.
    @ivar isDeadly: The session ends.
    @ivar inside: What the client must be told, be it in the response to another request.
    """

    name: str
    body: bytes
    head: bytes = (
        b"POST "
        + PATH.encode()
        + b" HTTP/1.1\r\nHost: x\r\nContent-Length: "
        + LENGTH
        + b"\r\n\r\n"
    )
    status: int = HTTPStatus.OK
    conditions: frozenset[str] = frozenset()
    isDeadly: bool = False
    inside: bytes = b""


def content() -> list[Hostile]:
    """
    Return what clients that may send stanzas have in bodies.
    """
    return [
        *(evolve(row, streamError=_OTHERWISE.get(row.name, row.streamError)) for row in loggedIn()),
        Hostile("end of the body", b"</body>", XML),
        Hostile("another body", b"</body><body>", XML),
        Hostile("smuggled body", b"<presence/></body><body xmlns='%s'>" % NS_BODY.encode(), XML),
        Hostile(
            "body in the body",
            b"<body xmlns='%s' rid='1'><presence/></body>" % NS_BODY.encode(),
            frozenset({"unsupported-stanza-type"}),
        ),
        Hostile("end of a stream", b"</stream:stream> ", XML),
        Hostile("half a stanza", b"<message><body>", XML),
        Hostile("half a tag", b"<mess", XML),
        Hostile(
            "stanza of the body's namespace",
            b"<message xmlns='%s' to='nurse@%s'/>" % (NS_BODY.encode(), DOMAIN),
        ),
        Hostile("two, the second bad", b"<presence/>" * 3 + b"<x", XML),
        Hostile("many", b"<presence/>" * 500),
    ]


def early() -> list[Hostile]:
    """
    Return what clients have in bodies whose session has just begun; the header stands before
    it.
    """
    header = HEADER % DOMAIN
    rows = [
        evolve(
            row,
            streamError=_OTHERWISE.get(row.name, row.streamError),
        )
        for row in fresh()
        if row.name not in _OF_STREAMS
    ]
    auth = b"<auth xmlns='%s' mechanism='PLAIN'/>" % NS_SASL.encode()
    return [
        *rows,
        Hostile(
            "starttls",
            header + b"<starttls xmlns='%s'/>" % NS_TLS.encode(),
            answer=b"<failure",
        ),
        Hostile("login without data", header + auth, answer=b"<failure"),
        Hostile(
            "giant in the first request",
            header + b"<message><body>" + b"x" * 10000 + b"</body></message>",
            POLICY,
        ),
    ]


def _body(attributes: bytes, inside: bytes = b"") -> bytes:
    return b"<body %b %b>%b</body>" % (_NAMESPACES, attributes, inside)


def _bad(name: str, body: bytes) -> HostileRequest:
    return HostileRequest(name=name, body=body, conditions=BAD)


def _rids() -> list[HostileRequest]:
    sid = b"sid='{sid}' "
    bad = (
        b"0", b"-1", b"1.5", b"1e9", b"0x10", b"", b" 1", b"x", b"%d" % (MAX_RID + 1), b"9" * 17,
        b"9" * 5000, "\N{ARABIC-INDIC DIGIT ONE}".encode(), b"+5", b"1_0",
    )  # fmt: skip
    gone = (b"1", b"{old}", b"{far}", b"{outside}", b"%d" % MAX_RID)
    return [
        *(_bad(f"rid {rid[:20]!r}", _body(sid + b"rid='%b'" % rid, _PRESENCE)) for rid in bad),
        _bad("no rid", _body(sid, _PRESENCE)),
        *(
            HostileRequest(
                name=f"rid {rid!r} outside of the window",
                body=_body(sid + b"rid='%b'" % rid, _PRESENCE),
                conditions=NOT_FOUND,
                isDeadly=True,
            )
            for rid in gone
        ),
        HostileRequest(
            name="answered rid with another stanza",
            body=_body(sid + b"rid='{answered}'", _MESSAGE % (DOMAIN, b"never")),
        ),
        HostileRequest(
            name="answered rid, and an end",
            body=_body(sid + b"rid='{answered}' type='terminate'", _MESSAGE % (DOMAIN, b"never")),
        ),
    ]


def _sids() -> list[HostileRequest]:
    """
    Attempts to get into sessions of others: of whom it is known is in braces.
    """
    stanza = _MESSAGE % (DOMAIN, b"never")
    guesses = (
        b"{streamid}", b"{near}", b"{swapped}", b"{short}", b"{sid}A", b"", b"0", b"*", b"../{sid}",
        b"{sid} ", b"%00", b"A" * 64, b"' or '1'='1",
    )  # fmt: skip
    rows = [
        HostileRequest(
            name=f"sid {sid!r}",
            body=_body(b'sid="%b" rid="{rid}" %b' % (sid, more), stanza),
            conditions=NOT_FOUND,
        )
        for sid in guesses
        for more in (b"", b"type='terminate'", b"xmpp:restart='true' to='%b'" % DOMAIN)
    ]
    return [*rows, _bad("giant sid", _body(b"sid='%b' rid='{rid}'" % (b"x" * 65), stanza))]


def _bodies() -> list[HostileRequest]:
    own = b"sid='{sid}' rid='{rid}' "
    whole = _body(own, _PRESENCE)
    dtd = b"<!DOCTYPE x [<!ENTITY a 'b'><!ENTITY c '&a;&a;'>]>"
    rows = [
        ("nothing", b""),
        ("white space", b" \r\n"),
        ("no XML", b"rid=1&sid=2"),
        ("JSON", b'{"rid": 1}'),
        ("NUL", b"\0" * 20),
        ("no body", _PRESENCE),
        ("a stream", HEADER % DOMAIN),
        ("another namespace", whole.replace(NS_BODY.encode(), b"urn:x")),
        ("no namespace", whole.replace(b"xmlns='%b'" % NS_BODY.encode(), b"")),
        ("half a start tag", whole[:60]),
        ("doctype", dtd + whole),
        ("external", b"<!DOCTYPE body SYSTEM 'file:///etc/passwd'>" + whole),
        ("comment before", b"<!-- -->" + whole),
        ("instruction before", b"<?php x ?>" + whole),
        ("UTF-16", whole.decode().encode("utf-16")),
        ("UTF-16 declared", b"<?xml version='1.0' encoding='UTF-16'?>" + whole),
        ("Latin-1 declared", b"<?xml version='1.0' encoding='ISO-8859-1'?>" + whole),
        ("compressed", gzip.compress(whole)),
        ("doubled attribute", whole.replace(b"rid=", b"rid='1' rid=")),
        ("attributes of the body", _body(own + b" ".join(b"a%d='x'" % n for n in range(65)))),
        ("namespaces of the body", _body(own + b" ".join(b"xmlns:a%d='x'" % n for n in range(33)))),
        ("giant attribute of the body", _body(own + b"x='" + b"x" * 10000 + b"'")),
        ("giant start tag", b"<body " + b"x" * 9000),
    ]
    wrong = (
        b"type='x'", b"type='TERMINATE'", b"pause='0'", b"pause='-1'", b"pause='x'", b"ver='x'",
        b"ver='1.'", b"ver='1.6.2'", b"wait='-1'", b"hold='x'", b"hold='99999999999'", b"ack='-1'",
        b"ack='x'", b"key='%b'" % (b"k" * 65), b"newkey='%b'" % (b"k" * 65),
        b"xml:lang='%b'" % (b"x" * 65), b"to='%b'" % (b"x" * 1024), b"from='%b'" % (b"x" * 3072),
        b"content='%b'" % (b"x" * 1024), b"xmpp:restart='x'", b"xmpp:version='%b'" % (b"1" * 65),
        b"condition='%b'" % (b"x" * 65),
    )  # fmt: skip
    return [
        *(_bad(name, data) for name, data in rows),
        *(_bad(f"attribute {a[:24]!r}", _body(own + a, _PRESENCE)) for a in wrong),
    ]


def _broken() -> list[HostileRequest]:
    """
    Requests that break the stream within their session.
    """
    own = b"sid='{sid}' rid='{rid}' "
    whole = _body(own, _PRESENCE)
    rows = {
        "half a body": (whole[:-7], XML),
        "something behind": (whole + b"x", XML | FORMAT),
        "a body behind": (whole + whole, XML),
        "comment behind": (whole + b"<!-- -->", EITHER),
        "restart out of the blue": (
            _body(own + b"xmpp:restart='true' to='%b'" % DOMAIN, _PRESENCE),
            FORMAT,
        ),
        "half a body at its end": (_body(own + b"type='terminate'", b"<x")[:-8], None),
    }
    found = []
    for name, (data, stream) in rows.items():
        found.append(
            HostileRequest(
                name=name,
                body=data,
                conditions=frozenset({"remote-stream-error"}) if stream else frozenset(),
                isDeadly=True,
                inside=b"<stream:error><" if stream else b"terminate",
            )
        )
    return found


def _http() -> list[HostileRequest]:
    path = PATH.encode()
    whole = _body(b"sid='{sid}' rid='{rid}'", _PRESENCE)
    line = b"POST %b HTTP/1.1\r\nHost: x\r\n" % path
    length = b"Content-Length: %b\r\n" % LENGTH
    chunked = b"Transfer-Encoding: chunked\r\n"

    def row(name: str, head: bytes, body: bytes, status: int) -> HostileRequest:
        conditions = BAD if status == HTTPStatus.OK else frozenset[str]()
        return HostileRequest(name=name, head=head, body=body, status=status, conditions=conditions)

    return [
        row("GET", b"GET %b?%b HTTP/1.1\r\nHost: x\r\n\r\n" % (path, b"x" * 100), b"", 405),
        row("PUT", b"PUT %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path, length), whole, 501),
        row("no host", b"POST %b HTTP/1.1\r\n%b\r\n" % (path, length), whole, 400),
        row("two hosts", line + b"Host: y\r\n" + length + b"\r\n", whole, 400),
        row("no length", line + b"\r\n", b"", 200),
        row("two lengths", line + length + b"Content-Length: 1\r\n\r\n", whole, 400),
        row("length and chunks", line + length + chunked + b"\r\n", whole, 400),
        row("negative length", line + b"Content-Length: -1\r\n\r\n", whole, 400),
        row("length that is none", line + b"Content-Length: x\r\n\r\n", whole, 400),
        row("giant length", line + b"Content-Length: 600000\r\n\r\n", b"x", 413),
        row("giant number", line + b"Content-Length: %b\r\n\r\n" % (b"9" * 30), b"x", 413),
        row("bad chunk", line + chunked + b"\r\n", b"zz\r\n", 400),
        row("negative chunk", line + chunked + b"\r\n", b"-1\r\n", 400),
        row(
            "giant chunks",
            line + chunked + b"\r\n",
            b"".join(b"10000\r\n%b\r\n" % (b"x" * 65536) for _ in range(9)),
            413,
        ),
        row("unknown encoding", line + b"Transfer-Encoding: gzip\r\n\r\n", whole, 400),
        row("many headers", line + b"".join(b"X%d: y\r\n" % n for n in range(101)) + b"\r\n", b"", 400),
        row("giant header", line + b"X: " + b"y" * 20000 + b"\r\n\r\n", b"", 431),
        row("folded header", line + b"X: y\r\n z\r\n\r\n", b"", 400),
        row("other path", b"POST /http-bind/../x HTTP/1.1\r\nHost: x\r\n%b\r\n" % length, whole, 404),
        row("no HTTP", b"HELO x\r\n\r\n", b"", 400),
        row("long line", b"POST /%b HTTP/1.1\r\n\r\n" % (b"x" * 20000), b"", 431),
    ]  # fmt: skip


def requests() -> list[HostileRequest]:
    """
    Return requests that clients send which have a session.
    """
    return [*_rids(), *_sids(), *_bodies(), *_broken(), *_http()]
