# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a client sends: logins and stanzas, and where each of them goes (RFC 6120 sections
6, 8 and 10).  Knows no link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmanager.server.clienttls import ClientTLS
from cmanager.server.elements import Element, StanzaError, address
from cmanager.server.sasl import (
    BOUND_MECHANISMS,
    Challenge,
    Exchange,
    SASLFailure,
    Step,
    decoded,
    encoded,
    exchanges,
)
from cmanager.server.sessions import ClientSession
from cmanager.stanza import NS_SASL

if TYPE_CHECKING:
    from cmanager.server.service import Server

_LANG = ("http://www.w3.org/XML/1998/namespace", "lang")
_IQ_TYPES = frozenset({"get", "set", "result", "error"})


class Inbound:
    """
    Takes clients' elements in.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._exchanges = exchanges(server.store, server.domain)

    def received(self, session: ClientSession, element: Element) -> bool:
        """
        A client has sent an element.

        @return: Whether it is one that can be routed.
        """
        if element.uri == NS_SASL and element.name in ("auth", "response"):
            self._logIn(session, element)
        elif element.uri is None and element.name in ("iq", "message", "presence"):
            self._stanza(session, element)
        else:
            return False
        if session.name is None and session.failures >= self._server.settings.retries:
            self._server.end(session)
        return True

    def _logIn(self, session: ClientSession, element: Element) -> None:
        try:
            step = self._step(session, element)
        except SASLFailure as failure:
            session.exchange = None
            session.failures += 1
            self._sasl(session, "failure", f"<{failure.condition}/>")
            return
        if isinstance(step, Challenge):
            self._sasl(session, "challenge", encoded(step.content) if step.content else "")
            return
        session.exchange = None
        session.name, session.anonymous = step.name, step.anonymous
        self._sasl(session, "success", encoded(step.content))

    def _step(self, session: ClientSession, element: Element) -> Step:
        if session.name is not None:
            raise SASLFailure
        text = str(element)
        if element.name == "auth":
            mechanism = element.getAttribute("mechanism", "")
            session.exchange = self._begun(session, mechanism)
            if not text and mechanism != "ANONYMOUS":
                return Challenge(b"")
        if session.exchange is None:
            raise SASLFailure
        return session.exchange.step(decoded(text))

    def _begun(self, session: ClientSession, mechanism: str) -> Exchange:
        offer = self._server.offer
        if mechanism in BOUND_MECHANISMS:
            offered = offer.mechanisms if offer is not None else ()
        else:
            offered = self._server.configuration.mechanisms or ()
        begin = self._exchanges.get(mechanism) if mechanism in offered else None
        if begin is None:
            raise SASLFailure("invalid-mechanism")
        return begin(session.tls or ClientTLS())

    def _sasl(self, session: ClientSession, name: str, content: str) -> None:
        self._server.sendText(session, f'<{name} xmlns="{NS_SASL}">{content}</{name}>')

    def _stanza(self, session: ClientSession, stanza: Element) -> None:
        stanza["from"] = session.jid
        if session.lang is not None and not stanza.hasAttribute(_LANG):
            stanza[_LANG] = session.lang  # RFC 6120 section 8.1.5
        try:
            self._dispatch(session, stanza)
        except StanzaError as error:
            kind = stanza.getAttribute("type")
            # RFC 6120 section 8.3.1: an error is never answered.
            if kind != "error" and not (stanza.name == "iq" and kind == "result"):
                self._server.send(session, error.toResponse(stanza))

    def _dispatch(self, session: ClientSession, stanza: Element) -> None:
        if session.resource is None:
            if stanza.name != "iq":
                raise StanzaError("not-authorized")
            self._server.send(session, self._server.queries.answerUnbound(session, stanza))
            return
        to = address(stanza["to"]) if stanza.hasAttribute("to") else None
        if to is not None and to.host != self._server.domain:
            raise StanzaError("remote-server-not-found")
        if stanza.name == "presence":
            self._server.presences.received(session, stanza, to)
        elif stanza.name == "message":
            if to is not None and to.user is None:
                raise StanzaError("service-unavailable")
            self._server.messages.deliver(stanza, to or address(session.bare))
        else:
            kind = stanza.getAttribute("type")
            if kind not in _IQ_TYPES:
                raise StanzaError("bad-request")
            if kind in ("get", "set") and len(list(stanza.elements())) != 1:
                raise StanzaError("bad-request")
            found = self._server.sessions.find(to) if to is not None and to.resource else None
            if found is not None:
                self._server.send(found, stanza)
            elif kind in ("get", "set"):
                self._server.send(session, self._server.queries.answer(session, stanza, to))
