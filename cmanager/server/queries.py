# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the server answers itself: iq requests to it, or to an account (RFC 6120 section
8.2.3).  Anything it does not know is C{service-unavailable}.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmpp_stringprep import resourceprep
from wokkel.xmppim import NS_ROSTER

from cmanager.server.accounts import Full, PasswordUnusable
from cmanager.server.elements import Element, StanzaError, build, payload, result
from cmanager.server.sasl import SASLFailure, prepared
from cmanager.server.sessions import ClientSession
from cmanager.stanza import NS_BIND, NS_IQ_AUTH, NS_IQ_REGISTER, NS_PING, NS_SESSION

if TYPE_CHECKING:
    from cmanager.server.service import Server

NS_DISCO_ABOUT = "http://jabber.org/protocol/disco#info"
NS_DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
NS_PRIVATE = "jabber:iq:private"
NS_VCARD = "vcard-temp"

FEATURES = (NS_DISCO_ABOUT, NS_DISCO_ITEMS, NS_PING, NS_VCARD)

MAX_RESOURCE_BYTES = 1023

SERVER, OWN, OTHER = "server", "own", "other"

Answer = Callable[[ClientSession, Element, Element, JID | None], Element | None]


class Queries:
    """
    Answers requests.  Each method takes the session, the iq, its payload and to
    whom it was, and returns the result, or L{None} where that has been sent, or raises
    L{StanzaError}.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._store = server.store
        rosters = server.rosters
        everywhere = {SERVER, OWN, OTHER}
        self._answers: dict[tuple[str, str, str], tuple[set[str], Answer]] = {
            ("set", NS_SESSION, "session"): ({SERVER, OWN}, lambda s, iq, q, to: result(iq)),
            ("get", NS_PING, "ping"): ({SERVER, OWN}, lambda s, iq, q, to: result(iq)),
            ("get", NS_ROSTER, "query"): ({OWN}, lambda s, iq, q, to: rosters.get(s, iq, q)),
            ("set", NS_ROSTER, "query"): ({OWN}, lambda s, iq, q, to: rosters.set(s, iq, q)),
            ("get", NS_DISCO_ABOUT, "query"): (everywhere, self._about),
            ("get", NS_DISCO_ITEMS, "query"): (everywhere, self._items),
            ("get", NS_VCARD, "vCard"): ({OWN, OTHER}, self._getVCard),
            ("set", NS_VCARD, "vCard"): ({OWN}, self._setVCard),
            ("get", NS_PRIVATE, "query"): ({OWN}, self._getPrivate),
            ("set", NS_PRIVATE, "query"): ({OWN}, self._setPrivate),
            ("get", NS_IQ_REGISTER, "query"): ({SERVER, OWN}, self._getRegistration),
            ("set", NS_IQ_REGISTER, "query"): ({SERVER, OWN}, self._setRegistration),
        }

    def answer(self, session: ClientSession, iq: Element, to: JID | None) -> Element | None:
        """
        Answer a bound session's request to the server, its own account, or another's.
        """
        if to is None or (to.user is not None and to.userhost() == session.bare):
            whose = OWN
        else:
            whose = OTHER if to.user is not None else SERVER
        query = payload(iq)
        if query is None:
            raise StanzaError("service-unavailable")
        places, method = self._answers.get((iq["type"], query.uri, query.name), (set(), None))
        if method is None or whose not in places or (to is not None and to.resource):
            raise StanzaError("service-unavailable")
        return method(session, iq, query, to)

    def answerUnbound(self, session: ClientSession, iq: Element) -> Element:
        """
        Answer a session that has no resource: to log in, to register, to bind.
        """
        query = payload(iq)
        name = (query.uri, query.name) if query is not None else None
        kind = iq.getAttribute("type")
        if query is not None and kind in ("get", "set"):
            if name == (NS_BIND, "bind") and kind == "set" and session.name is not None:
                return self._bind(session, iq, query)
            if session.name is None and name == (NS_IQ_REGISTER, "query"):
                return self._register(session, iq, query)
            if session.name is None and name == (NS_IQ_AUTH, "query"):
                return self._logIn(session, iq, query)
        raise StanzaError("not-authorized")

    def _bind(self, session: ClientSession, iq: Element, query: Element) -> Element:
        answer = result(iq)
        self._take(session, str(query.resource or "") or secrets.token_hex(8))
        bound = build(NS_BIND, "bind")
        bound.addElement("jid", content=session.jid)
        answer.addChild(bound)
        return answer

    def _take(self, session: ClientSession, wanted: str) -> None:
        """
        Bind a resource; who had it before loses it (RFC 6120 section 7.7.2.2).
        """
        try:
            resource = resourceprep.prepare(wanted)
        except UnicodeError:
            raise StanzaError("bad-request") from None
        if not 0 < len(resource.encode()) <= MAX_RESOURCE_BYTES:
            raise StanzaError("bad-request")
        sessions = self._server.sessions
        old = sessions.bound.get(session.name or "", {}).get(resource)
        if old is not None:
            self._server.end(old, "conflict")
        if len(sessions.of(session.name)) >= self._server.settings.resources:
            raise StanzaError("resource-constraint")
        sessions.bind(session, resource)

    def _about(
        self, session: ClientSession, iq: Element, query: Element, to: JID | None
    ) -> Element:
        answer = build(NS_DISCO_ABOUT, "query", node=query.getAttribute("node"))
        self._refuseNode(session, query, to)
        onServer = to is not None and to.user is None
        category, type = ("server", "im") if onServer else ("account", "registered")
        identity = answer.addElement("identity")
        identity["category"], identity["type"] = category, type
        features: tuple[str, ...] = FEATURES
        if onServer and self._server.configuration.register:
            features = (*FEATURES, NS_IQ_REGISTER)
        for feature in features:
            answer.addElement("feature")["var"] = feature
        return result(iq, answer)

    def _items(
        self, session: ClientSession, iq: Element, query: Element, to: JID | None
    ) -> Element:
        self._refuseNode(session, query, to)
        answer = build(NS_DISCO_ITEMS, "query")
        if to is not None and to.user is not None:
            for other in self._server.sessions.available(to.user):
                answer.addElement("item")["jid"] = other.jid
        return result(iq, answer)

    def _refuseNode(self, session: ClientSession, query: Element, to: JID | None) -> None:
        """
        There are no nodes, and an account is shown to its subscribers only.
        """
        if query.getAttribute("node"):
            raise StanzaError("item-not-found")
        if to is None or to.user in (None, session.name):
            return
        item = self._store.contact(to.user, session.bare)
        if item is None or not item.subscriptionFrom:
            raise StanzaError("service-unavailable")

    def _getVCard(
        self, session: ClientSession, iq: Element, query: Element, to: JID | None
    ) -> Element:
        owner = (session.name if to is None else to.user) or ""
        card = self._store.vCard(owner)
        if card is None and owner != session.name:
            raise StanzaError("item-not-found")
        return result(iq, build(NS_VCARD, "vCard") if card is None else card)

    def _setVCard(
        self, session: ClientSession, iq: Element, query: Element, to: JID | None
    ) -> Element:
        self._refuseAnonymous(session)
        try:
            self._store.putVCard(session.name or "", query)
        except Full:
            raise StanzaError("resource-constraint") from None
        return result(iq)

    def _getPrivate(
        self, session: ClientSession, iq: Element, query: Element, to: JID | None
    ) -> Element:
        wanted = _onlyChild(query)
        kept = self._store.private(session.name or "", wanted.uri, wanted.name)
        answer = build(NS_PRIVATE, "query")
        answer.addChild(build(wanted.uri, wanted.name) if kept is None else kept)
        return result(iq, answer)

    def _setPrivate(
        self, session: ClientSession, iq: Element, query: Element, to: JID | None
    ) -> Element:
        self._refuseAnonymous(session)
        try:
            self._store.putPrivate(session.name or "", _onlyChild(query))
        except Full:
            raise StanzaError("resource-constraint") from None
        return result(iq)

    def _getRegistration(
        self, session: ClientSession, iq: Element, query: Element, to: JID | None
    ) -> Element:
        self._refuseRegistration()
        self._refuseAnonymous(session)
        answer = build(NS_IQ_REGISTER, "query")
        answer.addElement("registered")
        answer.addElement("username", content=session.name)
        return result(iq, answer)

    def _setRegistration(
        self, session: ClientSession, iq: Element, query: Element, to: JID | None
    ) -> Element | None:
        """
        A user who is logged in changes the password, or leaves for good.
        """
        self._refuseRegistration()
        self._refuseAnonymous(session)
        answer = result(iq)
        if query.remove is not None:
            # Answered first: the session ends with the account.
            self._server.send(session, answer)
            self._server.removeAccount(session.name or "")
            return None
        if str(query.username or "") != session.name:
            raise StanzaError("bad-request")
        self._setPassword(session.name, str(query.password or ""))
        return answer

    def _register(self, session: ClientSession, iq: Element, query: Element) -> Element:
        """
        In-band registration before login (XEP-0077).
        """
        self._refuseRegistration()
        if iq["type"] == "get":
            answer = build(NS_IQ_REGISTER, "query")
            answer.addElement("instructions", content="Choose a user name and a password.")
            answer.addElement("username")
            answer.addElement("password")
            return result(iq, answer)
        try:
            name = prepared(str(query.username or ""))
        except SASLFailure:
            raise StanzaError("not-acceptable") from None
        if self._store.hasAccount(name):
            raise StanzaError("conflict")
        self._setPassword(name, str(query.password or ""))
        return result(iq)

    def _setPassword(self, name: str, password: str) -> None:
        try:
            self._store.setAccount(name, password)
        except PasswordUnusable:
            raise StanzaError("not-acceptable") from None
        except Full:
            raise StanzaError("resource-constraint") from None

    def _logIn(self, session: ClientSession, iq: Element, query: Element) -> Element:
        """
        Login of old (XEP-0078); without digests, for which a password would have to be
        kept.
        """
        if not self._server.configuration.auth:
            raise StanzaError("service-unavailable")
        if iq["type"] == "get":
            answer = build(NS_IQ_AUTH, "query")
            for field in ("username", "password", "resource"):
                answer.addElement(field)
            return result(iq, answer)
        resource = str(query.resource or "")
        if not resource or query.username is None or query.password is None:
            raise StanzaError("not-acceptable")
        answer = result(iq)
        try:
            name = prepared(str(query.username))
        except SASLFailure:
            name = ""
        if not self._store.verify(name, str(query.password)):
            session.failures += 1
            raise StanzaError("not-authorized")
        session.name = name
        try:
            self._take(session, resource)
        except StanzaError:
            session.name = None
            raise
        return answer

    def _refuseRegistration(self) -> None:
        if not self._server.configuration.register:
            raise StanzaError("service-unavailable")

    def _refuseAnonymous(self, session: ClientSession) -> None:
        if session.anonymous:
            raise StanzaError("not-allowed")


def _onlyChild(query: Element) -> Element:
    children: list[Element] = list(query.elements())
    if len(children) != 1 or not children[0].uri or children[0].uri == query.uri:
        raise StanzaError("bad-request")
    return children[0]
