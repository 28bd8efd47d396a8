# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.tcp}.
"""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogLevel, globalLogPublisher
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from cmanager.errors import ConfigError, StreamError
from cmanager.interfaces import IListener
from cmanager.limits import Refused
from cmanager.settings import ListenerSettings, TLSSettings, Transports
from cmanager.stanza import FOOTER
from cmanager.tcp import ListenerService, TCPFactory, TCPListener, TLSListener, bindProblem
from cmanager.tls import XMPP_CLIENT, CertificateStore
from tests.suite import HEADER, Hub, storeIn
from tests.test_records import TLSClient


class Reactor(MemoryReactorClock):
    """
    A reactor in memory whose ports may be in use.
    """

    inUse = False
    stopped = False

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """
        Listen, or not.
        """
        if self.inUse:
            error = OSError(errno.EADDRINUSE, "Address already in use")
            raise CannotListenError(interface, port, error)
        return super().listenTCP(port, factory, backlog, interface)

    def stop(self) -> None:
        """
        Note it.
        """
        self.stopped = True


class ListenerTests(TestCase):
    """
    The plugins.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.hub = Hub(self.reactor, storeIn(Path(self.mktemp())))

    def service(self, listener: TCPListener, endpoint: str = "tcp:5222") -> Any:
        """
        Make a listener's service.
        """
        settings = ListenerSettings(
            type=listener.name, endpoint=endpoint, transport=Transports.TWISTED
        )
        return listener.service(self.reactor, settings, self.hub)  # type: ignore[arg-type]  # doubles

    def test_interfaces(self) -> None:
        """
        Both are listeners, and plugins.
        """
        for listener, name in ((TCPListener(), "tcp"), (TLSListener(), "tls")):
            verifyObject(IListener, listener)
            verifyObject(IPlugin, listener)
            self.assertEqual(listener.name, name)

    def test_streams(self) -> None:
        """
        Their streams are what their names say.
        """
        for number, (listener, secure) in enumerate(
            ((TCPListener(), False), (TLSListener(), True))
        ):
            self.service(listener).startService()
            factory = self.reactor.tcpServers[number][1]
            stream = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5000))
            stream.makeConnection(StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1)))
            self.assertEqual(stream.secure, secure)
            self.assertEqual(stream.transportName, listener.name)

    def test_noCertificate(self) -> None:
        """
        Direct TLS without any certificate is an error at once; STARTTLS is not offered then.
        """
        self.hub.tls = CertificateStore(TLSSettings(certificates="/nowhere"), Clock())
        self.assertRaises(ConfigError, self.service, TLSListener())
        self.service(TCPListener())


class ProxyTests(TestCase):
    """
    Behind proxies that speak the PROXY protocol.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.hub = Hub(self.reactor, storeIn(Path(self.mktemp())))

    def test_streams(self) -> None:
        """
        A stream's client is who the preface says, with STARTTLS and with TLS from the
        first byte; it counts once.
        """
        for listener, first in (
            (TCPListener(), HEADER),
            (TLSListener(), TLSClient(alpn=[XMPP_CLIENT]).exchange()),
        ):
            settings = ListenerSettings(
                type=listener.name,
                endpoint="tcp:1",
                proxyProtocol=True,
                trusted=("198.51.100.9",),
                transport=Transports.TWISTED,
            )
            listener.service(self.reactor, settings, self.hub).startService()  # type: ignore[arg-type]  # doubles
            factory = self.reactor.tcpServers[-1][1]
            protocol = factory.buildProtocol(None)
            transport = StringTransport(peerAddress=IPv4Address("TCP", "198.51.100.9", 1))
            protocol.makeConnection(transport)
            protocol.dataReceived(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + first)
            stream = self.hub.sessions[-1].stream
            self.assertEqual((stream.peer, stream.transportName), ("192.0.2.1", listener.name))
            self.assertEqual(len(self.hub.limits), 1)
            self.assertEqual(bool(transport.value()), listener.isDirect)
            self.assertEqual(bool(self.hub.sessions[-1].seen), not listener.isDirect)
            protocol.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(self.hub.sessions[-1].seen[-1], ("transportLost", None))


class RefusalTests(TestCase):
    """
    Clients that get no session.
    """

    def refuse(self, error: StreamError, isDirect: bool) -> tuple[Hub, StringTransport]:
        """
        Refuse a client.
        """
        clock = Clock()
        hub = Hub(clock, storeIn(Path(self.mktemp())))
        hub.refusal = error
        settings = ListenerSettings(type="tcp", endpoint="tcp:0")
        factory: Any = TCPFactory(clock, settings, hub, isDirect=isDirect)  # type: ignore[arg-type]  # doubles
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
        factory.buildProtocol(None).makeConnection(transport)
        return hub, transport

    def test_plain(self) -> None:
        """
        Before TLS it is told why, with header and footer, and the limit is counted.
        """
        error = Refused("connection-rate", "too fast", reason="more than 1 from 192.0.2.1")
        hub, transport = self.refuse(error, False)
        sent = transport.value()
        self.assertTrue(sent.startswith(b'<?xml version="1.0"'))
        self.assertIn(b"<policy-violation", sent)
        self.assertIn(b"too fast", sent)
        self.assertNotIn(b"192.0.2.1", sent)
        self.assertTrue(sent.endswith(FOOTER))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(hub.metrics.value("clients_refused", "connection-rate"), 1)

    def test_direct(self) -> None:
        """
        With direct TLS there is nothing it could read.
        """
        hub, transport = self.refuse(StreamError("resource-constraint"), True)
        self.assertEqual(transport.value(), b"")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(hub.metrics.value("clients_refused", "resource-constraint"), 1)


class SlowEndpoint:
    """
    An endpoint that takes its time.
    """

    def __init__(self) -> None:
        self.listening: Deferred[Any] = Deferred()

    def listen(self, factory: Any) -> Deferred[Any]:
        """
        Begin.
        """
        return self.listening


class ServiceTests(TestCase):
    """
    Listening, and not.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.service = ListenerService(self.reactor, "tcp:5222:interface=192.0.2.1", Factory())

    def slow(self) -> SlowEndpoint:
        """
        Replace the endpoint by a slow one.
        """
        endpoint = SlowEndpoint()
        self.patch(self.service, "_endpoint", endpoint)
        return endpoint

    def test_privileged(self) -> None:
        """
        It binds while it may, and once.
        """
        self.service.privilegedStartService()
        self.service.startService()
        ((port, _, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (5222, "192.0.2.1"))

    def test_start(self) -> None:
        """
        Without the privileged start it binds at the start.
        """
        self.service.startService()
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def test_inUse(self) -> None:
        """
        A port in use stops the start, with one line that says what to do; a later
        start may succeed.
        """
        self.reactor.inUse = True
        for start in (self.service.privilegedStartService, self.service.startService):
            (problem,) = self.assertRaises(ConfigError, start).problems
            self.assertIn("tcp:5222:interface=192.0.2.1", problem)
            self.assertIn("already in use", problem)
            self.assertIn("another port", problem)
            self.assertNotIn("\n", problem)
        self.reactor.inUse = False
        self.service.startService()
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def test_endpoint(self) -> None:
        """
        An endpoint nobody knows is an error that quotes it.
        """
        for endpoint in ("nonsense:1", "tcp", "tcp:x", ""):
            (problem,) = self.assertRaises(
                ConfigError, ListenerService, self.reactor, endpoint, Factory()
            ).problems
            self.assertIn(repr(endpoint), problem)

    def test_late(self) -> None:
        """
        An endpoint that fails once the program runs stops it, with the same line.
        """
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        endpoint = self.slow()
        self.service.startService()
        self.assertFalse(self.reactor.stopped)
        endpoint.listening.errback(OSError(errno.EACCES, "Permission denied"))
        self.assertTrue(self.reactor.stopped)
        critical = [event for event in events if event.get("log_level") is LogLevel.critical]
        self.assertIn("Permission denied", critical[0]["problem"])

    def test_stop(self) -> None:
        """
        Stopped, it listens no more; so it does before it was started.
        """
        self.assertIsNone(self.service.stopService())
        self.service.startService()
        self.service.stopService()
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def test_stopEarly(self) -> None:
        """
        Stopped before it is bound, it gives up quietly.
        """
        endpoint = self.slow()
        self.service.startService()
        self.service.stopService()
        self.assertTrue(endpoint.listening.called)
        self.assertFalse(self.reactor.stopped)

    def test_problems(self) -> None:
        """
        Whatever happens there is one line of advice.
        """
        for error, words in (
            (OSError(errno.EADDRNOTAVAIL, "No such address"), "correct the interface"),
            (OSError("odd"), "check listener.endpoint"),
            (ValueError(), "ValueError"),
        ):
            self.assertIn(words, bindProblem("tcp:1", Failure(error)))


class RealTests(TestCase):
    """
    On a real port.
    """

    @inlineCallbacks
    def test_taken(self) -> Any:
        """
        A port that another program listens on is named, and let go of on stop.
        """
        other = socket.socket()
        self.addCleanup(other.close)
        other.bind(("127.0.0.1", 0))
        other.listen()
        endpoint = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        service = ListenerService(reactor, endpoint, Factory())  # type: ignore[arg-type]  # the reactor is many things
        (problem,) = self.assertRaises(ConfigError, service.startService).problems
        self.assertIn("in use", problem)
        other.close()
        service.startService()
        yield service.stopService()
        socket.create_server(("127.0.0.1", int(endpoint.split(":")[1]))).close()
