# Copyright the cmanager authors.
# See LICENSE for details.

"""
Presence (RFC 6121 section 4): broadcast, directed, probed, and its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.words.protocols.jabber.jid import JID

from cmanager.server.elements import Element, StanzaError, address, build
from cmanager.server.sessions import ClientSession

if TYPE_CHECKING:
    from cmanager.server.service import Server

MAX_DIRECTED = 1000
"""
Addresses one session has sent presence to directly, at once.
"""

SUBSCRIPTION_TYPES = frozenset({"subscribe", "subscribed", "unsubscribe", "unsubscribed"})


class Presences:
    """
    Who may see whom, and does.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def received(self, session: ClientSession, stanza: Element, to: JID | None) -> None:
        """
        A bound session has sent presence.
        """
        kind = stanza.getAttribute("type")
        if kind in SUBSCRIPTION_TYPES and to is not None:
            self._server.rosters.subscription(session, stanza, to)
        elif kind in (None, "unavailable"):
            if to is not None:
                self._direct(session, stanza, to)
            elif kind is None:
                self._available(session, stanza)
            else:
                self.leave(session, stanza)
        elif kind == "probe" and to is not None:
            self._probe(session, to)
        elif kind != "error":
            raise StanzaError("bad-request")
        elif to is not None:
            self._deliver(stanza, to)

    def _available(self, session: ClientSession, stanza: Element) -> None:
        priority = _priority(stanza)
        initial = session.presence is None
        session.presence, session.priority = stanza, priority
        self._broadcast(session, stanza)
        if initial:
            self._greet(session)
        if priority >= 0:
            self._server.messages.flush(session)

    def _broadcast(self, session: ClientSession, stanza: Element) -> None:
        for name in dict.fromkeys([*self._subscribers(session), session.name]):
            for receiver in self._server.sessions.available(name):
                self._server.send(receiver, stanza, receiver.bare)

    def _greet(self, session: ClientSession) -> None:
        """
        Show a session that has just become available who else is, and what was asked
        of it meanwhile (sections 4.3 and 3.1.3).
        """
        store, own = self._server.store, session.name or ""
        names = [c.entity.user for c in store.contacts(own) if c.subscriptionTo]
        for name in [*names, own]:
            if name == own or self._mayBeSeen(name or "", session.bare):
                for other in self._server.sessions.available(name):
                    if other is not session:
                        self._show(other, session)
        for request in store.requests(own):
            self._server.send(session, request)

    def leave(self, session: ClientSession, stanza: Element | None = None) -> None:
        """
        The session becomes unavailable to everybody who has seen it.
        """
        if stanza is None:
            stanza = build(None, "presence", type="unavailable", from_=session.jid)
        if session.presence is not None:
            session.presence, session.priority = None, 0
            self._broadcast(session, stanza)
        for jid in session.directed:
            self._deliver(stanza, address(jid))
        session.directed.clear()

    def _direct(self, session: ClientSession, stanza: Element, to: JID) -> None:
        if stanza.hasAttribute("type"):
            session.directed.discard(to.full())
        elif to.user is not None and to.full() not in session.directed:
            if len(session.directed) >= MAX_DIRECTED:
                raise StanzaError("resource-constraint")
            session.directed.add(to.full())
        self._deliver(stanza, to)

    def _deliver(self, stanza: Element, to: JID) -> None:
        if to.resource is None:
            receivers = self._server.sessions.available(to.user)
        else:
            found = self._server.sessions.find(to)
            receivers = [] if found is None else [found]
        for receiver in receivers:
            self._server.send(receiver, stanza, to.full())

    def _probe(self, session: ClientSession, to: JID) -> None:
        if self._mayBeSeen(to.user or "", session.bare):
            for other in self._server.sessions.available(to.user):
                self._show(other, session)

    def introduce(self, name: str, observer: str | None) -> None:
        """
        Show all resources of C{name} to those of C{observer}.
        """
        for session in self._server.sessions.available(name):
            for receiver in self._server.sessions.available(observer):
                self._show(session, receiver)

    def withdraw(self, name: str, observer: str | None) -> None:
        """
        Let all resources of C{name} become unavailable to those of C{observer}.
        """
        for session in self._server.sessions.available(name):
            gone = build(None, "presence", type="unavailable", from_=session.jid)
            for receiver in self._server.sessions.available(observer):
                self._server.send(receiver, gone, receiver.bare)

    def _show(self, session: ClientSession, receiver: ClientSession) -> None:
        self._server.send(receiver, session.presence, receiver.bare)

    def _subscribers(self, session: ClientSession) -> list[str | None]:
        contacts = self._server.store.contacts(session.name or "")
        return [contact.entity.user for contact in contacts if contact.subscriptionFrom]

    def _mayBeSeen(self, name: str, observer: str) -> bool:
        item = self._server.store.contact(name, observer)
        return item is not None and bool(item.subscriptionFrom)


def _priority(stanza: Element) -> int:
    text = str(stanza.priority or "0").strip()
    try:
        priority = int(text)
    except ValueError:
        raise StanzaError("bad-request") from None
    if not -128 <= priority <= 127:
        raise StanzaError("bad-request")
    return priority
