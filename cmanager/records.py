# Copyright the cmanager authors.
# See LICENSE for details.

"""
One end of a TLS connection.  Layer 4; knows no stream.

Twisted's own TLS transport says when 64 KiB of ciphertext wait, never which
plaintext the kernel has taken.  Whoever must not lose a stanza has to know that.  On our
own transports TLS reads and writes the socket itself (L{SocketRecords}); on any other
it is bytes in, bytes out (L{Records}), and the stream counts them on their way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from OpenSSL import SSL

from cmanager import openssl
from cmanager.binding import describe
from cmanager.clienttls import ClientTLS
from cmanager.openssl import MAX_RECORD_BYTES
from cmanager.transport import SocketTransport

if TYPE_CHECKING:
    from twisted.internet.interfaces import ITransport

    from cmanager.tls import ServerTLS

RECORD_OVERHEAD = 22
"""
Bytes of a record that are no plaintext, in TLS 1.3 (RFC 8446 section 5.2).
"""


class Records:
    """
    The server's end of one TLS connection.

    @ivar connection: Made without a socket.
    @ivar amount: Bytes over the wire that the last L{receive} was about, nearly.
    @ivar established: The handshake is done.
    @ivar ended: The peer has said that it sends no more.
    @ivar failure: Why the connection cannot go on, in OpenSSL's words, or L{None}.
        L{outgoing} may have an alert that tells the peer.
    @ivar error: The same as it was raised.
    """

    __slots__ = (
        "_clientFinishedFirst",
        "amount",
        "connection",
        "ended",
        "error",
        "established",
        "failure",
    )

    def __init__(self, connection: SSL.Connection) -> None:
        connection.set_accept_state()
        self.connection = connection
        self._clientFinishedFirst = False
        self.amount = 0
        self.established = False
        self.ended = False
        self.failure: str | None = None
        self.error: Exception | None = None

    @property
    def protocol(self) -> bytes:
        """
        The application protocol that was agreed on (ALPN), C{b""} for none, as where
        the client offered none.
        """
        return self.connection.get_alpn_proto_negotiated()

    def receive(self, data: bytes) -> bytes:
        """
        Consume what came in, and return the plaintext in it, often none.
        L{outgoing} may have something to send afterwards.
        """
        connection = self.connection
        self.amount = len(data)
        plain: list[bytes] = []
        try:
            connection.bio_write(data)
            if not self.established:
                self._shakeHands(connection)
            while True:
                plain.append(connection.recv(MAX_RECORD_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except (SSL.Error, NoCommonProtocol) as error:
            self._fail(error)
        return b"".join(plain)

    def _fail(self, error: Exception) -> None:
        # Without what it was raised in, which would keep us for the garbage collector.
        self.error = error.with_traceback(None)
        self.failure = reasonOf(error)

    def _shakeHands(self, connection: SSL.Connection) -> None:
        self._clientFinishedFirst = connection.get_finished() is None
        openssl.shakeHands(connection)
        self.established = True

    def encrypt(self, data: bytes) -> bytes:
        """
        Return C{data}, not empty and of at most L{MAX_RECORD_BYTES}, as one record, with
        whatever else has to go out before it.  Only once L{established}.

        @return: Nothing where the connection cannot go on.
        """
        try:
            self.connection.send(data)
        except SSL.Error as error:
            self._fail(error)
            return b""
        return self.outgoing()

    def outgoing(self) -> bytes:
        """
        Return, once, what has to be sent to the peer apart from data: handshake,
        tickets, alerts.
        """
        parts = []
        try:
            while True:
                parts.append(self.connection.bio_read(32768))
        except SSL.Error:
            return b"".join(parts)

    def description(self) -> ClientTLS | None:
        """
        Return what can be told of the connection; L{None} before it is L{established}.
        """
        if not self.established:
            return None
        return describe(self.connection, clientFinishedFirst=self._clientFinishedFirst)

    def close(self) -> bool:
        """
        Say that we send no more.  L{outgoing} has it.

        @return: L{False} if there is no room for that, and it can be tried again; what
            cannot be said need not be.
        """
        if self.established:
            try:
                openssl.shutdown(self.connection)
            except SSL.WantWriteError:
                return False
            except SSL.Error:
                pass
        return True


class SocketRecords(Records):
    """
    The same on a socket of ours: C{receive(b"")} reads it, and what is to be encrypted is
    sent (L{Sink <cmanager.sinks.Sink>}).  There is never anything L{outgoing}.

    Nothing is kept here that the peer can make grow: what it provokes is written to the
    socket, and while there is no room nothing more is read.
    """

    __slots__ = ("_isOwed", "_most", "_pending", "_transport")

    def __init__(self, connection: SSL.Connection, transport: SocketTransport) -> None:
        super().__init__(connection)
        openssl.prepare(connection)
        self._transport = transport
        self._isOwed = False  # something was to be sent before it could be
        self._most = MAX_RECORD_BYTES  # in a record; a client may want smaller ones (RFC 6066)
        self._pending = 0  # bytes of a record that OpenSSL has made and the kernel not taken

    def receive(self, data: bytes) -> bytes:
        """
        Read what has come: one record at most, so that no client keeps others waiting.

        @param data: Nothing.
        """
        self.amount = RECORD_OVERHEAD
        if self._transport.socket is None:
            return b""
        if self.ended or self.failure is not None:
            self._transport.discard()
            return b""
        connection = self.connection
        try:
            if not self.established:
                self._shakeHands(connection)
                if self._isOwed:
                    self._isOwed = False
                    self._transport.tell()
                return b""
            plain = openssl.receive(connection)
            self.amount += len(plain)
            return plain
        except SSL.WantReadError:
            pass
        except SSL.WantWriteError:
            self._transport.askToRead()
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.SysCallError as error:
            if error.args[0] == -1:
                self._transport.ended()
            else:
                self._transport.broke(error)
        except (SSL.Error, NoCommonProtocol) as error:
            self._fail(error)
        return b""

    def send(self, data: bytes | memoryview) -> int:
        """
        See L{Sink <cmanager.sinks.Sink>}.  What was not taken has to be offered again as
        it is, though more may follow it: OpenSSL has made a record of it.
        """
        if not self.established:
            self._isOwed = True
            return 0
        taken, size = 0, len(data)
        if self.failure is not None:
            return 0
        if self._transport.socket is not None and not self._transport.isWriteClosed:
            try:
                while taken < size:
                    taken += self._sendRecord(data, taken)
                return taken
            except SSL.WantWriteError:
                pass
            except SSL.SysCallError as error:
                # OpenSSL does not read any more either.
                self._transport.cannotWrite(error)
                self._transport.loseConnection()
            except SSL.Error as error:
                self._fail(error)
        self._transport.ask()
        return taken

    def _sendRecord(self, data: bytes | memoryview, start: int) -> int:
        # With more than a record OpenSSL can get through that and stop in the next one, and
        # says only that it has stopped.
        size = self._pending or min(len(data) - start, self._most)
        self._pending = size
        part = data if size == len(data) else data[start : start + size]
        taken = openssl.send(self.connection, part)
        self._pending = 0
        self._most = taken if taken < size else self._most
        return taken

    @property
    def holds(self) -> bool:
        """
        See L{Sink <cmanager.sinks.Sink>}.
        """
        return self._pending > 0

    def redirect(self, writable: Callable[[], object]) -> None:
        """
        See L{Sink <cmanager.sinks.Sink>}.
        """
        self._transport.redirect(writable)

    def finish(self) -> None:
        """
        See L{Sink <cmanager.sinks.Sink>}.
        """
        self._transport.finish()

    def release(self) -> None:
        """
        See L{Sink <cmanager.sinks.Sink>}.
        """
        self._transport.release()

    def forget(self) -> None:
        """
        Let go of what OpenSSL keeps: the connection is gone.
        """
        self.established = False
        del self.connection

    def outgoing(self) -> bytes:
        """
        Return nothing.
        """
        return b""

    def close(self) -> bool:
        """
        Say that we send no more, unless half a record stands in the way.
        """
        return self._transport.socket is None or self.holds or super().close()


def recordsOn(transport: ITransport, creator: ServerTLS) -> Records:
    """
    Begin the server's end of a TLS connection over C{transport}.
    """
    if isinstance(transport, SocketTransport):
        sock = transport.handOver()
        if sock is not None:
            return SocketRecords(creator.connection(sock), transport)
    return Records(creator.connection(None))


class NoCommonProtocol(Exception):
    """
    Raised by an ALPN callback: the client offered application protocols, and ours
    is not among them.  pyOpenSSL sends the fatal alert (RFC 7301 section 3.2).
    """

    def __init__(self) -> None:
        super().__init__("none of the application protocols offered is ours")


def reasonOf(error: Exception) -> str:
    """
    Return OpenSSL's own words for C{error}, in one line.
    """
    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1])
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return "; ".join(str(entry[-1]) for entry in error.args[0])
    return str(error) or type(error).__name__
