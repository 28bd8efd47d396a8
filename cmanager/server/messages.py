# Copyright the cmanager authors.
# See LICENSE for details.

"""
Messages: to whom, and where to when nobody is there (RFC 6121 section 8.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.words.protocols.jabber.jid import JID

from cmanager.server.accounts import Full
from cmanager.server.elements import NS_DELAY, Element, StanzaError, delayed
from cmanager.server.sessions import ClientSession

if TYPE_CHECKING:
    from cmanager.server.service import Server

_NEVER_KEPT = frozenset({"error", "groupchat", "headline"})


class Messages:
    """
    Delivers messages, and keeps them.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def deliver(self, message: Element, to: JID) -> None:
        """
        Bring a message to a user of ours.

        @raise StanzaError: What the sender is told.
        """
        kind = message.getAttribute("type", "normal")
        sessions = self._server.sessions
        exact = sessions.find(to) if to.resource else None
        if exact is not None:
            if not self._server.send(exact, message):
                self._keep(to.user or "", message)
            return
        if kind == "error" or (kind == "headline" and to.resource):
            return
        if kind == "groupchat" or not (self._exists(to.user)):
            raise StanzaError("service-unavailable")
        receivers = [s for s in sessions.available(to.user) if s.priority >= 0]
        sent = [self._server.send(receiver, message) for receiver in receivers]
        if not any(sent):
            self._keep(to.user or "", message)

    def _exists(self, name: str | None) -> bool:
        return bool(self._server.sessions.of(name)) or self._server.store.hasAccount(name or "")

    def _keep(self, name: str, message: Element) -> None:
        """
        Keep what is worth it: text for one reader.
        """
        if message.getAttribute("type") in _NEVER_KEPT or message.body is None:
            return
        if not self._server.store.hasAccount(name):
            raise StanzaError("service-unavailable")
        if not list(message.elements(NS_DELAY, "delay")):
            delayed(message, self._server.domain, self._server.clock.seconds())
        try:
            self._server.store.keep(name, message)
        except Full:
            raise StanzaError("service-unavailable") from None

    def returned(self, session: ClientSession, message: Element) -> bool:
        """
        A manager could not deliver this.

        @return: Whether it was kept.
        """
        if session.name is None:
            return False
        before = self._server.store.waiting(session.name)
        try:
            self._keep(session.name, message)
        except StanzaError:
            return False
        return self._server.store.waiting(session.name) > before

    def flush(self, session: ClientSession) -> None:
        """
        Hand a session the messages that have waited.
        """
        for message in self._server.store.takeWaiting(session.name or ""):
            self._server.send(session, message)
