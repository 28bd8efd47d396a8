# Copyright the cmanager authors.
# See LICENSE for details.

"""
What is read and written while a client's stream is set up: its header, our
features, the answers we give ourselves.  Layer 2; values in, values out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from cmanager.configuration import TLSPolicy
from cmanager.errors import LocalError, StanzaError, StreamError
from cmanager.host import Host
from cmanager.jid import prepare, prepareDomain
from cmanager.stanza import (
    NS_BIND,
    NS_CLIENT,
    NS_FEATURE_IQ_AUTH,
    NS_FEATURE_IQ_REGISTER,
    NS_FEATURE_ROSTER_VERSION,
    NS_SASL,
    NS_SESSION,
    NS_SM,
    NS_STANZA_ERRORS,
    NS_STREAMS,
    NS_TLS,
    Stanza,
    Tag,
    escapeText,
)

if TYPE_CHECKING:
    from cmanager.clienttls import ClientTLS
    from cmanager.interfaces import IClientStream

NS_CHANNEL_BINDING = "urn:xmpp:sasl-cb:0"

MAX_LANGUAGE_CHARACTERS = 35
"""
RFC 5646 section 4.4.1 asks for room for so many.
"""

STREAM_CONDITIONS = frozenset(
    {
        "bad-format",
        "bad-namespace-prefix",
        "conflict",
        "connection-timeout",
        "host-gone",
        "host-unknown",
        "improper-addressing",
        "internal-server-error",
        "invalid-from",
        "invalid-namespace",
        "invalid-xml",
        "not-authorized",
        "not-well-formed",
        "policy-violation",
        "remote-connection-failed",
        "reset",
        "resource-constraint",
        "restricted-xml",
        "see-other-host",
        "system-shutdown",
        "undefined-condition",
        "unsupported-encoding",
        "unsupported-feature",
        "unsupported-stanza-type",
        "unsupported-version",
    }
)
"""
RFC 6120 section 4.9.3.
"""

PROCEED = f'<proceed xmlns="{NS_TLS}"/>'.encode()
TLS_FAILURE = f'<failure xmlns="{NS_TLS}"/>'.encode()

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_VERSION = re.compile(r"([0-9]{1,9})\.[0-9]{1,9}")
_BIND = f'<bind xmlns="{NS_BIND}"/><session xmlns="{NS_SESSION}"><optional/></session>'
_ROSTER_VERSIONING = f'<ver xmlns="{NS_FEATURE_ROSTER_VERSION}"/>'
# Root tag, then the first child's prefix, name and attributes, in the serialisation profile.
_CHILD = re.compile(rb"<[^>]*[^/]>[^<]*<(?:([^\s/>:]+):)?([^\s/>:]+)([^>]*)>")
_JID = re.compile(rb"<jid>([^<]*)</jid>")


@frozen
class Header:
    """
    What a client said in its stream header.

    @ivar domain: Prepared, or L{None} if it named none.
    @ivar sender: The client's own idea of its bare address, prepared; or L{None}.
    @ivar lang: Its language, or L{None}.
    @ivar isModern: It speaks XMPP 1.0: it expects features.
    """

    domain: str | None
    sender: str | None
    lang: str | None
    isModern: bool


def readHeader(tag: Tag, *, preXMPP10: bool) -> Header:
    """
    Read a client's stream header (RFC 6120 section 4.7).

    @param preXMPP10: Streams without a version are welcome.
    @raise StreamError: C{invalid-namespace}, C{unsupported-version} or C{host-unknown}.
    """
    if tag.name != "stream" or tag.namespace != NS_STREAMS:
        raise StreamError("invalid-namespace", "This is no XMPP stream.")
    if tag.namespaces.get("") != NS_CLIENT:
        raise StreamError("invalid-namespace", "The default namespace must be jabber:client.")
    version = tag.attributes.get("version")
    if version is None:
        isModern = False
    else:
        match = _VERSION.fullmatch(version)
        isModern = match is not None and int(match[1]) >= 1
    if not isModern and not (preXMPP10 and version is None):
        raise StreamError("unsupported-version", "XMPP 1.0 is spoken here.")
    to = tag.attributes.get("to")
    try:
        domain = None if to is None else prepareDomain(to)
    except StanzaError:
        raise StreamError("host-unknown", reason="the header's 'to' is no domain") from None
    return Header(domain, _bare(tag.attributes.get("from")), _language(tag), isModern)


def _bare(sender: str | None) -> str | None:
    try:
        return None if sender is None else prepare(sender).partition("/")[0]
    except StanzaError:
        return None


def _language(tag: Tag) -> str | None:
    lang = tag.attributes.get("xml:lang", "")
    if len(lang) <= MAX_LANGUAGE_CHARACTERS and _LANGUAGE.fullmatch(lang):
        return lang
    return None


def offersTLS(host: Host, *, canStartTLS: bool, requiresTLS: bool) -> bool:
    """
    Tell whether STARTTLS is offered on a stream that is not encrypted.
    """
    allowed = host.offer is not None and host.offer.starttls is not TLSPolicy.DISABLED
    return canStartTLS and (allowed or requiresTLS)


def needsTLS(host: Host, *, requiresTLS: bool) -> bool:
    """
    Tell whether nobody may log in on a stream that is not encrypted.
    """
    return requiresTLS or (host.offer is not None and host.offer.starttls is TLSPolicy.REQUIRED)


def tlsFor(host: Host, stream: IClientStream) -> ClientTLS | None:
    """
    Return what is known of a stream's TLS, where the offer depends on that.
    """
    isWanted = stream.secure and host.offer is not None and host.offer.tls is not None
    return stream.tlsFacts() if isWanted else None


def loginFeatures(
    host: Host,
    *,
    secure: bool,
    canStartTLS: bool,
    requiresTLS: bool,
    tls: ClientTLS | None = None,
) -> bytes:
    """
    Return the features of a stream before login.

    Where TLS is required and missing, nothing but STARTTLS is shown.

    @param tls: See L{tlsFor}.
    """
    offer = host.offer
    if offer is None:
        raise LocalError("features of a host without a configuration")
    parts: list[str] = []
    mustEncrypt = not secure and needsTLS(host, requiresTLS=requiresTLS)
    if not secure and offersTLS(host, canStartTLS=canStartTLS, requiresTLS=requiresTLS):
        required = "<required/>" if mustEncrypt else ""
        parts.append(f'<starttls xmlns="{NS_TLS}">{required}</starttls>')
    if not mustEncrypt:
        mechanisms = offer.mechanismsFor(tls) if secure else offer.openMechanisms
        if mechanisms:
            listed = "".join(
                f"<mechanism>{escapeText(name).decode()}</mechanism>" for name in mechanisms
            )
            parts.append(f'<mechanisms xmlns="{NS_SASL}">{listed}</mechanisms>')
        types = offer.bindingTypes(tls) if secure else ()
        if types:
            # XEP-0440: exactly those that the server is sent data of.
            listed = "".join(f'<channel-binding type="{name}"/>' for name in types)
            parts.append(
                f'<sasl-channel-binding xmlns="{NS_CHANNEL_BINDING}">{listed}'
                "</sasl-channel-binding>"
            )
        if offer.auth:
            parts.append(f'<auth xmlns="{NS_FEATURE_IQ_AUTH}"/>')
        if offer.register:
            parts.append(f'<register xmlns="{NS_FEATURE_IQ_REGISTER}"/>')
    return _features("".join(parts))


def bindFeatures(host: Host) -> bytes:
    """
    Return the features of a stream after login.
    """
    return _features(_BIND + (_ROSTER_VERSIONING if host.rosterVersioning else ""))


def _features(inner: str) -> bytes:
    return f"<stream:features>{inner}</stream:features>".encode()


def saslFailure(condition: str) -> bytes:
    """
    Return a C{<failure/>} with a condition of RFC 6120 section 6.5.
    """
    return f'<failure xmlns="{NS_SASL}"><{condition}/></failure>'.encode()


def managementFailed(condition: str) -> bytes:
    """
    Return the refusal of anything of XEP-0198.
    """
    return f'<failed xmlns="{NS_SM}"><{condition} xmlns="{NS_STANZA_ERRORS}"/></failed>'.encode()


def payload(stanza: Stanza) -> tuple[str, str] | None:
    """
    Return namespace and name of the first child, or L{None} if there is none.

    Without a parser, for the few iqs of a login; the stanza must be in the
    serialisation profile.
    """
    match = _CHILD.match(stanza.data)
    if match is None:
        return None
    prefix, name, attributes = match.groups()
    declaration = b"xmlns:" + prefix if prefix else b"xmlns"
    found = re.search(rb" %s=\"([^\"]*)\"" % re.escape(declaration), attributes)
    return (found[1].decode() if found else NS_CLIENT), name.decode()


def boundAddress(stanza: Stanza) -> str | None:
    """
    Return the address in the result of a resource binding, prepared; L{None} if
    there is none to be found.
    """
    match = _JID.search(stanza.data)
    if match is None:
        return None
    try:
        return prepare(str(_text(match[1])))
    except StanzaError:
        return None


def _text(data: bytes) -> str:
    text = data.decode()
    for reference, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(reference, character)
    return text.replace("&apos;", "'") if "&" in text else text


def legacyAddress(stanza: Stanza, domain: str) -> str | None:
    """
    Return the address that a login by XEP-0078 asks for.
    """
    query = next(stanza.element().elements(), None)
    children = {} if query is None else {child.name: str(child) for child in query.elements()}
    try:
        return prepare(f"{children['username']}@{domain}/{children['resource']}")
    except (KeyError, StanzaError):
        return None
