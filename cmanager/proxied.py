# Copyright the cmanager authors.
# See LICENSE for details.

"""
Where a client really is, when a proxy stands between.  Layer 1, pure: whose word is
taken, and what HTTP headers say.  What a proxy says before the first byte of a
connection is read by L{cmanager.preface}.

Whatever is read here can be written by anybody; it is believed as far as it comes from
the networks the operator trusts, and not a step further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import frozen

UNIX = "unix"
"""
In a list of networks: whoever connects to a Unix socket.
"""

MAX_HOPS = 16
"""
Trusted proxies in a row; what comes before them is not looked at.
"""

MAX_QUOTED_COMMAS = 8
"""
Commas in the quoted strings of one element of C{Forwarded}; bounds the time it takes to
find where an element begins.
"""

MAX_LITERAL_CHARACTERS = 45

_MAPPED_BITS = 96
_HOP = re.compile(
    r"\[([0-9A-Fa-f:.]+)\](?::[\w.-]{1,64})?|([0-9.]+)(?::[\w.-]{1,64})?|([0-9A-Fa-f:.]+)",
    re.ASCII,
)
_PAIR = rb"""([!#-'*+.0-9A-Z^-z|~-]+)=(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s",;=\\]+))"""
_PAIRS = re.compile(_PAIR)
_ELEMENT = re.compile(rb"(?:%b)?(?:;[ \t]*(?:%b)?)*" % (_PAIR, _PAIR))


def literal(text: str) -> str | None:
    """
    Return an IP address in its one form, IPv4 mapped into IPv6 as IPv4, or L{None} if it
    is not an address.  One with a zone is not: that means nothing to others.
    """
    address = _parsed(text)
    return None if address is None else str(address)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    if len(text) > MAX_LITERAL_CHARACTERS or "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


class Networks:
    """
    The networks whose word is taken.

    C{address in networks} takes an IP address literal, IPv4 mapped into IPv6 as IPv4, or
    L{None} for the peer of a Unix socket.  What is no address is in no network.

    @param texts: C{"10.0.0.0/8"}, C{"2001:db8::/32"}, one address, or L{UNIX}.
    """

    __slots__ = ("_byLength", "_unix")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """
        @raise ValueError: One of them is no network.
        """
        self._unix = False
        # By version and bits to drop: as many look-ups as there are lengths of prefixes,
        # however many networks.
        self._byLength: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for text in texts:
            if text == UNIX:
                self._unix = True
                continue
            version, length, number = _network(text)
            drop = (32 if version == 4 else 128) - length
            self._byLength[version].setdefault(drop, set()).add(number >> drop)

    def __contains__(self, address: str | None) -> bool:
        if address is None:
            return self._unix
        parsed = _parsed(address.partition("%")[0])
        if parsed is None:
            return False
        number = int(parsed)
        return any(
            number >> drop in prefixes for drop, prefixes in self._byLength[parsed.version].items()
        )

    def __bool__(self) -> bool:
        return self._unix or any(self._byLength.values())


def isNetwork(text: str) -> bool:
    """
    Tell whether L{Networks} takes C{text}.
    """
    try:
        Networks([text])
    except ValueError:
        return False
    return True


def _network(text: str) -> tuple[int, int, int]:
    """
    Return version, length of the prefix, and the address as a number.
    """
    _, slash, length = text.partition("/")
    # Not the other way to write a network, with a mask for the length.
    if "%" in text or (slash and not re.fullmatch("[0-9]{1,3}", length)):
        raise ValueError(f"{text!r} is not a network")
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network: {error}") from None
    number = int(network.network_address)
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= _MAPPED_BITS:
            return 4, network.prefixlen - _MAPPED_BITS, int(mapped)
    return network.version, network.prefixlen, number


@frozen
class Client:
    """
    Who made a request, as far as that can be known.

    @ivar address: An IP address literal; L{None} for a peer without one, which is a proxy
        at a Unix socket that does not say.
    @ivar proto: C{"https"} or C{"http"}, in lower case, as the trusted proxy says to which
        the client connected; L{None} if it does not, or there is none.
    """

    address: str | None
    proto: str | None = None

    @property
    def secure(self) -> bool:
        """
        A trusted proxy says that the client came to it in TLS.
        """
        return self.proto in ("https", "wss")


def forwarded(
    headers: Iterable[tuple[bytes, bytes]], peer: str | None, networks: Networks
) -> Client:
    """
    Find out from C{X-Forwarded-For} and C{X-Forwarded-Proto}, or from C{Forwarded} (RFC
    7239), who made a request.

    Each proxy writes to the right of what it got who connected to it, so that the list is
    read from the right, for as long as a trusted network holds whoever would have written
    the next.  Where an entry names nobody (C{unknown}, C{_hidden}) or cannot be read, the
    client is the last one known.  Never raises.

    Where there are both kinds, the X- ones count and C{Forwarded} is not looked at.  A proxy
    passes on what it does not know, and nearly all of them write the X- ones only: the
    C{Forwarded} beside them is the client's own invention as a rule.  A proxy that writes
    C{Forwarded} must therefore remove the X- ones.

    @param headers: Names in any case, and values, in the order of the request.
    @param peer: Who is connected to us.  Nothing is believed of one that is not trusted.
    """
    if peer not in networks:
        return Client(peer)
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    addresses = _listed(found.get(b"x-forwarded-for", []))
    protos = _listed(found.get(b"x-forwarded-proto", []))
    if not (addresses or protos):
        return _walk(peer, networks, _elements(b",".join(found.get(b"forwarded", []))))
    if len(addresses) != len(protos):
        # One for all of them.  Several that differ cannot be told apart.
        proto = protos[0] if protos and len({p.lower() for p in protos}) == 1 else b""
        protos = [proto] * max(1, len(addresses))
    if not addresses:
        return Client(peer, _proto(protos[0]))
    return _walk(peer, networks, zip(reversed(addresses), reversed(protos), strict=True))


def forwardedFor(
    headers: Iterable[tuple[bytes, bytes]], peer: str | None, networks: Networks
) -> str | None:
    """
    Return the address of the client, see L{forwarded}.
    """
    return forwarded(headers, peer, networks).address


def forwardedProto(
    headers: Iterable[tuple[bytes, bytes]], peer: str | None, networks: Networks
) -> str | None:
    """
    Return by what the client came to the first trusted proxy, see L{forwarded}.
    """
    return forwarded(headers, peer, networks).proto


def _walk(peer: str | None, networks: Networks, hops: Iterable[tuple[bytes, bytes]]) -> Client:
    """
    @param hops: Who, and by what they came; the one nearest to us first.
    """
    client = Client(peer)
    for (who, how), _ in zip(hops, range(MAX_HOPS), strict=False):
        address = _address(who)
        client = Client(address or client.address, _proto(how))
        if address is None or address not in networks:
            break
    return client


def _listed(values: list[bytes]) -> list[bytes]:
    return [item for item in map(bytes.strip, b",".join(values).split(b",")) if item]


def _proto(text: bytes) -> str | None:
    return text.decode().lower() if re.fullmatch(b"[A-Za-z]{1,16}", text) else None


def _address(text: bytes) -> str | None:
    """
    Read an address with or without a port; IPv6 with a port is in brackets.
    """
    match = _HOP.fullmatch(text.decode("ascii", "replace"))
    if match is None:
        return None
    six, four, bare = match.groups()
    if six is not None:
        return literal(six) if ":" in six else None
    return literal(four or bare)


def _elements(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    Yield C{for} and C{proto} of each element of C{Forwarded}, the last one first; an empty
    C{for} where there is none, or what is left cannot be read.

    Read from the right, each element is the shortest that is one: a quote that a client
    has left open does not swallow what a proxy has written behind it.
    """
    # Empty elements are nothing (RFC 9110 section 5.6.1), empty pairs neither.
    while text := text.strip(b" \t,;"):
        comma, pairs = len(text), None
        for _ in range(MAX_QUOTED_COMMAS + 1):
            comma = text.rfind(b",", 0, comma)
            pairs = _pairs(text[comma + 1 :].lstrip(b" \t"))
            if pairs is not None or comma < 0:
                break
        if pairs is None:
            comma, pairs = 0, {}
        yield pairs.get(b"for", b""), pairs.get(b"proto", b"")
        text = text[: max(comma, 0)]


def _pairs(element: bytes) -> dict[bytes, bytes] | None:
    if _ELEMENT.fullmatch(element) is None:
        return None
    pairs: dict[bytes, bytes] = {}
    for match in _PAIRS.finditer(element):
        name, quoted, plain = match.groups()
        value = plain if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL)
        if name.lower() in pairs:  # RFC 7239 section 4: at most once
            return None
        pairs[name.lower()] = value
    return pairs
