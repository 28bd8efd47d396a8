# Copyright the cmanager authors.
# See LICENSE for details.

"""
SASL, the server's side (RFC 6120 section 6, RFC 4616, RFC 5802, RFC 7677, RFC 4505,
XEP-0178).  Knows accounts, but no session and no XML beyond an element's text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import frozen
from twisted.words.protocols.jabber.xmpp_stringprep import nodeprep

from cmanager.server.accounts import KEY_KINDS, Store
from cmanager.server.clienttls import ClientTLS
from cmanager.server.elements import StanzaError, address

MECHANISMS = ("PLAIN", *KEY_KINDS, "ANONYMOUS")

PLUS = "-PLUS"
BOUND_MECHANISMS = (*(kind + PLUS for kind in reversed(KEY_KINDS)), "EXTERNAL")
"""
Those that need to know the client's TLS.
"""

MAX_NAME_BYTES = 1023
NONCE_BYTES = 18

_MORE = r"(?:,[A-Za-z]=[^,\0]+)*"
_NONCE = r"r=([!-+\--~]+)"
_CLIENT_FIRST = re.compile(
    rf"((n|y|p=([A-Za-z0-9.-]+)),,)(n=((?:[^,=\0]|=2C|=3D)+),{_NONCE}{_MORE})"
)
_CLIENT_FINAL = re.compile(rf"(c=([A-Za-z0-9+/=]+),{_NONCE}{_MORE}),p=([A-Za-z0-9+/=]+)")
"""
RFC 5802 section 7, without an authzid.
"""


class SASLFailure(Exception):
    """
    An exchange has failed.

    @ivar condition: A defined condition of RFC 6120 section 6.5.
    """

    def __init__(self, condition: str = "not-authorized") -> None:
        super().__init__(condition)
        self.condition = condition


@frozen
class Challenge:
    """
    The exchange goes on.
    """

    content: bytes


@frozen
class Success:
    """
    The exchange is over.

    @ivar name: The account, or the name that was drawn for an anonymous user.
    @ivar content: What the client learns with it, or L{None}.
    """

    name: str
    content: bytes | None = None
    anonymous: bool = False


Step = Challenge | Success


class Exchange(Protocol):
    """
    One exchange, from C{<auth/>} on.
    """

    def step(self, content: bytes) -> Step:
        """
        Take what the client said.

        @raise SASLFailure: That was the end of it.
        """


def prepared(name: str) -> str:
    """
    Return a user name as it stands in an address.

    @raise SASLFailure: It cannot.
    """
    try:
        local: str = nodeprep.prepare(name)
    except UnicodeError:
        raise SASLFailure from None
    if not 0 < len(local.encode()) <= MAX_NAME_BYTES:
        raise SASLFailure
    return local


def decoded(text: str) -> bytes:
    """
    Decode the text of a SASL element; C{=} stands for something empty.

    @raise SASLFailure: C{incorrect-encoding}.
    """
    if text == "=":
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SASLFailure("incorrect-encoding") from None


def encoded(content: bytes | None) -> str:
    """
    Return the text of a SASL element.
    """
    if content is None:
        return ""
    return base64.b64encode(content).decode() or "="


def _utf8(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SASLFailure("malformed-request") from None


class Plain:
    """
    RFC 4616.
    """

    def __init__(self, store: Store, domain: str) -> None:
        self._store = store
        self._domain = domain

    def step(self, content: bytes) -> Step:
        """
        See L{Exchange}.
        """
        parts = _utf8(content).split("\0")
        if len(parts) != 3:
            raise SASLFailure("malformed-request")
        identity, name, password = parts
        local = prepared(name)
        if not self._store.verify(local, password):
            raise SASLFailure
        if identity not in ("", local, f"{local}@{self._domain}"):
            raise SASLFailure("invalid-authzid")
        return Success(local)


class Scram:
    """
    RFC 5802.  Our own, for scramp's server refuses C{tls-exporter}.

    @param plus: The mechanism is the one with channel binding.
    @param bindings: Channel-binding data of the client's TLS.
    """

    def __init__(
        self, store: Store, kind: str, *, plus: bool, bindings: Mapping[str, bytes]
    ) -> None:
        self._store = store
        self._kind = kind
        self._hash = kind.removeprefix("SCRAM-").replace("-", "").lower()
        self._plus = plus
        self._bindings = bindings
        self._step: Callable[[str], Step] = self._begin

    def step(self, content: bytes) -> Step:
        """
        See L{Exchange}.
        """
        return self._step(_utf8(content))

    def _begin(self, text: str) -> Step:
        found = _CLIENT_FIRST.fullmatch(text)
        if found is None:
            raise SASLFailure
        header, flag, kind, bare, name, nonce = found.groups()
        if (kind is not None) != self._plus:
            raise SASLFailure
        if flag == "y" and self._bindings:
            # Somebody has taken the -PLUS off what we offer (RFC 5802 section 6).
            raise SASLFailure
        data = self._bindings.get(kind) if self._plus else b""
        self._name = prepared(name.replace("=2C", ",").replace("=3D", "="))
        keys = self._store.keys(self._name, self._kind)
        if data is None or keys is None:
            raise SASLFailure
        salt, self._storedKey, self._serverKey, iterations = keys
        self._nonce = nonce + secrets.token_urlsafe(NONCE_BYTES)
        self._binding = encoded(header.encode() + data)
        challenge = f"r={self._nonce},s={encoded(salt)},i={iterations}"
        self._said = f"{bare},{challenge}"
        self._step = self._end
        return Challenge(challenge.encode())

    def _end(self, text: str) -> Step:
        found = _CLIENT_FINAL.fullmatch(text)
        if found is None:
            raise SASLFailure
        unproven, binding, nonce, proof = found.groups()
        if not hmac.compare_digest(binding, self._binding) or nonce != self._nonce:
            raise SASLFailure
        message = f"{self._said},{unproven}".encode()
        mask, masked = hmac.digest(self._storedKey, message, self._hash), decoded(proof)
        if len(masked) != len(mask):
            raise SASLFailure
        key = bytes(x ^ y for x, y in zip(mask, masked, strict=True))
        if not hmac.compare_digest(hashlib.new(self._hash, key).digest(), self._storedKey):
            raise SASLFailure
        signature = hmac.digest(self._serverKey, message, self._hash)
        return Success(self._name, f"v={encoded(signature)}".encode())


class External:
    """
    RFC 4422 appendix A, by the addresses in the client's certificate (XEP-0178).
    """

    def __init__(self, store: Store, domain: str, addresses: tuple[str, ...]) -> None:
        self._store = store
        self._domain = domain
        self._names = {self._local(text) for text in addresses} - {None}

    def _local(self, text: str) -> str | None:
        """
        Return the account that is meant, if it is one of ours.
        """
        try:
            jid = address(text)
        except StanzaError:
            return None
        name: str | None = jid.user
        return name if jid.host == self._domain and jid.resource is None else None

    def step(self, content: bytes) -> Step:
        """
        See L{Exchange}.  With several addresses the client has to say which.
        """
        wanted = {self._local(_utf8(content))} if content else self._names
        name = next(iter(wanted & self._names), None)
        if len(wanted) != 1 or name is None or not self._store.hasAccount(name):
            raise SASLFailure
        return Success(name)


class Anonymous:
    """
    RFC 4505: a name by lot.
    """

    def step(self, content: bytes) -> Step:
        """
        See L{Exchange}.
        """
        return Success(secrets.token_hex(12), anonymous=True)


def exchanges(store: Store, domain: str) -> dict[str, Callable[[ClientTLS], Exchange]]:
    """
    Return what begins an exchange, for each mechanism there is.
    """

    def scram(kind: str, *, plus: bool) -> Callable[[ClientTLS], Exchange]:
        return lambda tls: Scram(store, kind, plus=plus, bindings=tls.bindings)

    return {
        "PLAIN": lambda tls: Plain(store, domain),
        "ANONYMOUS": lambda tls: Anonymous(),
        "EXTERNAL": lambda tls: External(store, domain, tls.addresses),
        **{kind: scram(kind, plus=False) for kind in KEY_KINDS},
        **{kind + PLUS: scram(kind, plus=True) for kind in KEY_KINDS},
    }
