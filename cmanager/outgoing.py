# Copyright the cmanager authors.
# See LICENSE for details.

"""
One client's stream on a connection of its own, the way out: what is written, what is
given back, and the end.  Layer 4; a part of L{cmanager.stream}, reads nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from cmanager.arrival import LOCAL_PEER, Origin
from cmanager.errors import StreamError
from cmanager.intake import Intake
from cmanager.outbox import Outbox
from cmanager.records import Records
from cmanager.scanner import Event
from cmanager.stanza import Stanza, StreamHeader
from cmanager.vigil import Vigil

if TYPE_CHECKING:
    from cmanager.session import Session


class Outgoing(Protocol, ABC):
    """
    See L{ClientStream <cmanager.stream.ClientStream>}.
    """

    # Protocol has a dict; but what instances have in theirs takes three times as much from the
    # first one on that has got an attribute late, when others of its class were made meanwhile.
    __slots__ = (
        "_deadline",
        "_intake",
        "_isClosing",
        "_isCounted",
        "_isDeaf",
        "_isDelivering",
        "_isEnding",
        "_outbox",
        "_peerClosed",
        "_records",
        "_seconds",
        "_settings",
        "_vigil",
        "connected",
        "origin",
        "peer",
        "session",
        "transport",
    )

    log = Logger()
    _intake: Intake[Event | StreamError]
    _outbox: Outbox
    _vigil: Vigil

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.session: Session | None = None
        self.peer = LOCAL_PEER
        # Any: a transport offers more than one interface; which, is asked where it matters.
        self.transport: Any = None
        self.connected = 0
        self._settings = origin.hub.settings
        self._seconds = origin.reactor.seconds
        self._records: Records | None = None
        self._deadline: IDelayedCall | None = None
        self._isCounted = False
        self._isDeaf = False  # what comes in is no longer looked at
        self._isClosing = False  # close() has been called
        self._isEnding = False  # the transport has been told to close
        self._isDelivering = True
        self._peerClosed = False

    @abstractmethod
    def _lookForFooter(self, events: Sequence[Event | StreamError]) -> None:
        """
        End, if the stream's end is among C{events} or has been seen, and all is sent.
        """

    # Writing

    @abstractmethod
    def open(self, header: StreamHeader, features: bytes = b"") -> None:
        """
        See L{IClientStream.open}.
        """

    def write(self, element: bytes) -> None:
        """
        See L{IClientStream.write}.
        """
        self._put(self._framed(element))

    def _framed(self, element: bytes) -> bytes:
        """
        Return what goes over the wire for an element of a stream over TCP.
        """
        return element

    def _put(self, data: bytes) -> None:
        """
        Send what need not be returned.  A client that provokes answers without reading
        them is cut off at the bound of the queue.
        """
        if not self._isDelivering:
            return
        if not self._outbox.fits(len(data)):
            self.log.info("client {peer} does not read its answers", peer=self.peer)
            self.abort()
            return
        self._vigil.wroteAt = self._seconds()
        self._outbox.put(data)

    def deliver(self, stanza: Stanza) -> bool:
        """
        See L{IClientStream.deliver}.
        """
        if not self._isDelivering:
            return False
        data = self._framed(stanza.data)
        outbox = self._outbox
        if outbox.size and not outbox.fits(len(data)):
            self._isDelivering = False
            assert self.session is not None
            self.session.overflowed(stanza)
            return False
        self._vigil.wroteAt = self._seconds()
        outbox.put(data, stanza)
        return True

    def takeUndelivered(self) -> list[Stanza]:
        """
        See L{IClientStream.takeUndelivered}.  Nothing is delivered afterwards.

        Where the kernel has taken half of a stanza, or of the TLS record that holds it,
        that stanza is among them, and the stream ends there: a client that reads on
        finds no error and no footer.
        """
        self._isDelivering = False
        return self._outbox.take() if self.session is not None else []

    def _writable(self) -> None:
        self._outbox.writable()
        self._endIfDone()

    # The end

    @abstractmethod
    def close(self, element: bytes = b"", header: StreamHeader | None = None) -> None:
        """
        See L{IClientStream.close}.
        """

    def _close(self, data: bytes) -> None:
        """
        Send the last bytes.  Reading on for a while is also what lets the client see
        the error: a socket that is closed with bytes unread is reset.
        """
        if self._isClosing or self.session is None:
            return
        self._isClosing = True
        self._isDelivering = False
        self._vigil.stop()
        if self._isEnding:
            return
        if self._outbox.isCut:
            self._outbox.finish()
        else:
            self._outbox.put(data)
        self._setDeadline(self._graceOver)
        self._lookForFooter(self._intake.release())

    def _endIfDone(self) -> None:
        if self._isClosing and self._peerClosed and self._outbox.isEmpty:
            self._end()

    def _graceOver(self) -> None:
        """
        The client has neither ended its stream nor perhaps taken all of ours.
        """
        self._peerClosed = self._isDeaf = True
        if self._outbox.isEmpty:
            self._end()
        else:
            self._setDeadline(self.abort)

    def _end(self) -> None:
        if self._isEnding:
            return
        self._isEnding = True
        self._stop()
        if self._records is not None:
            self._records.close()
            self._outbox.flush()
        self._outbox.release()
        self._setDeadline(self._abortTransport)
        self.transport.loseConnection()

    def abort(self) -> None:
        """
        See L{IClientStream.abort}.
        """
        if self.session is None:
            return
        if not self._isEnding:
            self._isEnding = True
            self._stop()
            self._outbox.release()
        self._abortTransport()

    def _abortTransport(self) -> None:
        self._setDeadline(None)
        getattr(self.transport, "abortConnection", self.transport.loseConnection)()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The last thing that happens.
        """
        self._isEnding = self._isClosing = True
        self._isDelivering = False
        if self._isCounted:
            self._isCounted = False
            self.origin.hub.limits.released(self.peer)
        if self.session is not None:
            self._stop()
            self._setDeadline(None)
            self.session.transportLost(reason)
            self.session = self._records = None
            self._outbox.forget()

    def _stop(self) -> None:
        self._vigil.stop()
        self._intake.stop()

    def _setDeadline(self, function: Callable[[], object] | None) -> None:
        """
        Call C{function}, and none of before, unless the transport goes in time.
        """
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if function is not None:
            self._deadline = self.origin.reactor.callLater(self._settings.closeTimeout, function)
