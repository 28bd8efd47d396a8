# Copyright the cmanager authors.
# See LICENSE for details.

"""
How clients find this connection manager: the SRV records to publish (RFC 6120 section
3.2.1, XEP-0368), and the documents in which browsers look for URLs (XEP-0156).  Layer 1,
pure: settings in, text out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import idna
from attrs import frozen

from cmanager.errors import ConfigError
from cmanager.settings import ListenerSettings, Settings

STARTTLS = "_xmpp-client._tcp"
DIRECT_TLS = "_xmpps-client._tcp"

SERVICES = {"tcp": (STARTTLS,), "tls": (DIRECT_TLS,), "any": (STARTTLS, DIRECT_TLS)}
"""
What takes clients by the types of listeners.
"""

WEB = ("https", "any")
"""
Types of listeners that serve HTTP in TLS.  What serves it without, the world reaches
through something else: C{[public]} says by which URL.
"""

SHARED = "any"
"""
The type of a listener that has to tell protocols apart.  XEP-0368 section 4 wants others
to be tried first where there are any, because not every client does what that needs.
"""

HOST_META = "/.well-known/host-meta"
HOST_META_JSON = "/.well-known/host-meta.json"
CORS = ("Access-Control-Allow-Origin", "*")
"""
The header that lets web pages of any origin read the documents.
"""

TTL_SECONDS = 3600
WEIGHT = 5
PRIORITY_STEP = 10

MAX_NAME_BYTES = 253

_NAME = re.compile(r"(?:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(?:\.(?!\Z)|\Z))+")
_XRD = "http://docs.oasis-open.org/ns/xri/xrd-1.0"
_RELATION = "urn:xmpp:alt-connections:"
_RELATIONS = {"ws": "websocket", "wss": "websocket", "http": "xbosh", "https": "xbosh"}
_PORT = re.compile(r"(?:haproxy:)?tcp6?:(?:port=)?([0-9]{1,5})(?::(.*))?")
_LOOPBACK = re.compile(r"(?:.*:)?interface=(?:127\.|localhost|\\:\\:1(?![0-9a-f\\])).*")
_SEPARATOR = "\x0c"


@frozen
class Record:
    """
    One SRV record.

    @ivar service: L{STARTTLS} or L{DIRECT_TLS}.
    @ivar domain: In A-labels, without a final dot, as C{target} is.
    """

    service: str
    domain: str
    priority: int
    port: int
    target: str

    def __str__(self) -> str:
        return (
            f"{self.service}.{self.domain}. {TTL_SECONDS} IN SRV"
            f" {self.priority} {WEIGHT} {self.port} {self.target}."
        )


def asciiName(name: str) -> str | None:
    """
    Return a domain as it stands in the DNS: in A-labels and lower case, without a final
    dot.  L{None} if there is no such name, as for an IP address.
    """
    name = name.rstrip(".").lower()
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        pass
    else:
        return None
    try:
        encoded = idna.encode(name, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        try:
            # A name of before 2008, which the rules of XMPP addresses still allow.
            encoded = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return encoded if len(encoded) <= MAX_NAME_BYTES and _NAME.fullmatch(encoded) else None


def portOf(endpoint: str) -> int | None:
    """
    Return the port at which the world reaches an endpoint; L{None} if that cannot be
    told, as for a Unix socket, or it listens for this machine alone.
    """
    match = _PORT.fullmatch(endpoint)
    if match is None or _LOOPBACK.fullmatch(match.group(2) or ""):
        return None
    return int(match.group(1)) or None


def ports(settings: Settings, service: str) -> tuple[int, ...]:
    """
    Return the ports of a service, the one to try first before the others.
    """
    public = settings.public
    named = public.starttlsPorts if service == STARTTLS else public.tlsPorts
    found = [portOf(listener.endpoint) for listener in _offering(settings, service)]
    return tuple(dict.fromkeys(named or filter(None, found)))


def _offering(settings: Settings, service: str) -> list[ListenerSettings]:
    offering = [x for x in settings.listeners if service in SERVICES.get(x.type, ())]
    return sorted(offering, key=lambda x: x.type == SHARED)


def records(settings: Settings) -> tuple[Record, ...]:
    """
    Return the records to publish, for all domains.

    @raise ConfigError: There is no C{public.host}, or it is no name.
    """
    target = _host(settings)
    return tuple(
        Record(service, domain, PRIORITY_STEP * place, port, target)
        for domain in _domains(settings)
        for service in (STARTTLS, DIRECT_TLS)
        for place, port in enumerate(ports(settings, service))
    )


def zone(settings: Settings) -> str:
    """
    Return L{records} as lines of a zone file, with comments on what else to do.

    @raise ConfigError: As L{records}.
    """
    return "".join(f"{line}\n" for line in _zone(settings))


def _zone(settings: Settings) -> Iterator[str]:
    yield f"; {_host(settings)} must have an A or AAAA record, and must be no CNAME."
    yield from map(str, records(settings))
    for service, key in ((STARTTLS, "starttls-ports"), (DIRECT_TLS, "tls-ports")):
        if not ports(settings, service):
            behind = " ".join(x.endpoint for x in _offering(settings, service))
            why = (
                f"which port leads to {behind} cannot be told: set public.{key}"
                if behind
                else "no listener offers that"
            )
            yield f"; No {service} records: {why}."
    urls = publicURLs(settings)
    if urls:
        yield "; For browsers: redirect these to this connection manager, or copy them from it."
        for domain in _domains(settings):
            yield f";   https://{domain}{HOST_META}"
            yield f";   https://{domain}{HOST_META_JSON}"
        yield "; They name: " + " ".join(urls)


def _host(settings: Settings) -> str:
    host = settings.public.host
    if host is None:
        raise ConfigError(["public.host: is missing; it is what the records lead to"])
    name = asciiName(host)
    if name is None:
        raise ConfigError([f'public.host = "{host}": must be a name in the DNS'])
    return name


def _domains(settings: Settings) -> list[str]:
    """
    Return the domains that can be in the DNS.
    """
    names = [asciiName(domain) for server in settings.servers for domain in server.domains]
    return list(dict.fromkeys(filter(None, names)))


def publicURLs(settings: Settings) -> tuple[str, ...]:
    """
    Return where browsers connect: by WebSocket, then by BOSH; what there is of them.
    """
    public = settings.public
    host = asciiName(public.host or "")
    web = [
        (listener, host if port == 443 else f"{host}:{port}")
        for listener in settings.listeners
        if listener.type in WEB and (port := portOf(listener.endpoint)) and host
    ]
    # A path that is empty is one for nothing.
    websockets = (f"wss://{at}{listener.websocket}" for listener, at in web if listener.websocket)
    boshes = (f"https://{at}{listener.bosh}" for listener, at in web if listener.bosh)
    urls = (public.websocket or next(websockets, None), public.bosh or next(boshes, None))
    return tuple(filter(None, urls))


def _links(urls: Iterable[str]) -> Iterator[tuple[str, str]]:
    for url in urls:
        yield _RELATION + _RELATIONS[url.partition(":")[0]], url


def hostMeta(urls: Iterable[str]) -> bytes:
    """
    Write what L{HOST_META} holds; its type is C{application/xrd+xml}.

    @param urls: C{ws:} and C{wss:} for WebSocket, C{http:} and C{https:} for BOSH.
    """
    links = "".join(
        f"  <Link rel={quoteattr(rel)} href={quoteattr(url)}/>\n" for rel, url in _links(urls)
    )
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<XRD xmlns="{_XRD}">\n{links}</XRD>\n'
    return text.encode()


def hostMetaJSON(urls: Iterable[str]) -> bytes:
    """
    Write what L{HOST_META_JSON} holds; its type is C{application/json}.
    """
    links = [{"rel": rel, "href": url} for rel, url in _links(urls)]
    return json.dumps({"links": links}, indent=2).encode() + b"\n"


def readHostMeta(body: bytes) -> tuple[str, ...]:
    """
    Return the URLs for XMPP in a document of whoever's.

    @raise ValueError: It cannot be read.
    """
    found: list[tuple[object, object]] = []
    depth = 0

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth == 1 and name != f"{_XRD}{_SEPARATOR}XRD":
            raise ValueError("not an XRD document")
        if depth == 2 and name == f"{_XRD}{_SEPARATOR}Link":
            found.append((attributes.get("rel"), attributes.get("href")))

    def closed(name: str) -> None:
        nonlocal depth
        depth -= 1

    def declared(*_: object) -> None:
        raise ValueError("a document type is declared")  # entities of it can be vast

    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.StartElementHandler = opened
    parser.EndElementHandler = closed
    parser.StartDoctypeDeclHandler = declared
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML: {error}") from None
    return _ours(found)


def readHostMetaJSON(body: bytes) -> tuple[str, ...]:
    """
    Return the URLs for XMPP in a document of whoever's.

    @raise ValueError: It cannot be read.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    links = document.get("links", []) if isinstance(document, dict) else None
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        raise ValueError("not a list of links")
    return _ours([(link.get("rel"), link.get("href")) for link in links])


def _ours(links: Iterable[tuple[object, object]]) -> tuple[str, ...]:
    relations = {_RELATION + relation for relation in _RELATIONS.values()}
    return tuple(
        href
        for rel, href in links
        if isinstance(rel, str) and rel in relations and isinstance(href, str) and href
    )
