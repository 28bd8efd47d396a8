# Copyright the cmanager authors.
# See LICENSE for details.

"""
The unlucky client of L{tests.test_bosh_schedules} on HTTP connections: over all that there is
from a listener's path to the stream, in memory.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.task import Clock

from cmanager.body import NS_BODY, NS_XBOSH, Body, writeBody
from cmanager.limits import AddressLimits
from cmanager.settings import BOSHSettings, LimitSettings, ListenerSettings
from cmanager.stanza import Stanza
from cmanager.terms import Rules
from cmanager.window import Ending
from tests import test_bosh_schedules
from tests.bosh import Connection, post
from tests.suite import Hub, Origin
from tests.test_bosh_schedules import ERROR, Play, numberOf

EMPTY = writeBody()
PLAYS = 300
FEWER = 100


class PlaySession:
    """
    The session of a play: notes what comes, and lets the server say something now and then.
    """

    def __init__(self, play: WebPlay, stream: Any) -> None:
        self.play = play
        self.stream = stream
        self.isOver = False

    def streamOpened(self, tag: Any) -> None:
        """
        It is there.
        """

    def stanzaReceived(self, stanza: Stanza) -> None:
        """
        Note it.
        """
        play = self.play
        play.gotUp.append(numberOf(stanza))
        if play.random.random() < 0.3:
            play.sendDown()

    def streamClosed(self) -> None:
        """
        The client leaves.
        """
        self.stream.close()

    def idle(self, kind: str) -> None:
        """
        It takes its time.
        """

    def transportLost(self, reason: object) -> None:
        """
        That was all.
        """
        assert not self.isOver, "once"
        self.isOver = True
        self.play.returned += map(numberOf, self.stream.takeUndelivered())


class PlayHub(Hub):
    """
    What a stream asks of the router.
    """

    def __init__(self, play: WebPlay, clock: Clock) -> None:
        super().__init__(clock, None)  # type: ignore[arg-type]  # nobody comes in TLS
        many = 1 << 30
        settings = LimitSettings(bytesPerSecond=many, bytesBurst=many, connectionBurst=many)
        self.limits = AddressLimits(settings, clock.seconds)
        self.bosh.settings = BOSHSettings(wait=60, hold=3, polling=0)
        self._play = play

    def openSession(self, stream: Any) -> Any:
        """
        Make the session.
        """
        return PlaySession(self._play, stream)


class WebPlay(Play):
    """
    A play whose requests are HTTP's.

    A connection serves one request after the other, but none before the client has the
    response.  Requests come in pieces, and are cut off in them; of some responses the
    kernel does not take all.

    @ivar returned: What came back at the end.
    """

    returned: list[int]

    def prepare(self, rules: Rules, first: Body) -> None:
        """
        See L{Play}.
        """
        # Chance that is none of the play's own, so that it stays the same with another network.
        self.network = random.Random(self.seed)
        self.returned = []
        self.stream: Any = None
        self.clock = Clock()
        self.hub = PlayHub(self, self.clock)
        listener = ListenerSettings("http", "tcp:0")
        self.origin = Origin(self.clock, listener, self.hub)
        self.busy: dict[int, Connection] = {}
        self.free: list[Connection] = []
        self.slow: set[int] = set()
        self.isWell = False

    @property
    def ending(self) -> Ending | None:
        """
        See L{Play}.
        """
        return None if self.stream is None else self.window.ending

    @property
    def isOver(self) -> bool:
        """
        There is no stream any more.
        """
        return self.stream is not None and self.stream.session is None

    # From the client

    def text(self, body: Body) -> bytes:
        """
        Return what is sent.
        """
        attributes = {
            "rid": body.rid,
            "sid": None if self.stream is None else self.stream.sid,
            "ver": None if body.ver is None else f"{body.ver[0]}.{body.ver[1]}",
            "hold": body.hold,
            "ack": body.ack,
            "key": body.key,
            "newkey": body.newkey,
            "pause": body.pause,
            "type": "terminate" if body.isTerminate else None,
        }
        text = "".join(f" {k}='{v}'" for k, v in attributes.items() if v is not None)
        inside = b"".join(child.data for child in body.children)
        tag = f"<body xmlns='{NS_BODY}' xmlns:xmpp='{NS_XBOSH}'{text}>".encode()
        return post(tag + inside + b"</body>")

    def arrive(self, index: int) -> None:
        """
        See L{Play}.
        """
        if self.ending is not None and self.up[index][1].rid not in self.unanswered:
            # Its response is not kept any more.
            self.up.pop(index)
            return
        super().arrive(index)

    def request(self, token: int, body: Body) -> None:
        """
        See L{Play}.
        """
        connection = self.connect()
        self.busy[token] = connection
        if self.stream is not None and not self.isWell and self.network.random() < 0.2:
            connection.fill()
            self.slow.add(token)
        data = self.text(body)
        cut = self.network.randrange(len(data) + 1)
        connection.receive(data[:cut])
        connection.receive(data[cut:])
        if self.stream is None:
            (self.stream,) = self.hub.bosh._streams.values()
            self.window = self.stream._window
        self.flush()

    def connect(self) -> Connection:
        """
        Return a connection for a request.
        """
        if self.free and self.network.random() < 0.7:
            return self.free.pop(self.network.randrange(len(self.free)))
        return Connection(self.origin)

    def cutRequest(self) -> None:
        """
        A request is lost on its way: some of it has arrived.
        """
        if self.up:
            _, body = self.up.pop(self.random.randrange(len(self.up)))
            data = self.text(body)
            connection = self.connect()
            connection.receive(data[: self.network.randrange(len(data))])
            connection.lose()
            self.flush()

    def lose(self, token: int) -> bool:
        """
        See L{Play}.
        """
        connection = self.busy.pop(token)
        isKnown = not self.isOver and (token in self.slow or token not in self.answered)
        self.slow.discard(token)
        connection.lose()
        self.flush()
        return isKnown

    def receive(self, index: int) -> None:
        """
        See L{Play}.
        """
        token, data = self.down[index]
        rid = self.here[token]
        if self.isOver and b'"item-not-found"' in data:
            # It has come too late: had there been something in its response it had not.
            others = set(self.here.values()) - {rid}
            if rid in self.responses:
                self.down[index] = token, self.responses[rid]
            elif self.ending is Ending.CLOSED and any(
                other > rid for other in others.union(self.responses)
            ):
                self.down[index] = token, EMPTY
        super().receive(index)
        self.free.append(self.busy.pop(token))

    # The other side

    def process(self) -> None:
        """
        See L{Play}.
        """
        if self.isPaused:
            self.stream.pauseReading()
        else:
            self.stream.resumeReading()
        self.flush()

    def flush(self) -> None:
        """
        Let the turn end, and see what is written.
        """
        self.clock.advance(0)
        for token in list(self.busy):
            for got in self.busy[token].take():
                if token in self.slow:
                    self.slow.remove(token)
                    self.busy[token].drain()
                self.write(token, got.status, got.data)
                if token not in self.here:
                    self.free.append(self.busy.pop(token))
        if self.stream is not None:
            self.handed = self.window._arrivals.last

    def wait(self) -> None:
        """
        Time passes.
        """
        for _ in range(self.random.choice((0, 1, 5, 20))):
            self.clock.advance(1)
            self.hub.wheel.tick()
        self.now = self.clock.seconds()
        self.drain()

    def drain(self) -> None:
        """
        Let kernels take what they have not.
        """
        for token in sorted(self.slow):
            self.busy[token].drain()
        self.slow.clear()
        self.flush()

    def run(self) -> None:
        """
        See L{Play}.
        """
        super().run()
        self.isWell = True
        self.drain()

    def deliver(self, stanza: Stanza) -> None:
        """
        See L{Play}.
        """
        assert self.stream.deliver(stanza), "there is room"

    def close(self) -> None:
        """
        See L{Play}.
        """
        self.stream.close(ERROR)
        self.flush()

    def undelivered(self) -> list[int]:
        """
        See L{Play}.
        """
        returned, self.returned = self.returned, []
        return returned + [numberOf(stanza) for stanza in self.stream.takeUndelivered()]


class ConnectionTests(test_bosh_schedules.ScheduleTests):
    """
    The same on HTTP connections.
    """

    makePlay = WebPlay
    schedules = PLAYS
    fewer = FEWER
