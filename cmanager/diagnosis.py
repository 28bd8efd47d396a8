# Copyright the cmanager authors.
# See LICENSE for details.

"""
What went wrong with a link, in an operator's words, with what to do about it.
Layer 4; decides nothing.

Servers say little when a link cannot be set up, and different releases say
different things about one cause; what is known about that stands here.
"""

from __future__ import annotations

from enum import Enum

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from cmanager.errors import LinkError, StreamError


class Step(Enum):
    """
    How far a link has come: what it is waiting for.
    """

    CONNECTING = "the connection"
    HEADER = "the server's stream header"
    FEATURES = "the server's stream features"
    PROCEED = "the start of TLS"
    TLS = "TLS and the server's second stream header"
    HANDSHAKE = "the answer to the handshake"
    READY = "nothing: it is ready"
    CLOSING = "the server's end of the stream"
    LOST = "nothing: it is lost"


_LISTENER = (
    "enable the connection manager listener of the server (Openfire: xmpp.multiplex.socket.active"
    " = true on port 5262, xmpp.multiplex.ssl.active on port 5263; Prosody: its module"
    " connection_manager) and check server.address"
)
_PORT = (
    "check that server.address names the connection manager port, 5262, or 5263 with"
    ' security = "tls"'
)
_DIGEST = (
    "compare the secret with xmpp.multiplex.defaultSecret of Openfire, or with"
    " connection_manager_secrets of Prosody; characters other than ASCII may be hashed"
    " differently there"
)
_REFUSED = (
    "set xmpp.multiplex.defaultSecret on the server, check that its connection managers are"
    " enabled, and give this manager a name that is a DNS label"
)
_TLS_TROUBLE = (
    "Openfire 4.8.0 to 4.9.0 fails here whatever is configured: update it, or use"
    ' security = "tls" and port 5263'
)

_CONDITIONS: dict[str, tuple[str, str | None]] = {
    "system-shutdown": ("the server is shutting down", None),
    "not-authorized": ("the server refuses this link", _DIGEST),
    "invalid-namespace": ("the server expects something else than links on this port", _PORT),
    "host-unknown": ("the server expects something else than links on this port", _PORT),
    "bad-format": ("the server does not accept the name of this manager", _REFUSED),
    "conflict": (
        "the server knows this link from another of its cluster nodes",
        "give each manager a name of its own (manager.name)",
    ),
    "connection-timeout": (
        "the server has heard nothing for too long",
        "server.heartbeat must be well below xmpp.multiplex.idle of the server",
    ),
    "policy-violation": (
        "the server refuses something that was sent",
        "keep client.stanza-bytes below xmpp.parser.buffer.size of the server",
    ),
}


def connectFailed(reason: Failure, host: str, port: int) -> LinkError:
    """
    The TCP connection could not be made.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if reason.check(error.ConnectionRefusedError):
        return LinkError(f"{where} refuses the connection", _LISTENER)
    if reason.check(error.DNSLookupError, error.UnknownHostError):
        return LinkError(f"{host} cannot be resolved", "check server.address and the DNS")
    if reason.check(
        error.TimeoutError, error.TCPTimedOutError, error.ConnectingCancelledError, CancelledError
    ):
        return LinkError(
            f"{where} does not answer", "check server.address and the firewalls on the way"
        )
    if reason.check(error.NoRouteError):
        return LinkError(f"there is no route to {where}", "check server.address and the network")
    return LinkError(f"{where} cannot be reached: {_words(reason)}", _PORT)


def certificateRefused(problem: str, *, isForOther: bool) -> LinkError:
    """
    The server's certificate is not accepted.

    @param isForOther: Because of the names it carries.
    """
    advice = "renew it, or name the certificate that signed it in server.ca"
    if isForOther:
        advice = (
            "set server.certificate-name to a name that it carries, or give the server a"
            " certificate with this one"
        )
    return LinkError(f"the server's certificate is not accepted: {problem}", advice)


def ended(step: Step, reason: Failure) -> LinkError:
    """
    The connection ended while the link was waiting.
    """
    if reason.check(SSL.Error):
        return LinkError(
            f"TLS with the server failed: {_words(reason)}",
            'check that both ends speak TLS 1.2 or later, and that security = "tls" is used'
            " with port 5263 only",
        )
    if step is Step.HANDSHAKE:
        return LinkError("the server closed the connection upon the handshake", _DIGEST)
    if step is Step.TLS:
        return LinkError("the server closed the connection upon TLS", _TLS_TROUBLE)
    if step in (Step.HEADER, Step.FEATURES, Step.PROCEED):
        return LinkError(
            f"the server closed the connection instead of sending {step.value}",
            f"{_PORT}; {_REFUSED}",
        )
    if reason.check(error.ConnectionDone):
        return LinkError("the server closed the connection")
    return LinkError(f"the connection broke: {_words(reason)}")


def late(step: Step, seconds: float) -> LinkError:
    """
    Setting up the link has taken too long.
    """
    advice = "check that the server is well; its log may tell more"
    if step is Step.HEADER:
        advice = _PORT
    return LinkError(f"still waiting for {step.value} after {seconds:g} s", advice)


def refused(step: Step, condition: str, text: str | None) -> LinkError:
    """
    The server sent a stream error.
    """
    reason, advice = _CONDITIONS.get(condition, ("the server ended the link", None))
    if condition == "internal-server-error":
        reason = "the server failed internally"
        if step is Step.TLS:
            advice = _TLS_TROUBLE
        elif step is not Step.READY:
            advice = _REFUSED
    elif condition == "not-authorized" and step in (Step.HEADER, Step.FEATURES, Step.PROCEED):
        advice = 'the server may want TLS (security = "starttls") or refuse it ("plain")'
    words = f": {text[:200]!r}" if text else ""
    return LinkError(f"{reason} ({condition}{words})", advice)


def unintelligible(step: Step, problem: StreamError) -> LinkError:
    """
    The server sent something that cannot be read.
    """
    advice = _PORT if step is Step.HEADER else None
    if problem.condition == "policy-violation":
        advice = "raise server.stanza-bytes if the server really sends elements that large"
    return LinkError(f"the server sent what cannot be read ({problem})", advice)


NO_STARTTLS = LinkError(
    "the server does not offer STARTTLS on this port",
    "give it a certificate and set xmpp.multiplex.tls.policy to optional, or use"
    ' security = "tls" with port 5263; security = "plain" only on loopback or a private wire',
)
TLS_REQUIRED = LinkError("the server requires TLS", 'set security = "starttls"')
TLS_FAILURE = LinkError(
    "the server cannot start TLS", "check the certificate of the server; its log may tell more"
)
TLS_INJECTION = LinkError(
    "something stood in clear behind the start of TLS",
    "somebody may be tampering with the connection to the server",
)
NO_ID = LinkError("the server's stream header has no id: it refuses this link", _REFUSED)
CLOSED_BY_SERVER = LinkError("the server closed the stream")


def silent(seconds: float) -> LinkError:
    """
    Nothing has come in on a ready link.
    """
    return LinkError(
        f"nothing has come from the server for {seconds:g} s",
        "check the server and the network; the server sends a space every 30 s",
    )


def stalled(seconds: float) -> LinkError:
    """
    The server has taken nothing of what was written.
    """
    return LinkError(
        f"the server has not taken what was written for {seconds:g} s",
        "check the load of the server",
    )


def swamped(size: int) -> LinkError:
    """
    More waits for the server than may.
    """
    return LinkError(
        f"more than {size} bytes wait for the server to take them", "check the load of the server"
    )


def _words(reason: Failure) -> str:
    value = reason.value
    if isinstance(value, SSL.Error) and value.args and isinstance(value.args[0], list):
        return "; ".join(str(entry[-1]) for entry in value.args[0]) or "no reason given"
    words = str(value).strip().splitlines()
    return words[0] if words else type(value).__name__
