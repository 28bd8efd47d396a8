# Copyright the cmanager authors.
# See LICENSE for details.

"""
The session of a client: the state machine of the program.  Layer 2; knows no
transport, no clock and no bytes of the link's own.

A session is told what happens by its stream, by the router and by nobody else, and
acts through three partners: its stream (L{IClientStream
<cmanager.interfaces.IClientStream>}), the link it is pinned to (L{ILink
<cmanager.interfaces.ILink>}) and the hub (L{ISessionHub
<cmanager.interfaces.ISessionHub>}).  C{docs/session.rst} draws the states and has the
table of all that can go wrong.

Three parts have modules of their own: L{cmanager.prelude}, the states before a
client is bound; L{cmanager.login}, whose turn it is in a login; and
L{cmanager.pinned}, the side that faces the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cmanager.errors import StanzaError, StreamError
from cmanager.negotiation import STREAM_CONDITIONS, TLS_FAILURE, managementFailed
from cmanager.pinned import ENDED, FULL, HOST, LINK, Pinned
from cmanager.prelude import Prelude
from cmanager.stanza import (
    NS_CLIENT,
    NS_CSI,
    NS_SASL,
    NS_SM,
    NS_STREAMS,
    NS_TLS,
    STANZA_NAMES,
    Stanza,
    Tag,
    streamErrorText,
)
from cmanager.table import State
from cmanager.traffic import IQ_REQUESTS, checked, routeError

if TYPE_CHECKING:
    from cmanager.interfaces import IClientStream, ILink, ISessionHub

__all__ = ["FULL", "HOST", "LINK", "Session", "State"]

_NAME_ENDS = {name: len(name) + 1 for name in STANZA_NAMES}
_BOUND = State.BOUND  # to look a member up costs as much as a call
_EXPECTANT = (State.AWAITING_HEADER, State.AWAITING_RESTART)
_OPEN = (State.NEGOTIATING, State.BINDING, State.BOUND)
_SERVED = (State.BINDING, State.BOUND)
_CONDITION = re.compile(rb'<([a-z-]{1,40}) xmlns="urn:ietf:params:xml:ns:xmpp-streams"')


class Session(Pinned):
    """
    What the server knows one client by.

    @ivar id: The stream id, on the link and on the client's stream, over all restarts.
    @ivar wireID: The same as it stands between quotes.
    @ivar state: Written by the table only, as is C{link}.
    @ivar link: The link it is pinned to: from the first element that goes up until
        the server has been told of the end, or is known to know.
    @ivar host: The domain it belongs to, once a header named it.
    @ivar lang: The language of the client's stream, where it named one.
    @ivar jid: The client's full address, once bound.
    @ivar filters: Set by the hub when it is bound; L{None} costs nothing.
    @ivar heard: The client has sent something since the router last looked.
    """

    __slots__ = ("_prelude", "lang")

    def __init__(self, stream: IClientStream, hub: ISessionHub) -> None:
        super().__init__(stream, hub)
        self.lang: str | None = None
        self._prelude: Prelude | None = Prelude(self)

    # Inputs from the stream.

    def streamOpened(self, tag: Tag) -> None:
        """
        The client has sent a stream header.
        """
        if self._prelude is None or self.state not in _EXPECTANT:
            self.end(StreamError("bad-format", reason="a second stream header"))
            return
        try:
            self._prelude.opened(tag)
        except StreamError as error:
            self.end(error)

    def stanzaReceived(self, stanza: Stanza) -> None:
        """
        The client has sent an element.  The busiest of all inputs: what is a stanza, and
        in order, goes up.
        """
        end = _NAME_ENDS.get(stanza.name)
        if (
            end is None
            or stanza.namespace != NS_CLIENT
            or stanza.data[end] not in b" />"  # prefixed: nobody sends that in earnest
        ):
            self._otherReceived(stanza)
            return
        if self.state is not _BOUND and (
            self._prelude is None or not self._prelude.stanzaReceived(stanza)
        ):
            return
        self.heard = True
        taken: Stanza | None
        try:
            taken = checked(stanza, self.lang)
            if self.filters is not None:
                taken = self.filters.upstream(taken)
        except StanzaError as error:
            self.refuse(stanza, error)
            return
        if taken is None:
            self.hub.metrics.increment("stanzas_dropped", "filter")
            return
        if taken.name == "presence" and "to" not in taken.attributes:
            self._isAvailable = "type" not in taken.attributes
        self.goUp(taken)

    def streamClosed(self) -> None:
        """
        The client has ended its stream (RFC 6120 section 4.4).
        """
        self.end(None)

    def streamFailed(self, error: StreamError) -> None:
        """
        What the client sent is no stream, or breaks a limit.
        """
        self.end(error)

    def secured(self) -> None:
        """
        TLS is up; a new header follows.
        """

    def overflowed(self, stanza: Stanza) -> None:
        """
        The client does not take what it is sent; C{stanza} was one too many.
        """
        if self.state in ENDED:
            self.giveBack(stanza)
            return
        error = StreamError(
            "policy-violation",
            "Your client does not read what it is sent.",
            reason="more than client.queue-bytes wait for it",
        )
        self.end(error, undelivered=[*self.stream.takeUndelivered(), stanza])

    def idle(self, kind: str) -> None:
        """
        A time-out has passed: C{"login"}, which counts until the client is bound, or
        C{"idle"}.
        """
        if kind == "idle":
            self.end(StreamError("connection-timeout", reason="client.idle-timeout"))
        elif self.state is not State.BOUND:
            self.end(StreamError("connection-timeout", reason="client.login-timeout"))

    def transportLost(self, reason: object) -> None:
        """
        The transport is gone: the last input of all.
        """
        if self.state is State.CLOSED:
            return
        if self.state is not State.CLOSING:
            self.hub.metrics.increment("streams_closed", "transport")
            self.log.debug("client {peer} is gone", peer=self.stream.peer)
        undelivered = self.stream.takeUndelivered()
        self.hub.table.move(self, State.CLOSED)
        if undelivered:
            self.leave()
            for stanza in undelivered:
                self.giveBack(stanza)
        self.unpin(isKnown=False)
        self.hub.sessionClosed(self)
        # It knows us, and is not to wait for the garbage collector.
        self._prelude = None

    # Inputs from the router.

    def hostReady(self) -> None:
        """
        What the client waits for since its header is there.
        """
        if self.state is State.WAITING and self._prelude is not None and self.host is not None:
            self._prelude.negotiate(self.host)
            self.release(HOST)

    def hostUnavailable(self) -> None:
        """
        It has waited long enough.
        """
        if self.state is State.WAITING:
            text = "The server is away; try again later."
            self.end(StreamError("remote-connection-failed", text, reason="no link is ready"))

    def routed(self, stanza: Stanza) -> None:
        """
        The server has sent an element for the client.  As busy as C{stanzaReceived}.
        """
        if self.state is _BOUND and stanza.name in STANZA_NAMES:
            self.stanzaDown(stanza)
        elif self.state in ENDED:
            self.giveBack(stanza)
        elif stanza.name == "error" and stanza.namespace == NS_STREAMS:
            match = _CONDITION.search(stanza.data)
            condition = match[1].decode() if match else "undefined-condition"
            error = StreamError(condition, reason="the server has ended the session")
            self.end(error, text=stanza.data, isKnown=True)
        elif self._prelude is None or not self._prelude.routed(stanza):
            self.giveBack(stanza)

    def routeFailed(self, condition: str, sent: Stanza | None) -> None:
        """
        The server could not take what was routed to it.

        @param sent: What that was, without its content; L{None} if nobody remembers.
        """
        if condition == "item-not-found":
            if self._prelude is not None and self.link is not None and self.link.isCreating(self):
                # The answer to create comes over another link, later, and says why.
                return
            error = StreamError("reset", reason="the server no longer has the session")
            self.unpin(isKnown=True)
            self.end(error)
            return
        if self.state in ENDED or sent is None:
            return
        if self._prelude is not None and self._prelude.routeFailed(sent):
            return
        if self._auditID is not None and sent.attributes.get("id") == self._auditID:
            # An error is an answer, too.
            self._answered()
        elif sent.name == "message" or sent.attributes.get("type") in IQ_REQUESTS:
            self.refuse(sent, routeError(condition))

    def closeRequested(self, error: StreamError | None) -> None:
        """
        The server ends the session.
        """
        if self.state in ENDED:
            self.unpin(isKnown=True)
        else:
            self.end(error, isKnown=True)

    def linkRefused(self, condition: str) -> None:
        """
        The server has refused to create the session.
        """
        self.unpin(isKnown=True)
        if condition == "not-allowed":
            text = "The server does not accept your address."
            self.end(
                StreamError("policy-violation", text, reason="refused by the server's IP list")
            )
        else:
            reason = f"the server refused to create the session: {condition}"
            self.end(StreamError("remote-connection-failed", reason=reason))

    def relinked(self, link: ILink, *, isDoubtful: bool = False) -> None:
        """
        The link was lost; C{link}, to the same server, takes its place.

        @param isDoubtful: The server may have had no link of ours in between, and have ended
            the session (PROTOCOL section 13.6).
        """
        if self.state is State.BOUND and (isDoubtful or self.link is None):
            # Ask first.
            self.hold(LINK)
        self.hub.table.pin(self, link)
        link.adopt(self)
        self.answerLost()

    def answerLost(self) -> None:
        """
        A link was lost, this one's or another of the same server, which answers over any: what
        has been asked must be asked again.
        """
        if self.state in ENDED:
            return
        if self._prelude is not None:
            self._prelude.answerLost()
        elif self._holds & LINK:
            self.audit()
            self.hub.awaitAnswer(self)

    def _answered(self) -> None:
        """
        The server still has it.
        """
        if self._holds & LINK and self.link is not None:
            self.hub.answered(self)
            self.release(LINK)

    def linkLost(self) -> None:
        """
        The link was lost and no other is ready: wait for L{relinked} or L{serverLost}.
        """
        self.hub.table.pin(self, None)
        if self.state is State.BOUND:
            self.hold(LINK)
            self.hub.answered(self)  # it will ask anew
        else:
            # It could not be found out later whether the server still has it.
            self.serverLost()

    def serverLost(self, reason: str = "all links were lost") -> None:
        """
        There was no link for too long, or no answer.
        """
        text = "The connection to the server was lost."
        self.end(StreamError("remote-connection-failed", text, reason=reason))

    def shutdown(self) -> None:
        """
        The program is about to stop.
        """
        self.end(StreamError("system-shutdown"))

    # Bound.

    def bound(self, address: str | None) -> None:
        """
        For L{Prelude}, whose time is over: the client has an address.
        """
        self._prelude = None
        self.jid = address
        self.hub.table.move(self, State.BOUND)
        self.log.debug("client {peer} is {jid}", peer=self.stream.peer, jid=address)
        self.hub.sessionBound(self)

    def stanzaDown(self, stanza: Stanza) -> None:
        """
        Send a server's stanza on, unless it answers a question of our own.
        """
        auditID = self._auditID
        if auditID is not None and stanza.name == "iq" and stanza.attributes.get("id") == auditID:
            self._answered()
            return
        if self.filters is not None:
            try:
                taken = self.filters.downstream(stanza)
            except StanzaError as error:
                self.bounceUp(stanza, error)
                return
            if taken is None:
                self.hub.metrics.increment("stanzas_dropped", "filter")
                return
            stanza = taken
        if self.stream.deliver(stanza):
            self.hub.metrics.stanzasDown += 1
        elif self.state not in ENDED:
            self.overflowed(stanza)

    # In any open state.

    def _otherReceived(self, stanza: Stanza) -> None:
        """
        Anything but a stanza in C{jabber:client}.
        """
        name, namespace = stanza.name, stanza.namespace
        if self.state not in _OPEN:
            self.end(StreamError("bad-format", reason="an element where a header was expected"))
        elif namespace == NS_TLS and name == "starttls":
            if self._prelude is not None:
                self._prelude.startTLSReceived()
            else:
                self.end(None, text=TLS_FAILURE)
        elif namespace == NS_SASL and self._prelude is not None:
            self._prelude.saslReceived(stanza)
        elif namespace == NS_SM and name in ("enable", "resume", "r", "a"):
            isRequest = self.state in _SERVED and name in ("enable", "resume")
            condition = "feature-not-implemented" if isRequest else "unexpected-request"
            self.stream.write(managementFailed(condition))
        elif namespace == NS_CSI and name in ("active", "inactive") and self.state in _SERVED:
            return
        elif namespace == NS_STREAMS and name == "error":
            self.end(None)
        elif name in STANZA_NAMES and namespace != NS_CLIENT:
            self.end(StreamError("invalid-namespace", "Stanzas are in jabber:client."))
        else:
            self.end(StreamError("unsupported-stanza-type"))

    # Closing.

    def end(
        self,
        error: StreamError | None,
        *,
        text: bytes = b"",
        isKnown: bool = False,
        undelivered: Iterable[Stanza] = (),
    ) -> None:
        """
        End the session: the only way there is.  Header if none was sent, error,
        footer; grace and transport are the stream's.  No effect on one that has ended.

        A bound session stays pinned until the transport is gone, so that what it did not
        get, and what is on its way to it, can be given back before the server is
        told of its end.

        @param text: Is sent instead of C{error}.
        @param isKnown: The server has ended it.
        @param undelivered: What the client will not get.
        """
        if self.state in ENDED:
            return
        isServed, wasBound = self.state in _SERVED, self.state is State.BOUND
        self._tellEnd(error)
        self.hub.table.move(self, State.CLOSING)
        if not isServed:
            # Also where it was the server that ended it: what was not bound it keeps
            # in its books until it is told (pitfall S-19).
            self.unpin(isKnown=False)
        elif isKnown:
            self.unpin(isKnown=wasBound)
        else:
            self.leave()
            for stanza in undelivered:
                self.giveBack(stanza)
        if error is not None and not text:
            text = streamErrorText(error)
        self.stream.close(text, self._prelude.header() if self._prelude is not None else None)

    def _tellEnd(self, error: StreamError | None) -> None:
        label = "footer"
        if error is not None:
            label = error.condition if error.condition in STREAM_CONDITIONS else "other"
            self.log.info(
                "client {peer} {what}: {error}",
                peer=self.stream.peer,
                what="closed" if self.state is State.BOUND else "refused",
                error=error,
                condition=error.condition,
                transport=self.stream.transportName,
                state=self.state.value,
            )
        self.hub.metrics.increment("streams_closed", label)
