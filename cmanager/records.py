# Copyright the cmanager authors.
# See LICENSE for details.

"""
One end of a TLS connection: bytes in, bytes out.  Layer 4; knows no socket and
no transport.

Twisted's own TLS transport says when 64 KiB of ciphertext wait, never which
plaintext the kernel has taken.  Whoever must not lose a stanza has to know that,
so the stream makes its records itself and counts them on their way out.
"""

from __future__ import annotations

from contextlib import suppress

from OpenSSL import SSL

from cmanager.binding import describe
from cmanager.clienttls import ClientTLS

MAX_RECORD_BYTES = 16384
"""
Plaintext in one record (RFC 8446 section 5.1).  The peer can read a record only
when it has all of it.
"""


class Records:
    """
    The server's end of one TLS connection.

    @param connection: Made without a socket.
    @ivar established: The handshake is done.
    @ivar ended: The peer has said that it sends no more.
    @ivar failure: Why the connection cannot go on, in OpenSSL's words, or L{None}.
        L{outgoing} may have an alert that tells the peer.
    """

    __slots__ = ("_clientFinishedFirst", "_connection", "ended", "established", "failure")

    def __init__(self, connection: SSL.Connection) -> None:
        connection.set_accept_state()
        self._connection = connection
        self._clientFinishedFirst = False
        self.established = False
        self.ended = False
        self.failure: str | None = None

    @property
    def protocol(self) -> bytes:
        """
        The application protocol that was agreed on (ALPN), C{b""} for none, as where
        the client offered none.
        """
        return self._connection.get_alpn_proto_negotiated()

    def receive(self, data: bytes) -> bytes:
        """
        Consume what came in, and return the plaintext in it, often none.
        L{outgoing} may have something to send afterwards.
        """
        connection = self._connection
        plain: list[bytes] = []
        try:
            connection.bio_write(data)
            if not self.established:
                self._clientFinishedFirst = connection.get_finished() is None
                connection.do_handshake()
                self.established = True
            while True:
                plain.append(connection.recv(MAX_RECORD_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            self.failure = reasonOf(error)
        except NoCommonProtocol:
            self.failure = "none of the application protocols offered is ours"
        return b"".join(plain)

    def encrypt(self, data: bytes) -> bytes:
        """
        Return C{data}, not empty and of at most L{MAX_RECORD_BYTES}, as one record, with
        whatever else has to go out before it.  Only once L{established}.

        @return: Nothing where the connection cannot go on.
        """
        try:
            self._connection.send(data)
        except SSL.Error as error:
            self.failure = reasonOf(error)
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
                parts.append(self._connection.bio_read(32768))
        except SSL.Error:
            return b"".join(parts)

    def description(self) -> ClientTLS | None:
        """
        Return what can be told of the connection; L{None} before it is L{established}.
        """
        if not self.established:
            return None
        return describe(self._connection, clientFinishedFirst=self._clientFinishedFirst)

    def close(self) -> None:
        """
        Say that we send no more.  L{outgoing} has it.
        """
        if self.established:
            with suppress(SSL.Error):
                self._connection.shutdown()


class NoCommonProtocol(Exception):
    """
    Raised by an ALPN callback: the client offered application protocols, and ours
    is not among them.  pyOpenSSL sends the fatal alert (RFC 7301 section 3.2).
    """


def reasonOf(error: Exception) -> str:
    """
    Return OpenSSL's own words for C{error}, in one line.
    """
    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1])
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return "; ".join(str(entry[-1]) for entry in error.args[0])
    return str(error) or type(error).__name__
