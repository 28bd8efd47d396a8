# Copyright the cmanager authors.
# See LICENSE for details.

"""
What stands between a client's connection and Twisted's HTTP: TLS, bounds, and the way out
of HTTP.  Layer 4; knows no request and no path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from typing import Protocol as Structural

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IProducer,
    IProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from cmanager.arrival import LOCAL_PEER, UNKNOWN, Arrival, Origin
from cmanager.errors import LocalError
from cmanager.intake import Intake, Pause
from cmanager.limits import TokenBucket, peerAddress
from cmanager.records import Records
from cmanager.wheel import Timer

if TYPE_CHECKING:
    from OpenSSL.crypto import X509

STALL_SECONDS = 60.0
"""
How long a client may take nothing of what there still is for it, where the connection ends
behind that.
"""

UNBOUNDED = 1 << 62
"""
Bytes nobody sends.
"""


class Channel(Structural):
    """
    What an L{HTTPTransport} asks of a L{twisted.web.http.HTTPChannel}.
    """

    def makeConnection(self, transport: ITransport) -> None: ...

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...

    def clearLineBuffer(self) -> bytes:
        """
        Return, and forget, what has been read behind the request.
        """

    def detach(self) -> None:
        """
        Let go of the transport, and of all time-outs.
        """


@implementer(ITransport, IConsumer, IPushProducer)
class HTTPTransport(Protocol):
    """
    The protocol of a connection that speaks HTTP, and the transport of its HTTP channel:
    over our own records and outbox, so that a stream can go on with them.

    Waiting is bounded: what has been read but not processed by one read of the
    connection, what is to be sent by C{queueBytes} behind one piece of any size.

    @ivar disconnecting: The channel has closed; nothing goes either way any more but
        what is on its way.
    @ivar address: Where the client is, or the proxy before it; L{None} for a Unix socket.
    @ivar secure: What comes is encrypted: it provides L{ISSLTransport}.
    @ivar isSecureOutside: See L{Arrival}.
    """

    log = Logger()
    disconnecting = False
    # Any: a transport offers more than one interface; which, is asked where it matters.
    transport: Any
    secure = False
    _producer: IPushProducer | None = None
    _isFull = False  # the producer has been paused
    _isLingering = False
    _isOver = False  # the connection is not ours any more
    _timer: Timer | None = None

    def __init__(
        self,
        origin: Origin,
        arrival: Arrival,
        channel: Channel,
        enter: Callable[[IProtocol], None],
    ) -> None:
        """
        @param enter: Has the connection speak to another protocol.
        """
        self._origin = origin
        self._arrival = arrival
        self._channel: Channel | None = channel
        self._enter = enter
        self.address = arrival.address
        self.isSecureOutside = arrival.isSecureOutside

    def connectionMade(self) -> None:
        """
        Connect the channel.
        """
        origin, transport = self._origin, self.transport
        hub = origin.hub
        arrival = self._arrival = self._arrival.begun(transport)
        self.secure = arrival.secure
        if self.secure:
            alsoProvides(self, ISSLTransport)
        limits = hub.limits.settings
        self.address = arrival.address or peerAddress(transport.getPeer())
        # A proxy's connections carry many clients, whose streams have a rate each.
        rate, burst = (
            (limits.bytesPerSecond, limits.bytesBurst)
            if arrival.isCounted
            else (UNBOUNDED, UNBOUNDED)
        )
        bucket = TokenBucket(rate, burst, origin.reactor.seconds)
        self._intake = Intake(origin.reactor, transport, self._dispatch, bucket)
        limit = hub.settings.queueBytes
        self._outbox = arrival.outboxFor(transport, self._writable, limit)
        self._arrival = evolve(arrival, outbox=self._outbox, rest=b"")
        assert self._channel is not None, "it comes with the connection"
        self._channel.makeConnection(self)
        if arrival.rest:
            self._intake.received(len(arrival.rest))
            self._read(arrival.rest, arrival.records)

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes from the client.
        """
        if self._isOver:
            return
        records = self._arrival.records
        if records is None:
            self._intake.received(len(data))
            self._read(data, None)
            return
        plain = records.receive(data)
        self._intake.received(records.amount)
        self._outbox.flush()
        if self._outbox.isStuck:
            self.log.info("client {peer} makes TLS answer and does not read", peer=self._peer)
            self.abortConnection()
            return
        self._read(plain, records)

    def _read(self, plain: bytes, records: Records | None) -> None:
        if plain and not self.disconnecting:
            self._intake.push([plain])
        if self._isOver or records is None:
            return
        if records.failure is not None:
            self.log.info("TLS with {peer} failed: {why}", peer=self._peer, why=records.failure)
            self._end()
        elif records.ended:
            self._isLingering = False
            self.loseConnection()
            self._endIfDone()

    def _dispatch(self, data: bytes) -> None:
        if self._channel is not None and not self.disconnecting:
            self._channel.dataReceived(data)

    def pauseProducing(self) -> None:
        """
        Read no more.
        """
        self._intake.pause(Pause.SESSION)

    def resumeProducing(self) -> None:
        """
        Read on, as far as the client's rate allows.  What waits comes first.
        """
        self._intake.resume(Pause.SESSION)

    def stopProducing(self) -> None:
        """
        See L{IProducer}.
        """
        self.loseConnection()

    # Writing

    def write(self, data: bytes) -> None:
        """
        Send.  A client that asks without reading the answers is cut off.
        """
        if self.disconnecting or self._isOver:
            return
        if not self._outbox.fits(len(data)):
            self.log.info("client {peer} does not read its answers", peer=self._peer)
            self.abortConnection()
            return
        self._outbox.put(data)
        self._tell()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        Send it all.
        """
        self.write(b"".join(iovec))

    @property
    def isEmpty(self) -> bool:
        """
        The kernel has all that was written.
        """
        return self._outbox.isEmpty

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        See L{IConsumer}.  For L{IPushProducer} only, which a channel is.
        """
        if not streaming or self._producer is not None:
            raise LocalError("one producer, and one that pushes")
        self._producer = IPushProducer(producer)
        self._isFull = False
        self._tell()

    def unregisterProducer(self) -> None:
        """
        See L{IConsumer}.
        """
        self._producer = None

    def _tell(self) -> None:
        isFull = not self._outbox.isEmpty
        if self._producer is None or isFull is self._isFull:
            return
        self._isFull = isFull
        if isFull:
            self._producer.pauseProducing()
        else:
            self._producer.resumeProducing()

    def _writable(self) -> None:
        self._outbox.writable()
        if self.disconnecting:
            if self._timer is not None and not self._isLingering:
                self._timer.reset(STALL_SECONDS)
            self._endIfDone()
        else:
            self._tell()

    # Who it is

    @property
    def _peer(self) -> str:
        return self.address or LOCAL_PEER

    def getPeer(self) -> IAddress:
        """
        Return where the client is, as far as is known without its requests.
        """
        peer: IAddress = self.transport.getPeer()
        address = self._arrival.address
        if address is None or getattr(peer, "host", None) == address:
            return peer
        # The port is the proxy's own business.
        return (IPv6Address if ":" in address else IPv4Address)("TCP", address, 0)

    def getHost(self) -> IAddress:
        """
        Return where it has connected to.
        """
        host: IAddress = self.transport.getHost()
        return host

    def getPeerCertificate(self) -> X509 | None:
        """
        See L{ISSLTransport}.  A client's TLS with a proxy is not known here.
        """
        records, transport = self._arrival.records, self.transport
        if records is not None:
            return records.connection.get_peer_certificate()
        hasTLS = ISSLTransport.providedBy(transport)
        return transport.getPeerCertificate() if hasTLS else None

    def __getattr__(self, name: str) -> Any:
        if name in ITCPTransport:
            return getattr(self.transport, name, _noOption)
        raise AttributeError(name)

    # The end

    def loseWriteConnection(self) -> None:
        """
        See L{ISSLTransport}: as in TLS, there is no half.
        """
        self.loseConnection()

    def loseConnection(self) -> None:
        """
        Close once all has been sent, or the client takes no more of it.
        """
        if self.disconnecting or self._isOver:
            return
        self.disconnecting = True
        self._setTimer(self.abortConnection, STALL_SECONDS)
        self._endIfDone()

    def linger(self) -> None:
        """
        Close when the client has, or the time for it is over: it is still sending what
        nobody wants.  A socket that is closed with bytes unread is reset, which would cost
        the client our answer.
        """
        self._isLingering = not self._isOver
        self.loseConnection()
        if self._isLingering:
            self._setTimer(self._graceOver)

    def _graceOver(self) -> None:
        self._isLingering = False
        self._setTimer(self.abortConnection)
        self._endIfDone()

    def _endIfDone(self) -> None:
        if self._outbox.isEmpty and not self._isLingering and not self._isOver:
            self._end()

    def _end(self) -> None:
        self._stop()
        records = self._arrival.records
        if records is not None:
            records.close()
            self._outbox.flush()
        self._outbox.release()
        self._setTimer(self._abortTransport)
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """
        Close at once.
        """
        if not self._isOver:
            self._stop()
            self._outbox.release()
            self._abortTransport()

    def _abortTransport(self) -> None:
        self._setTimer(None)
        getattr(self.transport, "abortConnection", self.transport.loseConnection)()

    def _stop(self) -> None:
        self._isOver = self.disconnecting = True
        self._intake.stop()

    def _setTimer(
        self, function: Callable[[], object] | None, seconds: float | None = None
    ) -> None:
        """
        Call C{function}, and none of before, unless the connection goes in time.

        @param seconds: Unless it is C{closeTimeout}.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if function is not None:
            hub = self._origin.hub
            self._timer = hub.wheel.schedule(seconds or hub.settings.closeTimeout, function)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The last thing that happens: the channel hears of it.
        """
        self._setTimer(None)
        if not self._isOver:
            self._stop()
        self._arrival = UNKNOWN
        self._outbox.forget()
        channel, self._channel = self._channel, None
        self._producer = None
        if channel is not None:
            channel.connectionLost(reason)

    def takeOver(
        self,
        make: Callable[[Arrival], IProtocol],
        address: str | None,
        isSecureOutside: bool | None,
    ) -> bool:
        """
        Have the connection speak to what C{make} makes, from now on.  The channel, which
        must be in a request that nothing has been written for, hears no more of it.

        @param address: Where the client is, as the request says.
        @param isSecureOutside: See L{Arrival}.
        @return: L{False} if the client has gone, or has sent something behind the request,
            which is lost now: the channel has to close the connection then.
        """
        channel = self._channel
        if channel is None or self.disconnecting or self._intake.isWaiting:
            return False
        if channel.clearLineBuffer():
            return False
        channel.detach()
        self._channel = self._producer = None
        wasPaused = self._intake.isPaused
        self._stop()
        if wasPaused:
            self.transport.resumeProducing()
        arrival = evolve(self._arrival, address=address, isSecureOutside=isSecureOutside)
        self._arrival = UNKNOWN
        self._enter(make(arrival))
        return True


def _noOption(enabled: bool = False) -> bool:
    """
    Do for an option of TCP where there is none.
    """
    return False
