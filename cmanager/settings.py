# Copyright the cmanager authors.
# See LICENSE for details.

"""
Every key of the configuration: its type, its default and what it accepts.
Layer 1; reads nothing, that is L{cmanager.config}'s part.

C{etc/cmanager.toml} is the manual of these keys; a test keeps the two in step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Annotated

from attrs import field, frozen

from cmanager.proxied import isNetwork
from cmanager.schema import Accepted, between, matching

MAX_STANZA_BYTES = 1000000
"""
With its wrapper a stanza must stay below the 1 MiB (in characters) that the
server's scanner takes.
"""

MAX_WORKERS = 256

MAX_NAME_OF_MANY = 59
"""
With a hyphen and the number of a worker, a name is as long as a label in the DNS may be.
"""

PORT = 5262
DIRECT_TLS_PORT = 5263

LIVE = frozenset(
    {"log.level", "tls.certificates", "tls.check-interval", "tls.expiry-warning-days"}
    | {"client", "bosh", "limits"}
)
"""
Keys, and whole tables, that a running process takes over on SIGHUP.
"""

_DAY = 86400
_HOST = r"\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/@]+"
_ADDRESS = re.compile(rf"({_HOST}):([0-9]{{1,5}})")


def isAddress(value: str) -> bool:
    """
    Tell whether C{value} is C{HOST:PORT} or C{[IPv6]:PORT}.
    """
    match = _ADDRESS.fullmatch(value)
    return match is not None and 1 <= int(match.group(2)) <= 65535


def isEndpoint(value: str) -> bool:
    """
    Tell whether C{value} looks like the string of a server endpoint.  Whether there
    is such an endpoint, only Twisted knows.
    """
    match = re.fullmatch(
        r"(tcp6?):(?:port=)?([0-9]{1,5})(?::.+)?|(?!tcp6?:)[a-z][a-z0-9]*:.+", value
    )
    if match is None:
        return False
    return match.group(1) is None or int(match.group(2)) <= 65535


Seconds = Annotated[float, between(0, _DAY)]
PositiveSeconds = Annotated[float, between(0.1, _DAY)]
Text = Annotated[str, Accepted("not empty", bool)]
Label = Annotated[
    str,
    matching("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "1 to 63 characters a-z, 0-9 and -"),
]
Domain = Annotated[str, Accepted("a domain name", bool)]
Address = Annotated[str, Accepted('like "xmpp.example.org:5262" or "[::1]:5262"', isAddress)]
Endpoint = Annotated[
    str, Accepted('an endpoint like "tcp:5222" or "unix:/run/cmanager.sock"', isEndpoint)
]
Host = Annotated[
    str,
    matching(r"(?![0-9.]+\Z)[^\s/:;@\[\]%\"]{1,253}", 'a host name like "xmpp.example.org"'),
]
Port = Annotated[int, between(1, 65535)]
_AT = r"(?:\[[0-9A-Fa-f:.]+\]|[^\s/:?#@\[\]\"<>\\^`{|}]+)(?::[0-9]{1,5})?(?:/[^\s#\"<>\\^`{|}]*)?"
WebSocketURL = Annotated[str, matching(f"wss?://{_AT}", 'a URL like "wss://xmpp.example.org/ws"')]
BOSHURL = Annotated[
    str, matching(f"https?://{_AT}", 'a URL like "https://xmpp.example.org/http-bind"')
]
Network = Annotated[
    str, Accepted('a network like "192.0.2.0/24", an address, or "unix"', isNetwork)
]
WebPath = Annotated[
    str,
    matching(r"(?:(?:/[A-Za-z0-9._~!$&'+*(),;=:@-]+)+/?)?", 'a path like "/ws", or "" for none'),
]
WebOrigin = Annotated[
    str,
    matching(
        r"\*|https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?",
        'an origin like "https://chat.example.org", in small letters, or "*"',
    ),
]
OtherURI = Annotated[
    str, matching(f"(?:wss?://{_AT})?", 'a URI like "wss://other.example.org/ws", or "" for none')
]
Variable = Annotated[str, matching("[A-Za-z_][A-Za-z0-9_]*", "the name of a variable")]


class LogLevel(Enum):
    """
    The least level that is written.
    """

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(Enum):
    """
    For people, or for programs.
    """

    TEXT = "text"
    JSON = "json"


class Preset(Enum):
    """
    TLS versions and ciphers for clients.
    """

    INTERMEDIATE = "intermediate"
    MODERN = "modern"


class ClientCertificates(Enum):
    """
    Whether clients are asked for a certificate.
    """

    OFF = "off"
    REQUEST = "request"


class StartTLS(Enum):
    """
    Who decides whether a client may log in without TLS.
    """

    SERVER = "server"
    REQUIRED = "required"


class Security(Enum):
    """
    How a link is protected.
    """

    STARTTLS = "starttls"
    TLS = "tls"
    PLAIN = "plain"


@frozen
class ManagerSettings:
    """
    What is L{None} is for the builder of the service to replace.
    """

    name: Label | None = None
    workers: Annotated[int, between(1, MAX_WORKERS)] | None = None
    drain: Seconds = 2.0
    grace: Seconds = 2.0


@frozen
class LogSettings:
    """
    What is written, and how.
    """

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.TEXT


@frozen
class TLSSettings:
    """
    The clients' side of TLS.  Paths are absolute once loaded.
    """

    certificates: Text
    checkInterval: Annotated[float, between(1, _DAY)] = 60.0
    preset: Preset = Preset.INTERMEDIATE
    clientCertificates: ClientCertificates = ClientCertificates.OFF
    clientCa: Text | None = None
    expiryWarningDays: Annotated[int, between(0, 365)] = 14


class Transports(Enum):
    """
    What a client's connection is in.
    """

    OWN = "own"
    TWISTED = "twisted"


@frozen
class ListenerSettings:
    """
    One way in.

    @ivar trusted: The proxies whose word on their clients is taken.
    @ivar files: An absolute path once loaded.
    """

    type: Text
    endpoint: Endpoint
    starttls: StartTLS = StartTLS.REQUIRED
    proxyProtocol: bool = False
    trusted: tuple[Network, ...] = ()
    websocket: WebPath = "/ws"
    bosh: WebPath = "/http-bind"
    origins: tuple[WebOrigin, ...] = ("*",)
    ping: Annotated[float, between(1, 3600, orZero=True)] = 30.0
    seeOtherUri: OtherURI = ""
    files: Text | None = None
    transport: Transports = Transports.OWN
    gather: Annotated[float, between(0, 0.1)] = 0.002


@frozen
class PublicSettings:
    """
    What the world is told about the ways in, see L{cmanager.discovery}.  Empty or unset
    is what the listeners say.
    """

    host: Host | None = None
    starttlsPorts: tuple[Port, ...] = ()
    tlsPorts: tuple[Port, ...] = ()
    websocket: WebSocketURL | None = None
    bosh: BOSHURL | None = None


@frozen
class ServerSettings:
    """
    One server behind.

    @ivar domains: Prepared (L{cmanager.jid.prepareDomain}) once loaded.
    @ivar secret: Read from C{secretFile} or the environment.
    """

    domains: tuple[Domain, ...]
    address: Address | None = None
    secretFile: Text | None = None
    secretEnvironment: Variable | None = None
    protocol: Text = "openfire"
    links: Annotated[int, between(1, 64)] = 2
    security: Security = Security.STARTTLS
    certificateName: Text | None = None
    ca: Text | None = None
    insecure: bool = False
    setupTimeout: Annotated[float, between(1, 600)] = 30.0
    heartbeat: Annotated[float, between(1, 3600)] = 30.0
    deadAfter: Annotated[float, between(2, 7200)] = 90.0
    stalledAfter: Annotated[float, between(1, 7200)] = 60.0
    retryInitial: Annotated[float, between(0.1, 600)] = 1.0
    retryMax: Annotated[float, between(0.1, 3600)] = 60.0
    linksLostGrace: Annotated[float, between(0, 600)] = 0.0
    waitForLink: Annotated[float, between(0, 600)] = 10.0
    stanzaBytes: Annotated[int, between(1048576, 268435456)] = 16777216
    auditAfter: Annotated[float, between(1, _DAY, orZero=True)] = 600.0
    bmpOnly: bool = False
    rosterVersioning: bool = False
    secret: str = field(default="", repr=False, metadata={"key": None})

    @property
    def host(self) -> str | None:
        """
        The host of C{address}, IPv6 without brackets; L{None} to look up SRV.
        """
        match = _ADDRESS.fullmatch(self.address or "")
        return match.group(1).strip("[]") if match else None

    @property
    def port(self) -> int:
        """
        The port of C{address}, or the usual one; never that of an SRV record.
        """
        match = _ADDRESS.fullmatch(self.address or "")
        if match:
            return int(match.group(2))
        return DIRECT_TLS_PORT if self.security is Security.TLS else PORT

    @property
    def identity(self) -> str:
        """
        The name the server's certificate must carry.
        """
        return self.certificateName or self.domains[0]


@frozen
class ClientSettings:
    """
    Limits and times of one client.
    """

    loginTimeout: Annotated[float, between(1, 3600)] = 60.0
    idleTimeout: Annotated[float, between(10, 7 * _DAY)] = 1800.0
    keepalive: Annotated[float, between(1, _DAY, orZero=True)] = 300.0
    closeTimeout: PositiveSeconds = 5.0
    unauthenticatedStanzaBytes: Annotated[int, between(1000, MAX_STANZA_BYTES)] = 10000
    stanzaBytes: Annotated[int, between(10000, MAX_STANZA_BYTES)] = 262144
    maxDepth: Annotated[int, between(8, 1000)] = 128
    maxAttributes: Annotated[int, between(8, 1000)] = 64
    maxNamespaces: Annotated[int, between(4, 1000)] = 32
    queueBytes: Annotated[int, between(16384, 1073741824)] = 1048576
    loginAttempts: Annotated[int, between(1, 100)] = 5
    preXmpp10: bool = field(default=False, metadata={"key": "pre-xmpp10"})


@frozen
class BOSHSettings:
    """
    What clients by BOSH may have, see L{cmanager.terms.Rules}.
    """

    wait: Annotated[int, between(1, 600)] = 50
    hold: Annotated[int, between(1, 10)] = 2
    inactivity: Annotated[int, between(5, 3600)] = 60
    pollingInactivity: Annotated[int, between(10, 3600)] = 120
    polling: Annotated[int, between(0, 300)] = 5
    maxPause: Annotated[int, between(10, _DAY, orZero=True)] = 300


@frozen
class LimitSettings:
    """
    Limits over all clients, and for one address.
    """

    sessions: Annotated[int, between(1, 10000000)] = 100000
    connectionsPerAddress: Annotated[int, between(1, 10000000)] = 1000
    connectionRate: Annotated[float, between(0.01, 1000000)] = 50.0
    connectionBurst: Annotated[int, between(1, 10000000)] = 200
    bytesPerSecond: Annotated[int, between(1024, 1073741824)] = 65536
    bytesBurst: Annotated[int, between(4096, 1073741824)] = 524288
    loginFailures: Annotated[int, between(1, 1000000)] = 5
    loginDelay: Seconds = 1.0
    loginDelayMax: Seconds = 60.0
    loginMemory: Annotated[float, between(1, 30 * _DAY)] = 900.0
    addresses: Annotated[int, between(100, 100000000)] = 200000


@frozen
class FilterSettings:
    """
    One stanza filter.

    @ivar options: The other keys of its table, for the plugin.
    """

    type: str
    options: Mapping[str, object] = field(
        factory=lambda: MappingProxyType({}), metadata={"key": None, "rest": True}
    )


@frozen(kw_only=True)
class Settings:
    """
    The whole file.

    @ivar warnings: What can work, but is likely not meant.
    """

    manager: ManagerSettings = ManagerSettings()
    log: LogSettings = LogSettings()
    tls: TLSSettings
    listeners: tuple[ListenerSettings, ...] = field(metadata={"key": "listener"})
    public: PublicSettings = PublicSettings()
    servers: tuple[ServerSettings, ...] = field(metadata={"key": "server"})
    client: ClientSettings = ClientSettings()
    bosh: BOSHSettings = BOSHSettings()
    limits: LimitSettings = LimitSettings()
    filters: tuple[FilterSettings, ...] = field(default=(), metadata={"key": "filter"})
    warnings: tuple[str, ...] = field(default=(), metadata={"key": None})
