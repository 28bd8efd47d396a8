# Copyright the cmanager authors.
# See LICENSE for details.

"""
Doubles for what is around a session: its stream, its links, its hub.

Each writes down what it is asked to do, as lines of a conversation that
L{tests.play.Play} compares.  They keep their interfaces' contracts and object to a
session that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from cmanager.clienttls import ClientTLS
from cmanager.host import Host
from cmanager.interfaces import IClientStream, ILink, ISessionHub
from cmanager.linkevents import Configuration, TLSPolicy
from cmanager.metrics import Metrics
from cmanager.pinned import Pinned
from cmanager.settings import ClientSettings, ServerSettings
from cmanager.stanza import FOOTER, Stanza, StreamHeader
from cmanager.table import Ghost, Table

DOMAIN = "verona.example"
CONFIGURATION = Configuration(TLSPolicy.OPTIONAL, ("PLAIN", "SCRAM-SHA-1"), True, True)


@implementer(IClientStream)
class FakeClientStream:
    """
    A stream whose kernel takes everything, or with C{isBlocked} nothing.

    @ivar capacity: Stanzas that may wait while it is blocked.
    @ivar session: To be set.
    @ivar facts: What it knows of its TLS.
    """

    transportName = "fake"
    session: Any = None

    def __init__(self, log: list[str] | None = None, *, secure: bool = False) -> None:
        self.log: list[str] = [] if log is None else log
        self.secure = secure
        self.peer = "192.0.2.7"
        self.canStartTLS = True
        self.requiresTLS = False
        self.facts: ClientTLS | None = None
        self.isBlocked = False
        self.isPaused = False
        self.isClosed = False
        self.isLost = False
        self.capacity = 2
        self.pending: list[Stanza] = []
        self.onRestart: Callable[[], object] = lambda: None
        self.onResume: Callable[[], object] = lambda: None

    def _say(self, line: str) -> None:
        self.log.append(f"C{line}")

    def open(self, header: StreamHeader, features: bytes = b"") -> None:
        self._say(f"< {header.encode().decode()}")
        if features:
            self.write(features)

    def write(self, element: bytes) -> None:
        if not self.isClosed:
            self._say(f"< {element.decode()}")

    def deliver(self, stanza: Stanza) -> bool:
        if self.isClosed:
            return False
        if not self.isBlocked:
            self._say(f"< {stanza.data.decode()}")
        elif len(self.pending) < self.capacity:
            self.pending.append(stanza)
        else:
            self.session.overflowed(stanza)
            return False
        return True

    def takeUndelivered(self) -> list[Stanza]:
        taken, self.pending = self.pending, []
        return taken

    def allow(self, limit: int) -> None:
        self._say(f": allow {limit}")

    def restart(self, limit: int) -> None:
        self._say(f": restart {limit}")
        self.onRestart()

    def startTLS(self, proceed: bytes) -> None:
        self._say(f"< {proceed.decode()}")
        self._say(": startTLS")
        self.onRestart()

    def close(self, element: bytes = b"", header: StreamHeader | None = None) -> None:
        assert not self.isClosed, "closed twice"
        start = b"" if header is None else header.encode()
        self._say(f"< {(start + element + FOOTER).decode()}")
        self._say(": close")
        self.isClosed = True

    def abort(self) -> None:
        self._say(": abort")
        self.lose()

    def lose(self) -> None:
        """
        Let the transport be lost, unless it is.
        """
        if not self.isLost:
            self.isLost = self.isClosed = True
            self.session.transportLost("lost")

    def tlsFacts(self) -> ClientTLS | None:
        return self.facts if self.secure else None

    def pauseReading(self) -> None:
        if not self.isPaused:
            self.isPaused = True
            self._say(": pause")

    def resumeReading(self) -> None:
        if self.isPaused:
            self.isPaused = False
            self._say(": resume")
            self.onResume()

    def delayReading(self, seconds: float) -> None:
        self._say(f": delay {seconds:g}")


@implementer(ILink)
class FakeLink:
    """
    A ready link that objects to elements for sessions it was not told of.
    """

    def __init__(self, log: list[str] | None = None, name: str = "") -> None:
        self.log: list[str] = [] if log is None else log
        self.name = name
        self.isReady = True
        self.sessions: dict[str, object] = {}
        self.creating: set[str] = set()

    def __repr__(self) -> str:
        return f"<FakeLink {self.name}>"

    @property
    def load(self) -> int:
        return len(self.sessions)

    def _say(self, line: str) -> None:
        self.log.append(f"S{self.name}{line}")

    def _known(self, session: Pinned | Ghost) -> None:
        assert session.id in self.sessions, "not pinned to this link"

    def open(self, session: Pinned) -> None:
        assert session.id not in self.sessions, "created twice"
        self.sessions[session.id] = session
        self._say(": create")

    def isCreating(self, session: Pinned) -> bool:
        return session.id in self.creating

    def adopt(self, session: Pinned | Ghost) -> None:
        assert session.id not in self.sessions, "adopted twice"
        self.sessions[session.id] = session
        self._say(": adopt")

    def route(self, session: Pinned | Ghost, stanza: Stanza) -> None:
        self._known(session)
        self._say(f"< {stanza.data.decode()}")

    def fail(self, session: Pinned | Ghost, stanza: Stanza) -> None:
        self._known(session)
        assert stanza.name == "message"
        self._say(f": failed {stanza.data.decode()}")

    def close(self, session: Pinned | Ghost) -> None:
        self._known(session)
        del self.sessions[session.id]
        self._say(": close")

    def forget(self, session: Pinned | Ghost) -> None:
        self._known(session)
        del self.sessions[session.id]
        self._say(": forget")


class FakePool:
    """
    A pool of L{FakeLink}s.
    """

    def __init__(self, log: list[str] | None = None, links: int = 1, **settings: Any) -> None:
        self.log: list[str] = [] if log is None else log
        self.settings = ServerSettings(**{"domains": (DOMAIN,)} | settings)
        self.links = [FakeLink(self.log, "" if n == 0 else str(n + 1)) for n in range(links)]
        self.isStopped = False

    @property
    def domains(self) -> tuple[str, ...]:
        return self.settings.domains

    @property
    def isReady(self) -> bool:
        return self.pick() is not None

    def pick(self) -> FakeLink | None:
        ready = [link for link in self.links if link.isReady]
        return min(ready, key=lambda link: link.load, default=None)

    # IService, as much of it as a MultiService looks at.

    name = None
    running = 0
    parent: Any = None

    def setServiceParent(self, parent: Any) -> None:
        self.parent = parent
        parent.addService(self)

    def privilegedStartService(self) -> None:
        pass

    def startService(self) -> None:
        self.running = 1

    def stopService(self) -> None:
        self.running = 0
        self.isStopped = True
        self.log.append("P: stopped")


@implementer(ISessionHub)
class FakeHub:
    """
    A hub with one domain.  What it is asked is in C{calls}.

    @ivar delay: What a failed login costs.
    """

    def __init__(self, pool: FakePool | None = None, **settings: Any) -> None:
        self.settings = ClientSettings(**settings)
        self.metrics = Metrics()
        self.table = Table(10, "cm-manager")
        self.delay = 0.0
        self.calls: list[str] = []
        self.filters: Any = None
        self.pool = pool or FakePool()
        self.onlyHost = Host(DOMAIN)
        self.onlyHost.pools.append(self.pool)
        self.onlyHost.configured(CONFIGURATION)
        self.hosts = {DOMAIN: self.onlyHost}

    def host(self, domain: str | None) -> Host | None:
        return self.onlyHost if domain is None else self.hosts.get(domain)

    def awaitHost(self, session: Any, host: Host) -> None:
        self.calls.append("awaitHost")

    def awaitAnswer(self, session: Any) -> None:
        self.calls.append("awaitAnswer")

    def answered(self, session: Any) -> None:
        self.calls.append("answered")

    def loginFailed(self, session: Any) -> float:
        self.calls.append("loginFailed")
        return self.delay

    def loginSucceeded(self, session: Any) -> None:
        self.calls.append("loginSucceeded")

    def sessionBound(self, session: Any) -> None:
        self.calls.append("sessionBound")
        session.filters = self.filters

    def sessionClosed(self, session: Any) -> None:
        self.calls.append("sessionClosed")
        self.table.remove(session)
