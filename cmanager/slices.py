# Copyright the cmanager authors.
# See LICENSE for details.

"""
From the slice of an element, as it was read, to a stanza that stands on its own
in the serialisation profile.  Layer 1, pure; knows nothing of how slices are found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from xml.parsers import expat

from attrs import frozen

from cmanager.errors import StreamError
from cmanager.profile import canonicalise, declarations, isCanonical, rehome, withoutAstral
from cmanager.stanza import NS_CLIENT, STANZA_NAMES, Stanza, escapeAttribute

SEPARATOR = "\x0c"
"""
Joins namespace, local name and prefix in the names expat reports: a character no
document can hold.
"""

_OWN_DECLARATION = f' xmlns="{NS_CLIENT}"'.encode()

MAX_WRITTEN_BYTES = 1_000_000
"""
Largest stanza of a client in the profile, where a quote may take six times the room
it had: with its wrapper it must fit into the 1 MiB at which a server cuts the link.
"""


@lru_cache(maxsize=512)
def splitName(name: str) -> tuple[str, str, str | None]:
    """
    Return namespace (C{""} for none), local name and prefix of a name as expat
    reports it.
    """
    parts = name.split(SEPARATOR)
    if len(parts) == 1:
        return "", name, None
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def plainAttributes(attributes: dict[str, str]) -> dict[str, str]:
    """
    Return attributes by name as in L{cmanager.stanza.Tag}.
    """
    plain: dict[str, str] = {}
    for name, value in attributes.items():
        # An attribute in a namespace has a prefix.
        _, local, prefix = splitName(name)
        plain[f"{prefix}:{local}" if prefix else local] = value
    return plain


def openTag(name: str, namespaces: Mapping[str, str]) -> bytes:
    """
    Return a start tag with nothing but namespace declarations.
    """
    _, local, prefix = splitName(name)
    parts = [f"<{prefix}:{local}" if prefix else f"<{local}"]
    for declared, uri in namespaces.items():
        key = f"xmlns:{declared}" if declared else "xmlns"
        parts.append(f' {key}="{escapeAttribute(uri).decode()}"')
    return ("".join(parts) + ">").encode()


class Scope:
    """
    The namespace declarations in force inside an element above the stanzas.

    @ivar namespaces: By prefix, C{""} for the default.
    @ivar default: The default namespace, C{""} for none.
    @ivar needles: A slice that holds none of these has no use for them.
    """

    __slots__ = ("default", "namespaces", "needles")

    def __init__(self, namespaces: Mapping[str, str], content: frozenset[str]) -> None:
        self.namespaces = namespaces
        self.default = namespaces.get("", "")
        self.needles = tuple(f"{prefix}:".encode() for prefix in namespaces if prefix)
        if self.default not in content:
            # In every slice: what stands here must have its namespace written.
            self.needles += (b"",)


@lru_cache(maxsize=128)
def _scopeOf(namespaces: tuple[tuple[str, str], ...], content: frozenset[str]) -> Scope:
    return Scope(dict(namespaces), content)


def scopeFor(around: Mapping[str, str], own: Mapping[str, str], content: frozenset[str]) -> Scope:
    """
    Return the scope inside an element that declares C{own}; C{around} is in force where
    it stands.  Streams whose headers say the same share one.
    """
    return _scopeOf(tuple({**around, **own}.items()), content)


@cache
def _dropping(drop: frozenset[str]) -> re.Pattern[bytes]:
    return re.compile(b' xmlns="(?:%s)"' % b"|".join(re.escape(escapeAttribute(x)) for x in drop))


@frozen(slots=True)
class Slicer:
    """
    How one scanner makes stanzas of slices.

    @ivar strict: A client's, where a stanza that has to say that it is in
        C{jabber:client}, for nothing around does, need not any more; else a server's,
        where a stanza in any of the C{content} namespaces is meant to be in
        C{jabber:client}, and made so.
    @ivar mustDeclare: An element without a namespace is refused.
    @ivar bmpOnly: Characters outside the basic multilingual plane are replaced.
    @ivar maxNamespaces: Most declarations on one element.
    """

    content: frozenset[str]
    strict: bool
    mustDeclare: bool
    bmpOnly: bool
    maxNamespaces: int

    def stanza(self, data: bytes, name: str, attributes: dict[str, str], scope: Scope) -> Stanza:
        """
        Make a stanza.

        @param data: A well-formed element.
        @param name: Its name as expat reports it.
        @param attributes: Those of its root likewise.
        @param scope: Where it stood.
        @raise StreamError: C{policy-violation}, C{invalid-namespace}, or
            C{not-well-formed} if it is so once characters are replaced.
        """
        # Cheap, and seldom too many: it takes text for declarations.
        declared = data.count(b"xmlns")
        if declared > self.maxNamespaces and declarations(data) > self.maxNamespaces:
            raise StreamError("policy-violation", "too many namespace declarations")
        uri, local, prefix = splitName(name)
        if SEPARATOR in "".join(attributes):
            attributes = plainAttributes(attributes)
        saysSo = self.strict and uri == NS_CLIENT != scope.default and prefix is None
        drop: frozenset[str] = frozenset()
        if uri != NS_CLIENT and prefix is None and uri in self.content:
            if self.mustDeclare and not uri:
                raise StreamError("invalid-namespace", "an element without a namespace")
            if not self.strict and (local in STANZA_NAMES or not uri):
                drop = self.content - {NS_CLIENT}
                uri = NS_CLIENT
            elif uri == scope.default:
                uri = NS_CLIENT
        data = self._standing(data, scope, drop, declares=declared > 0)
        if saysSo:
            # As from a client whose stream says it once: links see no difference.  In the
            # profile no value can hold these bytes; the root's own come first.
            data = data.replace(_OWN_DECLARATION, b"", 1)
        if self.bmpOnly:
            data, attributes = _inPlane(data, attributes)
        if self.strict and len(data) > MAX_WRITTEN_BYTES:
            raise StreamError("policy-violation", "an element is too large once it is written out")
        return Stanza(local, uri, attributes, data)

    def _standing(
        self, data: bytes, scope: Scope, drop: frozenset[str], *, declares: bool
    ) -> bytes:
        """
        Return an element in the profile, with what it has from around it.
        """
        if (
            not isCanonical(data)
            or (declares and b" xmlns:xml=" in data)
            or (drop and _dropping(drop).search(data))
        ):
            return canonicalise(data, scope.namespaces, drop=drop, content=self.content)
        for needle in scope.needles:
            if needle in data:
                return rehome(data, scope.namespaces, content=self.content)
        return data


@lru_cache(maxsize=64)
def slicerFor(
    content: frozenset[str], strict: bool, mustDeclare: bool, bmpOnly: bool, maxNamespaces: int
) -> Slicer:
    """
    Return what scanners share that are made alike.
    """
    return Slicer(content, strict, mustDeclare, bmpOnly, maxNamespaces)


def _inPlane(data: bytes, attributes: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    replaced = withoutAstral(data)
    if replaced == data:
        return data, attributes
    try:
        # Two namespaces that differed may be one now.
        expat.ParserCreate("UTF-8", SEPARATOR).Parse(replaced, True)
    except expat.ExpatError:
        raise StreamError(
            "not-well-formed", reason="only astral characters told names apart"
        ) from None
    return replaced, {
        name: withoutAstral(value.encode()).decode() for name, value in attributes.items()
    }
