# Copyright the cmanager authors.
# See LICENSE for details.

"""
Who is there: the sessions that managers have announced, and whose they are.  Knows
no link and no stanza.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from twisted.words.protocols.jabber.jid import JID

from cmanager.server.elements import Element

if TYPE_CHECKING:
    from cmanager.server.clienttls import ClientTLS
    from cmanager.server.sasl import Exchange


class ClientSession:
    """
    One client of one manager's.

    @ivar id: The stream ID, which the manager has drawn.
    @ivar manager: The manager's name.
    @ivar peer: The client's IP address, as far as the manager has told it.
    @ivar tls: The client's TLS, if the manager has described it.
    @ivar to: The domain the client has asked for, and C{lang} the language of its
        stream, if the manager has told them.
    @ivar name: The account, once logged in.
    @ivar anonymous: There is no account behind C{name}.
    @ivar resource: The resource, once bound.
    @ivar presence: The last presence that was broadcast; L{None}: unavailable.
    @ivar priority: Of that presence.
    @ivar interested: Has asked for the roster, and is told of changes.
    @ivar directed: Who has been sent presence directly.
    @ivar exchange: The login that is under way.
    @ivar failures: Logins that have failed.
    """

    __slots__ = (
        "_domain",
        "anonymous",
        "directed",
        "exchange",
        "failures",
        "id",
        "interested",
        "lang",
        "manager",
        "name",
        "peer",
        "presence",
        "priority",
        "resource",
        "tls",
        "to",
    )

    def __init__(self, id: str, manager: str, domain: str, peer: str = "") -> None:
        self.id = id
        self.manager = manager
        self.peer = peer
        self.tls: ClientTLS | None = None
        self.to: str | None = None
        self.lang: str | None = None
        self.name: str | None = None
        self.anonymous = False
        self.resource: str | None = None
        self.presence: Element | None = None
        self.priority = 0
        self.interested = False
        self.directed: set[str] = set()
        self.exchange: Exchange | None = None
        self.failures = 0
        self._domain = domain

    @property
    def bare(self) -> str:
        """
        The account's address.
        """
        return f"{self.name}@{self._domain}"

    @property
    def hasBegun(self) -> bool:
        """
        The client has begun to log in.
        """
        return self.exchange is not None or self.name is not None or self.failures > 0

    @property
    def jid(self) -> str:
        """
        The session's address: the stream ID stands in for a resource at first.
        """
        if self.resource is None:
            return f"{self._domain}/{self.id}"
        return f"{self.bare}/{self.resource}"


class Sessions:
    """
    All sessions, by stream ID and by account.

    @ivar bound: Those that have a resource, by account and resource.
    """

    def __init__(self) -> None:
        self._all: dict[tuple[str, str], ClientSession] = {}
        self.bound: dict[str, dict[str, ClientSession]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[ClientSession]:
        return iter(list(self._all.values()))

    def get(self, manager: str, id: str) -> ClientSession | None:
        """
        Find the session of a stream ID.
        """
        return self._all.get((manager, id))

    def add(self, session: ClientSession) -> None:
        """
        Take in a session whose stream ID is not in use.
        """
        self._all[session.manager, session.id] = session

    def remove(self, session: ClientSession) -> None:
        """
        Forget a session.
        """
        del self._all[session.manager, session.id]
        self.unbind(session)

    def ofManager(self, manager: str) -> list[ClientSession]:
        """
        Return the sessions that came by that manager.
        """
        return [session for session in self if session.manager == manager]

    def bind(self, session: ClientSession, resource: str) -> None:
        """
        Give a session that has logged in a resource that is free.
        """
        assert session.name is not None
        session.resource = resource
        self.bound.setdefault(session.name, {})[resource] = session

    def unbind(self, session: ClientSession) -> None:
        """
        Take the resource away, if there is one.
        """
        if session.name is None or session.resource is None:
            return
        resources = self.bound[session.name]
        del resources[session.resource]
        if not resources:
            del self.bound[session.name]

    def of(self, name: str | None) -> list[ClientSession]:
        """
        Return the bound sessions of an account.
        """
        return list(self.bound.get(name or "", {}).values())

    def available(self, name: str | None) -> list[ClientSession]:
        """
        Return those that have sent presence, highest priority first.
        """
        present = [session for session in self.of(name) if session.presence is not None]
        return sorted(present, key=lambda session: -session.priority)

    def find(self, jid: JID) -> ClientSession | None:
        """
        Return the session bound to a full address of this domain.
        """
        return self.bound.get(jid.user or "", {}).get(jid.resource or "")
