# Copyright the cmanager authors.
# See LICENSE for details.

"""
The serialisation profile: the one spelling of XML in which elements go up a
link, because a server's hand-written scanner reads them before its parser does.
Layer 1, pure; knows no stream and no limit.

In the profile an element has its attributes in double quotes with exactly one
space before each and no other white space in its tags, has no CDATA sections,
comments, processing instructions or references but C{&amp;}, C{&lt;}, C{&gt;},
C{&#13;} (and C{&quot;}, C{&#9;}, C{&#10;} in attributes), and a bare C{>} is
always the end of a tag.

Everything here expects one element that a namespace-aware parser has already
found well-formed; L{isCanonical} alone proves nothing about nesting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from xml.parsers import expat

from cmanager.errors import LocalError
from cmanager.stanza import CONTENT_NAMESPACES, escapeAttribute, escapeText, rootTagEnd

# COMPAT Python up to 3.11.4 (Debian 12 has 3.11.2): a possessive repeat of a group matches too
# much (gh-106052), so that it would let "<a />" pass.  An atomic group does not.
_CANONICAL = re.compile(
    rb"""
    (?>(?: <(?: [^ \t\r\n<>"'&/=!?]++ (?>(?:[ ][^ \t\r\n<>"'&/=]++="[^<>&"\t\n\r]*+
               (?>(?:&(?:amp|lt|gt|quot|\#9|\#10|\#13);[^<>&"\t\n\r]*+)*)")*) /?>
         |   /[^ \t\r\n<>"'&/=]++> )
        [^<>&\r]*+
        (?>(?:&(?:amp|lt|gt|\#13);[^<>&\r]*+)*)
    )+)
    """,
    re.VERBOSE,
)
_ASTRAL = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
_REPLACEMENT = "\ufffd".encode()


def isCanonical(data: bytes) -> bool:
    """
    Return whether all of a well-formed element is in the profile.
    """
    return _CANONICAL.fullmatch(data) is not None


def withoutAstral(data: bytes) -> bytes:
    """
    Replace each character outside the basic multilingual plane by U+FFFD, for
    servers that cut the link at one (Openfire 3.7.0 to 3.9.1).
    """
    return _ASTRAL.sub(_REPLACEMENT, data)


class _Scope:
    """
    Follows the names of one element, as written, and tells which of them need a
    declaration from outside.

    @ivar needed: Prefixes that are used where nothing in the element declares them;
        C{""} for the default namespace.
    @ivar declarations: The largest number of declarations on one element.
    """

    __slots__ = ("_declared", "declarations", "depth", "needed")

    def __init__(self) -> None:
        self._declared: list[frozenset[str]] = [frozenset(("xml", "xmlns"))]
        self.needed: set[str] = set()
        self.declarations = 0

    def started(self, name: str, attributes: list[str]) -> None:
        """
        An element begins; C{attributes} are names and values in turn.
        """
        names = attributes[::2]
        declared = self._declared[-1]
        own = {name[6:] for name in names if name == "xmlns" or name.startswith("xmlns:")}
        if own:
            self.declarations = max(self.declarations, len(own))
            declared |= own
        self._declared.append(declared)
        if "" not in declared and ":" not in name:
            self.needed.add("")
        for used in (name, *names):
            prefix, colon, _ = used.partition(":")
            if colon and prefix not in declared:
                self.needed.add(prefix)

    def ended(self) -> None:
        """
        The innermost element ends.
        """
        self._declared.pop()


def _parse(
    data: bytes,
    started: Callable[[str, list[str]], None],
    ended: Callable[[str], None],
    text: Callable[[str], None] | None = None,
) -> None:
    # Without namespaces, so that prefixes and declarations come as they are written.
    parser = expat.ParserCreate("UTF-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = started
    parser.EndElementHandler = ended
    if text is not None:
        parser.CharacterDataHandler = text
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise LocalError(f"not one well-formed element: {error}") from None


def _scope(data: bytes) -> _Scope:
    scope = _Scope()
    _parse(data, scope.started, lambda name: scope.ended())
    return scope


def declarations(data: bytes) -> int:
    """
    Return how many namespaces that element of C{data} declares which declares most.
    """
    return _scope(data).declarations


def rehome(
    data: bytes,
    namespaces: Mapping[str, str],
    *,
    content: frozenset[str] = CONTENT_NAMESPACES,
) -> bytes:
    """
    Declare on the root what the element has from its ancestors: each prefix it
    uses, and a default namespace, unless that is a content namespace.  Else
    C{data} stays as it is, byte for byte.

    @param data: An element whose root tag is in the profile.
    @param namespaces: The declarations in force where it stood, C{""} for the default.
    @param content: The namespaces an element without C{xmlns} may be meant to be in.
    """
    return _declare(data, _scope(data), namespaces, content)


def _declare(
    data: bytes, scope: _Scope, namespaces: Mapping[str, str], content: frozenset[str]
) -> bytes:
    added = b""
    for prefix in sorted(scope.needed):
        uri = namespaces.get(prefix, "")
        if prefix:
            added += b' xmlns:%s="%s"' % (prefix.encode(), escapeAttribute(uri))
        elif uri not in content:
            added += b' xmlns="%s"' % escapeAttribute(uri)
    if not added:
        return data
    end = rootTagEnd(data) - 1
    if data[end - 1 : end] == b"/":
        end -= 1
    return data[:end] + added + data[end:]


class _Writer:
    """
    Spells one element in the profile from the events of a parser.
    """

    def __init__(self, drop: frozenset[str]) -> None:
        self.scope = _Scope()
        self.parts: list[bytes] = []
        self._drop = drop
        # For each open element: it, and all around it, are content.
        self._isContent = [True]
        self._isOpen = False

    def _close(self) -> None:
        if self._isOpen:
            self._isOpen = False
            self.parts.append(b">")

    def started(self, name: str, attributes: list[str]) -> None:
        self._close()
        isContent = self._isContent[-1]
        written = ["<", name]
        kept: list[str] = []
        for key, value in zip(attributes[::2], attributes[1::2], strict=True):
            if key == "xmlns:xml":
                # Always declared; not every parser likes to read it.
                continue
            if key == "xmlns":
                if isContent and value in self._drop:
                    continue
                isContent = False
            kept += (key, value)
            written += (" ", key, '="', escapeAttribute(value).decode(), '"')
        self._isContent.append(isContent)
        self.scope.started(name, kept)
        self.parts.append("".join(written).encode())
        self._isOpen = True

    def ended(self, name: str) -> None:
        self._isContent.pop()
        self.scope.ended()
        if self._isOpen:
            self._isOpen = False
            self.parts.append(b"/>")
        else:
            self.parts.append(b"</%s>" % name.encode())

    def text(self, text: str) -> None:
        self._close()
        self.parts.append(escapeText(text))


def canonicalise(
    data: bytes,
    namespaces: Mapping[str, str],
    *,
    drop: frozenset[str] = frozenset(),
    content: frozenset[str] = CONTENT_NAMESPACES,
) -> bytes:
    """
    Spell an element in the profile, standing on its own; see L{rehome}.

    @param namespaces: As for L{rehome}; so is C{content}.
    @param drop: Default namespaces that are taken off the root, and off its
        descendants as long as all elements around are in one of them: servers hand out
        stanzas in several namespaces that all mean C{jabber:client}.
    @raise LocalError: C{data} is not one well-formed element.
    """
    writer = _Writer(drop)
    _parse(data, writer.started, writer.ended, writer.text)
    return _declare(b"".join(writer.parts), writer.scope, namespaces, content)


def textOf(data: bytes) -> str:
    """
    Return the character data of C{data}, the well-formed content between two
    tags: references resolved, CDATA as text, comments left out.
    """
    parts: list[str] = []
    _parse(b"<x>%s</x>" % data, lambda name, attributes: None, lambda name: None, parts.append)
    return "".join(parts)


def tagOf(data: bytes) -> tuple[str, dict[str, str], dict[str, str]]:
    """
    Read a start tag.

    @return: Its name as written, its attributes, and its namespace declarations
        by prefix, C{""} for the default.
    @raise LocalError: C{data} is no well-formed start tag.
    """
    whole = data if data.endswith(b"/>") else data[:-1] + b"/>"
    names: list[str] = []
    attributes: dict[str, str] = {}
    declared: dict[str, str] = {}

    def started(name: str, pairs: list[str]) -> None:
        names.append(name)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if key == "xmlns" or key.startswith("xmlns:"):
                declared[key[6:]] = value
            else:
                attributes[key] = value

    _parse(whole, started, lambda name: None)
    return names[0], attributes, declared
