# Copyright the cmanager authors.
# See LICENSE for details.

"""
An unlucky BOSH client, in thousands of schedules: whatever is repeated, doubled, cut off
or overtaken, each stanza arrives once and in order, in both directions, and none is lost
at the end.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from cmanager.body import MAX_RID, Body
from cmanager.ledger import MAX_TOKENS
from cmanager.stanza import NS_CLIENT, Stanza
from cmanager.terms import Rules, agree
from cmanager.window import REPLACED_STATUS, Ending, Window
from cmanager.window import UNACKNOWLEDGED_FACTOR as FACTOR

SCHEDULES = 10000
FEWER = 2000
STEPS = 30

ERROR = b"<stream:error/>"

_ID = re.compile(rb' id="(\d+)"')
_CONDITION = re.compile(rb' condition="([^"]*)"')
# One sequence of keys serves all.
_KEYS = ["seed"]
for _ in range(4 * STEPS):
    _KEYS.append(hashlib.sha1(_KEYS[-1].encode()).hexdigest())


def message(number: int) -> Stanza:
    """
    Return the stanza with a number.
    """
    return Stanza("message", NS_CLIENT, {}, b'<message id="%d"/>' % number)


def numberOf(stanza: Stanza) -> int:
    """
    Return the number of a stanza.
    """
    return int(_ID.findall(stanza.data)[0])


class Play:
    """
    A client, the network, and a window on the other side of it.

    The client keeps to the protocol: it has never more requests without a response than it
    may, and repeats those it has not got one for as they were.  The network does what it
    likes.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        choose = self.random.choice
        self.acknowledges = choose((True, False, False))
        self.hasKeys = choose((True, False, False))
        self.now = 0.0
        self.first = self.nextRid = choose((1, 1000, 2**53 - 1 - 4 * STEPS))
        self.tokens = 0
        # Client.
        self.unanswered: dict[int, Body] = {}
        self.responses: dict[int, bytes] = {}
        self.read = self.first - 1  # responses have been looked at up to here
        self.wasTold = False
        # Network: what is on its way, and the requests that are here.
        self.up: list[tuple[int, Body]] = []
        self.down: list[tuple[int, bytes]] = []
        self.here: dict[int, int] = {}
        # What has gone in, and come out.
        self.sentUp: list[int] = []
        self.gotUp: list[int] = []
        self.sentDown: list[int] = []
        self.gotDown: list[int] = []
        self.made: dict[int, bytes] = {}
        self.answered: set[int] = set()
        self.writes: Counter[int] = Counter()
        self.handed = self.first - 1
        self.cut: set[int] = set()  # was in responses that were lost without word of it
        self.isPaused = False
        hold = choose((0, 1, 1, 2, 3))
        body = Body(
            rid=self.first,
            ver=(1, 11),
            hold=hold,
            ack=1 if self.acknowledges else None,
            newkey=self.key(self.first) if self.hasKeys else None,
        )
        rules = Rules(hold=3, polling=0, responseBytes=choose((1, 60, 65536)))
        self.requests = agree(body, rules).requests
        self.prepare(rules, body)
        self.begin(body)
        self.arrive(0)
        while self.read < self.first:
            # Without a response there is no session for the client.
            self.sendDown()
            self.flush()
            self.receive(0)

    # The other side.

    def prepare(self, rules: Rules, first: Body) -> None:
        """
        Make what requests are for.
        """
        self.window = Window(rules, "sid", first, self.now)

    def request(self, token: int, body: Body) -> None:
        """
        An HTTP request is there.
        """
        self.window.request(token, body, self.now)
        self.process()

    def lose(self, token: int) -> bool:
        """
        The connection of a request is lost.

        @return: That is known on the other side.
        """
        self.window.lost(token, self.now)
        self.flush()
        return True

    def deliver(self, stanza: Stanza) -> None:
        """
        The server has sent a stanza.
        """
        self.window.send(stanza.data, stanza)

    def close(self) -> None:
        """
        End the session.
        """
        self.window.end("remote-stream-error", ERROR)
        self.flush()

    def undelivered(self) -> list[int]:
        """
        Return what comes back.
        """
        return [numberOf(stanza) for stanza in self.window.takeUndelivered()]

    @property
    def ending(self) -> Ending | None:
        """
        How the session has ended.
        """
        return self.window.ending

    def key(self, rid: int) -> str:
        """
        Return the key of a request.
        """
        return _KEYS[len(_KEYS) - 1 - (rid - self.first)]

    # The client.

    @property
    def room(self) -> int:
        """
        How many requests the client may begin.  One that says which responses it has may
        fetch those it misses later.
        """
        room = self.read + self.requests + 1 - self.nextRid
        if self.acknowledges and room > 2 * self.requests - FACTOR * self.requests:
            return self.requests - len(self.unanswered)
        return room

    def begin(self, body: Body) -> None:
        """
        Begin a request.
        """
        self.nextRid += 1
        self.unanswered[body.rid] = body
        self.tokens += 1
        self.up.append((self.tokens, body))

    def body(self, children: int = 0, **attributes: object) -> Body:
        """
        Return the next request.
        """
        numbers = range(len(self.sentUp), len(self.sentUp) + children)
        self.sentUp += numbers
        ack = None
        if self.acknowledges and self.read < self.nextRid - 1:
            ack = self.read
        return Body(
            rid=self.nextRid,
            sid="sid",
            key=self.key(self.nextRid) if self.hasKeys else None,
            ack=ack,
            children=tuple(map(message, numbers)),
            **attributes,  # type: ignore[arg-type]
        )

    def send(self) -> None:
        """
        The client sends something, or asks.
        """
        if self.room > 0:
            self.begin(self.body(self.random.choice((0, 1, 1, 2))))

    def pause(self) -> None:
        """
        The client will be away.
        """
        if self.room >= 0:
            self.begin(self.body(pause=self.random.choice((1, 60))))

    def repeat(self) -> None:
        """
        The client gives an HTTP request up, or believes to, and makes it again.
        """
        if self.unanswered:
            self.tokens += 1
            self.up.append((self.tokens, self.random.choice(list(self.unanswered.values()))))

    def receive(self, index: int) -> None:
        """
        A response reaches the client.
        """
        token, data = self.down.pop(index)
        rid = self.here.pop(token)
        known = self.responses.setdefault(rid, data)
        assert known == data, "a response has changed"
        self.unanswered.pop(rid, None)
        while self.read + 1 in self.responses and not self.wasTold:
            self.read += 1
            response = self.responses[self.read]
            self.gotDown += map(int, _ID.findall(response))
            self.wasTold = b'type="terminate"' in response

    # The network.

    def arrive(self, index: int) -> None:
        """
        A request arrives.
        """
        token, body = self.up.pop(index)
        handed = self.handed if self.ending is None else self.nextRid
        if body.rid not in self.unanswered and body.rid <= handed - self.requests:
            return  # so late would be outside of the window
        self.here[token] = body.rid
        self.request(token, body)

    def process(self) -> None:
        """
        What can be processed is.
        """
        while not self.isPaused and (body := self.window.next()) is not None:
            assert body.rid == self.handed + 1, "out of order"
            self.handed = body.rid
            for child in body.children:
                self.gotUp += map(int, _ID.findall(child.data))
                if self.random.random() < 0.3:
                    self.sendDown()
        self.flush()

    def flush(self) -> None:
        """
        What is to be written sets out.
        """
        for answer in self.window.flush(self.now):
            assert isinstance(answer.token, int)
            self.write(answer.token, answer.status, answer.data)

    def write(self, token: int, status: int, data: bytes) -> None:
        """
        A response sets out.
        """
        rid = self.here[token]
        if status == REPLACED_STATUS:
            del self.here[token]
            return
        assert status == 200, (status, data)
        self.writes[rid] += 1
        if self.ending is None:
            assert self.made.setdefault(rid, data) == data, "a second response"
            self.answered.add(token)
        self.down.append((token, data))

    def arriveSome(self) -> None:
        """
        A request arrives, not always the first that was sent.
        """
        if self.up:
            self.arrive(self.random.randrange(len(self.up)))

    def receiveSome(self) -> None:
        """
        A response arrives, not always the first that was sent.
        """
        if self.down:
            self.receive(self.random.randrange(len(self.down)))

    def double(self) -> None:
        """
        Something between them sends a request twice.
        """
        if self.up:
            self.tokens += 1
            self.up.append((self.tokens, self.random.choice(self.up)[1]))

    def cutRequest(self) -> None:
        """
        A request is lost before it arrives.
        """
        if self.up:
            self.up.pop(self.random.randrange(len(self.up)))

    def cutHeld(self) -> None:
        """
        A connection is lost while a request waits on it.
        """
        if self.held:
            token = self.random.choice(sorted(self.held))
            del self.here[token]
            self.lose(token)

    def cutResponse(self) -> None:
        """
        A response is lost, with word of it or without.
        """
        if self.down:
            token, data = self.down.pop(self.random.randrange(len(self.down)))
            del self.here[token]
            if not (self.random.random() < 0.5 and self.lose(token)):
                self.cut |= {int(number) for number in _ID.findall(data)}

    # Our side.

    def sendDown(self) -> None:
        """
        The server sends something.
        """
        number = len(self.sentDown)
        self.sentDown.append(number)
        self.deliver(message(number))

    def sendDownNow(self) -> None:
        """
        The server sends something that goes out at once.
        """
        self.sendDown()
        self.flush()

    def halt(self) -> None:
        """
        Nothing is processed for a while, or is again.
        """
        self.isPaused = not self.isPaused
        self.process()

    def wait(self) -> None:
        """
        Time passes.
        """
        self.now += self.random.choice((0.1, 1, 5, 20))
        self.flush()

    # All of it.

    def step(self) -> None:
        """
        Something happens.
        """
        self.random.choice(
            (
                self.send,
                self.send,
                self.send,
                self.arriveSome,
                self.arriveSome,
                self.arriveSome,
                self.receiveSome,
                self.receiveSome,
                self.receiveSome,
                self.sendDown,
                self.sendDownNow,
                self.repeat,
                self.double,
                self.cutRequest,
                self.cutHeld,
                self.cutResponse,
                self.halt,
                self.wait,
                self.pause,
            )
        )()

    def run(self) -> None:
        """
        Let many things happen.
        """
        for _ in range(STEPS):
            self.step()
            if self.ending is not None:
                break
        self.isPaused = False
        self.process()

    def settle(self, *, untilLeft: bool = False) -> None:
        """
        From now on all goes well: the client repeats what it misses, and asks until there is
        nothing more, or until it is known that it leaves.
        """
        for _ in range(10 * STEPS):
            while self.up:
                self.arrive(0)
            if untilLeft and self.ending is not None:
                return
            while self.down:
                self.receive(0)
            if self.wasTold or self.ending is Ending.SILENT:
                return
            missing = set(self.unanswered).difference(self.here.values())
            expects = len(self.gotDown) < len(self.sentDown) or self.ending is not None
            if missing:
                self.tokens += 1
                self.up.append((self.tokens, self.unanswered[min(missing)]))
            elif self.room > 0 and expects:
                self.begin(self.body())
            elif not self.up and not self.down:
                return
        raise AssertionError("it does not come to rest")

    @property
    def held(self) -> set[int]:
        """
        HTTP requests that are here without an answer.
        """
        return set(self.here) - {token for token, _ in self.down}

    def received(self) -> set[int]:
        """
        Return what has reached the client, be it in a response it cannot read yet.
        """
        return {int(number) for x in self.responses.values() for number in _ID.findall(x)}


class ScheduleTests(SynchronousTestCase):
    """
    XEP-0124 section 14.

    @cvar makePlay: Who plays.
    @cvar schedules: How often, to the end.
    @cvar fewer: How often for everything else.
    """

    makePlay: ClassVar[type[Play]] = Play
    schedules = SCHEDULES
    fewer = FEWER

    def play(self, seed: int) -> Play:
        """
        Run a schedule and look at what has come out so far.
        """
        play = self.makePlay(seed)
        play.run()
        self.check(play)
        return play

    def check(self, play: Play) -> None:
        """
        Nothing came twice or out of order.
        """
        self.assertEqual(play.gotUp, play.sentUp[: len(play.gotUp)], play.seed)
        self.assertEqual(play.gotDown, play.sentDown[: len(play.gotDown)], play.seed)
        if play.ending is Ending.BROKEN:
            self.fail(f"{play.seed}: {play.window.error}")

    def test_everythingOnce(self) -> None:
        """
        Once the network is well again everything has arrived, once and in order, unless the
        client was away for too long.
        """
        silent = 0
        for seed in range(self.schedules):
            play = self.play(seed)
            play.settle()
            self.check(play)
            if play.ending is Ending.SILENT:
                silent += 1
                continue
            self.assertEqual(len(play.gotUp), len(play.sentUp), seed)
            self.assertEqual(len(play.gotDown), len(play.sentDown), seed)
        self.assertLess(silent, self.schedules // 10)

    def test_nothingLost(self) -> None:
        """
        Of a client that is never heard of again all that it has not got is given back, in
        order.  What it has and is given back all the same was in the last responses.
        """
        for seed in range(self.fewer):
            play = self.play(seed)
            undelivered = play.undelivered()
            self.assertEqual(undelivered, play.sentDown[len(play.sentDown) - len(undelivered) :])
            received = play.received()
            self.assertLessEqual(set(play.sentDown), received.union(undelivered), seed)
            last = range(play.handed - play.requests * FACTOR, play.handed + 1)
            late = {int(x) for rid in last for x in _ID.findall(play.made.get(rid, b""))}
            self.assertLessEqual(received.intersection(undelivered), late, seed)
            self.assertEqual(play.undelivered(), [])

    def test_clientLeaves(self) -> None:
        """
        A client that ends its session has sent everything, no request of it stays without an
        answer, and what was written to it is not given back as well.
        """
        for seed in range(self.fewer):
            play = self.play(seed)
            if play.ending is not None or play.room < 0:
                continue
            play.begin(play.body(1, isTerminate=True))
            if seed % 2:
                play.settle()
                self.assertTrue(play.wasTold, seed)
            else:
                play.settle(untilLeft=True)
                while play.down:
                    play.cutResponse()
            self.check(play)
            self.assertEqual(len(play.gotUp), len(play.sentUp), seed)
            self.assertIs(play.ending, Ending.LEFT, seed)
            self.assertEqual(play.held, set(), seed)
            self.checkRest(play)

    def test_weClose(self) -> None:
        """
        Where we end the session the client is told, behind everything else, as soon as it has
        a request here; no request stays without an answer.
        """
        for seed in range(self.fewer):
            play = self.play(seed)
            if play.ending is not None:
                continue
            play.close()
            play.settle()
            self.check(play)
            self.assertTrue(play.wasTold, seed)
            self.assertEqual(len(play.gotDown), len(play.sentDown), seed)
            self.assertEqual(play.held, set(), seed)
            self.checkRest(play)

    def checkRest(self, play: Play) -> None:
        """
        After an end in order nothing is doubled, and only that is lost which nobody could know
        of.
        """
        undelivered = set(play.undelivered())
        received = play.received()
        # Of so many HTTP requests for the same not all are remembered.
        doubtful = {
            int(number)
            for rid, data in play.responses.items()
            if play.writes[rid] > MAX_TOKENS
            for number in _ID.findall(data)
        }
        self.assertLessEqual(undelivered & received, doubtful, play.seed)
        self.assertLessEqual(set(play.sentDown) - undelivered - received, play.cut, play.seed)

    def test_outside(self) -> None:
        """
        A request outside of the window ends the session, and all that is here is told so.
        """
        for seed in range(self.fewer):
            play = self.play(seed)
            if play.ending is not None:
                continue
            choose = play.random.choice
            oldest = play.handed - play.requests * FACTOR
            newest = max(play.handed + play.requests, play.nextRid - 1)
            wrong = [min(newest + choose((1, 2, 1000)), MAX_RID)]
            if oldest > 0:
                wrong.append(choose((oldest, max(1, oldest - 1000))))
            rid = choose(wrong)
            play.here[0] = rid
            play.request(0, Body(rid=rid, sid="sid"))
            self.assertIs(play.ending, Ending.BROKEN, seed)
            self.assertEqual(play.held, set(), seed)
            for token, data in play.down:
                if token not in play.answered:
                    self.assertEqual(_CONDITION.findall(data), [b"item-not-found"], seed)
