# Copyright the cmanager authors.
# See LICENSE for details.

"""
Records of TLS 1.3 that no library would send.  RFC 8446 sections 5.2 and 7.
"""

from __future__ import annotations

import hmac
import struct
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

APPLICATION = 23
HANDSHAKE = 22
_KEY_UPDATE = b"\x18\0\0\1"
_HASHES = {32: ("sha256", 16), 48: ("sha384", 32)}


class Forger:
    """
    Goes on for a client that has done its handshake and has sent nothing since.

    @ivar context: For that client.
    """

    def __init__(self) -> None:
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_min_proto_version(SSL.TLS1_3_VERSION)
        self.context.set_keylog_callback(self._noted)
        self._secret = b""
        self._aead: Any = None
        self._iv = 0
        self._count = 0

    def _noted(self, connection: SSL.Connection, line: bytes) -> None:
        label, _, secret = line.split()
        if label == b"CLIENT_TRAFFIC_SECRET_0":
            self._use(bytes.fromhex(secret.decode()))

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._aead = AESGCM(self._expand(b"key", _HASHES[len(secret)][1]))
        self._iv = int.from_bytes(self._expand(b"iv", 12), "big")
        self._count = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        # HKDF-Expand-Label with no context, of no more than one block.
        what = struct.pack("!HB", size, 6 + len(label)) + b"tls13 " + label + b"\0\1"
        return hmac.digest(self._secret, what, _HASHES[len(self._secret)][0])[:size]

    def record(self, content: bytes, kind: int = APPLICATION) -> bytes:
        """
        Return a record.
        """
        inner = content + bytes([kind])
        head = struct.pack("!BHH", APPLICATION, 0x303, len(inner) + 16)
        nonce = (self._iv ^ self._count).to_bytes(12, "big")
        self._count += 1
        return head + bytes(self._aead.encrypt(nonce, inner, head))

    def keyUpdate(self, *, isRequest: bool) -> bytes:
        """
        Return a change of our keys, which may ask for one of the server's.
        """
        update = self.record(_KEY_UPDATE + bytes([isRequest]), HANDSHAKE)
        self._use(self._expand(b"traffic upd", len(self._secret)))
        return update
