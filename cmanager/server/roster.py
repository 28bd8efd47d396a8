# Copyright the cmanager authors.
# See LICENSE for details.

"""
Rosters and subscriptions (RFC 6121 sections 2 and 3).  Both sides of a subscription
are accounts of ours: what one side does takes effect on the other at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.words.protocols.jabber.jid import JID
from wokkel.xmppim import NS_ROSTER, RosterItem

from cmanager.server.accounts import Full
from cmanager.server.elements import Element, StanzaError, address, build, result
from cmanager.server.sessions import ClientSession

if TYPE_CHECKING:
    from cmanager.server.service import Server

MAX_LABEL_BYTES = 1023
MAX_GROUPS = 50


class Rosters:
    """
    What accounts know of each other.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._store = server.store
        self._pushes = 0
        self._steps = {
            "subscribe": self._subscribe,
            "subscribed": self._subscribed,
            "unsubscribe": self._unsubscribe,
            "unsubscribed": self._unsubscribed,
        }

    def get(self, session: ClientSession, iq: Element, query: Element) -> Element:
        """
        Answer with the roster, or with nothing where the client has it already.
        """
        session.interested = True
        owner = session.name or ""
        version = self._store.version(owner)
        if query.getAttribute("ver") == version:
            return result(iq)
        versioned = query.hasAttribute("ver")
        roster = build(NS_ROSTER, "query", ver=version if versioned else None)
        for item in self._store.contacts(owner):
            roster.addChild(_rendered(item))
        return result(iq, roster)

    def set(self, session: ClientSession, iq: Element, query: Element) -> Element:
        """
        Add, change or remove one entry.
        """
        owner, new = session.name or "", _requested(query)
        if session.anonymous:
            raise StanzaError("not-allowed")
        known = self._store.contact(owner, new.entity.full())
        if new.remove:
            if known is None:
                raise StanzaError("item-not-found")
            self.remove(owner, known)
            return result(iq)
        item = known or RosterItem(new.entity)
        item.name, item.groups = new.name, new.groups
        self._put(owner, item)
        return result(iq)

    def remove(self, owner: str, item: RosterItem) -> None:
        """
        Take an entry off, and end the subscriptions it stands for.
        """
        bare, contact = self._bare(owner), item.entity
        other = contact.user if self._isOurs(contact) else None
        self._store.dropRequest(owner, contact.full())
        self._store.dropContact(owner, contact.full())
        if item.subscriptionTo or item.pendingOut:
            self._withdrawn(other, bare, _presence("unsubscribe", bare, contact.full()))
        if item.subscriptionFrom:
            self._server.presences.withdraw(owner, other)
            self._denied(other, bare, _presence("unsubscribed", bare, contact.full()))
        gone = RosterItem(contact)
        gone.remove = True
        self._push(owner, gone)

    def subscription(self, session: ClientSession, stanza: Element, contact: JID) -> None:
        """
        A presence stanza of a subscription type.
        """
        if session.anonymous:
            raise StanzaError("not-allowed")
        bare = address(contact.userhost())
        if contact.user is None or contact.user == session.name:
            return
        stanza["from"], stanza["to"] = session.bare, bare.full()
        self._steps[stanza["type"]](session.name or "", bare, stanza)

    def _subscribe(self, owner: str, contact: JID, stanza: Element) -> None:
        item = self._store.contact(owner, contact.full()) or RosterItem(contact)
        if not item.subscriptionTo and not item.pendingOut:
            item.pendingOut = True
            self._put(owner, item)
        bare, other = self._bare(owner), contact.user or ""
        theirs = self._store.contact(other, bare)
        if theirs is not None and theirs.subscriptionFrom:
            self._granted(owner, _presence("subscribed", contact.full(), bare))
        elif self._store.hasAccount(other) and self._store.putRequest(other, bare, stanza):
            for session in self._server.sessions.available(other):
                self._server.send(session, stanza)

    def _subscribed(self, owner: str, contact: JID, stanza: Element) -> None:
        if not self._store.dropRequest(owner, contact.full()):
            return
        item = self._store.contact(owner, contact.full()) or RosterItem(contact)
        item.subscriptionFrom = True
        self._put(owner, item)
        self._granted(contact.user, stanza)
        self._server.presences.introduce(owner, contact.user)

    def _granted(self, name: str | None, stanza: Element) -> None:
        """
        C{subscribed} comes in for C{name}.
        """
        item = self._store.contact(name or "", stanza["from"])
        if item is None or not item.pendingOut:
            return
        item.pendingOut, item.subscriptionTo = False, True
        self._tell(name, stanza)
        self._put(name or "", item)

    def _unsubscribe(self, owner: str, contact: JID, stanza: Element) -> None:
        item = self._store.contact(owner, contact.full())
        if item is not None and (item.subscriptionTo or item.pendingOut):
            item.subscriptionTo = item.pendingOut = False
            self._put(owner, item)
        self._withdrawn(contact.user, self._bare(owner), stanza)

    def _withdrawn(self, name: str | None, subscriber: str, stanza: Element) -> None:
        """
        C{unsubscribe} comes in for C{name}.
        """
        waited = self._store.dropRequest(name or "", subscriber)
        item = self._store.contact(name or "", subscriber)
        if item is not None and item.subscriptionFrom:
            item.subscriptionFrom = False
            self._tell(name, stanza)
            self._put(name or "", item)
            self._server.presences.withdraw(name or "", address(subscriber).user)
        elif waited:
            self._tell(name, stanza)

    def _unsubscribed(self, owner: str, contact: JID, stanza: Element) -> None:
        waited = self._store.dropRequest(owner, contact.full())
        item = self._store.contact(owner, contact.full())
        if item is not None and item.subscriptionFrom:
            item.subscriptionFrom = False
            self._put(owner, item)
            self._server.presences.withdraw(owner, contact.user)
        elif not waited:
            return
        self._denied(contact.user, self._bare(owner), stanza)

    def _denied(self, name: str | None, contact: str, stanza: Element) -> None:
        """
        C{unsubscribed} comes in for C{name}.
        """
        item = self._store.contact(name or "", contact)
        if item is None or not (item.subscriptionTo or item.pendingOut):
            return
        item.subscriptionTo = item.pendingOut = False
        self._tell(name, stanza)
        self._put(name or "", item)

    def _tell(self, name: str | None, stanza: Element) -> None:
        for session in self._server.sessions.of(name):
            if session.interested:
                self._server.send(session, stanza)

    def _put(self, owner: str, item: RosterItem) -> None:
        try:
            self._store.putContact(owner, item)
        except Full:
            raise StanzaError("resource-constraint") from None
        self._push(owner, item)

    def _push(self, owner: str, item: RosterItem) -> None:
        """
        Tell every interested resource of a change (RFC 6121 section 2.1.6).
        """
        query = build(NS_ROSTER, "query", ver=self._store.version(owner))
        query.addChild(_rendered(item))
        self._pushes += 1
        iq = build(None, "iq", type="set", id=f"push{self._pushes}")
        iq.addChild(query)
        for session in self._server.sessions.of(owner):
            if session.interested:
                self._server.send(session, iq, session.jid)

    def _bare(self, name: str) -> str:
        return f"{name}@{self._server.domain}"

    def _isOurs(self, contact: JID) -> bool:
        return bool(contact.host == self._server.domain)


def _presence(type: str, sender: str, receiver: str) -> Element:
    return build(None, "presence", type=type, from_=sender, to=receiver)


def _rendered(item: RosterItem) -> Element:
    element: Element = item.toElement()
    # wokkel leaves it out; clients read it more surely where it is said.
    if not element.hasAttribute("subscription"):
        element["subscription"] = "none"
    return element


def _requested(query: Element) -> RosterItem:
    items = list(query.elements(NS_ROSTER, "item"))
    if len(items) != 1 or not items[0].hasAttribute("jid"):
        raise StanzaError("bad-request")
    jid = address(items[0]["jid"])
    item = RosterItem.fromElement(items[0])
    item.entity = address(jid.userhost())
    labels = [item.name, *item.groups]
    if len(item.groups) > MAX_GROUPS or any(len(l.encode()) > MAX_LABEL_BYTES for l in labels):
        raise StanzaError("not-acceptable")
    if "" in item.groups:
        raise StanzaError("not-acceptable")
    return item
