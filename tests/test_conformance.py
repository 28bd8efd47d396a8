# Copyright the cmanager authors.
# See LICENSE for details.

"""
What Twisted expects of transports and ports, in its own tests, of ours.

Each end of the connections in those tests is ours in turn, and the other one Twisted's.
Left out are those of what is in no interface: names in its log, a buffer's size that can
be set, C{startReading} of a transport, and what becomes of a client where there is no file
for it.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IConnector
from twisted.internet.test import connectionmixins, test_tcp
from twisted.internet.test.reactormixins import ReactorBuilder
from zope.interface import implementer

from cmanager.listening import Listening
from cmanager.poller import Poller
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
            transport = SocketTransport(sock, sock.getpeername(), protocol, poller, reactor)
            protocol.makeConnection(transport)
            return Connector()

        reactor.connectTCP = connectTCP
        return reactor


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
    test_unregisterProducerAfterDisconnect = These.test_unregisterProducerAfterDisconnect
    test_disconnectWhileProducing = These.test_disconnectWhileProducing
    listen, connect = These.listen, These.connect
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


for _case in (
    PortTests,
    AdoptedPortTests,
    ServerTests,
    ClientTests,
    ServerAbortTests,
    ClientAbortTests,
):
    globals().update(_case.makeTestCaseClasses())
del _case
