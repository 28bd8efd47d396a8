# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.config} and L{cmanager.settings}.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from cmanager import config, settings
from cmanager.config import (
    LIVE,
    ClientCertificates,
    LogFormat,
    LogLevel,
    Preset,
    Security,
    ServerSettings,
    Settings,
    StartTLS,
    load,
    loads,
)
from cmanager.errors import ConfigError
from cmanager.schema import keyOf, toTOML

ETC = Path(__file__).resolve().parent.parent / "etc"

ENVIRON = {"SECRET": "s3cret"}

MINIMAL = """
[tls]
certificates = "certificates"
[[listener]]
type = "tcp"
endpoint = "tcp:5222"
[[server]]
domains = ["montague.example"]
secret-environment = "SECRET"
"""

EXAMPLES = {
    "manager.name": "a random one",
    "manager.workers": "one for each core",
    "public.host": "not announced",
    "public.websocket": "that of the listeners",
    "public.bosh": "that of the listeners",
    "tls.client-ca": "only for client-certificates",
    "listener.files": "none",
    "server.address": "SRV",
    "server.secret-file": "or secret-environment",
    "server.secret-environment": "or secret-file",
    "server.certificate-name": "the first domain",
    "server.ca": "the system's",
}
"""
Keys that are unset by default, so that the manual shows an example.
"""


def read(more: str = "", text: str = MINIMAL) -> Settings:
    """
    Read a small configuration with more behind it.
    """
    return loads(text + more, ENVIRON, directory=Path("/etc/cmanager"))


def edited(old: str, new: str) -> str:
    """
    The small configuration with one line changed.
    """
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


class Case(SynchronousTestCase):
    """
    With what the tests of problems share.
    """

    def problemsOf(self, more: str = "", text: str = MINIMAL) -> tuple[str, ...]:
        """
        Read what cannot be read, and return the lines it gets.
        """
        return self.assertRaises(ConfigError, read, more, text).problems


class ManualTests(SynchronousTestCase):
    """
    C{etc/cmanager.toml} and the code say the same.
    """

    def manual(self) -> tuple[dict[str, str], set[str], set[str]]:
        """
        Return the commented keys of the manual with their values, the keys that
        are set, and the keys and tables that are marked C{[live]}.
        """
        commented: dict[str, str] = {}
        written: set[str] = set()
        live: set[str] = set()
        table, pending = "", False
        for line in (ETC / "cmanager.toml").read_text().splitlines():
            header = re.match(r"(?:# )?\[\[?([a-z]+)\]\]?", line)
            key = re.match(r"(# )?([a-z0-9-]+) = (.+)", line)
            if header:
                table, pending = header.group(1), False
                if "[live]" in line:
                    live.add(table)
            elif key and table:
                name = f"{table}.{key.group(2)}"
                if key.group(1):
                    self.assertNotIn(name, commented)
                    commented[name] = key.group(3)
                else:
                    written.add(name)
                if pending:
                    live.add(name)
                pending = False
            elif line.startswith("#") and table:
                pending = pending or "[live]" in line
            else:
                pending = False
        commented.pop("filter.type", None)
        return commented, written, live

    def keys(self) -> dict[str, attrs.Attribute]:
        """
        Return every key the code knows, C{table.key}.
        """
        found = {}
        for table in attrs.fields(Settings):
            if keyOf(table) in (None, "filter"):
                continue
            cls = {
                "listener": config.ListenerSettings,
                "server": ServerSettings,
                "manager": config.ManagerSettings,
                "log": config.LogSettings,
                "tls": config.TLSSettings,
                "client": config.ClientSettings,
                "limits": config.LimitSettings,
                "public": config.PublicSettings,
                "bosh": config.BOSHSettings,
            }[str(keyOf(table))]
            for attribute in attrs.fields(cls):
                if keyOf(attribute) is not None:
                    found[f"{keyOf(table)}.{keyOf(attribute)}"] = attribute
        return found

    def test_parses(self) -> None:
        """
        Both shipped files are accepted once their secret is there.
        """
        for name in ("cmanager.toml", "cmanager-minimal.toml"):
            secret = self.mktemp()
            Path(secret).write_text("s3cret\n")
            text = (ETC / name).read_text()
            text = text.replace("/etc/cmanager/secret", os.path.abspath(secret))
            parsed = loads(text, {}, directory=ETC)
            self.assertEqual(parsed.servers[0].secret, "s3cret")

    def test_noOther(self) -> None:
        """
        The manual shows each key of the code, and no other.
        """
        commented, written, _ = self.manual()
        self.assertEqual(set(commented) | written, set(self.keys()))

    def test_defaults(self) -> None:
        """
        The value of a key that is commented out is its default.
        """
        commented, _, _ = self.manual()
        keys = self.keys()
        for name, value in commented.items():
            if name in EXAMPLES:
                self.assertIsNone(keys[name].default, name)
            else:
                self.assertEqual(value, toTOML(keys[name].default), name)

    def test_uncommented(self) -> None:
        """
        What is commented out is accepted where it is written out.
        """
        text = (ETC / "cmanager.toml").read_text()
        text = re.sub("(?m)^# ([a-z0-9-]+ = .+)$", r"\1", text)
        text = re.sub('(?m)^secret-file.*$|^type = "example"$', "", text)
        text = text.replace('type = "tcp"', 'type = "any"')
        parsed = loads(text, {"CMANAGER_SECRET": "x"}, directory=ETC)
        self.assertEqual(parsed.manager.name, "cm-7f3k2q")

    def test_live(self) -> None:
        """
        C{LIVE} holds what the manual marks.
        """
        self.assertEqual(self.manual()[2], LIVE)


class ValuesTests(Case):
    """
    What a file says is what the settings hold.
    """

    def test_minimal(self) -> None:
        """
        Only certificates, a listener, a domain and a secret are required.
        """
        parsed = read()
        self.assertEqual(parsed.servers[0].domains, ("montague.example",))
        self.assertEqual(parsed.listeners[0].starttls, StartTLS.REQUIRED)
        self.assertEqual(parsed.client.stanzaBytes, 262144)
        self.assertEqual(parsed.warnings, ())
        self.assertIsNone(parsed.manager.name)

    def test_choices(self) -> None:
        """
        Each closed set is read by its values.
        """
        parsed = read(
            '[log]\nlevel = "warn"\nformat = "json"\n',
            edited('"certificates"\n', '"c"\npreset = "modern"\n'),
        )
        self.assertEqual(
            (parsed.log.level, parsed.log.format, parsed.tls.preset),
            (LogLevel.WARN, LogFormat.JSON, Preset.MODERN),
        )
        self.assertEqual(parsed.tls.clientCertificates, ClientCertificates.OFF)
        self.assertEqual(parsed.servers[0].security, Security.STARTTLS)

    def test_intForFloat(self) -> None:
        """
        Seconds may be written without a point.
        """
        drain = read("[manager]\ndrain = 3\n").manager.drain
        self.assertEqual((drain, type(drain)), (3.0, float))

    def test_relativePaths(self) -> None:
        """
        Paths are relative to the directory of the file.
        """
        parsed = read('ca = "../ca.pem"\n')
        self.assertEqual(parsed.tls.certificates, "/etc/cmanager/certificates")
        self.assertEqual(parsed.servers[0].ca, "/etc/cmanager/../ca.pem")

    def test_domains(self) -> None:
        """
        Domains are taken as they are compared: prepared, without a final dot.
        """
        parsed = read(text=edited('"montague.example"', '"Montague.Example.", "BÜCHER.example"'))
        self.assertEqual(parsed.servers[0].domains, ("montague.example", "bücher.example"))

    def test_address(self) -> None:
        """
        An address is a host and a port; IPv6 stands in brackets.
        """
        for text, host, port in (
            ("xmpp.example.org:5262", "xmpp.example.org", 5262),
            ("[::1]:1", "::1", 1),
            ("192.0.2.1:65535", "192.0.2.1", 65535),
        ):
            server = read(f'address = "{text}"\n').servers[0]
            self.assertEqual((server.host, server.port), (host, port))

    def test_noAddress(self) -> None:
        """
        Without an address the host is looked up, and the port is the usual one.
        """
        server = read().servers[0]
        self.assertEqual((server.host, server.port), (None, 5262))
        self.assertEqual(attrs.evolve(server, security=Security.TLS).port, 5263)

    def test_identity(self) -> None:
        """
        The server's certificate must carry the first domain, or the name given.
        """
        self.assertEqual(read().servers[0].identity, "montague.example")
        server = read('certificate-name = "x.example"\n').servers[0]
        self.assertEqual(server.identity, "x.example")

    def test_filters(self) -> None:
        """
        A filter keeps its own keys as they are, and their order.
        """
        parsed = read('[[filter]]\ntype = "a"\nwords = ["b"]\n[[filter]]\ntype = "c"\n')
        self.assertEqual([f.type for f in parsed.filters], ["a", "c"])
        self.assertEqual(dict(parsed.filters[0].options), {"words": ["b"]})

    def test_endpoints(self) -> None:
        """
        Endpoint strings of all kinds are taken.
        """
        for endpoint in (
            "tcp:5222",
            "tcp6:5222",
            "tcp:port=5222:interface=192.0.2.1",
            "unix:/run/cm.sock",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:5222",
        ):
            parsed = read(text=edited("tcp:5222", endpoint))
            self.assertEqual(parsed.listeners[0].endpoint, endpoint)

    def test_frozen(self) -> None:
        """
        Settings do not change.
        """
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            read().client.stanzaBytes = 1  # type: ignore[misc]


class RangeTests(Case):
    """
    Each number has a range, named in the refusal.
    """

    def bounds(self, table: str, key: str, low: float, high: float, step: float) -> None:
        """
        The bounds are taken, and what is just beyond is not.
        """
        prefix = f"[{table}]\n" if table != "server" else ""
        for value in (low, high):
            read(f"{prefix}{key} = {value}\n")
        for value in (low - step, high + step):
            (problem,) = self.problemsOf(f"{prefix}{key} = {value}\n")
            where = "server[0]" if table == "server" else table
            self.assertTrue(problem.startswith(f"{where}.{key} = {value}: must be "), problem)
            self.assertIn(f"from {low} to {high}", problem)

    def test_bounds(self) -> None:
        """
        A bound itself is taken, one more or less is not.
        """
        self.bounds("client", "stanza-bytes", 10000, 1000000, 1)
        self.bounds("server", "links", 1, 64, 1)
        self.bounds("manager", "workers", 1, 256, 1)
        self.bounds("limits", "sessions", 1, 10000000, 1)
        self.bounds("manager", "drain", 0, 86400, 0.5)
        self.bounds("client", "max-depth", 8, 1000, 1)

    def test_unauthenticated(self) -> None:
        """
        Before login 1,000 bytes is the least, and below 10,000 there is a warning.
        """
        key = "[client]\nunauthenticated-stanza-bytes = "
        self.assertEqual(len(self.problemsOf(key + "999")), 1)
        self.assertIn("RFC 6120", read(key + "1000").warnings[0])
        self.assertEqual(len(read(key + "9999").warnings), 1)
        self.assertEqual(read(key + "10000").warnings, ())

    def test_zero(self) -> None:
        """
        Where 0 means "never" it is taken, and what lies between is not.
        """
        self.assertEqual(read("[client]\nkeepalive = 0\n").client.keepalive, 0)
        self.assertEqual(
            self.problemsOf("[client]\nkeepalive = 0.5\n"),
            ("client.keepalive = 0.5: must be a number from 1 to 86400, or 0",),
        )

    def test_name(self) -> None:
        """
        The manager's name is a DNS label.
        """
        for name in ("a", "cm-1", "a" * 63):
            text = f'[manager]\nworkers = 1\nname = "{name}"\n'
            self.assertEqual(read(text).manager.name, name)
        for name in ("", "A", "-a", "a-", "a.b", "a" * 64, "ä", "a/b"):
            self.assertEqual(len(self.problemsOf(f'[manager]\nname = "{name}"\n')), 1, name)

    def test_nameOfMany(self) -> None:
        """
        Where workers put a number behind it, it leaves room for that.
        """
        for workers in ("", "workers = 2\n"):
            read(f'[manager]\n{workers}name = "{"a" * 59}"\n')
            (problem,) = self.problemsOf(f'[manager]\n{workers}name = "{"a" * 60}"\n')
            self.assertIn("at most 59 characters", problem)

    def test_badEndpoints(self) -> None:
        """
        An endpoint without a kind, or with a port beyond 65535, is refused.
        """
        read(text=edited("tcp:5222", "tcp:65535"))
        for endpoint in ("", "5222", ":5222", "tcp:", "tcp:x", "tcp:65536", "TCP:1"):
            (problem,) = self.problemsOf(text=edited("tcp:5222", endpoint))
            self.assertIn("must be an endpoint", problem)

    def test_badAddresses(self) -> None:
        """
        An address without a port, or with an impossible one, is refused.
        """
        for address in ("", "h", "h:", ":1", "h:0", "h:65536", "::1:5262", "a b:1", "h:1 "):
            (problem,) = self.problemsOf(f'address = "{address}"\n')
            self.assertIn("xmpp.example.org:5262", problem)

    def test_public(self) -> None:
        """
        What the world is told is a host name, ports, and URLs of the right kind.
        """
        for line in (
            'host = "xmpp.example.org"',
            'host = "B\u00dcCHER.example."',
            "starttls-ports = [1, 65535]",
            'websocket = "wss://xmpp.example.org"',
            'websocket = "wss://[2001:db8::1]:8443/xmpp?a=b&c"',
            'bosh = "https://xmpp.example.org:5281/http-bind/"',
        ):
            self.assertEqual(read(f"[public]\n{line}\n").warnings, ())
        for line in (
            'host = ""',
            'host = "192.0.2.1"',
            'host = "xmpp.example.org:5222"',
            'host = "[::1]"',
            'host = "a..b"',
            'host = "-.b"',
            f'host = "{"a" * 64}.b"',
            "starttls-ports = [0]",
            "tls-ports = [65536]",
            'tls-ports = ["443"]',
            'websocket = "https://xmpp.example.org"',
            'websocket = "wss://"',
            'websocket = "wss:///x"',
            'websocket = "wss://a@b/"',
            'websocket = "wss://a/#b"',
            'websocket = "wss://a/ b"',
            "websocket = 'wss://a/\"'",
            'bosh = "wss://a/"',
            'bosh = "https://a/<"',
        ):
            (problem,) = self.problemsOf(f"[public]\n{line}\n")
            self.assertTrue(problem.startswith(f"public.{line.partition(' ')[0]}"), problem)
        self.assertEqual(
            self.problemsOf('[public]\nhost = "a..b"\n'),
            ('public.host = "a..b": must be a name in the DNS',),
        )

    def test_badDomains(self) -> None:
        """
        A domain holds no space, slash, at sign or empty label.
        """
        for domain in ("", "a b", "a@b", "a/b", "a..b", ".", "<a>", "a_b", "a\u200e"):
            self.assertEqual(
                self.problemsOf(text=edited('"montague.example"', f'"{domain}"')),
                (f'server[0].domains[0] = "{domain}": must be a domain name',),
            )


class ListenerTests(Case):
    """
    Ways in for HTTP, and through proxies.
    """

    def listener(self, *lines: str, type_: str = "any") -> str:
        """
        The small configuration with another listener.
        """
        return edited('type = "tcp"\n', "\n".join((f'type = "{type_}"', *lines)) + "\n")

    def wrong(self, *lines: str, type_: str = "any") -> tuple[str, ...]:
        """
        What is wrong with it.
        """
        return self.problemsOf(text=self.listener(*lines, type_=type_))

    def test_keys(self) -> None:
        """
        Each key has its value.
        """
        (listener,) = read(
            text=self.listener(
                "proxy-protocol = true",
                'trusted = ["192.0.2.0/24", "2001:db8::/32", "127.0.0.1", "unix"]',
                'websocket = ""',
                'bosh = "/x/http-bind/"',
                'origins = ["https://chat.example.org", "http://[::1]:8080"]',
                "ping = 0",
                'files = "page"',
            )
        ).listeners
        self.assertTrue(listener.proxyProtocol)
        self.assertEqual(len(listener.trusted), 4)
        self.assertEqual((listener.websocket, listener.bosh), ("", "/x/http-bind/"))
        self.assertEqual(len(listener.origins), 2)
        self.assertEqual(listener.ping, 0)
        self.assertEqual(listener.files, "/etc/cmanager/page")
        (other,) = read(text=self.listener('see-other-uri = "wss://x.example:444/ws"')).listeners
        self.assertEqual(other.seeOtherUri, "wss://x.example:444/ws")

    def test_values(self) -> None:
        """
        What is no network, path, origin or URI is named with what it must be.
        """
        for line, must in (
            ('trusted = ["10.0.0.1/8"]', "a network"),
            ('trusted = ["proxy.example.org"]', "a network"),
            ('websocket = "ws"', "a path"),
            ('websocket = "/"', "a path"),
            ('bosh = "/a b"', "a path"),
            ('bosh = "/a?b"', "a path"),
            ('bosh = "//"', "a path"),
            ('origins = ["chat.example.org"]', "an origin"),
            ('origins = ["https://Chat.example.org"]', "an origin"),
            ('origins = ["https://chat.example.org/"]', "an origin"),
            ('see-other-uri = "https://x.example/"', "a URI"),
            ("ping = 0.5", "from 1 to 3600, or 0"),
            ("ping = 3601", "from 1 to 3600, or 0"),
        ):
            (problem,) = self.wrong(line)
            self.assertIn("must be " + must if must[0] == "a" else must, problem)
            self.assertIn(line.partition(" ")[0], problem)
        read(text=self.listener("ping = 1"))
        read(text=self.listener("ping = 3600"))

    def test_proxies(self) -> None:
        """
        Who may send prefaces has to be named; for plain XMPP nobody else is of use.
        """
        (problem,) = self.wrong("proxy-protocol = true")
        self.assertIn("listener[0].trusted: must name the networks", problem)
        (problem,) = self.wrong('trusted = ["::1"]', type_="tcp")
        self.assertIn("unless proxy-protocol is true", problem)
        read(text=self.listener('trusted = ["::1"]', "proxy-protocol = true", type_="tls"))

    def test_noEffect(self) -> None:
        """
        Keys for HTTP are of no use where none is spoken, unless they say what is so
        anyway.
        """
        for type_ in ("tcp", "tls"):
            for line in (
                'websocket = "/x"',
                'bosh = ""',
                "ping = 1",
                'origins = ["http://x"]',
                'files = "/x"',
            ):
                (problem,) = self.wrong(line, type_=type_)
                self.assertIn('choose type "any"', problem)
            read(text=self.listener('websocket = "/ws"', type_=type_))

    def test_places(self) -> None:
        """
        Two things cannot be at one path, with or without a slash at its end.
        """
        (problem,) = self.wrong('websocket = "/x"', 'bosh = "/x/"')
        self.assertIn('bosh = "/x/": is also the path of websocket', problem)
        read(text=self.listener('websocket = ""', 'bosh = ""'))
        for key in ("websocket", "bosh"):
            (problem,) = self.wrong(f'{key} = "/.well-known/host-meta.json"')
            self.assertIn(f"{key} = ", problem)

    def test_origins(self) -> None:
        """
        There is at least one, and none beside all.
        """
        (problem,) = self.wrong("origins = []")
        self.assertIn('["*"] is everybody', problem)
        (problem,) = self.wrong('origins = ["*", "https://x.example"]')
        self.assertIn("take it out, or the others", problem)

    def test_elsewhere(self) -> None:
        """
        Nobody can be sent elsewhere who cannot come.
        """
        (problem,) = self.wrong('see-other-uri = "wss://x"', 'websocket = ""')
        self.assertIn("needs a path in websocket", problem)

    def test_nobody(self) -> None:
        """
        A listener in clear text that nobody could log in by is pointed out.
        """
        (warning,) = read(text=self.listener(type_="http")).warnings
        self.assertIn("listener[0].trusted: is empty", warning)
        for line in ('trusted = ["::1"]', 'starttls = "server"'):
            self.assertEqual(read(text=self.listener(line, type_="http")).warnings, ())


class ContradictionTests(Case):
    """
    Values that are right alone and wrong together.
    """

    def test_clientCA(self) -> None:
        """
        Certificates of clients cannot be checked without their CA.
        """
        text = edited('"certificates"\n', '"c"\nclient-certificates = "request"\n')
        self.assertIn("tls.client-ca", self.problemsOf(text=text)[0])
        parsed = read(text=text.replace('"request"\n', '"request"\nclient-ca = "ca.pem"\n'))
        self.assertEqual(parsed.tls.clientCa, "/etc/cmanager/ca.pem")

    def test_stanzaBytes(self) -> None:
        """
        Nobody may send more before login than after.
        """
        text = "[client]\nstanza-bytes = 20000\nunauthenticated-stanza-bytes = "
        read(text + "20000")
        self.assertIn("which is 20000", self.problemsOf(text + "20001")[0])

    def test_pairs(self) -> None:
        """
        First delays do not exceed greatest ones, and a link may be idle longer than
        its heartbeat.
        """
        for more in (
            "retry-initial = 3\nretry-max = 2\n",
            "heartbeat = 30\ndead-after = 30\n",
            "[limits]\nlogin-delay = 9\nlogin-delay-max = 8\n",
        ):
            self.assertEqual(len(self.problemsOf(more)), 1)

    def test_sameEndpoint(self) -> None:
        """
        Two listeners cannot have one endpoint.
        """
        (problem,) = self.problemsOf('[[listener]]\ntype = "tls"\nendpoint = "tcp:5222"\n')
        self.assertEqual(problem, "listener[1].endpoint: is also that of listener[0]")

    def test_empty(self) -> None:
        """
        There is at least one listener, one server, and one domain of it.
        """
        found = self.problemsOf(text='listener = []\nserver = []\n[tls]\ncertificates = "x"\n')
        self.assertEqual([p.split(":")[0] for p in found], ["listener", "server"])
        (problem,) = self.problemsOf(text=edited('["montague.example"]', "[]"))
        self.assertIn("one or more domains", problem)

    def test_sharedDomain(self) -> None:
        """
        Servers of one domain speak one protocol.
        """
        second = '[[server]]\ndomains = ["MONTAGUE.example."]\nsecret-environment = "SECRET"\n'
        self.assertEqual(len(read(second).servers), 2)
        (problem,) = self.problemsOf(second + 'protocol = "other"\n')
        self.assertTrue(problem.startswith("server[1].protocol: montague.example is also"))

    def test_domainTwice(self) -> None:
        """
        A domain stands in one list once.
        """
        (problem,) = self.problemsOf(text=edited('"montague.example"', '"a.example", "A.example"'))
        self.assertEqual(problem, "server[0].domains: a.example stands there twice")

    def test_publicInClear(self) -> None:
        """
        URLs without TLS are possible, with a warning unless they stay on this machine.
        """
        for line in ('websocket = "ws://a.example/"', 'bosh = "http://a.example:80"'):
            self.assertIn("in clear", read(f"[public]\n{line}\n").warnings[0])
        for line in ('websocket = "ws://localhost:80/"', 'bosh = "http://127.0.0.1"'):
            self.assertEqual(read(f"[public]\n{line}\n").warnings, ())

    def test_doubts(self) -> None:
        """
        Links that do not protect anything are possible, with a warning.
        """
        self.assertIn("insecure", read("insecure = true\n").warnings[0])
        plain = 'security = "plain"\n'
        self.assertIn("in clear", read(plain).warnings[0])
        for host in ("localhost", "127.0.0.1", "[::1]"):
            self.assertEqual(read(f'{plain}address = "{host}:5262"\n').warnings, ())


class SecretTests(Case):
    """
    Secrets are read from elsewhere, and shown nowhere.
    """

    def withFile(self, content: bytes, mode: int = 0o600) -> Settings:
        """
        Read the small configuration with a secret file.
        """
        path = os.path.abspath(self.mktemp())
        Path(path).write_bytes(content)
        os.chmod(path, mode)
        return read(text=edited('secret-environment = "SECRET"', f'secret-file = "{path}"'))

    def fileProblem(self, content: bytes) -> str:
        """
        Return what is wrong with the secret file.
        """
        return self.assertRaises(ConfigError, self.withFile, content).problems[0]

    def test_file(self) -> None:
        """
        White space around the secret is not part of it.
        """
        parsed = self.withFile(b" s3cret \n")
        self.assertEqual(parsed.servers[0].secret, "s3cret")
        self.assertEqual(parsed.warnings, ())

    def test_readable(self) -> None:
        """
        A file that everybody can read gives a warning.
        """
        self.assertIn("chmod o=", self.withFile(b"s3cret", 0o604).warnings[0])
        self.assertEqual(self.withFile(b"s3cret", 0o640).warnings, ())

    def test_badFiles(self) -> None:
        """
        An empty file, one that is too long and one that is not text are refused.
        """
        self.assertEqual(self.fileProblem(b" \n"), "server[0].secret-file: must not be empty")
        self.assertIn("UTF-8", self.fileProblem(b"\xff"))
        self.assertIn("4096 bytes", self.fileProblem(b"x" * 4097))
        self.assertEqual(self.withFile(b"x" * 4096).servers[0].secret, "x" * 4096)

    def test_noFile(self) -> None:
        """
        A file that is not there is named by its key.
        """
        for path, why in (("/nonexistent/secret", "No such file"), ("\\u0000", "not a path")):
            text = edited('secret-environment = "SECRET"', f'secret-file = "{path}"')
            (problem,) = self.problemsOf(text=text)
            self.assertTrue(
                problem.startswith(f"server[0].secret-file: cannot be read: {why}"), problem
            )

    def test_environment(self) -> None:
        """
        A variable that is not set, or empty, is a problem.
        """
        self.assertEqual(read().servers[0].secret, "s3cret")
        (problem,) = self.problemsOf(text=edited('"SECRET"', '"OTHER"'))
        self.assertEqual(problem, "server[0].secret-environment: that variable is not set or empty")

    def test_oneOfTwo(self) -> None:
        """
        File or variable: neither is a problem, and so are both.
        """
        for text in (edited('secret-environment = "SECRET"', ""), MINIMAL + 'secret-file = "x"\n'):
            self.assertEqual(
                self.problemsOf(text=text),
                ("server[0].secret-file: give it or secret-environment, one of the two",),
            )

    def test_notShown(self) -> None:
        """
        Neither the settings' text nor a problem holds a secret, wherever it was
        written.
        """
        self.assertNotIn("s3cret", repr(read()))
        for line in (
            'secret = "hunter2"',
            'password = "hunter2"',
            'sekret-file = "hunter2"',
            'secret-environment = "hunter2 hunter2"',
            'secret-file = ["hunter2"]',
        ):
            text = edited('secret-environment = "SECRET"', line)
            found = "\n".join(self.problemsOf(text=text))
            self.assertIn("server[0].", found)
            self.assertNotIn("hunter2", found)

    def test_told(self) -> None:
        """
        Who writes the secret into the file is told where it belongs.
        """
        (problem,) = self.problemsOf('secret = "hunter2"\n')
        self.assertIn("name a file in secret-file", problem)


class FileTests(SynchronousTestCase):
    """
    A file that cannot be read is one problem.
    """

    def problemOf(self, path: str) -> str:
        """
        Return the only problem.
        """
        (problem,) = self.assertRaises(ConfigError, load, path, ENVIRON).problems
        return problem

    def write(self, content: bytes) -> str:
        """
        Make a file.
        """
        path = self.mktemp()
        Path(path).write_bytes(content)
        return path

    def test_loads(self) -> None:
        """
        A good file is read, with its own directory as the base of paths.
        """
        path = self.write(MINIMAL.encode())
        parsed = load(path, ENVIRON)
        self.assertEqual(
            parsed.tls.certificates,
            os.path.join(os.path.dirname(os.path.abspath(path)), "certificates"),
        )

    def test_missing(self) -> None:
        """
        No such file.
        """
        self.assertEqual(
            self.problemOf("/nonexistent"),
            "/nonexistent: cannot be read: No such file or directory",
        )

    def test_notTOML(self) -> None:
        """
        Line and column of a syntax error are named.
        """
        self.assertIn("line 2, column", self.problemOf(self.write(b"[tls]\nx = = 1\n")))

    def test_notUTF8(self) -> None:
        """
        A file in another encoding.
        """
        self.assertIn("not UTF-8 at byte 2", self.problemOf(self.write(b"# \xe4")))

    def test_tooLarge(self) -> None:
        """
        A file of more than 1 MiB is not read.
        """
        path = self.write(MINIMAL.encode() + b"#" * (config.MAX_CONFIG_BYTES - len(MINIMAL)))
        load(path, ENVIRON)
        with open(path, "ab") as stream:
            stream.write(b"#")
        self.assertIn("larger than 1048576 bytes", self.problemOf(path))

    def test_allAtOnce(self) -> None:
        """
        Problems of all tables come together, and those of secrets with
        contradictions.
        """
        problems = self.assertRaises(
            ConfigError,
            read,
            'colour = 1\n[client]\nstanza-byte = 1\nmax-depth = "x"\n[limit]\nsessions = 1\n',
        ).problems
        self.assertEqual(
            problems,
            (
                "server[0].colour: unknown key",
                'client.max-depth = "x": must be a whole number from 8 to 1000',
                "client.stanza-byte: unknown key; did you mean stanza-bytes?",
                "limit: unknown key; did you mean limits?",
            ),
        )
        problems = self.assertRaises(
            ConfigError, read, 'retry-max = 0.5\nsecret-file = "x"\n'
        ).problems
        self.assertEqual(len(problems), 2)

    def test_filterWithoutType(self) -> None:
        """
        A filter names its plugin.
        """
        for text in ("[[filter]]\nx = 1\n", "[[filter]]\ntype = 1\n"):
            problem = self.assertRaises(ConfigError, read, text).problems[0]
            self.assertIn('a table with the key "type"', problem)
        problem = self.assertRaises(ConfigError, read, text="filter = [1]\n" + MINIMAL).problems[0]
        self.assertIn("filter[0] = 1: must be", problem)

    def test_valuesOfManualAreTOML(self) -> None:
        """
        Our writer and the standard parser agree on the defaults.
        """
        for attribute in attrs.fields(settings.ClientSettings):
            text = f"x = {toTOML(attribute.default)}"
            self.assertEqual(tomllib.loads(text)["x"], attribute.default)
