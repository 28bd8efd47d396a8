# Copyright the cmanager authors.
# See LICENSE for details.

"""
Turning the Java Connection Manager's C{conf/manager.xml} into a configuration of
this program, with a report of what was carried over and what was not.  Layer 5.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from attrs import Factory, define, field

from cmanager.errors import ConfigError
from cmanager.properties import CARRIED, LEFT, parse
from cmanager.schema import toTOML
from cmanager.settings import MAX_NAME_OF_MANY, isAddress

_HEADER = """\
# Made from {source} by "cmanager import-config".
# etc/cmanager.toml shows every key with its default.
"""

_KEYSTORE = """\
The key store has to become PEM, once.  In the old home directory:

    keytool -importkeystore -srckeystore {keystore} -srcstoretype {type} \\
        -destkeystore keystore.p12 -deststoretype PKCS12
    mkdir -p {certificates}
    (umask 077; openssl pkcs12 -in keystore.p12 -nodes -out {certificates}/{domain}.pem)

keytool asks for the password of the key store (xmpp.socket.ssl.keypass) and for a new
one, openssl for the new one.  Where the store holds several keys, "keytool -list" names
them, and "-srcalias NAME" takes one at a time: one PEM file for each.
The key store that came with the old program holds keys that everybody has, with
certificates that expired in 2015: get a new certificate instead."""

_TRUSTSTORE = """\
The trust store has to become PEM, once.  In the old home directory:

    keytool -importkeystore -srckeystore {truststore} -srcstoretype {type} \\
        -destkeystore truststore.p12 -deststoretype PKCS12
    openssl pkcs12 -in truststore.p12 -nokeys -out {ca}"""


@define
class Conversion:
    """
    What became of one file.

    @ivar text: The new configuration.
    @ivar secret: The shared secret; never in C{text} nor in the report.
    @ivar carried: Property to what became of it.
    @ivar left: Property to why it has no counterpart.
    @ivar advice: What is left to do, in paragraphs.
    """

    text: str = ""
    secret: str | None = field(default=None, repr=False)
    carried: dict[str, str] = Factory(dict)
    left: dict[str, str] = Factory(dict)
    advice: list[str] = Factory(list)

    def report(self) -> str:
        """
        Tell the operator.
        """
        parts = []
        for title, rows in (("Carried over:", self.carried), ("Left behind:", self.left)):
            if rows:
                parts.append("\n".join([title, *(f"  {k}: {v}" for k, v in rows.items())]))
        return "\n\n".join([*parts, *self.advice]) + "\n"


class _Converter:
    """
    Works through the properties of one file.
    """

    def __init__(self, properties: Mapping[str, str], secretFile: str, source: str) -> None:
        self._properties = properties
        self._secretFile = secretFile
        self._source = source
        self.result = Conversion()
        # Table to key to value, in the order they will be written.
        self._tables: dict[str, dict[str, object]] = {
            name: {} for name in ("manager", "log", "tls", "server", "client", "bosh")
        }
        self._listeners: list[tuple[str, str]] = []

    def run(self) -> Conversion:
        """
        Do it all, once.
        """
        self._link()
        self._listen()
        self._httpBinding()
        self._client()
        self._keys()
        if self._truth("log.debug.enabled", False):
            self._set("log.debug.enabled", "log.level", "debug")
        for name in self._properties:
            if name in LEFT:
                self.result.left[name] = LEFT[name]
            elif name in CARRIED:
                self._note(name, f"{CARRIED[name]} has that value by default")
            else:
                self.result.left[name] = "not known: the old program did not read it either"
        self._write()
        return self.result

    def _note(self, name: str, text: str) -> None:
        # The first word counts; what could not be used is noted before what could.
        if name in self._properties and name not in self.result.left:
            self.result.carried.setdefault(name, text)

    def _set(self, name: str, path: str, value: object, remark: str = "") -> None:
        table, key = path.split(".")
        self._tables[table][key] = value
        self._note(name, f"{path} = {toTOML(value)}{remark and '; ' + remark}")

    def _truth(self, name: str, default: bool) -> bool:
        text = self._properties.get(name)
        return default if text is None else text.lower() == "true"

    def _number(self, name: str) -> int | None:
        text = self._properties.get(name)
        if text is None:
            return None
        if re.fullmatch("[+-]?[0-9]{1,10}", text) is None:
            self.result.left[name] = "not a number: the old program used its default"
            return None
        return int(text)

    def _port(self, name: str, default: int) -> int:
        port = self._number(name)
        if port is None:
            return default
        if not 1 <= port <= 65535:
            self.result.left[name] = f"not a port from 1 to 65535: {default} is used"
            return default
        return port

    def _bounded(self, name: str, path: str, low: float, high: float, scale: int = 1) -> None:
        """
        Carry a number over that must stay in a range; C{scale} of the old unit are one
        of the new.
        """
        number = self._number(name)
        if number is None:
            return
        wanted: float = number if scale == 1 else number / scale
        value = min(max(wanted, low), high)
        remark = "" if value == wanted else f"the range is {low} to {high}"
        self._set(name, path, value, remark)

    def _link(self) -> None:
        properties = self._properties
        domain = properties.get("xmpp.domain", "")
        if domain:
            self._set("xmpp.domain", "server.domains", [domain.lower()])
        else:
            self._tables["server"]["domains"] = ["example.org"]
            self.result.advice.append(
                "xmpp.domain is not set, and the old program did not work without it: put the"
                " domain into server.domains."
            )
        self._address(domain)
        self._tables["server"]["secret-file"] = self._secretFile
        secret = properties.get("xmpp.password")
        if secret:
            self.result.secret = secret
            self._note("xmpp.password", f"the secret is in the file {self._secretFile}")
        else:
            self.result.advice.append(
                "xmpp.password is not set: put the server's xmpp.multiplex.defaultSecret into the"
                f" file {self._secretFile}, mode 0600."
            )
        name = properties.get("xmpp.manager.name")
        if name:
            label = re.sub("[^a-z0-9]+", "-", name.lower())[:MAX_NAME_OF_MANY].strip("-")
            if label:
                remark = "" if label == name.lower() else "made a DNS label"
                self._set("xmpp.manager.name", "manager.name", label, remark)
            else:
                self.result.left["xmpp.manager.name"] = "it has no letter or digit in it"
        self._bounded("xmpp.manager.connections", "server.links", 1, 64)
        self._bounded("xmpp.session.sending-limit", "server.stalled-after", 1, 7200, 1000)
        if not self._truth("xmpp.server.certificate.verify", True):
            self._set(
                "xmpp.server.certificate.verify",
                "server.insecure",
                True,
                "better: false, and the server's certificate in server.ca",
            )
        self.result.advice.append(
            "Links now require TLS (the old program used it where the server offered it)."
            "  Openfire 4.8.0 to 4.9.0 cannot do it on this port: there set"
            ' server.security = "tls" and the port 5263.  A server without TLS needs "plain".'
        )

    def _address(self, domain: str) -> None:
        """
        The old order: host name, table of overrides, SRV; the port is always the
        property's.
        """
        properties = self._properties
        host, name = properties.get("xmpp.hostname"), "xmpp.hostname"
        if not host:
            name = "dnsutil.dnsOverride"
            pairs = re.findall(r"\{\s*([^,{}]+?)\s*,\s*([^,{}]+?)\s*\}", properties.get(name, ""))
            override = {key.lower(): value for key, value in pairs}.get(domain.lower())
            host = override and re.sub(r":[0-9]+$", "", override)
        if "dnsutil.dnsOverride" in properties and (not host or name == "xmpp.hostname"):
            self.result.left["dnsutil.dnsOverride"] = (
                "xmpp.hostname goes before it" if host else "it does not name the domain"
            )
        port = self._port("xmpp.port", 5262)
        if not host and port != 5262:
            host, name = domain or "example.org", "xmpp.port"
            self.result.advice.append(
                "With a port of its own the server's address has to be written out: no SRV record"
                f" is asked any more.  Check that {host} is the server's host."
            )
        if host:
            shown = f"[{host}]" if ":" in host else host
            address = f"{shown}:{port}"
            if not isAddress(address):
                self.result.left[name] = "not the name of a host"
                return
            self._set(name, "server.address", address)
            self._note("xmpp.port", f"server.address = {toTOML(address)}")

    def _listen(self) -> None:
        legacy, port = "xmpp.socket.plain.port", "xmpp.socket.default.port"
        if legacy in self._properties and port in self._properties:
            self.result.left[port] = f"{legacy}, its old name, goes before it"
        if legacy in self._properties:
            port = legacy
        self._listener("tcp", "xmpp.socket.default.active", port, 5222)
        self._listener("tls", "xmpp.socket.ssl.active", "xmpp.socket.ssl.port", 5223)
        if not self._listeners:
            self._listeners.append(("tcp", "tcp:5222"))
            self.result.advice.append(
                "Both TCP listeners were off; this program needs one way in, and the file now"
                " opens port 5222."
            )

    def _listener(self, kind: str, active: str, port: str, default: int) -> None:
        if not self._truth(active, True):
            self._note(active, f'no [[listener]] of type "{kind}"')
            self._note(port, "its listener is off")
            return
        interface = self._properties.get("xmpp.socket.network.interface", "")
        endpoint = _endpoint(self._port(port, default), interface)
        backlog = self._number("xmpp.socket.backlog")
        if backlog is not None and backlog > 0:
            endpoint += f":backlog={backlog}"
        self._listeners.append((kind, endpoint))
        for name in (active, port, "xmpp.socket.network.interface", "xmpp.socket.backlog"):
            self._note(name, f"listener.endpoint = {toTOML(endpoint)}")

    def _client(self) -> None:
        idle = self._number("xmpp.client.idle")
        if idle is not None and idle < 1000:
            self._set(
                "xmpp.client.idle",
                "client.idle-timeout",
                604800,
                "never is not possible, this is the longest",
            )
        else:
            self._bounded("xmpp.client.idle", "client.idle-timeout", 10, 604800, 1000)
        self._bounded("xmpp.parser.buffer.size", "client.stanza-bytes", 10000, 1000000)
        self._bounded("session.stalled.cap", "client.queue-bytes", 16384, 1073741824)

    def _keys(self) -> None:
        properties = self._properties
        kind = properties.get("xmpp.socket.ssl.storeType", "jks").upper()
        domain = properties.get("xmpp.domain", "example.org").lower()
        keystore = properties.get("xmpp.socket.ssl.keystore", "resources/security/keystore")
        self._set(
            "xmpp.socket.ssl.keystore",
            "tls.certificates",
            "certificates",
            "the store must be turned into PEM, see below",
        )
        self.result.advice.append(
            _KEYSTORE.format(
                keystore=shlex.quote(keystore),
                type=shlex.quote(kind),
                certificates="certificates",
                domain=shlex.quote(domain),
            )
        )
        truststore = properties.get("xmpp.socket.ssl.truststore")
        if truststore:
            self._set(
                "xmpp.socket.ssl.truststore",
                "server.ca",
                "server-ca.pem",
                "the store must be turned into PEM, see below",
            )
            self.result.advice.append(
                _TRUSTSTORE.format(
                    truststore=shlex.quote(truststore), type=shlex.quote(kind), ca="server-ca.pem"
                )
            )

    def _httpBinding(self) -> None:
        active = "xmpp.httpbind.enabled"
        isOn = self._truth(active, False)
        if not isOn:
            self._note(active, 'no [[listener]] of type "http" or "https"')
        interface = self._properties.get("network.interface", "")
        for kind, port, default in (
            ("http", "xmpp.httpbind.port.plain", 7070),
            ("https", "xmpp.httpbind.port.secure", 7443),
        ):
            number = self._number(port)
            if not isOn or (number is not None and number <= 0):
                self._note(port, "its listener is off")
                continue
            endpoint = _endpoint(self._port(port, default), interface)
            self._listeners.append((kind, endpoint))
            text = f'[[listener]] of type "{kind}" on {endpoint}, with bosh = "/http-bind"'
            for name in (active, port, "network.interface"):
                self._note(name, text)
        self._note("network.interface", "its listeners are off")
        for name, path, low, high in _BOSH_RANGES:
            self._bounded(f"xmpp.httpbind.client.{name}", f"bosh.{path}", low, high)

    def _write(self) -> None:
        lines = [_HEADER.format(source=self._source)]
        for name, table in self._tables.items():
            if name == "server":
                for kind, endpoint in self._listeners:
                    lines += ["[[listener]]", f'type = "{kind}"']
                    lines += [f"endpoint = {toTOML(endpoint)}", ""]
            if table:
                lines.append(f"[[{name}]]" if name == "server" else f"[{name}]")
                lines += [f"{key} = {toTOML(value)}" for key, value in table.items()]
                lines.append("")
        self.result.text = "\n".join(lines)


def _endpoint(port: int, interface: str) -> str:
    scheme = "tcp6" if ":" in interface else "tcp"
    where = ":interface=" + interface.replace(":", "\\:") if interface else ""
    return f"{scheme}:{port}{where}"


_BOSH_RANGES = (
    ("requests.wait", "wait", 1, 600),
    ("requests.polling", "polling", 0, 300),
    ("idle", "inactivity", 5, 3600),
    ("idle.polling", "polling-inactivity", 10, 3600),
    ("maxpause", "max-pause", 10, 86400),
)


def convert(document: bytes, *, secretFile: str, source: str = "manager.xml") -> Conversion:
    """
    Convert a C{manager.xml}.

    @param secretFile: What the new file calls the file of the secret.
    @raise ConfigError: It cannot be read.
    """
    properties, repeated = parse(document)
    result = _Converter(properties, secretFile, " ".join(source.split())).run()
    for name in repeated:
        result.left[f"{name} (repeated)"] = "of elements with one name the first counts"
    return result


def importFile(source: Path, output: Path) -> Conversion:
    """
    Convert a file, and write the configuration and, beside it, the secret.  Nothing that
    exists is overwritten.

    @raise ConfigError: It cannot be read, or not be written.
    """
    secretFile = output.with_suffix(".secret")
    try:
        conversion = convert(source.read_bytes(), secretFile=secretFile.name, source=source.name)
    except OSError as error:
        raise ConfigError([f"{source}: cannot be read: {error.strerror}"]) from None
    except ConfigError as error:
        raise ConfigError(f"{source}: {problem}" for problem in error.problems) from None
    files = [(output, conversion.text, 0o644)]
    if conversion.secret is not None:
        files.insert(0, (secretFile, conversion.secret + "\n", 0o600))
    for path, _, _ in files:
        if os.path.lexists(path):
            raise ConfigError([f"{path}: exists; move it away, or name another with --output"])
    for path, text, mode in files:
        try:
            number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        except OSError as error:
            raise ConfigError([f"{path}: cannot be written: {error.strerror}"]) from None
        with open(number, "w", encoding="utf-8") as stream:
            stream.write(text)
    return conversion
