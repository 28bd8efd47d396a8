# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.legacy} and L{cmanager.properties}.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.check import check
from cmanager.config import LogLevel, Settings, load, loads
from cmanager.errors import ConfigError
from cmanager.legacy import Conversion, convert, importFile
from cmanager.properties import CARRIED, LEFT, MAX_DEPTH, MAX_FILE_BYTES, parse
from tests.certificates import authority

NAMES = """
xmpp.domain xmpp.hostname xmpp.port xmpp.password xmpp.manager.name xmpp.manager.connections
xmpp.manager.incoming.threads xmpp.server.compression.policy xmpp.server.certificate.verify
xmpp.server.certificate.verify.chain xmpp.server.certificate.verify.root
xmpp.server.certificate.verify.validity xmpp.server.certificate.accept-selfsigned
xmpp.session.sending-limit dnsutil.dnsOverride

xmpp.socket.default.active xmpp.socket.default.port xmpp.socket.plain.port xmpp.socket.ssl.active
xmpp.socket.ssl.port xmpp.socket.network.interface xmpp.socket.backlog xmpp.socket.buffer.receive
xmpp.socket.buffer.send xmpp.socket.linger xmpp.socket.tcp-nodelay xmpp.socket.directBuffer
xmpp.processor.count xmpp.processor.threads.standard xmpp.processor.threads.ssl xmpp.client.idle
xmpp.client.validate.host xmpp.parser.buffer.size session.stalled.cap connection.ack.timeout

xmpp.socket.ssl.storeType xmpp.socket.ssl.keystore xmpp.socket.ssl.keypass
xmpp.socket.ssl.truststore xmpp.socket.ssl.trustpass xmpp.socket.ssl.algorithm

xmpp.httpbind.enabled xmpp.httpbind.port.plain xmpp.httpbind.port.secure network.interface
xmpp.httpbind.scriptSyntax.enabled xmpp.httpbind.client.requests.wait
xmpp.httpbind.client.requests.polling xmpp.httpbind.client.requests.max
xmpp.httpbind.client.requests.ignoreOveractivity xmpp.httpbind.client.idle
xmpp.httpbind.client.idle.polling xmpp.httpbind.client.maxpause
xmpp.httpbind.client.no-cache.enabled xmpp.httpbind.crossdomain.secure

log.directory log.debug.enabled log.debug.format log.info.format log.warn.format log.error.format
log.debug.size log.info.size log.warn.size log.error.size locale setup

managerHome cmanager.lib.dir java.version line.separator org.eclipse.jetty.util.log.class
org.apache.commons.logging.LogFactory javax.net.debug CMANAGER_HOME CMANAGER_OPTS JAVA_HOME JAVACMD
LOCALCLASSPATH CLASSPATH JVM_SETTINGS CMANAGER_USER
"""
"""
Every property, system property and variable that the old program or its scripts
read or set.
"""

PROPERTIES = NAMES.split()


def xml(properties: dict[str, str]) -> bytes:
    """
    Write properties the way the old program nests them.
    """
    tree: dict = {}
    for name, value in properties.items():
        node = tree
        for part in name.split("."):
            node = node.setdefault(part, {})
        node[""] = value

    def written(node: dict) -> str:
        return "".join(
            value if not name else f"<{name}>{written(value)}</{name}>"
            for name, value in node.items()
        )

    return f"<?xml version='1.0' encoding='UTF-8'?>\n<jive>{written(tree)}</jive>".encode()


class Case(SynchronousTestCase):
    """
    Converting properties.
    """

    def convert(self, **more: str) -> Conversion:
        """
        Convert what every file had, and C{more} with C{__} for a dot and C{_} for a
        hyphen.
        """
        properties = {"xmpp.domain": "montague.example", "xmpp.password": "s3cret"}
        properties |= {
            name.replace("__", ".").replace("_", "-"): value for name, value in more.items()
        }
        return convert(xml(properties), secretFile="cmanager.secret")

    def settings(self, conversion: Conversion) -> Settings:
        """
        Read the new file.
        """
        text = conversion.text.replace(
            'secret-file = "cmanager.secret"', 'secret-environment = "SECRET"'
        )
        self.assertNotEqual(text, conversion.text)
        return loads(text, {"SECRET": "s3cret"}, directory=Path("/etc/cmanager"))

    def converted(self, **more: str) -> Settings:
        """
        Convert and read.
        """
        return self.settings(self.convert(**more))


class CompletenessTests(Case):
    """
    No property is passed over in silence.
    """

    def test_oneGroup(self) -> None:
        """
        Each property is in one of the two groups, and they hold no other.
        """
        self.assertEqual(sorted([*CARRIED, *LEFT]), sorted(PROPERTIES))
        self.assertEqual(len(set(PROPERTIES)), len(PROPERTIES))

    def test_each(self) -> None:
        """
        Each property that is set is reported once, in its group; the new file can be
        read.
        """
        for name in PROPERTIES:
            if "CMANAGER" in name or name.isupper():
                continue  # Of the environment, never of the file.
            values = {"xmpp.domain": "montague.example", name: "1"}
            conversion = convert(xml(values), secretFile="cmanager.secret")
            self.settings(conversion)
            reported = [*conversion.carried, *conversion.left]
            self.assertEqual(reported.count(name), 1, name)
            if name in LEFT:
                self.assertEqual(conversion.left[name], LEFT[name])
            self.assertIn(name, conversion.report())

    def test_shown(self) -> None:
        """
        Every key that is named as a counterpart is one of ours.
        """
        manual = (Path(__file__).parent.parent / "etc" / "cmanager.toml").read_text()
        for name, path in CARRIED.items():
            table, _, key = path.partition(".")
            self.assertIn(f"[{table}]", manual, name)
            self.assertIn(f"{key} = " if key else "", manual, name)

    def test_unknown(self) -> None:
        """
        A property the old program did not know either is reported.
        """
        self.assertIn("not known", self.convert(xmpp__colour="red").left["xmpp.colour"])

    def test_repeated(self) -> None:
        """
        Of elements with one name the first counts; the shipped file had two
        C{<verify>}.
        """
        document = (
            b"<jive><xmpp><domain>a.example</domain><domain>b.example</domain><server><certificate>"
            b"<verify>true</verify><verify><chain>false</chain></verify>"
            b"</certificate></server></xmpp></jive>"
        )
        conversion = convert(document, secretFile="cmanager.secret")
        self.assertEqual(self.settings(conversion).servers[0].domains, ("a.example",))
        self.assertEqual(
            {name for name in conversion.left if "repeated" in name},
            {"xmpp.domain (repeated)", "xmpp.server.certificate.verify (repeated)"},
        )


class ServerTests(Case):
    """
    The server's side.
    """

    def test_smallest(self) -> None:
        """
        Domain and password make a file that can be read.
        """
        conversion = self.convert()
        settings = self.settings(conversion)
        (server,) = settings.servers
        self.assertEqual((server.domains, server.address), (("montague.example",), None))
        self.assertEqual([i.endpoint for i in settings.listeners], ["tcp:5222", "tcp:5223"])
        self.assertEqual(conversion.secret, "s3cret")

    def test_secret(self) -> None:
        """
        The password is in no text.
        """
        conversion = self.convert()
        for text in (conversion.text, conversion.report(), repr(conversion)):
            self.assertNotIn("s3cret", text)

    def test_nothing(self) -> None:
        """
        What the old program could not do without is asked for.
        """
        conversion = convert(b"<jive/>", secretFile="cmanager.secret")
        self.settings(conversion)
        report = conversion.report()
        self.assertIn("xmpp.domain is not set", report)
        self.assertIn("xmpp.password is not set", report)

    def test_address(self) -> None:
        """
        Host name and port, each alone and both.
        """
        for more, address in (
            ({"xmpp__hostname": "h.example"}, "h.example:5262"),
            ({"xmpp__hostname": "::1", "xmpp__port": "5300"}, "[::1]:5300"),
            ({"xmpp__port": "5300"}, "montague.example:5300"),
            ({"xmpp__port": "5262"}, None),
            ({"xmpp__port": "x"}, None),
            ({"xmpp__port": "65536"}, None),
            ({"xmpp__hostname": "a b"}, None),
        ):
            self.assertEqual(self.converted(**more).servers[0].address, address)

    def test_override(self) -> None:
        """
        The table of overrides gives the host, not the port; a host name goes before
        it.
        """
        table = "{other.example,o:1},{Montague.example, m.example:9}"
        conversion = self.convert(dnsutil__dnsOverride=table)
        self.assertEqual(self.settings(conversion).servers[0].address, "m.example:5262")
        self.assertIn("dnsutil.dnsOverride", conversion.carried)
        conversion = self.convert(dnsutil__dnsOverride=table, xmpp__hostname="h")
        self.assertEqual(self.settings(conversion).servers[0].address, "h:5262")
        self.assertIn("goes before", conversion.left["dnsutil.dnsOverride"])
        conversion = self.convert(dnsutil__dnsOverride="{a,b}")
        self.assertIn("not name the domain", conversion.left["dnsutil.dnsOverride"])

    def test_name(self) -> None:
        """
        A name that is no DNS label is made one.
        """
        for old, new in (("cm1", "cm1"), ("CM_1.a", "cm-1-a"), ("x" * 60, "x" * 59), ("_", None)):
            conversion = self.convert(xmpp__manager__name=old)
            self.assertEqual(self.settings(conversion).manager.name, new)
        self.assertIn("no letter", conversion.left["xmpp.manager.name"])

    def test_links(self) -> None:
        """
        The number of links, within our range.
        """
        for old, new in (("5", 5), ("64", 64), ("65", 64), ("0", 1)):
            self.assertEqual(self.converted(xmpp__manager__connections=old).servers[0].links, new)

    def test_sendingLimit(self) -> None:
        """
        Milliseconds become seconds.
        """
        settings = self.converted(xmpp__session__sending_limit="2500")
        self.assertEqual(settings.servers[0].stalledAfter, 2.5)

    def test_verify(self) -> None:
        """
        Only the master switch turns checking off; what looked at less than the whole
        does not.
        """
        verify = "xmpp__server__certificate__verify"
        self.assertTrue(self.converted(**{verify: "false"}).servers[0].insecure)
        self.assertFalse(self.converted(**{verify: "TRUE"}).servers[0].insecure)
        self.assertFalse(self.converted(**{verify + "__chain": "false"}).servers[0].insecure)


class ListenerTests(Case):
    """
    The clients' side.
    """

    def endpoints(self, **more: str) -> list[tuple[str, str]]:
        """
        Return the listeners of the new file.
        """
        return [(i.type, i.endpoint) for i in self.converted(**more).listeners]

    def test_ports(self) -> None:
        """
        Both ports; the deprecated name of the first goes before its new one.
        """
        default, plain, ssl = (
            "xmpp__socket__default__port",
            "xmpp__socket__plain__port",
            "xmpp__socket__ssl__port",
        )
        self.assertEqual(
            self.endpoints(**{default: "1", ssl: "2"}), [("tcp", "tcp:1"), ("tls", "tcp:2")]
        )
        self.assertEqual(self.endpoints(**{plain: "3", default: "1"})[0], ("tcp", "tcp:3"))
        conversion = self.convert(**{plain: "3", default: "1"})
        self.assertIn("old name", conversion.left["xmpp.socket.default.port"])
        self.assertIn("xmpp.socket.plain.port", conversion.carried)
        self.assertEqual(self.endpoints(**{plain: "3"})[0], ("tcp", "tcp:3"))

    def test_off(self) -> None:
        """
        A listener that was off is not there; one there must be.
        """
        off = {"xmpp__socket__ssl__active": "false", "xmpp__socket__ssl__port": "9"}
        self.assertEqual(self.endpoints(**off), [("tcp", "tcp:5222")])
        self.assertIn("is off", self.convert(**off).carried["xmpp.socket.ssl.port"])
        both = off | {"xmpp__socket__default__active": "false"}
        self.assertEqual(self.endpoints(**both), [("tcp", "tcp:5222")])
        self.assertIn("listeners were off", self.convert(**both).report())

    def test_interface(self) -> None:
        """
        The bind address and the backlog are part of both endpoints.
        """
        interface, backlog = "xmpp__socket__network__interface", "xmpp__socket__backlog"
        self.assertEqual(
            [e for _, e in self.endpoints(**{interface: "192.0.2.1", backlog: "99"})],
            ["tcp:5222:interface=192.0.2.1:backlog=99", "tcp:5223:interface=192.0.2.1:backlog=99"],
        )
        self.assertEqual(
            self.endpoints(**{interface: "::1", backlog: "0"})[0][1], r"tcp6:5222:interface=\:\:1"
        )

    def test_limits(self) -> None:
        """
        Limits of clients, within our ranges.
        """
        client = self.converted(
            xmpp__client__idle="60000",
            xmpp__parser__buffer__size="20000",
            session__stalled__cap="1",
        ).client
        self.assertEqual(
            (client.idleTimeout, client.stanzaBytes, client.queueBytes), (60, 20000, 16384)
        )
        self.assertEqual(
            self.converted(xmpp__parser__buffer__size="1048576").client.stanzaBytes, 1000000
        )

    def test_idle(self) -> None:
        """
        Where the old program never closed, we do late.
        """
        for value, seconds in (("999", 604800), ("-1", 604800), ("1000", 10)):
            self.assertEqual(self.converted(xmpp__client__idle=value).client.idleTimeout, seconds)

    def test_notANumber(self) -> None:
        """
        What is no number had no effect, and has none.
        """
        conversion = self.convert(xmpp__client__idle="soon")
        self.assertEqual(self.settings(conversion).client.idleTimeout, 1800)
        self.assertIn("not a number", conversion.left["xmpp.client.idle"])

    def test_log(self) -> None:
        """
        The debug log is a level.
        """
        self.assertEqual(self.converted(log__debug__enabled="true").log.level, LogLevel.DEBUG)
        self.assertEqual(self.converted(log__debug__enabled="false").log.level, LogLevel.INFO)

    def test_httpBinding(self) -> None:
        """
        HTTP binding becomes two listeners, of which each may be off, and its times are
        carried over.
        """
        settings = self.settings(
            self.convert(
                xmpp__httpbind__enabled="true",
                xmpp__httpbind__port__plain="80",
                network__interface="::1",
                xmpp__httpbind__client__idle="45",
                xmpp__httpbind__client__requests__wait="2147483647",
            )
        )
        self.assertEqual(
            [(x.type, x.endpoint) for x in settings.listeners][2:],
            [("http", "tcp6:80:interface=\\:\\:1"), ("https", "tcp6:7443:interface=\\:\\:1")],
        )
        self.assertEqual((settings.bosh.inactivity, settings.bosh.wait), (45, 600))
        settings = self.settings(
            self.convert(xmpp__httpbind__enabled="true", xmpp__httpbind__port__secure="0")
        )
        self.assertEqual([x.type for x in settings.listeners], ["tcp", "tls", "http"])

    def test_noHTTPBinding(self) -> None:
        """
        It was off unless turned on.
        """
        for enabled in ({}, {"xmpp__httpbind__enabled": "no"}):
            settings = self.settings(self.convert(xmpp__httpbind__port__plain="80", **enabled))
            self.assertEqual([x.type for x in settings.listeners], ["tcp", "tls"])


class KeyTests(Case):
    """
    Keys and certificates.
    """

    def test_commands(self) -> None:
        """
        The report has the commands that turn the key store into PEM, without a
        password.
        """
        conversion = self.convert(
            xmpp__socket__ssl__keystore="my keys/store",
            xmpp__socket__ssl__storeType="pkcs12",
            xmpp__socket__ssl__keypass="hunter2",
        )
        report = conversion.report()
        self.assertIn("keytool -importkeystore -srckeystore 'my keys/store'", report)
        self.assertIn("-srcstoretype PKCS12", report)
        self.assertIn("-out certificates/montague.example.pem", report)
        self.assertNotIn("hunter2", report)
        self.assertEqual(self.settings(conversion).tls.certificates, "/etc/cmanager/certificates")

    def test_truststore(self) -> None:
        """
        A trust store of one's own becomes the CA file; the shipped one does not.
        """
        conversion = self.convert(xmpp__socket__ssl__truststore="trust")
        self.assertEqual(self.settings(conversion).servers[0].ca, "/etc/cmanager/server-ca.pem")
        self.assertIn("-nokeys -out server-ca.pem", conversion.report())
        self.assertIsNone(self.converted().servers[0].ca)


class ParsingTests(SynchronousTestCase):
    """
    Reading the old file.
    """

    def refused(self, document: bytes) -> str:
        """
        Return why a document is refused.
        """
        (problem,) = self.assertRaises(ConfigError, parse, document).problems
        return problem

    def test_text(self) -> None:
        """
        Texts are trimmed, and empty ones are not set; an element may have a text and
        children.
        """
        found, repeated = parse(
            b"<jive><a>\n x  y </a><b/><c> <d>1</d>2</c><!-- e --><e>&lt;<![CDATA[&]]></e></jive>"
        )
        self.assertEqual(found, {"a": "x y", "c": "2", "c.d": "1", "e": "<&"})
        self.assertEqual(repeated, [])

    def test_doctype(self) -> None:
        """
        A document type, and with it every entity, is refused.
        """
        self.assertIn(
            "type declaration",
            self.refused(b"<!DOCTYPE jive [<!ENTITY a SYSTEM '/etc/passwd'>]><jive>&a;</jive>"),
        )

    def test_notWellFormed(self) -> None:
        """
        The line of an error is named.
        """
        self.assertIn("line 2: not well-formed", self.refused(b"<jive>\n<a></b></jive>"))
        self.assertIn("line 1", self.refused(b""))

    def test_root(self) -> None:
        """
        Another root is another program's file.
        """
        self.assertIn("<jove>", self.refused(b"<jove/>"))

    def test_bounds(self) -> None:
        """
        Size and depth are bounded.
        """
        padding = MAX_FILE_BYTES - len(b"<jive></jive>")
        parse(b"<jive>" + b" " * padding + b"</jive>")
        self.assertIn("larger", self.refused(b"<jive>" + b" " * (padding + 1) + b"</jive>"))
        inner = MAX_DEPTH - 1
        parse(b"<jive>" + b"<a>" * inner + b"</a>" * inner + b"</jive>")
        inner += 1
        self.assertIn(
            "deeper", self.refused(b"<jive>" + b"<a>" * inner + b"</a>" * inner + b"</jive>")
        )


class FileTests(SynchronousTestCase):
    """
    What is written where.
    """

    def setUp(self) -> None:
        """
        Make an old file in a directory of its own.
        """
        self.directory = Path(os.path.abspath(self.mktemp()))
        self.directory.mkdir()
        self.source = self.directory / "manager.xml"
        self.output = self.directory / "new.toml"
        self.source.write_bytes(xml({"xmpp.domain": "montague.example", "xmpp.password": "s3cret"}))

    def problem(self) -> str:
        """
        Return why nothing was imported.
        """
        error = self.assertRaises(ConfigError, importFile, self.source, self.output)
        (problem,) = error.problems
        return problem

    def test_files(self) -> None:
        """
        The configuration can be read with the secret that lies beside it, readable for
        its owner only.
        """
        importFile(self.source, self.output)
        secret = self.directory / "new.secret"
        settings = load(self.output, {})
        self.assertEqual(settings.servers[0].secret, "s3cret")
        self.assertEqual(settings.warnings, ())
        self.assertEqual(stat.S_IMODE(secret.stat().st_mode), 0o600)
        self.assertNotIn("s3cret", self.output.read_text())

    def test_check(self) -> None:
        """
        What comes of a file with everything passes the check, once the certificates are
        there.
        """
        values = {name: "1" for name in PROPERTIES if name.islower() and "." in name}
        values |= {
            "xmpp.domain": "montague.example",
            "xmpp.password": "s3cret",
            "xmpp.hostname": "xmpp.montague.example",
            "xmpp.socket.default.active": "true",
            "xmpp.socket.default.port": "5222",
            "xmpp.socket.network.interface": "192.0.2.1",
            "xmpp.server.certificate.verify": "true",
        }
        self.source.write_bytes(xml(values))
        importFile(self.source, self.output)
        certificates = self.directory / "certificates"
        certificates.mkdir()
        authority().issue("montague.example").write(certificates)
        (self.directory / "server-ca.pem").write_bytes(authority().pem)
        out, err = io.StringIO(), io.StringIO()
        status = check(str(self.output), {}, MemoryReactorClock(), out, err)
        self.assertEqual((status, err.getvalue()), (0, ""))

    def test_noPassword(self) -> None:
        """
        Without a password no secret is written.
        """
        self.source.write_bytes(xml({"xmpp.domain": "montague.example"}))
        importFile(self.source, self.output)
        self.assertEqual(sorted(os.listdir(self.directory)), ["manager.xml", "new.toml"])

    def test_exists(self) -> None:
        """
        Nothing is overwritten, nor is one of the two written alone.
        """
        for name in ("new.secret", "new.toml"):
            path = self.directory / name
            path.write_text("mine")
            self.assertIn("exists", self.problem())
            self.assertEqual(path.read_text(), "mine")
            path.unlink()
        (self.directory / "new.secret").symlink_to("/nonexistent/x")
        self.assertIn("exists", self.problem())

    def test_unreadable(self) -> None:
        """
        A file that is not there, one that is not ours and a directory that is not
        there are named.
        """
        self.output = self.directory / "no" / "new.toml"
        self.assertIn("cannot be written: No such file", self.problem())
        self.source.write_bytes(b"<jive>")
        self.assertTrue(self.problem().startswith(f"{self.source}: line 1"))
        self.source.unlink()
        self.assertIn("manager.xml: cannot be read", self.problem())
