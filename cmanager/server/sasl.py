# Copyright the cmanager authors.
# See LICENSE for details.

"""
SASL, the server's side (RFC 6120 section 6, RFC 4616, RFC 5802, RFC 7677, RFC 4505).
Knows accounts, but no session and no XML beyond an element's text.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from scramp import ScramException, ScramMechanism
from twisted.words.protocols.jabber.xmpp_stringprep import nodeprep

from cmanager.server.accounts import KEY_KINDS, Store

MECHANISMS = ("PLAIN", *KEY_KINDS, "ANONYMOUS")

MAX_NAME_BYTES = 1023


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
    RFC 5802, without channel binding: TLS ends before us.
    """

    def __init__(self, store: Store, kind: str) -> None:
        self._name = ""
        self._first = True

        def keys(name: str) -> object:
            self._name = prepared(name)
            return store.keys(self._name, kind)

        self._server = ScramMechanism(kind).make_server(keys)

    def step(self, content: bytes) -> Step:
        """
        See L{Exchange}.
        """
        text = _utf8(content)
        try:
            if self._first:
                self._first = False
                self._server.set_client_first(text)
                return Challenge(self._server.get_server_first().encode())
            self._server.set_client_final(text)
            return Success(self._name, self._server.get_server_final().encode())
        except ScramException:
            raise SASLFailure from None


class Anonymous:
    """
    RFC 4505: a name by lot.
    """

    def step(self, content: bytes) -> Step:
        """
        See L{Exchange}.
        """
        return Success(secrets.token_hex(12), anonymous=True)


def exchanges(store: Store, domain: str) -> dict[str, Callable[[], Exchange]]:
    """
    Return what begins an exchange, for each mechanism there is.
    """

    def scram(kind: str) -> Callable[[], Exchange]:
        return lambda: Scram(store, kind)

    return {
        "PLAIN": lambda: Plain(store, domain),
        "ANONYMOUS": Anonymous,
        **{kind: scram(kind) for kind in KEY_KINDS},
    }
