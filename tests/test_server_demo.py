# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.demo}.
"""

from __future__ import annotations

import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from attrs import evolve
from cryptography import x509
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.certificates import read
from cmanager.discovery import publicURLs
from cmanager.errors import ConfigError
from cmanager.server.demo import (
    ACCOUNTS,
    CERTIFICATE_DAYS,
    RENEWAL_DAYS,
    Demo,
    Ports,
    demoService,
    selfSigned,
)
from cmanager.server.elements import build
from cmanager.settings import Security, StartTLS

DAY = 86400


class DemoTestCase(SynchronousTestCase):
    """
    A demonstration on ports that are free.
    """

    def setUp(self) -> None:
        """
        Find the ports.
        """
        self.directory = Path(self.mktemp())
        self.reactor = MemoryReactorClock()
        self.reactor.advance(datetime.now(UTC).timestamp())
        self.strophe = Path(self.mktemp())
        self.strophe.parent.mkdir(parents=True, exist_ok=True)
        self.strophe.write_text("export const Strophe = null;\n")
        probes = [self.listen() for _ in range(5)]
        self.ports = Ports(*(probe.getsockname()[1] for probe in probes))
        for probe in probes:
            probe.close()

    def listen(self, port: int = 0) -> socket.socket:
        """
        Use a port.
        """
        probe = socket.socket()
        self.addCleanup(probe.close)
        probe.bind(("127.0.0.1", port))
        probe.listen()
        return probe

    def demo(self) -> Demo:
        """
        Prepare it, again perhaps.
        """
        demo = demoService(str(self.directory), self.reactor, self.ports, self.strophe)
        self.addCleanup(demo.service.store.close)
        return demo


class PreparationTests(DemoTestCase):
    """
    What there is at the start.
    """

    def test_ports(self) -> None:
        """
        The ports are XMPP's own, unless told otherwise.
        """
        self.assertEqual(Ports(), Ports(tcp=5222, tls=5223, http=5280, https=5443, link=0))

    def test_namedPorts(self) -> None:
        """
        Others can be named: four different ports, or two without those for browsers, and
        nothing else.
        """
        self.assertEqual(Ports.named("1,2,3,65535"), Ports(1, 2, 3, 65535))
        self.assertEqual(Ports.named("1,65535"), Ports(1, 65535, 0, 0))
        for text in (
            *("", "1", "0,1", "1,65536", "1,1", "1,2,3", "1, 2", "a,b", "-1,2"),
            *("1,2,3,4,5", "1,2,3,", "1,2,3,0", "1,2,3,65536", "1,2,3,1", "1,2,0,0"),
        ):
            error = self.assertRaises(ConfigError, Ports.named, text)
            self.assertIn(f"--demo-ports {text}: four ports", str(error))

    def test_settings(self) -> None:
        """
        The front listens on the loopback interface only, in all ways, and its link
        leads to the server with the server's secret.
        """
        demo = self.demo()
        self.assertEqual(
            {
                (listener.type, listener.endpoint)
                for listener in demo.settings.listeners
                if listener.endpoint.startswith("tcp:")
            },
            {
                ("tcp", f"tcp:{self.ports.tcp}:interface=127.0.0.1"),
                ("tls", f"tcp:{self.ports.tls}:interface=127.0.0.1"),
                ("http", f"tcp:{self.ports.http}:interface=127.0.0.1"),
                ("https", f"tcp:{self.ports.https}:interface=127.0.0.1"),
            },
        )
        (server,) = demo.settings.servers
        self.assertEqual(server.domains, ("localhost",))
        self.assertEqual(server.address, f"127.0.0.1:{self.ports.link}")
        self.assertEqual(server.security, Security.PLAIN)
        self.assertEqual(server.secret, demo.service.settings.secret)
        self.assertEqual(len(server.secret), 64)
        self.assertEqual(
            demo.service.settings.endpoint, f"tcp:{self.ports.link}:interface=127.0.0.1"
        )
        self.assertTrue(demo.service.settings.habits.hasExtensions)
        self.assertEqual(demo.settings.warnings, ())

    def test_browsers(self) -> None:
        """
        Browsers find the page and all that it needs in a folder, are told where WebSocket
        and BOSH are, need no TLS, and are kept out where the page is somebody else's.
        """
        demo = self.demo()
        listeners = [x for x in demo.settings.listeners if x.endpoint.startswith("tcp:")]
        public, secure = (x for x in listeners if x.files)
        self.assertEqual((public.type, secure.type), ("http", "https"))
        self.assertEqual(public.starttls, StartTLS.SERVER)
        folder = Path(public.files or "")
        self.assertEqual(folder, self.directory.absolute() / "page")
        self.assertEqual(
            {path.name for path in folder.iterdir()},
            {"index.html", "chat.css", "chat.js", "strophe.js"},
        )
        self.assertEqual((folder / "strophe.js").read_bytes(), self.strophe.read_bytes())
        port = self.ports.http
        self.assertEqual(
            publicURLs(demo.settings),
            (f"ws://localhost:{port}/ws", f"http://localhost:{port}/http-bind"),
        )
        hosts = ("localhost", "127.0.0.1", "[::1]")
        self.assertEqual(public.origins, tuple(f"http://{host}:{port}" for host in hosts))
        (https,) = (x for x in listeners if x.type == "https")
        port = self.ports.https
        self.assertEqual(https.origins, tuple(f"https://{host}:{port}" for host in hosts))
        self.assertIn(f"Chat page    http://localhost:{self.ports.http}/ ", demo.screen)

    def test_pageAnew(self) -> None:
        """
        The page is made anew each time.
        """
        self.demo()
        (self.directory / "page/index.html").unlink()
        (self.directory / "page/old.html").touch()
        self.demo()
        self.assertTrue((self.directory / "page/index.html").exists())
        self.assertFalse((self.directory / "page/old.html").exists())

    def test_noPage(self) -> None:
        """
        Without Strophe.js there is no page, and the screen says how to get it; browsers'
        ports are there all the same.
        """
        self.demo()
        self.strophe.unlink()
        demo = self.demo()
        self.assertEqual({listener.files for listener in demo.settings.listeners}, {None})
        self.assertEqual(len(publicURLs(demo.settings)), 2)
        self.assertIn("Chat page    none, for want of Strophe.js; apt install npm", demo.screen)
        self.assertFalse((self.directory / "page").exists())

    def test_noBrowsers(self) -> None:
        """
        Without ports for browsers there is nothing for them.
        """
        self.ports = evolve(self.ports, http=0, https=0)
        demo = self.demo()
        self.assertEqual({x.type for x in demo.settings.listeners}, {"tcp", "tls"})
        self.assertEqual(publicURLs(demo.settings), ())
        self.assertIn("Chat page    none, for want of a port\n", demo.screen)
        self.assertNotIn("browsers", demo.screen)

    def test_stop(self) -> None:
        """
        A stop takes less than five seconds.
        """
        manager = self.demo().settings.manager
        self.assertLess(manager.drain + manager.grace, 4)

    def test_accounts(self) -> None:
        """
        Romeo and Juliet have accounts, and see each other.
        """
        store = self.demo().service.store
        for name, password in ACCOUNTS.items():
            self.assertTrue(store.verify(name, password))
            (item,) = store.contacts(name)
            self.assertTrue(item.subscriptionTo and item.subscriptionFrom)

    def test_kept(self) -> None:
        """
        A second start keeps accounts, rosters, messages, secret and certificate.
        """
        first = self.demo()
        first.service.addAccount("mercutio", "x")
        first.service.addAccount("romeo", "changed")
        first.service.store.dropContact("romeo", "juliet@localhost")
        first.service.store.keep("juliet", build(None, "message"))
        certificate = (self.directory / "certificates/localhost.pem").read_bytes()
        first.service.store.close()
        second = self.demo()
        store = second.service.store
        self.assertTrue(store.verify("mercutio", "x"))
        self.assertTrue(store.verify("romeo", "changed"))
        self.assertEqual(list(store.contacts("romeo")), [])
        self.assertEqual(store.waiting("juliet"), 1)
        self.assertEqual(second.service.settings.secret, first.service.settings.secret)
        self.assertEqual((self.directory / "certificates/localhost.pem").read_bytes(), certificate)

    def test_private(self) -> None:
        """
        Nobody else reads the key, the secret and the accounts.
        """
        self.demo()
        for name in ("certificates/localhost.pem", "secret", "server.sqlite"):
            mode = (self.directory / name).stat().st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o600, name)

    def test_screen(self) -> None:
        """
        The screen has all that one needs to know, and no secret.
        """
        demo = self.demo()
        for text in (
            "localhost",
            str(self.ports.tcp),
            str(self.ports.tls),
            str(self.ports.http),
            str(self.ports.https),
            "romeo@localhost, password romeo",
            "juliet@localhost, password juliet",
            str(self.directory),
            f"-u romeo@localhost -p romeo -j localhost:{self.ports.tcp} juliet@localhost; timeout 3 ",
            "/connect romeo@localhost tls trust\n",
            "Ctrl-C",
        ):
            self.assertIn(text, demo.screen)
        self.assertNotIn(demo.service.settings.secret, demo.screen)
        self.assertLess(demo.screen.count("\n"), 24)


class PortTests(DemoTestCase):
    """
    Ports that are in use.
    """

    def test_taken(self) -> None:
        """
        A client port that is in use is one line that says what to do.
        """
        for port in self.ports.taken():
            probe = self.listen(port)
            error = self.assertRaises(ConfigError, self.demo)
            (line,) = error.problems
            self.assertIn(f"port {port} cannot be used: Address already in use. Stop", line)
            probe.close()

    def test_linkPort(self) -> None:
        """
        The port of the link is any that is free, unless told otherwise.
        """
        self.ports = evolve(self.ports, link=0)
        demo = self.demo()
        (server,) = demo.settings.servers
        assert server.address is not None
        port = server.address.partition(":")[2]
        self.assertGreater(int(port), 1023)
        self.assertEqual(demo.service.settings.endpoint, f"tcp:{port}:interface=127.0.0.1")

    def test_oneInterface(self) -> None:
        """
        A machine without IPv6 will do.
        """
        real = socket.socket

        def only4(family: int = socket.AF_INET, *arguments: int) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            return real(family, *arguments)

        with mock.patch("socket.socket", only4):
            demo = self.demo()
        self.assertEqual(len(demo.settings.listeners), 4)

    def test_bothInterfaces(self) -> None:
        """
        A machine with IPv6 listens there too.
        """

        class Probe:
            def __init__(self, family: int = socket.AF_INET) -> None:
                pass

            def __enter__(self) -> Probe:
                return self

            def __exit__(self, *ignored: object) -> None:
                pass

            def setsockopt(self, *ignored: object) -> None:
                pass

            bind = listen = setsockopt

        with mock.patch("socket.socket", Probe):
            demo = self.demo()
        self.assertIn(
            f"tcp6:{self.ports.tls}:interface=\\:\\:1",
            [listener.endpoint for listener in demo.settings.listeners],
        )


class FolderTests(DemoTestCase):
    """
    The folder.
    """

    def test_unusable(self) -> None:
        """
        A folder that cannot be one is one line.
        """
        self.directory.write_text("a file")
        error = self.assertRaises(ConfigError, self.demo)
        (line,) = error.problems
        self.assertTrue(line.endswith("Not a directory; name another folder"), line)
        self.assertIn(str(self.directory), line)


class CertificateTests(DemoTestCase):
    """
    The certificate.
    """

    def path(self) -> Path:
        """
        Where it is.
        """
        return self.directory / "certificates/localhost.pem"

    def test_names(self) -> None:
        """
        It stands for C{localhost} and both addresses, and the front can use it.
        """
        self.demo()
        certificate = read(self.path())
        assert certificate is not None
        self.assertEqual(certificate.names, {"localhost"})
        names = certificate.leaf.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        self.assertEqual(
            [str(a) for a in names.get_values_for_type(x509.IPAddress)], ["127.0.0.1", "::1"]
        )

    def test_trusted(self) -> None:
        """
        A client that trusts it accepts it for C{localhost}.
        """
        self.demo()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(self.path())
        client = ssl.create_default_context(cafile=str(self.path()))
        for name in ("localhost", "127.0.0.1", "::1"):
            up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
            ends = [
                client.wrap_bio(down, up, server_hostname=name),
                server.wrap_bio(up, down, server_side=True),
            ]
            while ends:
                for end in list(ends):
                    try:
                        end.do_handshake()
                    except ssl.SSLWantReadError:
                        continue
                    ends.remove(end)

    def expiring(self, left: timedelta) -> bytes:
        """
        Put one there that expires so soon.
        """
        self.demo()
        now = datetime.fromtimestamp(self.reactor.seconds(), UTC)
        # Certificates know whole seconds.
        now = now.replace(microsecond=0)
        self.reactor.rightNow = now.timestamp()
        old = selfSigned(now + left - timedelta(days=CERTIFICATE_DAYS))
        self.path().write_bytes(old)
        return old

    def test_renewed(self) -> None:
        """
        With 30 days left there is a new one, with a second more the old one stays.
        """
        limit = timedelta(days=RENEWAL_DAYS)
        old = self.expiring(limit)
        self.demo()
        self.assertNotEqual(self.path().read_bytes(), old)
        old = self.expiring(limit + timedelta(seconds=1))
        self.demo()
        self.assertEqual(self.path().read_bytes(), old)

    def test_broken(self) -> None:
        """
        One that cannot be read is made anew.
        """
        self.demo()
        self.path().write_bytes(b"nonsense")
        self.demo()
        self.assertIsNotNone(read(self.path()))
