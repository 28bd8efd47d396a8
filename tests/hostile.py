# Copyright the cmanager authors.
# See LICENSE for details.

"""
What hostile clients send: a hand-made table and generators of mutants.

Data only.  L{FRESH} is sent by a client that has just connected, L{LOGGED_IN} by one
that may send stanzas.  Each entry says how its sender is answered; nobody else may
notice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from attrs import frozen

HEADER = (
    b"<?xml version='1.0'?><stream:stream to='%s' version='1.0' "
    b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
DOMAIN = b"verona.example"

XML = frozenset({"not-well-formed"})
RESTRICTED = frozenset({"restricted-xml"})
EITHER = XML | RESTRICTED
POLICY = frozenset({"policy-violation"})
UNSUPPORTED = frozenset({"unsupported-stanza-type"})


@frozen
class Hostile:
    """
    One hostile input.

    @ivar name: What it tries, for the report.
    @ivar data: What is sent.
    @ivar streamError: The stream's end is one of these conditions; empty if the
        stream must live.
    @ivar answer: Bytes that the sender must find in what it got, or C{b""}.
    """

    name: str
    data: bytes
    streamError: frozenset[str] = frozenset()
    answer: bytes = b""


def _message(inside: bytes, attributes: bytes = b"") -> bytes:
    return b"<message to='nurse@%s'%s>%s</message>" % (DOMAIN, attributes, inside)


def _body(text: bytes) -> bytes:
    return _message(b"<body>%s</body>" % text)


def loggedIn(stanzaBytes: int = 262144) -> list[Hostile]:
    """
    Return the table for clients that may send stanzas.
    """
    rows = [
        # Structure
        Hostile("mis-nested", b"<message><body>x</message>", XML),
        Hostile("end tag from nowhere", b"</message>", XML),
        Hostile("crossed tags", b"<message><a><b></a></b></message>", XML),
        Hostile("smuggled </route>", _message(b"</route><route streamid='x'>"), XML),
        Hostile("closes route behind a stanza", b"<presence/></route>", XML),
        Hostile("route of its own", b"<route streamid='x'><presence/></route>", UNSUPPORTED),
        Hostile(
            "route in the link's namespace",
            b"<route xmlns='jabber:connectionmanager' streamid='x'><presence/></route>",
            UNSUPPORTED,
        ),
        Hostile("handshake", b"<handshake>abc</handshake>", UNSUPPORTED),
        Hostile(
            "session iq in the link's namespace",
            b"<iq xmlns='jabber:connectionmanager' type='set' id='1'><session "
            b"xmlns='http://jabber.org/protocol/connectionmanager' id='x'><close/></session></iq>",
            UNSUPPORTED | frozenset({"invalid-namespace"}),
        ),
        Hostile("unknown element", b"<foo/>", UNSUPPORTED),
        Hostile("empty name", b"< message/>", XML),
        Hostile("no name", b"<>", XML),
        Hostile("bare ampersand", _body(b"a & b"), XML),
        Hostile("unquoted attribute", b"<message to=x/>", XML),
        Hostile("attribute without a value", b"<message to/>", XML),
        Hostile("attributes run together", b"<message to='x'id='y'/>", XML),
        Hostile("less-than in an attribute", b"<message id='</route>'/>", XML),
        Hostile("doubled attribute", b"<message id='a' id='b'/>", XML),
        Hostile(
            "doubled by expanded name",
            b"<message xmlns:a='urn:x' xmlns:b='urn:x' a:k='1' b:k='2'/>",
            XML,
        ),
        Hostile("]]> in text", _body(b"]]>"), XML),
        Hostile("text between stanzas", b"hello", XML | frozenset({"bad-format"})),
        Hostile(
            "CDATA between stanzas", b"<![CDATA[x]]><presence/>", EITHER | frozenset({"bad-format"})
        ),
        # XML that XMPP forbids
        Hostile("comment", _message(b"<!-- </route> -->"), RESTRICTED),
        Hostile("comment between stanzas", b"<!-- x -->", RESTRICTED),
        Hostile("processing instruction", _message(b"<?php echo 1 ?>"), RESTRICTED),
        Hostile("XML declaration inside", _message(b"<?xml version='1.0'?>"), EITHER),
        Hostile("doctype inside", _message(b"<!DOCTYPE x>"), EITHER),
        Hostile("doctype between stanzas", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", EITHER),
        Hostile("undefined entity", _body(b"&bomb;"), EITHER),
        Hostile("undefined entity in an attribute", b"<message id='&bomb;'/>", EITHER),
        # Characters
        *(
            Hostile(f"control character {code:#x}", _body(bytes([code])), XML)
            for code in (*range(9), 11, 12, *range(14, 32))
        ),
        *(
            Hostile(f"reference &#{ref};", _body(b"&#" + ref.encode() + b";"), XML)
            for ref in ("0", "x0", "1", "xB", "xD800", "xDFFF", "xFFFE", "xFFFF", "x110000", "x")
        ),
        *(
            Hostile(f"reference &#{ref}; in an attribute", b"<message id='&#%s;'/>" % ref, XML)
            for ref in (b"0", b"xD800", b"xFFFF")
        ),
        *(
            Hostile(f"bad UTF-8 {bad.hex()}", _body(b"x" + bad + b"y"), XML)
            for bad in (
                b"\xff",
                b"\xfe\xff",
                b"\xc0\xaf",
                b"\xc1\xbf",
                b"\xe0\x80\xaf",
                b"\xf0\x80\x80\xaf",
                b"\xed\xa0\x80",
                b"\xed\xbf\xbf",
                b"\xed\xa0\xbd\xed\xb8\x80",
                b"\xf4\x90\x80\x80",
                b"\xf8\x88\x80\x80\x80",
                b"\x80",
                b"\xe2\x82",
                b"\xef\xbf\xbe",
                b"\xef\xbf\xbf",
            )
        ),
        Hostile("bad UTF-8 in a name", b"<mess\xffage/>", XML),
        Hostile("bad UTF-8 in an attribute", b"<message id='\xc3'/>", XML),
        # Namespaces
        Hostile("undeclared prefix", _message(b"<x:y/>"), XML | {"bad-namespace-prefix"}),
        Hostile(
            "undeclared attribute prefix", b"<message x:y='1'/>", XML | {"bad-namespace-prefix"}
        ),
        Hostile("prefix bound to nothing", _message(b"<x:y xmlns:x=''/>"), XML),
        Hostile("prefix xml rebound", _message(b"<y xmlns:xml='urn:x'/>"), XML),
        Hostile("prefix xmlns declared", _message(b"<y xmlns:xmlns='urn:x'/>"), XML),
        Hostile("two colons", _message(b"<a:b:c xmlns:a='urn:x'/>"), XML),
        Hostile(
            "prefixed stanza",
            b"<c:message xmlns:c='jabber:client' to='nurse@verona.example'/>",
            UNSUPPORTED | {"bad-namespace-prefix"},
        ),
        Hostile(
            "other namespace", b"<message xmlns='urn:x'/>", UNSUPPORTED | {"invalid-namespace"}
        ),
        Hostile(
            "server namespace",
            b"<message xmlns='jabber:server'/>",
            UNSUPPORTED | {"invalid-namespace"},
        ),
        # Streams
        Hostile(
            "second header",
            HEADER % DOMAIN,
            EITHER,
        ),
        Hostile("features", b"<stream:features/>", UNSUPPORTED),
        Hostile(
            "success",
            b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            UNSUPPORTED | {"not-authorized", "policy-violation"},
        ),
        Hostile(
            "login after login",
            b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHgAeQ==</auth>",
            UNSUPPORTED | {"not-authorized", "policy-violation"},
        ),
        # Size
        Hostile("deep", b"<message>" + b"<a>" * 128, POLICY),
        Hostile(
            "attribute bomb",
            b"<message " + b" ".join(b"a%d='x'" % n for n in range(65)) + b"/>",
            POLICY,
        ),
        Hostile(
            "namespace bomb",
            b"<message " + b" ".join(b"xmlns:a%d='urn:x'" % n for n in range(33)) + b"/>",
            POLICY,
        ),
        Hostile("giant body", b"<message><body>" + b"x" * stanzaBytes, POLICY),
        Hostile("giant name", b"<" + b"m" * stanzaBytes, POLICY),
        Hostile("giant attribute", b"<message id='" + b"x" * stanzaBytes, POLICY),
        Hostile("giant crowd of elements", b"<message>" + b"<a/>" * (stanzaBytes // 4), POLICY),
        # What looks bad and is not, or is answered for its stanza alone
        Hostile("route in text", _body(b"&lt;/route&gt;")),
        Hostile(
            "route in CDATA", _body(b'<![CDATA[</body></message></route><route streamid="x">]]>')
        ),
        Hostile("quote in single quotes", _message(b"", b""" id='"/&gt;&lt;/route&gt;"'""")),
        Hostile("greater-than in text", _body(b"a > b /> c")),
        Hostile(
            "tag with breathing space",
            b"<message\n\tto = 'nurse@verona.example'\r\n><body \n>x</body \t></message\n>",
        ),
        Hostile("stream prefix taken over", _message(b"<stream:x xmlns:stream='urn:x'/>")),
        Hostile("stream prefix used", _message(b"<stream:x/>")),
        Hostile("no namespace", _message(b"<x xmlns=''/>")),
        Hostile(
            "spoofed sender", _message(b"<body>hi</body>", b" from='romeo@verona.example/balcony'")
        ),
        Hostile("spoofed streamid", _message(b"", b" streamid='x'")),
        Hostile("emoji and CR", _body("\N{PILE OF POO}\r\n\r&#13;&#x1F4A9;".encode())),
        Hostile("language with a quote", _message(b"", b""" xml:lang='"'""")),
        Hostile("jid without a domain", b"<message id='1' to='nurse@'/>", answer=b"jid-malformed"),
        Hostile("jid with spaces", b"<message id='1' to='nu rse@x'/>", answer=b"jid-malformed"),
        Hostile(
            "jid too long",
            b"<message id='1' to='%s@x'/>" % (b"n" * 1024),
            answer=b"jid-malformed",
        ),
        Hostile(
            "jid with a forbidden character",
            "<message id='1' to='nu\N{NO-BREAK SPACE}rse@x\u2028'/>".encode(),
            answer=b"jid-malformed",
        ),
        Hostile(
            "iq without an id",
            b"<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
            answer=b"bad-request",
        ),
        Hostile(
            "iq of no type", b"<iq id='1'><ping xmlns='urn:xmpp:ping'/></iq>", answer=b"bad-request"
        ),
        Hostile(
            "iq of a strange type",
            b"<iq id='1' type='x'><ping xmlns='urn:xmpp:ping'/></iq>",
            answer=b"bad-request",
        ),
        Hostile(
            "presence of a strange type", b"<presence id='1' type='x'/>", answer=b"bad-request"
        ),
        Hostile("message of a strange type", b"<message id='1' type='x'/>", answer=b"bad-request"),
        Hostile(
            "stream management", b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>", answer=b"<failed"
        ),
        Hostile("acknowledgement request", b"<r xmlns='urn:xmpp:sm:3'/>"),
        Hostile("client state", b"<inactive xmlns='urn:xmpp:csi:0'/>"),
    ]
    return rows


def fresh() -> list[Hostile]:
    """
    Return the table for clients that have just connected.
    """
    header = HEADER % DOMAIN
    starttls = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    namespace = frozenset({"invalid-namespace", "bad-namespace-prefix"})
    return [
        Hostile("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", XML),
        Hostile("TLS", bytes.fromhex("16030100c8010000c40303") + bytes(32), XML),
        Hostile("SSH", b"SSH-2.0-OpenSSH_9.0\r\n", XML),
        Hostile("NUL", b"\0" * 16, XML | {"unsupported-encoding"}),
        Hostile(
            "UTF-16",
            "<?xml version='1.0'?><stream:stream>".encode("utf-16"),
            XML | {"unsupported-encoding"},
        ),
        Hostile(
            "UTF-16 declared",
            b"<?xml version='1.0' encoding='UTF-16'?>" + header[21:],
            XML | {"unsupported-encoding"},
        ),
        Hostile(
            "Latin-1 declared",
            b"<?xml version='1.0' encoding='ISO-8859-1'?>" + header[21:],
            frozenset({"unsupported-encoding"}),
        ),
        Hostile(
            "billion laughs",
            b"<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol 'lol'><!ENTITY lol2 '&lol;&lol;'>]>",
            RESTRICTED,
        ),
        Hostile("external DTD", b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'>", RESTRICTED),
        Hostile("comment first", b"<!-- x -->" + header, RESTRICTED),
        Hostile("wrong root", b"<foo xmlns='jabber:client'>", namespace | {"bad-format"}),
        Hostile("root without a namespace", b"<stream>", namespace | {"bad-format"}),
        Hostile("undeclared root prefix", b"<stream:stream to='x'>", XML | namespace),
        Hostile("wrong stream namespace", header.replace(b"etherx", b"other"), namespace),
        Hostile(
            "wrong content namespace", header.replace(b"jabber:client", b"jabber:server"), namespace
        ),
        Hostile(
            "link header", header.replace(b"jabber:client", b"jabber:connectionmanager"), namespace
        ),
        Hostile("unknown host", HEADER % b"mantua.example", frozenset({"host-unknown"})),
        Hostile("bad host", HEADER % b"x y", frozenset({"host-unknown", "improper-addressing"})),
        Hostile(
            "old version",
            header.replace(b"version='1.0' ", b"", 1),
            frozenset({"unsupported-version"}),
        ),
        Hostile(
            "giant header",
            b"<stream:stream to='" + b"x" * 10000,
            POLICY,
        ),
        Hostile(
            "header attribute bomb",
            header[:-1] + b"".join(b" a%d='x'" % n for n in range(65)) + b">",
            POLICY,
        ),
        Hostile("giant white space", b" " * 20000, frozenset()),
        Hostile("giant garbage", b"x" * 20000, XML | POLICY),
        Hostile(
            "stanza before login",
            header + b"<message to='x'/>",
            frozenset({"not-authorized", "policy-violation"}),
        ),
        Hostile(
            "injection behind starttls",
            header
            + starttls
            + b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>",
            POLICY | XML | {"undefined-condition", "bad-format", "not-authorized"},
        ),
        Hostile(
            "half an injection behind starttls",
            header + starttls + b"<iq type='set'",
            POLICY | XML | {"undefined-condition", "bad-format", "not-authorized"},
        ),
        Hostile("giant before login", header + b"<auth xmlns='" + b"x" * 10000, POLICY),
        Hostile(
            "SASL 2",
            header + b"<authenticate xmlns='urn:xmpp:sasl:2'/>",
            UNSUPPORTED | {"not-authorized"},
        ),
        Hostile(
            "double header",
            header + header,
            EITHER,
        ),
        # An element that never ends
        Hostile("double header without a declaration", header + header[21:]),
    ]


SEEDS = (
    b"<message to='nurse@verona.example' type='chat' id='m1'><body>Wherefore art thou?</body></message>",
    b"<presence><show>away</show><status>&lt;at the ball&gt; &amp; tired</status></presence>",
    b"<iq type='get' id='q1' to='verona.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    b'<message to="nurse@verona.example"><x:y xmlns:x="urn:x" x:a="1"><![CDATA[<z>]]></x:y></message>',
    b"<message to='nurse@verona.example'><forwarded xmlns='urn:xmpp:forward:0'>"
    b"<message xmlns='jabber:client'><body>x</body></message></forwarded></message>",
)

_INSERTS = (
    b"<",
    b">",
    b"/",
    b"'",
    b'"',
    b"&",
    b";",
    b"]]>",
    b"<![CDATA[",
    b"<!--",
    b"-->",
    b"<?x ?>",
    b"</route>",
    b"</message>",
    b"<route streamid='x'>",
    b"\0",
    b"\x1b",
    b"\xff",
    b"\xed\xa0\x80",
    b"&#0;",
    b"&x;",
    b" xmlns=''",
    b" a:b='c'",
    b"\xc2\xa0",
    b" ",
    b"\r",
)


def mutants(seed: int) -> Iterator[bytes]:
    """
    Generate stanzas with something wrong, for ever: bytes cut out, doubled, flipped,
    inserted, or cut short.  Some come out well-formed; an independent parser has to
    say which.
    """
    chance = random.Random(seed)
    while True:
        data = bytearray(chance.choice(SEEDS))
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            at = chance.randrange(len(data))
            match chance.randrange(5):
                case 0:
                    del data[at : at + chance.randrange(1, 9)]
                case 1:
                    data[at:at] = data[at : at + chance.randrange(1, 9)]
                case 2:
                    data[at] = chance.randrange(256)
                case 3:
                    data[at:at] = chance.choice(_INSERTS)
                case _:
                    other = chance.choice(SEEDS)
                    data[at:at] = other[chance.randrange(len(other)) :]
            if not data:
                break
        yield bytes(data)
