# Copyright the cmanager authors.
# See LICENSE for details.

"""
What stands at the front of a listener that has to find out first who its client is, or
what it speaks.  Layer 4; knows no XMPP and no HTTP beyond their first byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen
from twisted.internet.interfaces import IProtocol, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from cmanager.arrival import LOCAL_PEER, Arrival, Origin
from cmanager.errors import PrefaceError, StreamError
from cmanager.limits import Refused, peerAddress
from cmanager.outbox import Outbox
from cmanager.preface import Preface
from cmanager.proxied import Networks
from cmanager.records import Records, recordsOn
from cmanager.tls import XMPP_CLIENT, ServerTLS
from cmanager.transport import SocketTransport
from cmanager.wheel import Timer

HTTP_1_1 = b"http/1.1"
"""
The ALPN name of HTTP.
"""

MAX_BYTES = 131072
"""
What a client may send before the first byte that says what it speaks: the preface and the
handshake, in which it may have to show a chain of certificates.
"""

_HANDSHAKE = 0x16
_XMPP_FIRST = b"< \t\r\n"

Enter = Callable[[IProtocol], None]


@frozen
class Ways:
    """
    What is behind a door.

    @ivar xmpp: Makes the stream of a client that speaks XMPP; L{None}: that is refused.
    @ivar http: Makes what serves a client that speaks HTTP, which may later have the door
        let it through to something else; L{None}: that is refused.
    @ivar tls: For clients that begin with TLS; its application protocols are among
        L{XMPP_CLIENT} and L{HTTP_1_1}.  L{None}: that is refused, here.
    @ivar isClear: A client may begin without TLS.
    @ivar trusted: The proxies whose word on their clients is taken.
    """

    xmpp: Callable[[Arrival], IProtocol] | None = None
    http: Callable[[Arrival, Enter], IProtocol] | None = None
    tls: ServerTLS | None = None
    isClear: bool = True
    trusted: Networks = field(factory=Networks)

    @property
    def isOne(self) -> bool:
        """
        All that comes in is for the stream, as it is: it may be TLS that it ends itself,
        and it knows best what is wrong.
        """
        return self.http is None and self.tls is None


class Door(Protocol):
    """
    One client at a listener: reads the preface of its proxy where there has to be one,
    ends TLS if it begins with that, and lets it through by what it speaks: as ALPN says,
    or the first byte behind it all.  What it is let through to hears from the transport
    through the door as long as there is one.

    A client is counted by its address from the first moment to the last, except one that
    may speak for others (it is trusted): whom it brings, their streams count.  Each takes
    the place of a session until it has one.

    All must be over within C{loginTimeout}; nothing is kept of what is read but the start
    of a preface.
    """

    log = Logger()
    # Any: a transport offers more than one interface; which, is asked where it matters.
    transport: Any
    _timer: Timer | None = None
    _preface: Preface | None = None
    _records: Records | None = None
    _outbox: Outbox | None = None
    _inner: IProtocol | None = None
    _address: str | None = None
    _isSecureOutside: bool | None = None
    _isStranger = False
    _isCounted = False
    _isEnding = False
    _amount = 0

    def __init__(self, origin: Origin, ways: Ways) -> None:
        self._origin = origin
        self._ways = ways

    def connectionMade(self) -> None:
        """
        Wait for what the client says, or turn it away for where it comes from.
        """
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        hub = self._origin.hub
        self._timer = hub.wheel.schedule(hub.settings.loginTimeout, self._timedOut)
        self._address = peerAddress(transport.getPeer())
        try:
            hub.table.addStranger()
        except StreamError as error:
            self._refuse(error.condition, str(error))
            return
        self._isStranger = True
        if not self._origin.listener.proxyProtocol:
            self._count()
        elif self._address in self._ways.trusted:
            self._preface = Preface()
        else:
            self._refuse("untrusted-proxy", "it is in none of the networks of listener.trusted")
        if isinstance(transport, SocketTransport):
            transport.offer(self._offered)

    def _count(self) -> None:
        address = self._address
        if address is None or address in self._ways.trusted:
            return
        try:
            self._origin.hub.limits.accept(address)
        except Refused as error:
            self._refuse(error.limit, str(error))
        else:
            self._isCounted = True

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes from the client, or its proxy.
        """
        if self._inner is not None:
            self._inner.dataReceived(data)
        elif not self._isEnding:
            self._amount += len(data)
            if self._amount > MAX_BYTES:
                self._refuse("first-byte", f"{MAX_BYTES} bytes, and none that says what it speaks")
            elif self._preface is not None:
                rest = self._readPreface(self._preface, data)
                if rest:
                    self._behindPreface(rest)
            else:
                self._read(data)

    def _offered(self, data: bytes) -> int:
        """
        Bytes from the client, or its proxy, that whoever comes next had better read for
        itself: TLS does so.

        @return: How many are taken.
        """
        if self._isEnding:
            return len(data)
        if self._preface is not None:
            return len(data) - len(self._readPreface(self._preface, data))
        if self._ways.tls is not None and data[0] == _HANDSHAKE:
            self._startTLS(self._ways.tls)
            return 0
        self.dataReceived(data)
        return len(data)

    def _readPreface(self, preface: Preface, data: bytes) -> bytes:
        """
        @return: What stands behind it.
        """
        try:
            said = preface.feed(data)
        except PrefaceError as error:
            self._refuse("proxy-protocol", str(error))
            return b""
        if said is None:
            return b""
        self._preface = None
        self._address = said.address or self._address
        self._isSecureOutside = True if said.secure else None
        self._count()
        if self._ways.isOne and not self._isEnding:
            self._choose(XMPP_CLIENT, b"")
        return said.rest

    def _behindPreface(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
        elif not self._isEnding:
            self._read(data)

    def _read(self, data: bytes) -> None:
        ways = self._ways
        if self._records is not None:
            self._decrypt(self._records, data)
        elif ways.tls is not None and data[0] == _HANDSHAKE:
            self._decrypt(self._startTLS(ways.tls), data)
        elif ways.isClear:
            self._choose(b"", data)
        else:
            self._refuse("first-byte", f"it does not begin with TLS, but with 0x{data[0]:02x}")

    def _startTLS(self, tls: ServerTLS) -> Records:
        records = self._records = recordsOn(self.transport, tls)
        limit = self._origin.hub.settings.queueBytes
        self._outbox = Arrival(records=records).outboxFor(self.transport, self._flush, limit)
        return records

    def _flush(self) -> None:
        if self._outbox is not None:
            self._outbox.writable()

    def _decrypt(self, records: Records, data: bytes) -> None:
        outbox = self._outbox
        assert outbox is not None, "made with the records"
        plain = records.receive(data)
        self._amount += records.amount - len(data)
        outbox.flush()
        if records.failure is not None:
            peer = self._address or LOCAL_PEER
            self.log.info("TLS with {peer} failed: {why}", peer=peer, why=records.failure)
            self._end()
        elif outbox.isStuck:
            peer = self._address or LOCAL_PEER
            self.log.info("client {peer} makes TLS answer and does not read", peer=peer)
            self._abort()
        elif records.established and (plain or records.protocol):
            self._choose(records.protocol, plain)
        elif records.ended:
            self._end()

    def _choose(self, protocol: bytes, data: bytes) -> None:
        """
        @param protocol: What ALPN says, if anything.
        """
        ways, first = self._ways, data[:1]
        http, xmpp = ways.http, ways.xmpp
        if xmpp is not None and (
            protocol == XMPP_CLIENT or (not protocol and first in _XMPP_FIRST)
        ):
            self.enter(xmpp(self._arrival(data)))
        elif http is not None and (protocol == HTTP_1_1 or (not protocol and first.isupper())):
            self._connect(http(self._arrival(data), self.enter))
        else:
            self._refuse("first-byte", f"0x{first.hex()} begins nothing that is spoken here")

    def _arrival(self, data: bytes) -> Arrival:
        self._setTimer(None)
        arrival = Arrival(
            self._address, self._records, self._isSecureOutside, self._isCounted, self._outbox, data
        )
        self._records = self._outbox = None
        return arrival

    def enter(self, stream: IProtocol) -> None:
        """
        Have the transport speak to C{stream} from now on, through us.
        """
        self._leave()
        self._connect(stream)

    def _leave(self) -> None:
        if self._isStranger:
            self._isStranger = False
            self._origin.hub.table.removeStranger()

    def _connect(self, inner: IProtocol) -> None:
        if isinstance(self.transport, SocketTransport):
            self.transport.offer(None)
        self._inner = inner
        inner.makeConnection(self.transport)

    # The end

    def _timedOut(self) -> None:
        self._refuse("login-timeout", "it has not said what it speaks")

    def _refuse(self, label: str, why: str) -> None:
        self._origin.hub.metrics.increment("clients_refused", label)
        peer = self._address or LOCAL_PEER
        self.log.info("client {peer} refused: {error}", peer=peer, error=why)
        self._end()

    def _end(self) -> None:
        self._isEnding = True
        self._setTimer(self._abort)
        if self._outbox is not None and self._records is not None:
            self._records.close()
            self._outbox.flush()
            self._outbox.release()
            self._outbox = None
        self.transport.loseConnection()

    def _abort(self) -> None:
        self._isEnding = True
        self._setTimer(None)
        if self._outbox is not None:
            self._outbox.release()
        getattr(self.transport, "abortConnection", self.transport.loseConnection)()

    def _setTimer(self, function: Callable[[], object] | None) -> None:
        """
        Call C{function}, and none of before, unless the transport goes in time.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if function is not None:
            hub = self._origin.hub
            self._timer = hub.wheel.schedule(hub.settings.closeTimeout, function)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The last thing that happens.
        """
        self._isEnding = True
        self._setTimer(None)
        self._leave()
        if self._isCounted:
            self._isCounted = False
            assert self._address is not None, "it was counted by that"
            self._origin.hub.limits.released(self._address)
        self._records = None
        if self._outbox is not None:
            self._outbox.forget()
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.connectionLost(reason)
