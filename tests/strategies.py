# Copyright the cmanager authors.
# See LICENSE for details.

"""
Hypothesis strategies: well-formed elements in odd spellings, streams of them, and
ways to cut bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

NS_STREAMS = "http://etherx.jabber.org/streams"
CLIENT_SCOPE = {"": "jabber:client", "stream": NS_STREAMS}
HEADER_SCOPES = [
    CLIENT_SCOPE,
    {**CLIENT_SCOPE, "p": "urn:example:p"},
    {**CLIENT_SCOPE, "p": "urn:example:p", "q": "urn:example:&'"},
    {"": "jabber:client", "s": NS_STREAMS, "c": "jabber:client"},
]
"""
Declarations of stream headers, by prefix.
"""

_URIS = [
    "urn:example:p",
    "urn:example:q",
    "urn:xmpp:forward:0",
    "http://www.w3.org/1999/xhtml",
    "jabber:client",
    "urn:a&b'c",
]
_LOCALS = ["a", "b", "body", "html", "x-1", "stream", "message", "_", "\u00e9l\u00e9ment", "xmlnsx"]
_PREFIXES = ["p", "q", "stream", "r"]
_CHARACTERS = st.characters(
    codec="utf-8",
    exclude_characters="\ufffe\uffff" + "".join(map(chr, {*range(32)} - {9, 10, 13})),
)
_TEXTS = st.one_of(
    st.text(_CHARACTERS, max_size=12),
    st.sampled_from(
        ["]]>", "a ' b", 'a " b', "/>", "<![CDATA[", "p:a", "stream:x", "&amp;", "\r\n"]
    ),
)
_SPACES = st.sampled_from([" ", "\n", "\t", "  ", " \r\n "])
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


@st.composite
def _character(draw: DrawFn, character: str, forbidden: str) -> str:
    """
    Spell one character, as itself only if it is not C{forbidden}.
    """
    ways = ["decimal", "hexadecimal"]
    if character not in forbidden:
        ways = ["itself", "itself", "itself", "itself", *ways]
    if character in _ENTITIES:
        ways.append("entity")
    match draw(st.sampled_from(ways)):
        case "itself":
            return character
        case "entity":
            return f"&{_ENTITIES[character]};"
        case "decimal":
            return f"&#{draw(st.sampled_from(['', '0', '000']))}{ord(character)};"
        case _:
            return draw(st.sampled_from(["&#x{:x};", "&#x{:X};", "&#x00{:X};"])).format(
                ord(character)
            )


@st.composite
def _text(draw: DrawFn) -> str:
    text = draw(_TEXTS)
    if "]]>" not in text and draw(st.integers(0, 5)) == 0:
        return f"<![CDATA[{text}]]>"
    # Quite a few texts as they are: otherwise hardly any element is in the profile.
    if draw(st.booleans()):
        return (
            text.replace("&", "&amp;")
            .replace("<", "&lt;")
            .replace(">", "&gt;")
            .replace("\r", "&#13;")
        )
    return "".join(draw(_character(c, "&<>")) for c in text)


@st.composite
def _value(draw: DrawFn, isPlain: bool) -> str:
    text = draw(_TEXTS)
    if isPlain:
        for character, spelled in [
            ("&", "&amp;"),
            ("<", "&lt;"),
            (">", "&gt;"),
            ('"', "&quot;"),
            ("\t", "&#9;"),
            ("\n", "&#10;"),
            ("\r", "&#13;"),
        ]:
            text = text.replace(character, spelled)
        return f'"{text}"'
    quote = draw(st.sampled_from("'\""))
    return quote + "".join(draw(_character(c, "&<" + quote)) for c in text) + quote


def _spelledURI(uri: str) -> str:
    for character, entity in _ENTITIES.items():
        uri = uri.replace(character, f"&{entity};")
    return f'"{uri}"'


@st.composite
def _elements(draw: DrawFn, scope: Mapping[str, str], depth: int, isPlain: bool) -> str:
    own: dict[str, str] = {}
    if draw(st.integers(0, 3)) == 0:
        own[draw(st.sampled_from(_PREFIXES))] = draw(st.sampled_from(_URIS))
    if draw(st.integers(0, 3)) == 0:
        own[""] = draw(st.sampled_from([*_URIS, ""]))
    inside = {**scope, **own}
    prefixes = [prefix for prefix in inside if prefix]

    def name(locals: list[str]) -> SearchStrategy[str]:
        local = st.sampled_from(locals)
        if not prefixes:
            return local
        prefixed = st.builds("{}:{}".format, st.sampled_from(prefixes), local)
        return st.one_of(local, local, prefixed)

    def space() -> str:
        return " " if isPlain else draw(_SPACES)

    def maybe() -> str:
        return "" if isPlain or draw(st.booleans()) else draw(_SPACES)

    tag = draw(name(_LOCALS))
    parts = [f"<{tag}"]
    attributes = [
        (f"xmlns:{prefix}" if prefix else "xmlns", _spelledURI(uri)) for prefix, uri in own.items()
    ]
    # Local names are unique, so that no two attributes have the same expanded name.
    for local in draw(st.lists(st.sampled_from(["id", "to", "xid", "lang", "n"]), unique=True)):
        attributes.append((draw(name([local])), draw(_value(isPlain))))
    if draw(st.integers(0, 5)) == 0:
        attributes.append(("xml:lang", '"en"'))
    for key, value in draw(st.permutations(attributes)):
        parts.append(f"{space()}{key}{maybe()}={maybe()}{value}")
    if draw(st.integers(0, 2)) == 0:
        parts.append(f"{maybe()}/>")
        return "".join(parts)
    parts.append(f"{maybe()}>")
    for _ in range(draw(st.integers(0, 3 if depth else 1))):
        if depth and draw(st.booleans()):
            parts.append(draw(_elements(inside, depth - 1, isPlain)))
        else:
            parts.append(draw(_text()))
    parts.append(f"</{tag}{maybe()}>")
    return "".join(parts)


@st.composite
def elements(draw: DrawFn, scope: Mapping[str, str] = CLIENT_SCOPE, maxDepth: int = 3) -> bytes:
    """
    One well-formed element, spelled in any way XML allows, some in the
    serialisation profile.

    @param scope: Declarations in force around it, which it may use and shadow.
    """
    return draw(_elements(scope, maxDepth, draw(st.booleans()))).encode()


@st.composite
def routes(draw: DrawFn) -> bytes:
    """
    An element of a link with text, comments and stanzas in it.
    """
    parts = [b"<route streamid='1'>"]
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["text", "comment", "stanza", "space"]))
        if kind == "text":
            parts.append(draw(_text()).encode())
        elif kind == "comment":
            parts.append(draw(st.sampled_from([b"<!-- ' > -->", b"<?x '\"?>"])))
        elif kind == "stanza":
            parts.append(draw(elements({"": "jabber:connectionmanager", "stream": NS_STREAMS})))
        else:
            parts.append(draw(_SPACES).encode())
    return b"".join(parts) + b"</route>"


class Stream(NamedTuple):
    """
    The parts of a stream from a client.
    """

    scope: Mapping[str, str]
    header: bytes
    elements: list[bytes]
    gaps: list[bytes]
    footer: bytes

    @property
    def data(self) -> bytes:
        """
        All of it.
        """
        between = b"".join(
            gap + element for gap, element in zip(self.gaps, self.elements, strict=True)
        )
        return self.header + between + self.footer


@st.composite
def streams(draw: DrawFn, maxElements: int = 4) -> Stream:
    """
    A whole stream with white space between its elements.
    """
    scope = draw(st.sampled_from(HEADER_SCOPES))
    prefix = "s" if "s" in scope else "stream"
    declared = " ".join(
        f"{f'xmlns:{key}' if key else 'xmlns'}={_spelledURI(uri)}" for key, uri in scope.items()
    )
    declaration = draw(
        st.sampled_from(["", "<?xml version='1.0'?>", '<?xml version="1.0" encoding="utf-8" ?>\n'])
    )
    stanzas = draw(st.lists(elements(scope), max_size=maxElements))
    gaps = draw(
        st.lists(
            st.sampled_from([b"", b" ", b"\n\t"]), min_size=len(stanzas), max_size=len(stanzas)
        )
    )
    return Stream(
        scope,
        f"{declaration}<{prefix}:stream {declared} to='x' version='1.0'>".encode(),
        stanzas,
        gaps,
        f"</{prefix}:stream>".encode(),
    )


@st.composite
def splits(draw: DrawFn, data: bytes) -> list[bytes]:
    """
    C{data} in pieces, some of them empty or of one byte.
    """
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    bounds = [0, *cuts, len(data)]
    return [data[a:b] for a, b in pairwise(bounds)]
