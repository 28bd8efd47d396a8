# Copyright the cmanager authors.
# See LICENSE for details.

"""
What managers are told to offer to their clients: C{<configuration/>}, with what it holds
for those that know the extensions.  Knows no link.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from cmanager.linkevents import Configuration, TLSPolicy
from cmanager.server.clienttls import BINDING_TYPES, NS_CLIENT_TLS
from cmanager.server.elements import Element, build
from cmanager.server.sasl import BOUND_MECHANISMS, PLUS
from cmanager.stanza import (
    NS_FEATURE_IQ_AUTH,
    NS_FEATURE_IQ_REGISTER,
    NS_MULTIPLEX,
    NS_SASL,
    NS_TLS,
)

NS_CLIENT_STREAM = "urn:cmanager:stream:0"
NS_FEATURE_COMPRESS = "http://jabber.org/features/compress"


@frozen
class Offer:
    """
    What is announced for clients whose TLS will be described.
    """

    mechanisms: tuple[str, ...] = BOUND_MECHANISMS
    bindings: tuple[str, ...] = BINDING_TYPES

    @property
    def usable(self) -> tuple[str, ...]:
        """
        The types of channel binding that some mechanism uses.
        """
        return self.bindings if any(name.endswith(PLUS) for name in self.mechanisms) else ()


def configurationOf(
    offered: Configuration,
    iqID: str,
    offer: Offer | None = None,
    domains: Mapping[str, Configuration] | None = None,
) -> str:
    """
    Tell a manager what to offer to its clients.

    @param offer: L{None}: the extensions are not announced.
    @param domains: What differs from one domain to another.
    """
    iq = build(None, "iq", type="set", id=iqID)
    configuration = iq.addElement((NS_MULTIPLEX, "configuration"))
    _describe(configuration, offered, offer)
    if offer is not None:
        stream = configuration.addElement((NS_CLIENT_STREAM, "stream"))
        for name, offeredThere in (domains or {}).items():
            domain = stream.addElement("domain")
            domain["name"] = name
            _describe(domain, offeredThere, offer)
    xml: str = iq.toXml()
    return xml


def _describe(parent: Element, offered: Configuration, offer: Offer | None) -> None:
    if offered.starttls is not TLSPolicy.DISABLED:
        starttls = parent.addElement((NS_TLS, "starttls"))
        if offered.starttls is TLSPolicy.REQUIRED:
            starttls.addElement("required")
    if offered.mechanisms:
        mechanisms = parent.addElement((NS_SASL, "mechanisms"))
        for mechanism in offered.mechanisms:
            mechanisms.addElement("mechanism", content=mechanism)
    if offered.compression:
        compression = parent.addElement((NS_FEATURE_COMPRESS, "compression"))
        compression.addElement("method", content="zlib")
    if offered.auth:
        parent.addElement((NS_FEATURE_IQ_AUTH, "auth"))
    if offered.register:
        parent.addElement((NS_FEATURE_IQ_REGISTER, "register"))
    if offer is not None:
        tls = parent.addElement((NS_CLIENT_TLS, "tls"))
        for mechanism in offer.mechanisms:
            tls.addElement("mechanism", content=mechanism)
        for kind in offer.bindings:
            tls.addElement("channel-binding")["type"] = kind
