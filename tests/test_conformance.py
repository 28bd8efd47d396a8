# Copyright the cmanager authors.
# See LICENSE for details.

"""
What Twisted expects of transports and ports, in its own tests, of ours.

Each end of the connections in those tests is ours in turn, and the other one Twisted's.
Left out are those of what is in no interface: names in its log, a buffer's size that can
be set, C{startReading} of a transport, what OpenSSL says of a connection that is lost, and
what becomes of a client where there is no file for it.  C{startTLS} is another interface's.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IConnector
from twisted.internet.ssl import ClientContextFactory
from twisted.internet.test import connectionmixins, test_tcp, test_tls
from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test import test_ssl
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from cmanager.listening import Listening
from cmanager.poller import Poller
from cmanager.securetransport import SecureTransport, connectionsOf
from cmanager.transport import SocketTransport
from cmanager.turn import Turn

EPOLL = "twisted.internet.epollreactor.EPollReactor"


class ServerCase(ReactorBuilder):
    """
    On a reactor whose ports, and what they accept, are ours.
    """

    _reactors = [EPOLL]

    def buildReactor(self) -> Any:
        """
        See L{ReactorBuilder}.
        """
        reactor: Any = super().buildReactor()
        own = Listening(reactor, 0, Turn(reactor))
        reactor.listenTCP = own.listenTCP
        reactor.listenSSL = own.listenSSL
        reactor.adoptStreamPort = own.adoptStreamPort
        return reactor


@implementer(IConnector)
class Connector:
    """
    What a client's factory is told of its connection.
    """


class ClientCase(ReactorBuilder):
    """
    On a reactor whose clients are ours.
    """

    _reactors = [EPOLL]

    def buildReactor(self) -> Any:
        """
        See L{ReactorBuilder}.
        """
        reactor: Any = super().buildReactor()
        poller = Poller(reactor, 0, Turn(reactor))

        def connectTCP(host: str, port: int, factory: Any, *args: Any, **kwargs: Any) -> Connector:
            # The kernel connects before the other end accepts.
            sock = socket.create_connection((host, port))
            sock.setblocking(False)
            factory.doStart()
            protocol = factory.buildProtocol(None)
            make = self.transportFor(factory, reactor)
            transport = make(sock, sock.getpeername(), protocol, poller, reactor)
            protocol.makeConnection(transport)
            return Connector()

        reactor.connectTCP = connectTCP
        return reactor

    def transportFor(self, factory: Any, reactor: Any) -> Any:
        """
        Return what makes transports for the protocols of a factory.
        """
        return SocketTransport


class PortTests(test_tcp.ListenTCPMixin, ServerCase):
    """
    Ports, and what they tell of addresses.
    """

    Theirs = test_tcp.TCPPortTestsMixin
    test_portGetHost = Theirs.test_portGetHostOnIPv4
    test_buildProtocol = Theirs.test_buildProtocolIPv4Address
    test_getHost = Theirs.test_serverGetHostOnIPv4
    test_getPeer = Theirs.test_serverGetPeerOnIPv4
    _buildProtocolAddressTest = Theirs._buildProtocolAddressTest
    _serverGetConnectionAddressTest = Theirs._serverGetConnectionAddressTest


class AdoptedPortTests(test_tcp.SocketTCPMixin, PortTests):
    """
    The same of ports that were adopted.
    """


class ServerTests(ServerCase):
    """
    A server's end.
    """

    endpoints = test_tcp.TCPCreator()
    Theirs = connectionmixins.ConnectionTestsMixin
    test_writeAfterDisconnect = Theirs.test_writeAfterDisconnect
    test_protocolGarbageAfterLostConnection = Theirs.test_protocolGarbageAfterLostConnection
    These = test_tcp.TCPConnectionTestsBuilder
    test_stopStartReading = These.test_stopStartReading
    test_connectionLostAfterPausedTransport = These.test_connectionLostAfterPausedTransport
    test_doubleHalfClose = These.test_doubleHalfClose
    getConnectedClientAndServer = test_tcp.TCPTransportTestsBuilder.getConnectedClientAndServer
    test_writeSequence = test_tcp.WriteSequenceTestsMixin.test_writeSequeceWithoutWrite


class ClientTests(ClientCase):
    """
    A client's end.
    """

    endpoints = test_tcp.TCPCreator()
    Theirs = connectionmixins.ConnectionTestsMixin
    test_writeAfterDisconnect = Theirs.test_writeAfterDisconnect
    test_protocolGarbageAfterLostConnection = Theirs.test_protocolGarbageAfterLostConnection
    getConnectedClientAndServer = test_tcp.TCPTransportTestsBuilder.getConnectedClientAndServer
    test_writeSequence = test_tcp.WriteSequenceTestsMixin.test_writeSequeceWithoutWrite
    These = test_tcp.TCPClientTestsBase
    test_disconnectWhileProducing = These.test_disconnectWhileProducing
    listen, connect = These.listen, These.connect
    port, interface, _port, family = These.port, These.interface, None, socket.AF_INET


class ClosedClientTests(ClientCase):
    """
    A client's end whose server closes at once: before it can be closed in TLS.
    """

    These = test_tcp.TCPClientTestsBase
    test_unregisterProducerAfterDisconnect = These.test_unregisterProducerAfterDisconnect
    endpoints, listen, connect = ClientTests.endpoints, These.listen, These.connect
    port, interface, _port, family = These.port, These.interface, None, socket.AF_INET


class ServerAbortTests(ServerCase):
    """
    Aborting, with a server of ours.
    """

    endpoints = test_tcp.TCPCreator()
    Theirs = test_tcp.AbortConnectionMixin
    runAbortTest = Theirs.runAbortTest
    test_dataReceivedAbort = Theirs.test_dataReceivedAbort
    test_serverAbortsConnectionTwice = Theirs.test_serverAbortsConnectionTwice
    test_serverAbortsConnectionThenLosesConnection = (
        Theirs.test_serverAbortsConnectionThenLosesConnection
    )
    test_resumeProducingAbortLater = Theirs.test_resumeProducingAbortLater
    test_dataReceivedThrows = Theirs.test_dataReceivedThrows


class ClientAbortTests(test_tcp.AbortConnectionMixin, ClientCase):
    """
    Aborting, with a client of ours.
    """

    endpoints = test_tcp.TCPCreator()


CONTEXTS = test_tls.ContextGeneratingMixin()


class InTLS:
    """
    Has servers of ours listen in TLS, and Twisted's clients connect so.
    """

    def buildReactor(self) -> Any:
        """
        See L{ReactorBuilder}.
        """
        reactor: Any = super().buildReactor()  # type: ignore[misc]  # it is mixed in
        connect = reactor.connectTCP

        def listenTCP(port: int, factory: Any, *args: Any, **kwargs: Any) -> Any:
            context = CONTEXTS.getServerContext()
            return reactor.listenSSL(port, factory, context, *args, **kwargs)

        def connectTCP(host: str, port: int, factory: Any, *args: Any, **kwargs: Any) -> Any:
            return connect(host, port, speaking(factory, reactor), *args, **kwargs)

        reactor.listenTCP, reactor.connectTCP = listenTCP, connectTCP
        return reactor


class BackwardsInTLS:
    """
    Has clients of ours connect in TLS, as the server's end of that, to Twisted's servers,
    which are the client's.
    """

    def buildReactor(self) -> Any:
        """
        See L{ReactorBuilder}.
        """
        reactor: Any = super().buildReactor()  # type: ignore[misc]  # it is mixed in
        listen = reactor.listenTCP

        def listenTCP(port: int, factory: Any, *args: Any, **kwargs: Any) -> Any:
            return listen(port, speaking(factory, reactor), *args, **kwargs)

        reactor.listenTCP = listenTCP
        return reactor

    def transportFor(self, factory: Any, reactor: Any) -> Any:
        """
        Return what makes transports for the protocols of a factory.
        """
        connect = connectionsOf(CONTEXTS.getServerContext(), factory, reactor)
        return partial(SecureTransport, connect=connect)


def speaking(factory: Any, reactor: Any) -> Any:
    """
    Return a factory whose protocols speak TLS, as clients.
    """
    return TLSMemoryBIOFactory(ClientContextFactory(), True, factory, reactor)


class SecurePortTests(InTLS, PortTests):
    """
    Ports, and what they tell of addresses, in TLS.
    """

    Theirs = test_tls.TLSPortTestsBuilder
    _testBadContext, test_badContext = Theirs._testBadContext, Theirs.test_badContext


class SecureServerTests(InTLS, ServerTests):
    """
    A server's end, in TLS.
    """


class SecureClientTests(BackwardsInTLS, ClientTests):
    """
    A client's end, in TLS.
    """


class SecureServerAbortTests(InTLS, ServerAbortTests):
    """
    Aborting, with a server of ours, in TLS.
    """


class SecureClientAbortTests(BackwardsInTLS, ClientAbortTests):
    """
    Aborting, with a client of ours, in TLS.
    """


class OwnReactorCase(TestCase):
    """
    Tests that take the reactor that runs, with ports of ours.
    """

    def setUp(self) -> None:
        self.patch(test_ssl, "reactor", Listening(reactor, 0, Turn(reactor)))


class BufferingTests(OwnReactorCase, test_ssl.BufferingTests):
    """
    A server that speaks first, in TLS.
    """


class ConnectionLostTests(OwnReactorCase, test_ssl.ConnectionLostTests):
    """
    The end of TLS, whichever side wants it.
    """


for _case in (
    SecurePortTests,
    SecureServerTests,
    SecureClientTests,
    SecureServerAbortTests,
    SecureClientAbortTests,
    PortTests,
    AdoptedPortTests,
    ServerTests,
    ClientTests,
    ClosedClientTests,
    ServerAbortTests,
    ClientAbortTests,
):
    globals().update(_case.makeTestCaseClasses())
del _case
