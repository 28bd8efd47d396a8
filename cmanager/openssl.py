# Copyright the cmanager authors.
# See LICENSE for details.

"""
What every stanza over TLS costs, and pyOpenSSL makes dear or has no word for.  Layer 4; knows
no stream.

pyOpenSSL's own C{recv} allocates for each record as much as the largest could have, and
C{send} wraps what it is given twice: together they cost as much as the encryption.  What is
here does the same with the same library, and leaves all that goes wrong to pyOpenSSL.
"""

from __future__ import annotations

import socket

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

MAX_RECORD_BYTES = 16384
"""
Plaintext in one record (RFC 8446 section 5.1).  The peer can read a record only
when it has all of it.
"""

_buffer = ffi.new("char[]", MAX_RECORD_BYTES)
_view = ffi.buffer(_buffer)


def move(connection: SSL.Connection, sock: socket.socket) -> None:
    """
    Have one that was made for buffers in memory read and write C{sock}.
    """
    # As where it is made for one.
    connection._into_ssl = connection._from_ssl = None
    connection._socket = sock
    lib.SSL_set_fd(connection._ssl, sock.fileno())


def readRecordwise(connection: SSL.Connection) -> None:
    """
    Have L{receive} return after one record whatever is in it: a peer could send messages of
    TLS itself as fast as they are read.
    """
    lib.SSL_clear_mode(connection._ssl, lib.SSL_MODE_AUTO_RETRY)


def receive(connection: SSL.Connection) -> bytes:
    """
    Return the plaintext of the next record, or what is left of it.

    @raise SSL.Error: As C{connection.recv} does.
    """
    ssl = connection._ssl
    size: int = lib.SSL_read(ssl, _buffer, MAX_RECORD_BYTES)
    if size <= 0:
        connection._raise_ssl_error(ssl, size)
    plain: bytes = _view[:size]
    return plain


def send(connection: SSL.Connection, data: bytes | memoryview) -> int:
    """
    Encrypt and send.

    @param data: Not empty.
    @return: How many bytes of C{data} were taken.
    @raise SSL.Error: As C{connection.send} does.
    """
    if data.__class__ is not bytes:
        return connection.send(data)
    ssl = connection._ssl
    taken: int = lib.SSL_write(ssl, data, len(data))
    if taken <= 0:
        connection._raise_ssl_error(ssl, taken)
    return taken
