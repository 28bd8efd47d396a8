# Copyright the cmanager authors.
# See LICENSE for details.

"""
How a client logs in through us: whose turn it is, and what is answered here.
Layer 2; a part of L{cmanager.prelude}.

The server checks the password; this keeps count, lets nothing through that the
server would not understand, and sees to it that each element of the client's
gets exactly one answer, whoever gives it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from cmanager.errors import StanzaError, StreamError
from cmanager.host import CLEAR_TEXT
from cmanager.negotiation import legacyAddress, needsTLS, payload, saslFailure, tlsFor
from cmanager.stanza import NS_IQ_AUTH, NS_IQ_REGISTER, Stanza
from cmanager.traffic import IQ_REQUESTS, checked, refusal

if TYPE_CHECKING:
    from cmanager.host import Host
    from cmanager.session import Session


class Turn(Enum):
    """
    Whose turn it is in a login.
    """

    NOBODY = "nothing has begun"
    SERVER = "the server has to answer"
    CLIENT = "the server has sent a challenge"
    ABORTED = "the client gave up, the server has yet to answer"
    LEGACY = "the server has to answer an iq of XEP-0078"


class Login:
    """
    The login of one session.

    @ivar failures: Failed attempts on this stream; at most C{client.login-attempts}.
    @ivar address: What a login by XEP-0078 asked for, once that was accepted.
    """

    __slots__ = ("_iqID", "_session", "_turn", "address", "failures")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turn = Turn.NOBODY
        self._iqID: str | None = None
        self.failures = 0
        self.address: str | None = None

    @property
    def isAwaited(self) -> bool:
        """
        The server has to answer.
        """
        return self._turn in (Turn.SERVER, Turn.ABORTED, Turn.LEGACY)

    # What the client sends.

    def saslReceived(self, stanza: Stanza, host: Host) -> None:
        """
        An element in the SASL namespace (RFC 6120 section 6.4).
        """
        if stanza.name == "auth":
            self._auth(stanza, host)
        elif stanza.name == "response":
            if self._turn is Turn.CLIENT:
                self._turn = Turn.SERVER
                self._session.goUp(stanza)
            elif self._isFree():
                self._fail("malformed-request")
        elif stanza.name == "abort":
            self._abort()
        else:
            self._session.end(StreamError("unsupported-stanza-type"))

    def _auth(self, stanza: Stanza, host: Host) -> None:
        if not self._isFree():
            return
        session = self._session
        stream = session.stream
        mechanism = stanza.attributes.get("mechanism")
        offer = host.offer
        known = offer.mechanismsFor(tlsFor(host, stream)) if offer is not None else ()
        if not stream.secure and needsTLS(host, requiresTLS=stream.requiresTLS):
            self._fail("encryption-required")
        elif mechanism not in known:
            self._fail("invalid-mechanism")
        elif not stream.secure and mechanism in CLEAR_TEXT:
            self._fail("encryption-required")
        elif not session.announce():
            self._fail("temporary-auth-failure")
        else:
            self._turn = Turn.SERVER
            session.goUp(stanza)

    def _isFree(self) -> bool:
        """
        Nothing is under way; otherwise the stream ends.
        """
        if self._turn is Turn.NOBODY:
            return True
        self._session.end(StreamError("policy-violation", "One login at a time."))
        return False

    def _abort(self) -> None:
        if self._turn is Turn.SERVER:
            # The server knows no abort (pitfall S-15), and its answer is on the way.
            self._turn = Turn.ABORTED
        elif self._turn is Turn.LEGACY or self._turn is Turn.ABORTED:
            self._isFree()
        else:
            self._turn = Turn.NOBODY
            self._fail("aborted")

    def iqReceived(self, stanza: Stanza, host: Host) -> None:
        """
        An iq before login: XEP-0077 and XEP-0078, where they are offered.
        """
        session = self._session
        offer = host.offer
        asked = (payload(stanza) or ("", ""))[0]
        isLogin = asked == NS_IQ_AUTH and offer is not None and offer.auth
        isRegistration = asked == NS_IQ_REGISTER and offer is not None and offer.register
        try:
            stanza = checked(stanza, None)
        except StanzaError as error:
            self._refuse(stanza, error)
            return
        if (
            not (isLogin or isRegistration)
            or stanza.attributes["type"] not in IQ_REQUESTS
            or stanza.attributes.get("to", host.domain) != host.domain
        ):
            session.end(StreamError("not-authorized", "Log in first."))
        elif self._isFree():
            if not session.announce():
                self._refuse(stanza, StanzaError("remote-server-timeout", "wait"))
                return
            if isLogin and stanza.attributes["type"] == "set":
                self._turn = Turn.LEGACY
                self._iqID = stanza.attributes["id"]
                self.address = legacyAddress(stanza, host.domain)
            session.goUp(stanza)

    def _refuse(self, stanza: Stanza, error: StanzaError) -> None:
        answer = refusal(stanza, error)
        if answer is not None:
            self._session.stream.write(answer)
        self._count()

    # What the server sends.

    def saslAnswered(self, stanza: Stanza) -> bool:
        """
        C{challenge}, C{success} or C{failure}, for the client.

        @return: L{True} if the client is logged in by it.
        """
        session = self._session
        if self._turn is Turn.ABORTED:
            self._turn = Turn.NOBODY
            if stanza.name == "success":
                # Now the server takes it for logged in, and the client does not.
                session.end(
                    StreamError("reset", reason="the client aborted a login that succeeded")
                )
            else:
                self._fail("aborted")
        elif self._turn is not Turn.SERVER:
            session.hub.metrics.increment("stanzas_dropped", "no-login")
        elif stanza.name == "challenge":
            self._turn = Turn.CLIENT
            session.stream.write(stanza.data)
        elif stanza.name == "success":
            self._turn = Turn.NOBODY
            session.stream.write(stanza.data)
            return True
        elif stanza.name == "failure":
            self._turn = Turn.NOBODY
            self._failed(stanza.data)
        else:
            session.hub.metrics.increment("stanzas_dropped", "unknown")
        return False

    def iqAnswered(self, stanza: Stanza) -> bool:
        """
        An iq from the server, which the client has got already.

        @return: L{True} if the client is logged in by it.
        """
        if self._turn is not Turn.LEGACY or stanza.attributes.get("id") != self._iqID:
            return False
        self._turn = Turn.NOBODY
        if stanza.attributes.get("type") == "result":
            return True
        self._failed(b"")
        return False

    def refused(self) -> None:
        """
        The server will not answer: it would not take it.
        """
        turn, self._turn = self._turn, Turn.NOBODY
        if turn is Turn.SERVER or turn is Turn.ABORTED:
            self._fail("aborted" if turn is Turn.ABORTED else "temporary-auth-failure")

    # Counting.

    def _fail(self, condition: str) -> None:
        """
        Fail for a reason of our own, which says nothing about a password.
        """
        self._session.stream.write(saslFailure(condition))
        self._count()

    def _failed(self, answer: bytes) -> None:
        """
        The server has refused.
        """
        session = self._session
        session.hub.metrics.increment("login_failures")
        session.log.info(
            "client {peer} failed to log in to {domain}",
            peer=session.stream.peer,
            domain=session.host.domain if session.host else None,
        )
        if answer:
            session.stream.write(answer)
        seconds = session.hub.loginFailed(session)
        self._count()
        if seconds > 0:
            session.stream.delayReading(seconds)

    def _count(self) -> None:
        self.failures += 1
        if self.failures >= self._session.hub.settings.loginAttempts:
            self._session.end(StreamError("policy-violation", "Too many failed logins."))
