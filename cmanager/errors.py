# Copyright the cmanager authors.
# See LICENSE for details.

"""
Every error this program raises on purpose, and nothing else.  Layer 0.

Three questions tell them apart: did I{we} break one of our own contracts
(L{LocalError}), did a I{peer} break the protocol (L{StreamError} ends its
stream, L{PrefaceError} its connection, L{StanzaError} answers one stanza,
L{LinkError} ends a link), or did the I{operator} write something that cannot
work (L{ConfigError})?
"""

from __future__ import annotations

from collections.abc import Iterable


class CManagerError(Exception):
    """
    Base of every error of this package.
    """


class LocalError(CManagerError):
    """
    One of our own contracts was broken: a bug here, never a peer's fault.
    """


class StreamError(CManagerError):
    """
    A client's stream cannot go on.

    @ivar condition: A defined condition of RFC 6120 section 4.9.3, for example
        C{"policy-violation"}.
    @ivar text: What the peer may read about it, or L{None}.  It never holds
        anything the peer sent.
    @ivar reason: What the operator reads in the log; the same as C{text} unless
        more is known here than the peer should learn.
    """

    def __init__(
        self, condition: str, text: str | None = None, *, reason: str | None = None
    ) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
        self.reason = reason or text or condition

    def __str__(self) -> str:
        return (
            self.condition if self.reason == self.condition else f"{self.condition}: {self.reason}"
        )


class BOSHError(CManagerError):
    """
    A client's request over HTTP breaks the rules of BOSH, and ends its session.

    @ivar condition: A terminal binding condition of XEP-0124 section 17.2, for example
        C{"item-not-found"}.
    @ivar reason: What the operator reads in the log.  It holds nothing that was sent.
    """

    def __init__(self, condition: str, reason: str) -> None:
        super().__init__(condition, reason)
        self.condition = condition
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.condition}: {self.reason}"


class PrefaceError(CManagerError):
    """
    What a proxy has to say before a connection's first byte is missing or wrong.

    @ivar reason: What the operator reads.  It holds nothing that was sent but numbers.
        The peer gets no word: it does not speak XMPP yet.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StanzaError(CManagerError):
    """
    One stanza cannot be accepted; the stream goes on (RFC 6120 section 8.3).

    @ivar condition: A defined condition of section 8.3.3.
    @ivar type: C{"auth"}, C{"cancel"}, C{"continue"}, C{"modify"} or C{"wait"}.
    @ivar text: What the sender may read about it, or L{None}.
    """

    def __init__(self, condition: str, type: str = "cancel", text: str | None = None) -> None:
        super().__init__(condition, type, text)
        self.condition = condition
        self.type = type
        self.text = text


class LinkError(CManagerError):
    """
    A link to a server cannot be set up, or cannot go on.

    @ivar reason: What happened, in an operator's words.
    @ivar advice: What to do about it, or L{None} where nothing need be done.
    """

    def __init__(self, reason: str, advice: str | None = None) -> None:
        super().__init__(reason, advice)
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.reason} ({self.advice})" if self.advice else self.reason


class ConfigError(CManagerError):
    """
    The configuration cannot be used.

    @ivar problems: Everything that is wrong with it, one line each; a line names
        the path of the key, its value (unless secret) and what is accepted.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
