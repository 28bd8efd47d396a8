# Copyright the cmanager authors.
# See LICENSE for details.

"""
Preparation of addresses by the rules of RFC 6122.  Layer 1, pure.

The server does not prepare the addresses in what comes over a link; it takes them
as prepared.  Addresses come from peers: nothing here keeps more than a bounded
number of them, or takes more than a bounded time for one.
"""

from __future__ import annotations

import re
import stringprep
from collections.abc import Callable
from encodings import idna
from functools import lru_cache
from ipaddress import IPv6Address
from unicodedata import ucd_3_2_0

from twisted.words.protocols.jabber import xmpp_stringprep

from cmanager.errors import StanzaError

MAX_PART_BYTES = 1023
CACHED_ADDRESSES = 1024
CACHED_CHARACTERS = 8192
KNOWN_ADDRESSES = 8192
KNOWN_CHARACTERS = 128
"""
Of an address in ASCII that is remembered: longer ones are rare.
"""

_LABEL = r"[a-z0-9](?:[a-z0-9-]*+(?<!-))?"
_DOMAIN = rf"{_LABEL}(?>(?:\.{_LABEL})*)"
# Of printable ASCII, everything in a resource and all but these in a local part; each part
# within its length already, all in lower case but the resource.
_ASCII = re.compile(
    rf"(?=[^@/]{{1,{MAX_PART_BYTES}}}(?:[@/]|\Z))"
    rf"(?:[!#-%(-.0-9;=?\[-~]++@(?=[^/]{{1,{MAX_PART_BYTES}}}(?:/|\Z)))?"
    rf"{_DOMAIN}(?:/[ -~]{{1,{MAX_PART_BYTES}}}+)?"
)
_ASCII_DOMAIN = re.compile(_DOMAIN)


class _Profile:
    """
    A stringprep profile that looks at each character once.  One look costs several
    microseconds, and an address has up to a thousand characters of a peer's choice.
    """

    def __init__(
        self,
        mappings: list[Callable[[str], str | None]],
        prohibited: list[Callable[[str], bool]],
    ) -> None:
        def mapped(character: str) -> str:
            for mapping in mappings:
                result = mapping(character)
                if result != character:
                    return result or ""
            return character

        def isAllowed(character: str) -> bool:
            return not any(table(character) for table in prohibited)

        self._mapped = lru_cache(CACHED_CHARACTERS)(mapped)
        self._isAllowed = lru_cache(CACHED_CHARACTERS)(isAllowed)

    def prepare(self, text: str) -> str:
        """
        @raise ValueError: The profile does not allow C{text}.
        """
        if text.isascii():
            result = "".join(map(self._mapped, text))
        else:
            result = ucd_3_2_0.normalize("NFKC", "".join(map(self._mapped, text)))
        if not all(map(self._isAllowed, result)):
            raise ValueError("a character that is not allowed")
        if not result.isascii() and any(map(_isRightToLeft, result)):
            # RFC 3454 section 6.
            if any(map(_isLeftToRight, result)):
                raise ValueError("both directions of writing")
            if not (_isRightToLeft(result[0]) and _isRightToLeft(result[-1])):
                raise ValueError("right-to-left text must begin and end so")
        return result


_isRightToLeft = lru_cache(CACHED_CHARACTERS)(stringprep.in_table_d1)
_isLeftToRight = lru_cache(CACHED_CHARACTERS)(stringprep.in_table_d2)


def _ofTwisted(profile: xmpp_stringprep.Profile) -> _Profile:
    return _Profile(
        [mapping.map for mapping in profile.mappings],
        [table.lookup for table in profile.prohibiteds] + [stringprep.in_table_a1],
    )


_NODE = _ofTwisted(xmpp_stringprep.nodeprep)
_RESOURCE = _ofTwisted(xmpp_stringprep.resourceprep)
# RFC 3491 with the ASCII rules of host names, which xmpp_stringprep lists; queries, and so
# domains, may hold unassigned code points.
_NAME = _Profile(
    [xmpp_stringprep.B_1.map, xmpp_stringprep.B_2.map],
    [
        *(
            getattr(stringprep, f"in_table_{table}")
            for table in ["c12", "c22", "c3", "c4", "c5", "c6", "c7", "c8", "c9"]
        ),
        xmpp_stringprep.nameprep.prohibiteds.__contains__,
    ],
)


_known: dict[str, str] = {}

known = _known.get
"""
Return what L{prepare} has lately returned for an address in its usual form, or
L{None}.
"""


def prepare(jid: str) -> str:
    """
    Return an address in its one prepared form, C{localpart@domain/resource} with the
    first and the last optional.

    @raise StanzaError: C{jid-malformed}.
    """
    if not jid.isascii():
        return _prepareSlowly(jid)
    bare, slash, resource = jid.partition("/")
    lowered = bare.lower() + slash + resource
    if not _ASCII.fullmatch(lowered):
        return _prepareSlowly(jid)
    if len(jid) <= KNOWN_CHARACTERS:
        _known[jid] = lowered
        if len(_known) > KNOWN_ADDRESSES:
            # Those that are in use are back at once.
            _known.clear()
    return lowered


def prepareDomain(domain: str) -> str:
    """
    Return a domain in its prepared form, without a dot at its end.

    @raise StanzaError: C{jid-malformed}.
    """
    lowered = domain.lower()
    if domain.isascii() and len(domain) <= MAX_PART_BYTES and _ASCII_DOMAIN.fullmatch(lowered):
        return lowered
    try:
        return _domain(domain)
    except ValueError:
        raise StanzaError("jid-malformed", "modify") from None


@lru_cache(CACHED_ADDRESSES)
def _prepareSlowly(jid: str) -> str:
    bare, slash, resource = jid.partition("/")
    local, at, domain = bare.partition("@")
    if not at:
        local, domain = "", bare
    try:
        prepared = _domain(domain)
        if at:
            prepared = f"{_part(_NODE, local)}@{prepared}"
        if slash:
            prepared = f"{prepared}/{_part(_RESOURCE, resource)}"
    except ValueError:
        raise StanzaError("jid-malformed", "modify") from None
    return prepared


def _part(profile: _Profile, text: str) -> str:
    # Before preparation too, which costs time for each character.
    if len(text) > MAX_PART_BYTES:
        raise ValueError("a part is too long")
    text = profile.prepare(text)
    if not 1 <= len(text.encode("utf-8", "surrogatepass")) <= MAX_PART_BYTES:
        raise ValueError("a part is empty or too long")
    return text


def _domain(domain: str) -> str:
    if domain.startswith("[") and domain.endswith("]"):
        # An IPv6 address, RFC 6122 section 2.2.
        if "%" in domain:
            raise ValueError("a zone means nothing to others")
        return f"[{IPv6Address(domain[1:-1]).compressed}]"
    if len(domain) > MAX_PART_BYTES:
        raise ValueError("a part is too long")
    labels = idna.dots.split(domain)
    if len(labels) > 1 and not labels[-1]:
        del labels[-1]
    prepared = [_part(_NAME, label) for label in labels]
    if any(label[0] == "-" or label[-1] == "-" for label in prepared):
        raise ValueError("a label begins or ends with a hyphen")
    return _fits(".".join(prepared))


def _fits(domain: str) -> str:
    if len(domain.encode()) > MAX_PART_BYTES:
        raise ValueError("a domain is too long")
    return domain
