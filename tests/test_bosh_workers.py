# Copyright the cmanager authors.
# See LICENSE for details.

"""
Clients by BOSH whose connections come to either of two workers, whichever has their session:
all that is tested with one, and the unlucky client of L{tests.test_bosh_schedules}.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import evolve

from cmanager.body import Body
from cmanager.directory import Directory
from cmanager.terms import Rules
from tests import test_bosh, test_bosh_connections, test_httpbind
from tests.bosh import Connection, post
from tests.test_bosh_connections import PlayHub, WebPlay
from tests.test_outbox import message
from tests.workers import Crew, SecureSpreadWay, SpreadWay, spread

PLAYS = 600
FEWER = 300

NUMBER = re.compile(rb' id="(\d+)"')


class WorkersPlay(WebPlay):
    """
    A play with two workers.  The session is with the first, and about half of the connections.
    """

    def prepare(self, rules: Rules, first: Body) -> None:
        """
        See L{WebPlay}.
        """
        super().prepare(rules, first)
        other = PlayHub(self, self.clock)
        other.wheel = self.hub.wheel
        self.hubs = [self.hub, other]
        for slot, hub in enumerate(self.hubs):
            hub.bosh = Directory(hub.bosh.settings, slot)
        self.origins = [self.origin, evolve(self.origin, hub=other)]
        self.crew = Crew(self.hubs, self.clock, self.seed)
        self.elsewhere: set[Connection] = set()

    def connect(self) -> Connection:
        """
        See L{WebPlay}.
        """
        if self.stream is None:
            return super().connect()
        if self.free and self.network.random() < 0.4:
            return self.free.pop(self.network.randrange(len(self.free)))
        origin = self.network.choice(self.origins)
        connection = Connection(origin)
        if origin is not self.origin:
            self.elsewhere.add(connection)
        return connection

    def wait(self) -> None:
        """
        See L{WebPlay}.
        """
        if self.network.random() < 0.3:
            self.die()
        super().wait()

    def die(self) -> None:
        """
        The other worker is killed, with all its connections, and there is a next one.
        """
        self.crew.kill(1)
        dead = {token for token, connection in self.busy.items() if connection in self.elsewhere}
        for token, data in [entry for entry in self.down if entry[0] in dead]:
            self.down.remove((token, data))
            if self.isOver or not (token in self.slow or token not in self.answered):
                self.cut |= set(map(int, NUMBER.findall(data)))
        for token in dead:
            del self.busy[token]
            self.here.pop(token, None)
        self.slow -= dead
        self.free = [one for one in self.free if one not in self.elsewhere]
        self.elsewhere.clear()
        self.flush()

    def flush(self) -> None:
        """
        See L{WebPlay}.
        """
        for _ in range(2):
            self.crew.flush()
            super().flush()


class WorkersTests(test_bosh_connections.ConnectionTests):
    """
    The same with two workers.
    """

    makePlay = WorkersPlay
    schedules = PLAYS
    fewer = FEWER


# What is tested on HTTP connections.


class SpreadCase(test_httpbind.PlaceCase):
    """
    The first of all connections comes to the worker that is tested, the others to the other.
    """

    def setUp(self) -> None:
        super().setUp()
        self.crew = spread(self.hub, self.clock)
        self.hasBegun = False

    def connect(self, peer: Any = "192.0.2.1", *, isEncrypted: bool = False) -> Connection:
        """
        See L{test_httpbind.PlaceCase}.
        """
        first, self.hub = self.hub, self.hub.deputy if self.hasBegun else self.hub
        self.hasBegun = True
        try:
            return super().connect(peer, isEncrypted=isEncrypted)
        finally:
            self.hub = first


class AnswerTests(SpreadCase, test_httpbind.AnswerTests):
    """
    How requests are answered.
    """


class OriginTests(SpreadCase, test_httpbind.OriginTests):
    """
    Web pages of other origins.
    """


class RefusalTests(SpreadCase, test_httpbind.RefusalTests):
    """
    Requests that are for nothing.
    """


class SessionTests(SpreadCase, test_httpbind.SessionTests):
    """
    Requests find their session.
    """


class ConnectionTests(SpreadCase, test_httpbind.ConnectionTests):
    """
    Connections that come and go.
    """


class SizeTests(SpreadCase, test_httpbind.SizeTests):
    """
    How much a request may bring.
    """


class DeathTests(SpreadCase):
    """
    A worker dies.
    """

    def test_owner(self) -> None:
        """
        The one with the session: requests that wait elsewhere are told that there is none any
        more, and so are those that come later.
        """
        stream = self.begin()
        waiting, never = self.connect(), self.connect()
        self.ask(post(self.body(rid="2", sid=stream.sid)), waiting)
        self.assertEqual(waiting.take(), [])
        self.crew.die(0)
        (got,) = waiting.take()
        self.assertEnded(got, "item-not-found")
        self.assertEnded(
            self.ask(post(self.body(rid="3", sid=stream.sid)), never), "item-not-found"
        )

    def test_other(self) -> None:
        """
        The one that the connection has come to: the session goes on, and nothing that the
        client has not got is lost.
        """
        stream = self.begin()
        request = post(self.body(message(1).data, rid="2", sid=stream.sid))
        self.ask(request)
        for wire in self.crew.wires:
            wire.asking.isLost = True
        self.crew.flush()
        stream.deliver(message(2))
        self.clock.advance(0)
        got = self.ask(request)
        assert got is not None
        self.assertIn(message(2).attributes["id"].encode(), got.data)
        self.assertEqual(self.hub.sessions[0].stanzas(), ["1"])


# What is tested of all streams.


class StreamCase(test_bosh.BOSHCase):
    """
    A stream, and a second worker.
    """

    makeWay = SpreadWay

    def connect(self, peer: Any = None, **settings: Any) -> None:
        """
        See L{test_bosh.BOSHCase}.
        """
        if not hasattr(self.hub, "deputy"):
            spread(self.hub, self.clock)
        super().connect(peer, **settings)

    def arrive(self, *reads: bytes) -> None:
        """
        See L{test_bosh.BOSHCase}.
        """
        for data in reads:
            super().arrive(data)
            self.hub.crew.flush()


class ReadTests(StreamCase, test_bosh.ReadTests):
    """
    What is in requests.
    """


class SecureReadTests(ReadTests):
    """
    In TLS.
    """

    makeWay = SecureSpreadWay


class PauseTests(StreamCase, test_bosh.PauseTests):
    """
    Requests wait.
    """


class WriteTests(StreamCase, test_bosh.WriteTests):
    """
    What goes to the client.
    """


class EndTests(StreamCase, test_bosh.EndTests):
    """
    The one way a stream ends.
    """


class LoginTests(StreamCase, test_bosh.LoginTests):
    """
    The time for the login.
    """
