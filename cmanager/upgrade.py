# Copyright the cmanager authors.
# See LICENSE for details.

"""
How an HTTP request becomes a WebSocket for XMPP (RFC 6455 section 4.2, RFC 7395
section 3.1).  Layer 1, pure; knows no transport and nothing of what follows.

No extension is ever agreed on, permessage-deflate among them: it would cost memory
for each client, and tell of secrets by the length of what is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

from attrs import field, frozen
from wsproto.utilities import generate_accept_token

SUBPROTOCOL = "xmpp"
VERSION = b"13"

ANY = "*"
"""
Among origins: pages from everywhere.
"""

# 16 bytes in Base64; of the last character only the upper two bits count.
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: " + SUBPROTOCOL.encode() + b"\r\n"
    b"Sec-WebSocket-Accept: "
)


@frozen
class UpgradeRequest:
    """
    A GET request with C{Upgrade: websocket}.

    @ivar target: As in the request line.
    @ivar headers: Names in any case, and values, in the order of the request.
    """

    target: bytes
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)

    def values(self, name: bytes) -> list[bytes]:
        """
        Return the values of a header, by its name in lower case, without white space
        around them.
        """
        return [value.strip(b" \t") for key, value in self.headers if key.lower() == name]

    def tokens(self, name: bytes) -> list[bytes]:
        """
        Return what a header lists, over all its lines.
        """
        return [part.strip(b" \t") for part in b",".join(self.values(name)).split(b",")]


class Refusal(NamedTuple):
    """
    Why a request is not granted.

    @ivar status: Of the HTTP response.
    @ivar reason: For the client and for the operator; holds nothing that was sent.
    """

    status: int
    reason: str

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """
        What the response must have beside the usual.
        """
        if self.status == HTTPStatus.UPGRADE_REQUIRED:
            # RFC 6455 section 4.4, and RFC 9110 section 15.5.22
            return [(b"Sec-WebSocket-Version", VERSION), (b"Upgrade", b"websocket")]
        return []

    def encode(self) -> bytes:
        """
        Return the response, which is the last on its connection.
        """
        body = f"{self.reason}\n".encode()
        phrase = HTTPStatus(self.status).phrase.encode()
        headers = [
            *self.headers,
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(body)),
            (b"Connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (self.status, phrase, lines, body)


def refusalFor(request: UpgradeRequest, origins: Sequence[str]) -> Refusal | None:
    """
    Tell why a request is not granted; L{None} if it is.

    @param origins: Where pages that connect may come from, like
        C{"https://chat.example.org"}, in lower case, or L{ANY}.  Who is no
        browser does not say where it comes from, and is not asked.
    """
    versions = request.values(b"sec-websocket-version")
    if versions and versions != [VERSION]:
        return Refusal(HTTPStatus.UPGRADE_REQUIRED, "WebSocket of version 13 is spoken here.")
    allowed = {origin.encode() for origin in origins}
    if ANY not in origins and not allowed.issuperset(
        origin.lower() for origin in request.values(b"origin")
    ):
        return Refusal(HTTPStatus.FORBIDDEN, "Pages from there must not connect here.")
    missing = _missing(request)
    return None if missing is None else Refusal(HTTPStatus.BAD_REQUEST, missing)


def _missing(request: UpgradeRequest) -> str | None:
    if _lacks(request.tokens(b"upgrade"), b"websocket"):
        return "No upgrade to WebSocket is asked for."
    if _lacks(request.tokens(b"connection"), b"upgrade"):
        return "The header Connection does not list Upgrade."
    if not request.values(b"sec-websocket-version"):
        return "The header Sec-WebSocket-Version is missing."
    if _key(request) is None:
        return "There is no good header Sec-WebSocket-Key."
    if SUBPROTOCOL.encode() not in request.tokens(b"sec-websocket-protocol"):
        return 'The subprotocol "xmpp" is spoken here, and is not offered.'
    return None


def accepted(request: UpgradeRequest) -> bytes:
    """
    Return the response to a request that has not been refused.
    """
    key = _key(request)
    assert key is not None, "checked by refusalFor"
    return _ACCEPTED + generate_accept_token(key) + b"\r\n\r\n"


def _key(request: UpgradeRequest) -> bytes | None:
    keys = request.values(b"sec-websocket-key")
    return keys[0] if len(keys) == 1 and _KEY.fullmatch(keys[0]) else None


def _lacks(tokens: list[bytes], token: bytes) -> bool:
    return token not in (one.lower() for one in tokens)
