# Copyright the cmanager authors.
# See LICENSE for details.

"""
The side of a session that faces the server: the link it is pinned to, what goes
up, what is given back.  Layer 2; a part of L{cmanager.session}, never sees a
header, a feature or a login.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from cmanager.errors import StanzaError
from cmanager.stanza import NS_CLIENT, NS_PING, Stanza, escapeAttribute
from cmanager.table import State, StreamID
from cmanager.traffic import IQ_REQUESTS, isReturnable, refusal, returned

if TYPE_CHECKING:
    from cmanager.host import Host
    from cmanager.interfaces import IClientStream, ILink, ISessionHub

HOST, LINK, FULL = 1, 2, 4
"""
Why a client is not read: its domain is not ready, its link is lost, or its link
takes no more.
"""

ENDED = (State.CLOSING, State.CLOSED)

_UNAVAILABLE = Stanza(
    "presence", NS_CLIENT, {"type": "unavailable"}, b'<presence type="unavailable"/>'
)
_GONE = StanzaError("service-unavailable")


class IFilterChain(Protocol):
    """
    The filters of one session; see L{ISessionFilter
    <cmanager.interfaces.ISessionFilter>} for what both methods do.
    """

    def upstream(self, stanza: Stanza) -> Stanza | None:
        """
        A stanza from the client.
        """

    def downstream(self, stanza: Stanza) -> Stanza | None:
        """
        A stanza from the server.
        """


class Pinned:
    """
    See L{cmanager.session.Session}.
    """

    __slots__ = (
        "_auditID",
        "_holds",
        "_isAvailable",
        "filters",
        "heard",
        "host",
        "hub",
        "id",
        "jid",
        "link",
        "state",
        "stream",
        "wireID",
    )

    log = Logger()

    def __init__(self, stream: IClientStream, hub: ISessionHub) -> None:
        self.id: StreamID = hub.table.newStreamID()
        self.wireID = escapeAttribute(self.id)
        self.stream = stream
        self.hub = hub
        self.state = State.AWAITING_HEADER
        self.link: ILink | None = None
        self.host: Host | None = None
        self.jid: str | None = None
        self.filters: IFilterChain | None = None
        self.heard = False
        self._holds = 0
        self._isAvailable = False
        self._auditID: str | None = None

    # Pinned, or not.

    def announce(self) -> bool:
        """
        See that the server knows the session: it must, before anything goes up.

        Late, so that scanners and floods never reach the server.

        @return: L{False} if there is no link to do it on.
        """
        if self.link is not None:
            return True
        link = self.host.pick() if self.host is not None else None
        if link is None:
            return False
        self.hub.table.pin(self, link)  # type: ignore[arg-type]  # every Pinned is a Session
        link.open(self)  # type: ignore[arg-type]  # likewise
        return True

    def unpin(self, *, isKnown: bool) -> None:
        """
        Leave the link.  Once: a second time is harmless.

        @param isKnown: The server knows that the session is over.
        """
        link = self.link
        if link is None:
            return
        self.hub.table.pin(self, None)  # type: ignore[arg-type]  # likewise
        if isKnown:
            link.forget(self)  # type: ignore[arg-type]  # likewise
        else:
            link.close(self)  # type: ignore[arg-type]  # likewise

    def audit(self) -> None:
        """
        Ask the server, in the client's name, whether the session is still there
        (PROTOCOL section 13.4).  What comes back does not reach the client.
        """
        if self.state is not State.BOUND or self.link is None or self.host is None:
            return
        if self._auditID is None:
            self._auditID = f"cm-{secrets.token_hex(8)}"
        attributes = {"type": "get", "id": self._auditID, "to": self.host.domain}
        data = b'<iq type="get" id="%s" to="%s"><ping xmlns="%s"/></iq>' % (
            self._auditID.encode(),
            escapeAttribute(self.host.domain),
            NS_PING.encode(),
        )
        self.hub.metrics.increment("audits")
        self.goUp(Stanza("iq", NS_CLIENT, attributes, data))

    # Up.

    def goUp(self, stanza: Stanza) -> None:
        """
        Send to the server what has been found in order.
        """
        link = self.link
        if link is not None:
            link.route(self, stanza)  # type: ignore[arg-type]  # every Pinned is a Session
            self.hub.metrics.stanzasUp += 1
        else:
            self.refuse(stanza, StanzaError("remote-server-timeout", "wait"))

    def refuse(self, stanza: Stanza, error: StanzaError) -> None:
        """
        Tell the client that its stanza was not taken.
        """
        self.hub.metrics.increment("stanzas_refused", error.condition)
        answer = refusal(stanza, error)
        if answer is not None:
            self.stream.write(answer)

    def leave(self) -> None:
        """
        Tell the server that the client is no longer available, so that as little
        as possible is sent to it from now on (PROTOCOL section 13.2).
        """
        if self._isAvailable and self.link is not None:
            self._isAvailable = False
            self.goUp(_UNAVAILABLE)

    # Back.

    def giveBack(self, stanza: Stanza) -> None:
        """
        Return to the server what its client will not get: a message, to be stored; an
        error for a request.  The server must still know the session.
        """
        metrics = self.hub.metrics
        if self.link is None:
            metrics.increment("stanzas_dropped", "no-link")
        elif isReturnable(stanza):
            self.link.fail(self, stanza)  # type: ignore[arg-type]  # every Pinned is a Session
            metrics.increment("messages_returned")
        elif stanza.name == "iq" and stanza.attributes.get("type") in IQ_REQUESTS:
            self.bounceUp(stanza, _GONE)
            metrics.increment("iqs_bounced")
        elif stanza.name == "message":
            # Not to be stored, it is too large for that; its sender must know.
            self.bounceUp(stanza, _GONE)
            metrics.increment("stanzas_dropped", "undeliverable")
        else:
            metrics.increment("stanzas_dropped", "undeliverable")

    def bounceUp(self, stanza: Stanza, error: StanzaError) -> None:
        """
        Tell the sender of a stanza from the server that it was not taken.
        """
        answer = returned(stanza, error)
        if answer is not None and self.link is not None:
            self.link.route(self, answer)  # type: ignore[arg-type]  # every Pinned is a Session

    # Reading, or not.

    def hold(self, why: int) -> None:
        """
        Read nothing from the client for a reason: C{HOST}, C{LINK}, C{FULL}.
        """
        if not self._holds and self.state not in ENDED:
            self.stream.pauseReading()
        self._holds |= why

    def release(self, why: int) -> None:
        """
        That reason is gone.
        """
        if self._holds & why:
            self._holds &= ~why
            if not self._holds and self.state not in ENDED:
                self.stream.resumeReading()
