# Copyright the cmanager authors.
# See LICENSE for details.

"""
Streams for two engines at once: generated inputs of every kind, and what tells two
scanners apart that read them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from cmanager.body import NS_BODY
from cmanager.errors import CManagerError, StreamError
from cmanager.stanza import (
    CONTENT_NAMESPACES,
    NS_CLIENT,
    NS_LINK,
    Closed,
    Event,
    Opened,
    Routed,
    RoutedText,
    Stanza,
    Text,
)
from tests.hostile import DOMAIN, SEEDS, fresh, loggedIn
from tests.hostile import HEADER as HOSTILE_HEADER

HEADERS = (
    (HOSTILE_HEADER % DOMAIN),
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    b"<?xml version='1.0' encoding='UTF-8'?><stream:stream xmlns='jabber:connectionmanager' "
    b"xmlns:stream='http://etherx.jabber.org/streams' from='cm/1' id='5'>",
    b"<s:s xmlns:s='http://etherx.jabber.org/streams' xmlns='urn:x&amp;y' xmlns:p='urn:p'>",
    b"<s xmlns:p='urn:p' xmlns:q='urn:p' xmlns:xml='http://www.w3.org/XML/1998/namespace'>",
    b"<body xmlns='http://jabber.org/protocol/httpbind' rid='1'>",
    b'<?xml version="1.0"?>\n<a>',
    b"<a xmlns=''>",
)

ELEMENTS = (
    *SEEDS,
    b"<presence/>",
    b"<presence></presence>",
    b'<message to="a@b" type="chat" id="x1"><body>Wherefore art thou?</body></message>',
    b'<message xmlns="jabber:client" to="a"><body/><x xmlns="urn:x"><y xmlns=""/></x></message>',
    b"<message xmlns=''/>",
    b'<iq xmlns="jabber:server" type="get" id="1"><ping xmlns="urn:xmpp:ping"/></iq>',
    b'<p:a p:b="1" xmlns:p="u" xmlns:q="u"><p:c/><q:d xmlns:q="v" q:x=\'"\' p:x=""/></p:a>',
    b"<stream:error><x xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
    b'<c:message xmlns:c="jabber:client" c:to="x"/>',
    b"<a xml:lang='de' xmlns:xml='http://www.w3.org/XML/1998/namespace'>x xmlns:xml=</a>",
    b"<a>x> ]] \"' &amp;&lt;&gt;&#13;&quot;&apos;&#x41;&#65; \r\n\t</a>",
    b"<a b='&#9;&#xA;&#13;&apos;\t\r\n >' c=\"&quot;'\"/>",
    b"<a><![CDATA[<b>]]]]><![CDATA[>&amp;]]></a>",
    b"<a><!-- ' > --><?x \"> ?></a>",
    "<\u00e9l\u00e9ment \u00e9='\u00e9'>\u00e9\u20ac\U0001f600</\u00e9l\u00e9ment>".encode(),
    "<a xmlns:p='\U0001f600' xmlns:q='\U0001f601' p:x='' q:x=''/>".encode(),
    b"<a><b><c><d><e/></d></c></b></a>",
    b"<a " + b" ".join(b"a%d='%d'" % (n, n) for n in range(20)) + b"/>",
    b"<a " + b" ".join(b"xmlns:n%d='u%d' n%d:x=''" % (n, n, n) for n in range(18)) + b"/>",
    b"<route streamid='1'><message to=\"x\"><body>hi</body></message></route>",
    b'<route xmlns:p="urn:p" streamid="1"><p:x/><message xmlns="urn:y"/></route>',
    b"<route streamid='1'>&lt;success xmlns='u'/&gt; text <x/> more <![CDATA[ ]]></route>",
    b"<handshake>0123</handshake>",
    b"<handshake/>",
)

ROUTES = (
    *[(b"<route streamid='1'>", b"</route>")] * 4,
    (b"<route to='a' from=\"b\" streamid='&#x31;\xc3\xa9' id='1'> ", b"</route >"),
    (b"<stream:route streamid='1' type='set' xmlns:p='urn:q'>x", b"y</stream:route>"),
    (b"<route streamid='1' type='error'>", b"</route>"),
    (b"<route streamid='' p:streamid='1' xmlns:p='urn:p'>", b"</route>"),
    (b"<route xmlns='urn:x' streamid='1' type='e&#x72;ror'>", b"</route>"),
)

PIECES = (
    *(bytes((byte,)) for byte in (0, 1, 11, 12, 31, 127, 128, 192, 245, 255)),
    *(b"<>/'\"&;=! ?-[]:\t\r\nx#" [i : i + 1] for i in range(22)) ,
    b"</", b"/>", b"<!", b"<!-", b"<!--", b"-->", b"--", b"<?", b"?>", b"<?xml ", b"<?xml?>",
    b"<?XML ?>", b"<?x y?>", b"<?xml version='1.0'?>", b"<?xml version='1.0' encoding='UTF-8'?>",
    b"<?xml version='1.0' encoding='latin-1' standalone='no'?>",
    b"<?xml version = \"1.0\" encoding = 'utf-8' standalone = 'yes' ?>",
    b"<!DOCTYPE a>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<!DOCTYPE a SYSTEM 'b'", b"<![CDATA[",
    b"]]>", b"]]", b"]", b"&amp;", b"&lt;", b"&gt;", b"&quot;", b"&apos;", b"&#9;", b"&#10;",
    b"&#13;", b"&#xD;", b"&#x0D;", b"&#013;", b"&#65;", b"&#x41;", b"&#0;", b"&#xD800;",
    b"&#xFFFE;", b"&#x110000;", b"&#x10FFFF;", b"&#99999999999;", b"&foo;", b"&a:b;", b"&#;",
    b"&#x;", b"&", b" xmlns='", b" xmlns=''", b' xmlns="jabber:client"', b" xmlns='jabber:client'",
    b' xmlns="jabber:server"', b' xmlns="jabber:connectionmanager"', b" xmlns='urn:x'",
    b" xmlns:p='urn:p'", b" xmlns:q='urn:p'", b" xmlns:p=''", b" xmlns:xml='x'",
    b' xmlns:xml="http://www.w3.org/XML/1998/namespace"', b" xmlns:xmlns='x'",
    b" xmlns:p='http://www.w3.org/2000/xmlns/'", b" xmlns='http://www.w3.org/2000/xmlns/'",
    b" xmlns='http://www.w3.org/XML/1998/namespace'", b" p:x='1'", b" q:x='1'", b" x='1'",
    b' x="1"', b" xml:lang='en'", b" a:b:c='1'", b"p:", b":", b"stream:", b"xml:", b"xmlns:",
    b"<a>", b"</a>", b"<a/>", b"<p:a>", b"</p:a>", b"<p:a/>", b"<a b='", b"<xml:a/>", b"<xmlns:a/>",
    b"<message>", b"</message>", b"<message/>", b"<presence/>", b"<route>", b"</route>",
    b"</stream:stream>", b"</s:s>", b"</a>", b"\xc2\xa0", b"\xc3\xa9", b"\xe2\x82\xac",
    b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xef\xbf\xbe", b"\xef\xbb\xbf", b"\xc0\x80",
    b"\xe0\x80\xaf", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xcc\x80", b"\xd9\xa0", b"\xc2\xb7",
    b" " * 9, b"x" * 30, b"<a>" * 6, b"<a/>" * 6, b"&lt;" * 6, b"'\"", b"\r\n",
)  # fmt: skip

LARGE = 1 << 17
RENEWING_BYTES = 70000
"""
So much makes the Python engine begin with a new parser.
"""


@frozen
class Trial:
    """
    What two scanners are made with and read.

    @ivar steps: Reads, and new limits.
    """

    level: int
    limit: int
    options: dict[str, Any] = field(factory=dict)
    steps: tuple[bytes | int, ...] = ()

    def run(self, engine: Any) -> list[Any]:
        """
        Return all that one engine makes of it, step by step.
        """
        scanner = engine(self.level, self.limit, **self.options)
        seen: list[Any] = []
        for step in self.steps:
            if isinstance(step, int):
                scanner.limit = step
                continue
            try:
                seen.append([known(event) for event in scanner.feed(step)])
            except CManagerError as error:
                # The second of them is for feeding it further.
                seen.append(_knownError(error))
                seen.append([known(event) for event in scanner.completed])
                if len(seen) > 1 and seen[-2] == "spent":
                    break
            seen.append(scanner.pending)
        return seen


def known(event: Event) -> Any:
    """
    Return all there is to an event.
    """
    if isinstance(event, Stanza):
        streamID = event.streamID if isinstance(event, Routed) else None
        attributes = [*event.attributes.items()]
        return ("stanza", event.name, event.namespace, attributes, event.data, streamID)
    if isinstance(event, RoutedText):
        return ("routed text", event.text, event.streamID)
    if isinstance(event, Opened):
        tag = event.tag
        declared = [*tag.namespaces.items()]
        return (tag.name, tag.namespace, tag.prefix, [*tag.attributes.items()], declared)
    if isinstance(event, Text):
        return ("text", event.text)
    assert isinstance(event, Closed)
    return ("closed", event.name)


def _knownError(error: CManagerError) -> Any:
    if isinstance(error, StreamError):
        return (error.condition, error.text, error.reason)
    return "spent"


def mutated(chance: random.Random, data: bytes, count: int) -> bytes:
    """
    Return C{data} with so many places in it changed.
    """
    changed = bytearray(data)
    for _ in range(count):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(7):
            case 0:
                del changed[at : at + chance.randrange(1, 9)]
            case 1:
                changed[at:at] = changed[at : at + chance.randrange(1, 30)]
            case 2:
                changed[at : at + 1] = bytes((chance.randrange(256),))
            case 3:
                other = chance.choice(ELEMENTS)
                start = chance.randrange(len(other))
                changed[at:at] = other[start : start + chance.randrange(1, 40)]
            case _:
                changed[at:at] = chance.choice(PIECES)
    return bytes(changed)


def split(chance: random.Random, data: bytes) -> tuple[bytes, ...]:
    """
    Return C{data} in reads.
    """
    kind = chance.randrange(8)
    if kind < 3:
        return (data,)
    if kind == 3 and len(data) < 1000:
        return tuple(data[at : at + 1] for at in range(len(data)))
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 7)))
    return tuple(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))


def _small(chance: random.Random, usual: int, most: int) -> int:
    return usual if chance.randrange(16) else chance.randrange(most)


_NAME = re.compile(rb"<[^\s/>]+")
_DECLARED = (rb"\g<0> xmlns='urn:x'", rb'\g<0> xmlns="jabber:client"')
_HOSTILE = tuple(row.data for row in (*fresh(), *loggedIn(2048)) if len(row.data) < 4096)


def trial(chance: random.Random) -> Trial:
    """
    Return one, at random.
    """
    level = chance.choice((0, 1, 1, 1, 2, 2))
    parts: list[bytes] = []
    header = chance.choice(HEADERS[:3]) if chance.randrange(3) else chance.choice(HEADERS)
    if level and chance.randrange(20):
        parts.append(header if chance.randrange(16) else mutated(chance, header, 1))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3)) if level else 1):
        element = chance.choice(ELEMENTS if chance.randrange(16) else _HOSTILE)
        if level == 0 and chance.randrange(4):
            element = _NAME.sub(chance.choice(_DECLARED), element, count=1)
        parts.append(mutated(chance, element, chance.choice((0, 0, 0, 0, 0, 1, 1, 1, 2, 5))))
        if not chance.randrange(8):
            parts.append(chance.choice(PIECES) if chance.randrange(2) else b" ")
        if level == 2 and chance.randrange(2):
            opening, closing = chance.choice(ROUTES)
            parts[-1:] = [opening, parts[-1], closing]
    if not chance.randrange(400):
        parts[1:] = parts[1:] * (RENEWING_BYTES // (sum(map(len, parts[1:])) + 1) + 1)
    if not chance.randrange(4):
        root = header.rpartition(b"?>")[2].strip().strip(b"<>").split()[0]
        parts.append(b"</%s>" % root)
        parts.append(chance.choice((b"", b"", b" ", b"x", b"<!-- x -->")))
    whole = b"".join(parts)
    size = len(whole)
    limit = LARGE if chance.randrange(8) else chance.randrange(min(size, 4000) + 2)
    steps: list[bytes | int] = [*split(chance, whole)]
    if not chance.randrange(8):
        steps.insert(chance.randrange(len(steps) + 1), chance.randrange(-1, min(size, 4000) + 2))
    steps.append(b"")
    contents = (
        CONTENT_NAMESPACES,
        CONTENT_NAMESPACES | {NS_BODY},
        frozenset({NS_CLIENT}),
        frozenset({"urn:x", "", NS_LINK}),
    )
    return Trial(
        level,
        limit,
        {
            "maxDepth": _small(chance, 128, 7),
            "maxAttributes": _small(chance, 64, 5),
            "maxNamespaces": _small(chance, 32, 5),
            "strict": chance.randrange(2 + level) < 2 if level else chance.randrange(4) > 0,
            "bmpOnly": chance.randrange(10) == 0,
            "content": chance.choice(contents) if chance.randrange(8) == 0 else contents[0],
        },
        tuple(steps),
    )


def trials(seed: int) -> Iterator[Trial]:
    """
    Generate trials, for ever, the same for the same seed.
    """
    chance = random.Random(seed)
    while True:
        yield trial(chance)
