# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a server wants its manager to offer to clients, for all of its domains and for
each.  Layer 1; values, and what reads them from C{<configuration/>}: sections 3, 6 and
7.1 of C{docs/connection-manager-protocol.rst}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from cmanager.clienttls import NS_CLIENT_TLS
from cmanager.errors import StanzaError
from cmanager.jid import prepareDomain

if TYPE_CHECKING:
    from twisted.words.xish.domish import Element

NS_CLIENT_STREAM = "urn:cmanager:stream:0"

PLUS = "-PLUS"
"""
The end of the names of mechanisms with channel binding (RFC 5801 section 3.1).
"""

MAX_DOMAINS = 4096
"""
So many domains are read of one configuration; more are as if not there.
"""

MAX_NAMES = 64
"""
So many mechanisms, or types of channel binding, are read of one list.
"""

MAX_NAME_CHARACTERS = 64
"""
Those with longer names are passed over; RFC 4422 allows 20.
"""


class TLSPolicy(Enum):
    """
    What the server wants its clients to do about TLS.
    """

    DISABLED = "disabled"
    OPTIONAL = "optional"
    REQUIRED = "required"


@frozen
class TLSOffer:
    """
    What a server makes of the description of a client's TLS (C{urn:cmanager:tls:0}).

    @ivar mechanisms: C{EXTERNAL} and C{*-PLUS}, as the server lists them.
    @ivar bindings: The types of channel-binding data that it can use.
    """

    mechanisms: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()

    @property
    def usable(self) -> tuple[str, ...]:
        """
        The types that some mechanism needs.
        """
        return self.bindings if any(name.endswith(PLUS) for name in self.mechanisms) else ()


@frozen
class Configuration:
    """
    What the server wants its manager to offer to clients.

    @ivar mechanisms: SASL mechanisms as the server lists them, unfiltered;
        L{None} where it did not say, which means that an older list stays in force.
    @ivar auth: Offer XEP-0078.
    @ivar register: Offer XEP-0077.
    @ivar compression: Clients may compress.
    @ivar tls: L{None} where it takes no description of a client's TLS.
    @ivar domains: What holds for single domains, prepared, instead of all this.
    @ivar knowsStreams: It takes a description of a client's stream
        (C{urn:cmanager:stream:0}).
    """

    starttls: TLSPolicy = TLSPolicy.DISABLED
    mechanisms: tuple[str, ...] | None = None
    auth: bool = False
    register: bool = False
    compression: bool = False
    tls: TLSOffer | None = None
    domains: Mapping[str, Configuration] = field(factory=lambda: MappingProxyType({}), hash=False)
    knowsStreams: bool = False

    def forDomain(self, domain: str) -> Configuration:
        """
        Return what holds for a domain, prepared.
        """
        return self.domains.get(domain, self)


def configurationOf(payload: Element) -> Configuration:
    """
    Read C{<configuration/>}.
    """
    configuration = _offered(payload)
    for child in payload.elements():
        if child.name == "stream" and child.uri == NS_CLIENT_STREAM:
            configuration = evolve(
                configuration, domains=MappingProxyType(_domains(child)), knowsStreams=True
            )
    return configuration


def _domains(stream: Element) -> dict[str, Configuration]:
    found: dict[str, Configuration] = {}
    domains = (child for child in stream.elements() if child.name == "domain")
    for domain in islice(domains, MAX_DOMAINS):
        try:
            found[prepareDomain(domain.getAttribute("name", ""))] = _offered(domain)
        except StanzaError:
            # Nobody can ask for what is no domain.
            continue
    return found


def _offered(payload: Element) -> Configuration:
    """
    Read what is said alike of all domains and of one.
    """
    starttls, mechanisms = TLSPolicy.DISABLED, None
    children = {child.name: child for child in payload.elements()}
    if "starttls" in children:
        required = any(child.name == "required" for child in children["starttls"].elements())
        starttls = TLSPolicy.REQUIRED if required else TLSPolicy.OPTIONAL
    if "mechanisms" in children:
        mechanisms = _names(str(child) for child in children["mechanisms"].elements())
    extensions = [c for c in payload.elements() if (c.uri, c.name) == (NS_CLIENT_TLS, "tls")]
    return Configuration(
        starttls,
        mechanisms,
        "auth" in children,
        "register" in children,
        "compression" in children,
        _tlsOffer(extensions[-1]) if extensions else None,
    )


def _tlsOffer(element: Element) -> TLSOffer:
    children = list(element.elements())
    return TLSOffer(
        _names(str(child) for child in children if child.name == "mechanism"),
        _names(
            child.getAttribute("type", "") for child in children if child.name == "channel-binding"
        ),
    )


def _names(texts: Iterable[str]) -> tuple[str, ...]:
    names = (text.strip() for text in texts)
    return tuple(islice((n for n in names if 0 < len(n) <= MAX_NAME_CHARACTERS), MAX_NAMES))
