# Copyright the cmanager authors.
# See LICENSE for details.

"""
Reading the configuration: a TOML file and the secrets it names become L{Settings},
or a L{ConfigError} with everything that is wrong.  Layer 1; opens files when asked
to, knows no reactor, no plugin and no certificate.

The keys are in L{cmanager.settings}; their names are public here.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import attrs
from attrs import evolve

from cmanager.discovery import HOST_META, HOST_META_JSON, asciiName
from cmanager.errors import ConfigError, StanzaError
from cmanager.jid import prepareDomain
from cmanager.schema import Refused, keyOf, problems, strictConverter, toTOML
from cmanager.settings import (
    LIVE,
    MAX_NAME_OF_MANY,
    BOSHSettings,
    ClientCertificates,
    ClientSettings,
    FilterSettings,
    LimitSettings,
    ListenerSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    ManagerSettings,
    Preset,
    PublicSettings,
    Security,
    ServerSettings,
    Settings,
    StartTLS,
    TLSSettings,
)

__all__ = [
    "LIVE",
    "BOSHSettings",
    "ClientCertificates",
    "ClientSettings",
    "FilterSettings",
    "LimitSettings",
    "ListenerSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "ManagerSettings",
    "Preset",
    "PublicSettings",
    "Security",
    "ServerSettings",
    "Settings",
    "StartTLS",
    "TLSSettings",
    "load",
    "loads",
    "read",
]

_XMPP_ONLY = ("tcp", "tls")
_WEB_KEYS = ("websocket", "bosh", "origins", "ping", "see-other-uri", "files")

MAX_SECRET_BYTES = 4096
MAX_CONFIG_BYTES = 1048576


def load(path: str | os.PathLike[str], environ: Mapping[str, str]) -> Settings:
    """
    Read a configuration file and the secrets it names.

    Relative paths in the file are relative to its directory.

    @raise ConfigError: With everything that is wrong.
    """
    return loads(read(path), environ, directory=Path(path).absolute().parent, name=str(path))


def read(path: str | os.PathLike[str]) -> str:
    """
    Return what a configuration file holds.

    @raise ConfigError: It is no text, or too long.
    """
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(MAX_CONFIG_BYTES + 1)
        if len(raw) > MAX_CONFIG_BYTES:
            raise ConfigError([f"{path}: larger than {MAX_CONFIG_BYTES} bytes"])
        return raw.decode("utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 at byte {error.start}"]) from None


def loads(
    text: str, environ: Mapping[str, str], *, directory: Path, name: str = "configuration"
) -> Settings:
    """
    Read a configuration from a text.  See L{load}.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's own words name line and column and repeat at most one character.
        raise ConfigError([f"{name}: not TOML: {error}"]) from None
    converter = strictConverter()
    converter.register_structure_hook(FilterSettings, _filter)
    try:
        settings = converter.structure(table, Settings)
    except Exception as error:  # noqa: BLE001 # problems() lets out what is not about a value
        raise ConfigError(problems(error)) from None
    wrong = list(_contradictions(settings))
    settings = _absolute(settings, directory)
    warnings = list(_doubts(settings))
    servers = []
    for number, server in enumerate(settings.servers):
        try:
            servers.append(evolve(server, secret=_secret(server, environ, warnings)))
        except ValueError as error:
            wrong.append(f"server[{number}].{error}")
    if wrong:
        raise ConfigError(wrong)
    return evolve(settings, servers=tuple(servers), warnings=tuple(warnings))


def _filter(value: object, _: type) -> FilterSettings:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise Refused(value, 'a table with the key "type"')
    options = {key: option for key, option in value.items() if key != "type"}
    return FilterSettings(value["type"], MappingProxyType(options))


def _absolute(settings: Settings, directory: Path) -> Settings:
    def at(path: str | None) -> str | None:
        return None if path is None else str(directory / path)

    servers = (
        evolve(
            server,
            ca=at(server.ca),
            secretFile=at(server.secretFile),
            domains=tuple(_prepared(domain) or domain for domain in server.domains),
        )
        for server in settings.servers
    )
    tls = evolve(
        settings.tls,
        certificates=str(directory / settings.tls.certificates),
        clientCa=at(settings.tls.clientCa),
    )
    listeners = tuple(evolve(x, files=at(x.files)) for x in settings.listeners)
    return evolve(settings, servers=tuple(servers), tls=tls, listeners=listeners)


def _prepared(domain: str) -> str | None:
    try:
        return prepareDomain(domain)
    except StanzaError:
        return None


def _contradictions(settings: Settings) -> Iterator[str]:
    """
    What each value alone allows and all together do not.
    """
    tls, client, limits = settings.tls, settings.client, settings.limits
    if tls.clientCertificates is ClientCertificates.REQUEST and tls.clientCa is None:
        yield 'tls.client-ca: is missing; client-certificates = "request" needs it'
    yield from _longName(settings.manager)
    for name, few in (("listener", settings.listeners), ("server", settings.servers)):
        if not few:
            yield f"{name}: must be one or more [[tables]]"
    yield from _order(
        "client.unauthenticated-stanza-bytes",
        client.unauthenticatedStanzaBytes,
        "client.stanza-bytes",
        client.stanzaBytes,
    )
    yield from _order(
        "limits.login-delay", limits.loginDelay, "login-delay-max", limits.loginDelayMax
    )
    bosh = settings.bosh
    yield from _order("bosh.polling", bosh.polling, "polling-inactivity", bosh.pollingInactivity)
    yield from _nameless(settings.public.host)
    endpoints: dict[str, int] = {}
    for number, listener in enumerate(settings.listeners):
        for problem in _listenerContradictions(listener, number, endpoints):
            yield f"listener[{number}].{problem}"
    protocols: dict[str, tuple[int, str]] = {}
    for number, server in enumerate(settings.servers):
        here = f"server[{number}]"
        if not server.domains:
            yield f"{here}.domains: must be a list of one or more domains"
        yield from _order(
            f"{here}.retry-initial", server.retryInitial, "retry-max", server.retryMax
        )
        if server.deadAfter <= server.heartbeat:
            yield (
                f"{here}.dead-after = {server.deadAfter}: must be more than heartbeat,"
                f" which is {server.heartbeat}"
            )
        seen = set()
        for place, domain in enumerate(server.domains):
            prepared = _prepared(domain)
            if prepared is None:
                yield f"{here}.domains[{place}] = {toTOML(domain)}: must be a domain name"
                continue
            if prepared in seen:
                yield f"{here}.domains: {prepared} stands there twice"
            seen.add(prepared)
            first, protocol = protocols.setdefault(prepared, (number, server.protocol))
            if protocol != server.protocol:
                yield (
                    f"{here}.protocol: {prepared} is also served by server[{first}], and servers"
                    " that share a domain must have the same protocol"
                )


def _longName(manager: ManagerSettings) -> Iterator[str]:
    if manager.workers != 1 and len(manager.name or "") > MAX_NAME_OF_MANY:
        yield (
            f"manager.name: must have at most {MAX_NAME_OF_MANY} characters, because each worker"
            " puts its number behind it; or set workers = 1"
        )


def _nameless(host: str | None) -> Iterator[str]:
    if host is not None and asciiName(host) is None:
        yield f"public.host = {toTOML(host)}: must be a name in the DNS"


def _listenerContradictions(
    listener: ListenerSettings, number: int, endpoints: dict[str, int]
) -> Iterator[str]:
    """
    @param endpoints: Of the listeners before this; it is added.
    """
    first = endpoints.setdefault(listener.endpoint, number)
    if first != number:
        yield f"endpoint: is also that of listener[{first}]"
    if listener.proxyProtocol and not listener.trusted:
        yield "trusted: must name the networks of the proxies, because proxy-protocol is true"
    if listener.type in _XMPP_ONLY:
        if listener.trusted and not listener.proxyProtocol:
            yield (
                f'trusted: has no effect for type "{listener.type}" unless proxy-protocol is true'
            )
        for attribute in attrs.fields(ListenerSettings):
            key = str(keyOf(attribute))
            if key in _WEB_KEYS and getattr(listener, attribute.name) != attribute.default:
                yield (
                    f'{key}: has no effect for type "{listener.type}", which speaks no HTTP;'
                    ' take it out, or choose type "any", "https" or "http"'
                )
    places = [listener.websocket.rstrip("/"), listener.bosh.rstrip("/")]
    if places[0] and places[0] == places[1]:
        yield f'bosh = "{listener.bosh}": is also the path of websocket; choose another'
    for key, place in zip(("websocket", "bosh"), places, strict=True):
        if place in (HOST_META, HOST_META_JSON):
            yield f'{key} = "{place}": is where browsers look for URLs; choose another path'
    if listener.seeOtherUri and not listener.websocket:
        yield 'see-other-uri: needs a path in websocket, which is ""'
    if not listener.origins:
        yield 'origins: must name who may come; ["*"] is everybody'
    if "*" in listener.origins and len(listener.origins) > 1:
        yield 'origins: "*" admits all; take it out, or the others'


def _order(low: str, least: float, high: str, most: float) -> Iterator[str]:
    if least > most:
        yield f"{low} = {least}: must be at most {high}, which is {most}"


def _doubts(settings: Settings) -> Iterator[str]:
    """
    What can work, but is likely not meant.
    """
    if settings.client.unauthenticatedStanzaBytes < 10000:
        yield (
            "client.unauthenticated-stanza-bytes: RFC 6120 section 13.12 asks for at least 10000"
        )
    for key, url in (("websocket", settings.public.websocket), ("bosh", settings.public.bosh)):
        scheme, _, rest = (url or "").partition("://")
        if scheme in ("ws", "http") and not _isLoopback(re.split("[:/]", rest)[0]):
            yield (
                f"public.{key}: {scheme}: sends passwords and messages in clear over the network"
            )
    for number, listener in enumerate(settings.listeners):
        if (
            listener.type == "http"
            and listener.starttls is StartTLS.REQUIRED
            and not listener.trusted
        ):
            yield (
                f"listener[{number}].trusted: is empty, so that no proxy can say that a client came"
                " by TLS, and nobody can log in; name the proxies' networks"
            )
    for number, server in enumerate(settings.servers):
        here = f"server[{number}]"
        if server.insecure:
            yield (
                f"{here}.insecure: any certificate is accepted; whoever sits on the wire"
                " can read and change everything"
            )
        if server.security is Security.PLAIN and not _isLoopback(server.host):
            yield (
                f'{here}.security: "plain" sends passwords and messages in clear over the network'
            )


def _isLoopback(host: str | None) -> bool:
    return host is not None and (host in ("localhost", "::1") or host.startswith("127."))


def _secret(server: ServerSettings, environ: Mapping[str, str], warnings: list[str]) -> str:
    """
    Read the shared secret of one server.

    @raise ValueError: With key and problem; never with the value.
    """
    if (server.secretFile is None) == (server.secretEnvironment is None):
        raise ValueError("secret-file: give it or secret-environment, one of the two")
    if server.secretEnvironment is not None:
        secret = environ.get(server.secretEnvironment, "").strip()
        if not secret:
            raise ValueError("secret-environment: that variable is not set or empty")
        return secret
    assert server.secretFile is not None
    try:
        with open(server.secretFile, "rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise ValueError(f"secret-file: cannot be read: {why}") from None
    if mode & stat.S_IROTH:
        warnings.append(
            f"{server.secretFile}: everybody on this machine can read this secret; chmod o= it"
        )
    if len(raw) > MAX_SECRET_BYTES:
        raise ValueError(f"secret-file: must hold at most {MAX_SECRET_BYTES} bytes")
    try:
        secret = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError("secret-file: must hold UTF-8") from None
    if not secret:
        raise ValueError("secret-file: must not be empty")
    return secret
