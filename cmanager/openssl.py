# Copyright the cmanager authors.
# See LICENSE for details.

"""
What every stanza over TLS costs, and pyOpenSSL makes dear or has no word for.  Layer 4; knows
no stream.

pyOpenSSL's own C{recv} allocates for each record as much as the largest could have, and
C{send} wraps what it is given twice: together they cost as much as the encryption.  What is
here does the same with the same library, and leaves it to pyOpenSSL to say what went wrong.

OpenSSL takes what is left in its queue of errors for one of the next connection.  pyOpenSSL
leaves there what the socket had to say: a client that is reset would cost another its
connection, or a server its link.  Hence nothing of that is left there.
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


def prepare(connection: SSL.Connection) -> None:
    """
    Have L{receive} return after one record whatever is in it: a peer could send messages of
    TLS itself as fast as they are read.  And have L{send} know what is offered again by its
    bytes, wherever they are.
    """
    lib.SSL_clear_mode(connection._ssl, lib.SSL_MODE_AUTO_RETRY)
    lib.SSL_set_mode(connection._ssl, lib.SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)


def receive(connection: SSL.Connection) -> bytes:
    """
    Return the plaintext of the next record, or what is left of it.

    @raise SSL.Error: As C{connection.recv} does.
    """
    size: int = lib.SSL_read(connection._ssl, _buffer, MAX_RECORD_BYTES)
    if size <= 0:
        _fail(connection, size)
    plain: bytes = _view[:size]
    return plain


def send(connection: SSL.Connection, data: bytes | memoryview) -> int:
    """
    Encrypt and send.

    @param data: Not empty.
    @return: How many bytes of C{data} were taken.
    @raise SSL.Error: As C{connection.send} does.
    """
    wire = data if data.__class__ is bytes else ffi.from_buffer(data)
    taken: int = lib.SSL_write(connection._ssl, wire, len(data))
    if taken <= 0:
        _fail(connection, taken)
    return taken


def shakeHands(connection: SSL.Connection) -> None:
    """
    Go on with the handshake.

    @raise SSL.Error: As C{connection.do_handshake} does.
    """
    try:
        connection.do_handshake()
    finally:
        lib.ERR_clear_error()


def shutdown(connection: SSL.Connection) -> None:
    """
    Say that we send no more.

    @raise SSL.Error: As C{connection.shutdown} does.
    """
    try:
        connection.shutdown()
    finally:
        lib.ERR_clear_error()


def _fail(connection: SSL.Connection, result: int) -> None:
    try:
        connection._raise_ssl_error(connection._ssl, result)
    finally:
        lib.ERR_clear_error()
