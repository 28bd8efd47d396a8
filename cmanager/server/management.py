# Copyright the cmanager authors.
# See LICENSE for details.

"""
What managers ask: sessions begun and ended, messages returned, stanzas routed; and
which link of a manager to use.  Knows the elements, but not how a link reads them.

All links of a manager count from their stream header on, before the handshake, as
they do on the real server: that is why a front must take routes at any time.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.words.protocols.jabber.xmlstream import toResponse

from cmanager.server.clienttls import NS_CLIENT_TLS, parse
from cmanager.server.configuration import NS_CLIENT_STREAM
from cmanager.server.elements import CONTENT, Element, StanzaError, build, freed, payload, result
from cmanager.server.sessions import ClientSession
from cmanager.stanza import NS_MULTIPLEX, NS_MULTIPLEX_ERRORS, escapeAttribute

if TYPE_CHECKING:
    from cmanager.server.multiplexer import Link
    from cmanager.server.service import Server

_LEAST_INT = -(1 << 31)


class LinkFatal(Exception):
    """
    A manager has sent what makes the real server drop the link (pitfall S-10).
    """


def javaHash(text: str) -> int:
    """
    Return what C{String.hashCode} returns for it.
    """
    units = text.encode("utf-16-be")
    value = 0
    for index in range(0, len(units), 2):
        value = (31 * value + int.from_bytes(units[index : index + 2], "big")) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def chosenIndex(streamID: str, links: int) -> int | None:
    """
    Return which of its manager's links carries a stream: C{abs(hash) % links}, and
    L{None} for the hash whose C{abs} is negative in Java (pitfall S-9).
    """
    value = javaHash(streamID)
    if value == _LEAST_INT and value % links:
        return None
    return abs(value) % links


class Managers:
    """
    The links there are, by manager.

    @param seed: Of the lot that picks the link of an answer.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._links: dict[str, list[Link]] = {}
        self._lot = random.Random(seed)  # noqa: S311  # which link, not a secret

    def add(self, link: Link) -> None:
        """
        A link has told its name.
        """
        self._links.setdefault(link.manager, []).append(link)

    def remove(self, link: Link) -> bool:
        """
        A link is gone.

        @return: Whether it was its manager's last.
        """
        links = self._links.get(link.manager, [])
        if link not in links:
            return False
        links.remove(link)
        if not links:
            del self._links[link.manager]
        return not links

    def links(self, manager: str | None = None) -> list[Link]:
        """
        Return the links of one manager, or of all.
        """
        if manager is not None:
            return list(self._links.get(manager, ()))
        return [link for links in self._links.values() for link in links]

    def some(self, manager: str) -> Link | None:
        """
        Return a link for an answer, by lot.
        """
        links = self._links.get(manager)
        return self._lot.choice(links) if links else None

    def chosen(self, manager: str, streamID: str) -> Link | None:
        """
        Return the link that carries a stream.
        """
        links = self._links.get(manager)
        index = chosenIndex(streamID, len(links)) if links else None
        return links[index] if links and index is not None else None


class Management:
    """
    Does what managers ask.
    """

    log = Logger()

    def __init__(self, server: Server) -> None:
        self._server = server

    def iq(self, link: Link, iq: Element) -> None:
        """
        An iq on a link.

        @raise LinkFatal: The link has to end.
        """
        kind = iq.getAttribute("type")
        if kind in ("result", "error"):
            if kind == "error":
                self.log.warn("{link} could not do what it was asked", link=link.name)
            return
        try:
            answer = self._answer(link, iq, kind)
        except StanzaError as error:
            answer = error.toResponse(iq)
        self._reply(link, answer)

    def _answer(self, link: Link, iq: Element, kind: str | None) -> Element:
        if not link.isReady:
            raise StanzaError("not-authorized")
        action = payload(iq)
        if action is None:
            raise LinkFatal("an iq without a payload")
        if kind != "set":
            raise StanzaError("bad-request")
        id = action.getAttribute("id")
        if id is None:
            raise _refusal("bad-request", "id-required")
        if id == "":
            raise LinkFatal("an empty stream ID")
        if action.name != "session":
            raise StanzaError("bad-request")
        child = action.firstChildElement()
        self._act(link, id, child)
        return result(iq, action)

    def _act(self, link: Link, id: str, child: Element | None) -> None:
        name = child.name if child is not None else None
        if child is not None and name == "create":
            self._create(link, id, child)
            return
        session = self._server.sessions.get(link.manager, id)
        if session is None:
            raise StanzaError("item-not-found")
        if name == "close":
            self._server.forget(session)
        elif child is not None and name == "failed":
            self._failed(session, list(child.elements()))
        elif child is not None and (child.uri, name) == (NS_CLIENT_TLS, "tls"):
            self._describe(session, child)
        else:
            raise StanzaError("bad-request")

    def _create(self, link: Link, id: str, create: Element) -> None:
        host = create.host
        peer = "" if host is None else host.getAttribute("address", "")
        session = ClientSession(id, link.manager, self._server.domain, peer)
        if self._server.offer is not None:
            for child in create.elements(NS_CLIENT_TLS, "tls"):
                self._describe(session, child)
            for child in create.elements(NS_CLIENT_STREAM, "stream"):
                session.to, session.lang = child.getAttribute("to"), child.getAttribute("lang")
        self._server.create(session)

    def _describe(self, session: ClientSession, tls: Element) -> None:
        offer = self._server.offer
        if offer is None:
            raise StanzaError("bad-request")
        if session.tls is not None or session.hasBegun:
            raise _refusal("bad-request", "invalid-payload")
        try:
            session.tls = parse(tls, offer.usable)
        except ValueError:
            raise _refusal("bad-request", "invalid-payload") from None

    def _failed(self, session: ClientSession, children: list[Element]) -> None:
        if len(children) != 1:
            raise _refusal("bad-request", "invalid-payload")
        if children[0].name != "message":
            raise _refusal("bad-request", "unknown-stanza")
        if children[0].uri not in CONTENT:
            # The real server stores it, and hands it out in a namespace nobody reads.
            raise LinkFatal("a returned message that is not in jabber:client")
        self._server.messages.returned(session, freed(children[0]))

    def route(self, link: Link, route: Element) -> None:
        """
        A route on a link.

        @raise LinkFatal: The link has to end.
        """
        id = route.getAttribute("streamid")
        element = route.firstChildElement()
        if not id or element is None:
            raise LinkFatal("a route without a stream ID or without an element")
        if not link.isReady:
            self._refuse(link, route, StanzaError("not-authorized"))
            return
        session = self._server.sessions.get(link.manager, id)
        if session is None:
            self._refuse(link, route, StanzaError("item-not-found"))
            return
        try:
            routable = self._server.inbound.received(session, freed(element))
        except Exception:  # noqa: BLE001  # the seam: one client's stanza must not end the link
            self.log.failure("a routed element could not be processed")
            self._refuse(link, route, StanzaError("internal-server-error"))
            return
        if not routable:
            self._refuse(link, route, _refusal("bad-request", "unknown-stanza"))

    def _refuse(self, link: Link, route: Element, error: StanzaError) -> None:
        answer = toResponse(route, "error")
        answer["streamid"] = route["streamid"]
        answer.addChild(error.getElement())
        self._reply(link, answer)

    def _reply(self, link: Link, answer: Element) -> None:
        chosen = self._server.managers.some(link.manager) or link
        chosen.write(answer.toXml())


def _refusal(condition: str, detail: str) -> StanzaError:
    return StanzaError(condition, appCondition=build(NS_MULTIPLEX_ERRORS, detail))


def routeOf(domain: str, manager: str, id: str, content: str) -> str:
    """
    Wrap what goes down to one session.
    """
    attributes = (("streamid", id), ("from", domain), ("to", manager))
    head = "".join(f' {n}="{escapeAttribute(value).decode()}"' for n, value in attributes)
    return f"<route{head}>{content}</route>"


def closeOf(domain: str, manager: str, id: str, iqID: str, error: str = "") -> str:
    """
    Ask a manager to end a session.
    """
    iq = build(None, "iq", type="set", id=iqID, from_=domain, to=manager)
    session = iq.addElement((NS_MULTIPLEX, "session"))
    session["id"] = id
    session.addElement("close")
    if error:
        session.addRawXml(error)
    xml: str = iq.toXml()
    return xml
