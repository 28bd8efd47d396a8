# Copyright the cmanager authors.
# See LICENSE for details.

"""
What happens to a client before it has an address: headers, features, STARTTLS,
login, resource binding.  Layer 2; a part of L{cmanager.session}, which drops it once
the client is bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmanager.errors import StreamError
from cmanager.login import Login
from cmanager.negotiation import (
    PROCEED,
    TLS_FAILURE,
    bindFeatures,
    boundAddress,
    loginFeatures,
    needsTLS,
    offersTLS,
    payload,
    readHeader,
    tlsFor,
)
from cmanager.pinned import HOST
from cmanager.stanza import NS_BIND, NS_SASL, STANZA_NAMES, Stanza, StreamHeader, Tag
from cmanager.table import State

if TYPE_CHECKING:
    from cmanager.host import Host
    from cmanager.session import Session


class Prelude:
    """
    The states of a session from C{AWAITING_HEADER} to C{BINDING}.

    One block for each state, in the order of a client's life.  What comes in a state
    that has no use for it ends the stream; C{docs/session.rst} says with what.
    """

    __slots__ = ("_bindID", "_headerSent", "_isModern", "_login", "_sender", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._headerSent = False
        self._isModern = True
        self._sender: str | None = None
        self._login = Login(session)
        self._bindID: str | None = None

    def stanzaReceived(self, stanza: Stanza) -> bool:
        """
        A message, presence or iq from the client.

        @return: It may go up like one of a client that is bound.
        """
        state = self._session.state
        host = self._session.host
        if state is State.BINDING:
            return self._whileBinding(stanza)
        if state is State.NEGOTIATING and host is not None:
            self._beforeLogin(stanza, host)
        else:
            self._session.end(StreamError("bad-format", reason="a stanza before a header"))
        return False

    def routed(self, stanza: Stanza) -> bool:
        """
        Anything from the server, stream errors excepted.

        @return: L{False} if it cannot be meant for a client that is not bound.
        """
        state = self._session.state
        if state is State.NEGOTIATING and stanza.namespace == NS_SASL:
            if self._login.saslAnswered(stanza):
                self._loggedIn()
        elif state is State.NEGOTIATING and stanza.name == "iq":
            self._beforeLoginAnswered(stanza)
        elif state is State.BINDING and stanza.name in STANZA_NAMES:
            self._session.stanzaDown(stanza)
            self._bindingAnswered(stanza)
        else:
            return False
        return True

    def routeFailed(self, sent: Stanza) -> bool:
        """
        The server would not take C{sent}.

        @return: L{True} if that was all there is to say to the client.
        """
        if sent.namespace == NS_SASL:
            self._login.refused()
            return True
        if self._bindID is not None and sent.attributes.get("id") == self._bindID:
            self._bindID = None
        return False

    def answerLost(self) -> None:
        """
        What the server had to say may have been lost.  Nobody can tell, and the client
        would wait for it until its time is up; another attempt on the same stream could
        be answered by what was late.
        """
        if self._login.isAwaited or self._bindID is not None:
            text = "The connection to the server was lost."
            reason = "a link was lost during a login"
            self._session.end(StreamError("remote-connection-failed", text, reason=reason))

    # Awaiting a header.

    def opened(self, tag: Tag) -> None:
        """
        The client has sent a stream header.

        @raise StreamError: It cannot be accepted.
        """
        session = self._session
        hub = session.hub
        isRestart = session.state is State.AWAITING_RESTART
        header = readHeader(tag, preXMPP10=hub.settings.preXmpp10 and not isRestart)
        session.lang = header.lang
        self._sender = header.sender
        self._isModern = header.isModern
        host = hub.host(header.domain)
        if host is None or (session.host is not None and session.host is not host):
            raise StreamError("host-unknown")
        session.host = host
        answer = self.header()
        assert answer is not None, "one header of ours for one of theirs"
        if isRestart:
            hub.table.move(session, State.BINDING)
            session.stream.open(answer, bindFeatures(host))
        elif host.isReady:
            hub.table.move(session, State.NEGOTIATING)
            session.stream.open(answer, self._features(host))
        else:
            session.stream.open(answer)
            hub.table.move(session, State.WAITING)
            session.hold(HOST)
            hub.awaitHost(session, host)

    def header(self) -> StreamHeader | None:
        """
        Return our header, once for each stream.
        """
        if self._headerSent:
            return None
        self._headerSent = True
        session = self._session
        host = session.host or session.hub.host(None)
        return StreamHeader(
            id=session.id,
            from_=host.domain if host is not None else None,
            to=self._sender,
            lang=session.lang or "en",
            version="1.0" if self._isModern else None,
        )

    # Negotiating.

    def negotiate(self, host: Host) -> None:
        """
        Say what there is to choose from.
        """
        session = self._session
        session.hub.table.move(session, State.NEGOTIATING)
        features = self._features(host)
        if features:
            session.stream.write(features)

    def _features(self, host: Host) -> bytes:
        if not self._isModern:
            return b""
        stream = self._session.stream
        return loginFeatures(
            host,
            secure=stream.secure,
            canStartTLS=stream.canStartTLS,
            requiresTLS=stream.requiresTLS,
            tls=tlsFor(host, stream),
        )

    def startTLSReceived(self) -> None:
        """
        The client wants TLS.
        """
        session = self._session
        stream, host = session.stream, session.host
        if (
            session.state is State.NEGOTIATING
            and session.link is None  # no login has begun
            and host is not None
            and not stream.secure
            and offersTLS(host, canStartTLS=stream.canStartTLS, requiresTLS=stream.requiresTLS)
        ):
            session.hub.table.move(session, State.AWAITING_HEADER)
            self._headerSent = False
            stream.startTLS(PROCEED)
        else:
            # RFC 6120 section 5.4.2.2
            session.end(None, text=TLS_FAILURE)

    def saslReceived(self, stanza: Stanza) -> None:
        """
        The client logs in.
        """
        session = self._session
        if session.state is State.NEGOTIATING and session.host is not None:
            self._login.saslReceived(stanza, session.host)
        else:
            session.end(StreamError("unsupported-stanza-type"))

    def _beforeLogin(self, stanza: Stanza, host: Host) -> None:
        session = self._session
        stream = session.stream
        if not stream.secure and needsTLS(host, requiresTLS=stream.requiresTLS):
            session.end(StreamError("policy-violation", "Use STARTTLS first."))
        elif stanza.name == "iq":
            self._login.iqReceived(stanza, host)
        else:
            session.end(StreamError("not-authorized", "Log in first."))

    def _beforeLoginAnswered(self, stanza: Stanza) -> None:
        session = self._session
        session.stanzaDown(stanza)
        if session.state is State.NEGOTIATING and self._login.iqAnswered(stanza):
            session.stream.allow(session.hub.settings.stanzaBytes)
            self._countLogin()
            session.bound(self._login.address)

    def _loggedIn(self) -> None:
        """
        The client has been told of its success.
        """
        session = self._session
        self._countLogin()
        session.hub.table.move(session, State.AWAITING_RESTART)
        self._headerSent = False
        session.stream.restart(session.hub.settings.stanzaBytes)

    def _countLogin(self) -> None:
        self._session.hub.metrics.increment("logins")
        self._session.hub.loginSucceeded(self._session)

    # Binding.

    def _whileBinding(self, stanza: Stanza) -> bool:
        attributes = stanza.attributes
        if attributes.get("type") == "set" and payload(stanza) == (NS_BIND, "bind"):
            self._bindID = attributes.get("id")
        elif self._bindID is None:
            self._session.end(StreamError("not-authorized", "Bind a resource first."))
            return False
        return True

    def _bindingAnswered(self, stanza: Stanza) -> None:
        session = self._session
        if (
            stanza.name != "iq"
            or stanza.attributes.get("id") != self._bindID
            or session.state is not State.BINDING
        ):
            return
        self._bindID = None
        if stanza.attributes.get("type") == "result":
            address = boundAddress(stanza)
            if address is not None:
                session.bound(address)
