# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.window}.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from cmanager.body import NS_BODY, Body, writeBody
from cmanager.ledger import MAX_TOKENS, Response
from cmanager.stanza import NS_CLIENT, NS_STREAMS, Stanza
from cmanager.terms import Rules
from cmanager.window import (
    REPLACED_STATUS,
    REPORT_SECONDS,
    UNACKNOWLEDGED_FACTOR,
    Ending,
    Window,
)
from tests.test_terms import keys

FIRST = 100
EMPTY = writeBody()
PRESENCE = Stanza("presence", NS_CLIENT, {}, b"<presence/>")
ERROR = b'<stream:error><reset xmlns="urn:ietf:params:xml:ns:xmpp-streams"/></stream:error>'


def message(number: int) -> Stanza:
    """
    Return the stanza with a number.
    """
    return Stanza("message", NS_CLIENT, {}, b'<message id="%d"/>' % number)


def numbers(stanzas: Sequence[Stanza]) -> list[int]:
    """
    Return the numbers of stanzas.
    """
    return [int(number) for x in stanzas for number in re.findall(rb'id="(\d+)"', x.data)]


class WindowCase(SynchronousTestCase):
    """
    A session whose first request has been answered.  The token of a request is its rid,
    unless it says otherwise.
    """

    rules = Rules(
        wait=60,
        hold=2,
        inactivity=30,
        pollingInactivity=90,
        polling=0,
        maxPause=120,
        earlyBytes=1000,
    )

    def setUp(self) -> None:
        self.begin()

    def begin(self, *, answer: bool = True, **first: object) -> None:
        """
        Begin a session.
        """
        self.now = 1000.0
        self.processed: list[int] = []
        self.answers: dict[object, tuple[int, bytes]] = {}
        asked = {"ver": (1, 11), **first}
        body = Body(rid=FIRST, **asked)  # type: ignore[arg-type]
        self.window = Window(self.rules, "sid", body, self.now)
        self.window.send(b"<stream:features/>")
        self.come(FIRST, body)
        if answer:
            self.assertIn(FIRST, self.answers)

    def ask(self, rid: int, token: object = None, **body: object) -> None:
        """
        A request comes, and what can be is processed.
        """
        body.setdefault("children", (PRESENCE,))
        self.come(rid if token is None else token, Body(rid=rid, sid="sid", **body))  # type: ignore[arg-type]

    def poll(self, rid: int, token: object = None, **body: object) -> None:
        """
        A request with nothing in it comes.
        """
        self.ask(rid, token, children=(), **body)

    def come(self, token: object, body: Body) -> None:
        """
        An HTTP request comes.
        """
        self.window.request(token, body, self.now)
        while (handed := self.window.next()) is not None:
            self.processed.append(handed.rid)
        self.flush()

    def flush(self, seconds: float = 0.0) -> None:
        """
        Let time pass, and look at what is written.
        """
        self.now += seconds
        for answer in self.window.flush(self.now):
            self.assertNotIn(answer.token, self.answers, "answered twice")
            self.answers[answer.token] = (answer.status, answer.data)

    def send(self, *sent: int) -> None:
        """
        Send stanzas, and write what there is to write.
        """
        for number in sent:
            self.window.send(message(number).data, message(number))
        self.flush()

    def data(self, token: object) -> bytes:
        """
        Return the content of an answer.
        """
        status, data = self.answers[token]
        self.assertEqual(status, 200)
        return data

    def attributes(self, token: object) -> dict[str, str]:
        """
        Return the attributes of an answer.
        """
        root = etree.fromstring(self.data(token))
        return {str(name): str(value) for name, value in root.attrib.items()}

    def assertAnswered(self, *tokens: object) -> None:
        """
        These have been answered, and no others, since this was last asked.
        """
        seen = getattr(self, "_seen", {FIRST})
        self.assertEqual(set(self.answers) - seen, set(tokens))
        self._seen = set(self.answers)

    def assertPayload(self, token: object, *expected: int) -> None:
        """
        These stanzas are in an answer, in this order.
        """
        found = [int(x) for x in re.findall(rb'<message [^>]*id="(\d+)"', self.data(token))]
        self.assertEqual(found, list(expected))

    def assertEnded(self, token: object, condition: str | None) -> None:
        """
        An answer tells of the end.
        """
        attributes = self.attributes(token)
        self.assertEqual(attributes.pop("type"), "terminate")
        self.assertEqual(attributes.get("condition"), condition)

    def assertBroken(self, condition: str) -> None:
        """
        The client has ended the session by what it did.
        """
        self.assertIs(self.window.ending, Ending.BROKEN)
        assert self.window.error is not None
        self.assertEqual(self.window.error.condition, condition)
        self.assertIsNone(self.window.due)
        self.assertTrue(self.window.isTold)


class CreationTests(WindowCase):
    """
    XEP-0124 section 7.
    """

    def test_response(self) -> None:
        """
        The first response says what was agreed.
        """
        attributes = self.attributes(FIRST)
        self.assertEqual(attributes["sid"], "sid")
        self.assertEqual(attributes["ack"], str(FIRST))
        self.assertEqual((attributes["wait"], attributes["requests"]), ("60", "2"))
        self.assertIn(b"<stream:features/>", self.data(FIRST))

    def test_announced(self) -> None:
        """
        What becomes known is said with the next response, once.
        """
        self.begin(hold=1, wait=0)
        self.window.announce({"from": "verona.example", "xmpp:version": "1.0"})
        self.ask(FIRST + 1)
        attributes = self.attributes(FIRST + 1)
        self.assertEqual(attributes, {"from": "verona.example", "{urn:xmpp:xbosh}version": "1.0"})
        self.ask(FIRST + 2)
        self.assertEqual(self.data(FIRST + 2), EMPTY)

    def test_announcedAtOnce(self) -> None:
        """
        What is known at once is said with the first.
        """
        first = Body(rid=FIRST)
        window = Window(self.rules, "sid", first, 0.0)
        window.request(1, first, 0.0)
        window.next()
        window.announce({"from": "verona.example"})
        window.send(b"<stream:features/>")
        (answer,) = window.flush(0.0)
        attributes = etree.fromstring(answer.data).attrib
        self.assertEqual((attributes["sid"], attributes["from"]), ("sid", "verona.example"))

    def test_held(self) -> None:
        """
        The first request is held as any other.
        """
        first = Body(rid=FIRST)
        window = Window(self.rules, "sid", first, 0.0)
        window.request(1, first, 0.0)
        window.next()
        self.assertEqual(window.flush(59.9), [])
        (answer,) = window.flush(60.0)
        self.assertIn(b' sid="sid"', answer.data)

    def test_first(self) -> None:
        """
        The first request is kept for what a restart refers to, without what was in it.
        """
        first = Body(rid=FIRST, to="verona.example", children=(PRESENCE,))
        window = Window(self.rules, "sid", first, 0.0)
        self.assertEqual((window.first.to, window.first.children), ("verona.example", ()))
        window.request(1, first, 0.0)
        self.assertIs(window.next(), first)


class HoldTests(WindowCase):
    """
    XEP-0124 section 8: when a request is answered.
    """

    def test_somethingToSay(self) -> None:
        """
        A request is held until there is something to send.
        """
        self.ask(101)
        self.assertAnswered()
        self.send(1, 2)
        self.assertPayload(101, 1, 2)

    def test_waiting(self) -> None:
        """
        What is sent while no request is here goes into the next.
        """
        self.send(1)
        self.send(2)
        self.ask(101)
        self.assertPayload(101, 1, 2)

    def test_newer(self) -> None:
        """
        With one more than may be held the oldest is answered, with nothing in it.
        """
        self.ask(101)
        self.ask(102)
        self.assertAnswered(101)
        self.assertEqual(self.data(101), writeBody((), {"ack": 102}))
        self.send(1)
        self.assertPayload(102, 1)

    def test_holdTwo(self) -> None:
        """
        Where two may be held, two are; what is sent goes into the older.
        """
        self.begin(hold=2)
        self.ask(101)
        self.ask(102)
        self.assertAnswered()
        self.send(1)
        self.assertAnswered(101)
        self.send(2)
        self.assertAnswered(102)
        self.assertPayload(102, 2)

    def test_wait(self) -> None:
        """
        A request is held for so many seconds and no longer.
        """
        self.ask(101)
        self.assertEqual(self.window.due, self.now + 60)
        self.flush(59.99)
        self.assertAnswered()
        self.flush(0.01)
        self.assertAnswered(101)
        self.assertEqual(self.data(101), EMPTY)

    def test_waitInOrder(self) -> None:
        """
        Those before it are answered too: responses go in the order of rids.
        """
        self.begin(hold=2)
        self.ask(101)
        self.ask(102)
        self.window.lost(101, self.now)
        self.flush(30)
        self.ask(101, "again")
        self.flush(30)
        self.assertEqual(list(self.answers)[-2:], ["again", 102])

    def test_polling(self) -> None:
        """
        Where nothing is held a request is answered at once.
        """
        for asked in ({"hold": 0}, {"wait": 0}):
            self.begin(**asked)
            self.ask(101)
            self.assertEqual(self.data(101), EMPTY)
            self.send(1)
            self.ask(102)
            self.assertPayload(102, 1)

    def test_responseBytes(self) -> None:
        """
        What does not fit into a response goes into the next.
        """
        self.rules = Rules(responseBytes=2 * len(message(1).data))
        self.begin(hold=2)
        self.send(1, 2, 3, 4, 5)
        self.ask(101)
        self.assertPayload(101, 1, 2)
        self.ask(102)
        self.assertPayload(102, 3, 4)
        self.ask(103)
        self.assertPayload(103, 5)

    def test_severalResponses(self) -> None:
        """
        Or into another that is here.
        """
        self.rules = Rules(responseBytes=1)
        self.begin(hold=2)
        self.ask(101)
        self.ask(102)
        self.send(1, 2, 3)
        self.assertPayload(101, 1)
        self.assertPayload(102, 2)

    def test_fits(self) -> None:
        """
        So many bytes may wait.
        """
        self.rules = Rules(queueBytes=100)
        self.begin()
        self.window.send(b"x" * 60)
        self.assertTrue(self.window.fits(40))
        self.assertFalse(self.window.fits(41))

    def test_lost(self) -> None:
        """
        Nothing is put into a response to a request that is gone: it goes into the next.
        """
        self.ask(101)
        self.window.lost(101, self.now)
        self.send(1)
        self.assertAnswered()
        self.ask(102)
        self.assertPayload(102, 1)
        self.ask(101, "again")
        self.assertEqual(self.data("again"), writeBody((), {"ack": 102}))

    def test_lostAndRepeated(self) -> None:
        """
        Where it comes again first it gets it.
        """
        self.ask(101)
        self.window.lost(101, self.now)
        self.send(1)
        self.ask(101, "again")
        self.assertPayload("again", 1)
        self.assertEqual(self.processed, [100, 101])


class OrderTests(WindowCase):
    """
    XEP-0124 section 14.2.
    """

    def test_early(self) -> None:
        """
        A request that comes before its turn waits, and is processed and answered in it.
        """
        self.ask(102)
        self.send(1)
        self.assertEqual((self.processed, list(self.answers)), ([100], [FIRST]))
        self.ask(101)
        self.assertEqual(self.processed, [100, 101, 102])
        self.assertEqual(list(self.answers), [FIRST, 101])
        self.assertPayload(101, 1)

    def test_notAskedFor(self) -> None:
        """
        A request that is not asked for is not answered, and holds up those behind it: the
        client may not go on for ever.
        """
        for rid in (101, 102):
            self.window.request(rid, Body(rid=rid, children=(PRESENCE,)), self.now)
        self.send(1)
        self.flush(1000)
        self.assertAnswered()
        self.assertIsNone(self.window.due)
        body = self.window.next()
        assert body is not None
        self.assertEqual(body.rid, 101)
        self.flush()
        self.assertAnswered(101)
        self.assertPayload(101, 1)

    def test_limit(self) -> None:
        """
        A rid outside of the window ends the session, for all requests that are here.
        """
        self.ask(102)
        self.ask(103)
        self.assertBroken("item-not-found")
        self.assertAnswered(102, 103)
        for token in (102, 103):
            self.assertEnded(token, "item-not-found")

    def test_tooMany(self) -> None:
        """
        So do too many at a time.
        """
        self.begin(hold=2)
        for rid in (101, 102, 104):
            self.ask(rid)
        self.assertIsNone(self.window.ending)
        self.ask(105)
        self.assertBroken("policy-violation")
        self.assertAnswered(101, 102, 104, 105)
        self.assertEnded(101, "policy-violation")
        self.assertEqual(self.processed, [100, 101, 102])

    def test_earlyBytes(self) -> None:
        """
        So does too much of it.
        """
        self.begin(hold=2)
        self.ask(102, size=1000)
        self.assertIsNone(self.window.ending)
        self.ask(103, size=1)
        self.assertBroken("policy-violation")

    def test_hasty(self) -> None:
        """
        So does asking for nothing too often.
        """
        self.rules = Rules(polling=5)
        self.begin(hold=0)
        self.flush(5)
        self.poll(101)
        self.flush(5)
        self.poll(102)
        self.assertIsNone(self.window.ending)
        self.poll(103)
        self.assertBroken("policy-violation")

    def test_nothingMore(self) -> None:
        """
        What would have been next is not processed then.
        """
        self.window.request(101, Body(rid=101, children=(PRESENCE,)), self.now)
        self.window.request(105, Body(rid=105), self.now)
        self.assertIsNone(self.window.next())


class RepeatTests(WindowCase):
    """
    XEP-0124 section 14.3.
    """

    def test_answered(self) -> None:
        """
        A request that comes again gets the same bytes, and is not processed again.
        """
        self.send(1)
        self.ask(101)
        self.send(2)
        self.ask(101, "again")
        self.ask(101, "and again")
        self.assertEqual(self.data("again"), self.data(101))
        self.assertEqual(self.data("and again"), self.data(101))
        self.assertEqual(self.processed, [100, 101])

    def test_held(self) -> None:
        """
        Where it has no response yet both get it, when it is made.
        """
        self.ask(101)
        self.ask(101, "again")
        self.assertAnswered()
        self.send(1)
        self.assertAnswered(101, "again")
        self.assertPayload("again", 1)
        self.assertEqual(self.data("again"), self.data(101))

    def test_heldTooOften(self) -> None:
        """
        So many wait for it and no more: the oldest is turned away.
        """
        self.ask(101, 0)
        for number in range(1, MAX_TOKENS):
            self.ask(101, number)
        self.assertAnswered()
        self.ask(101, "last")
        self.assertAnswered(0)
        self.assertEqual(self.answers[0], (REPLACED_STATUS, b""))
        self.send(1)
        self.assertAnswered(*range(1, MAX_TOKENS), "last")

    def test_early(self) -> None:
        """
        The same holds before its turn.
        """
        self.ask(102)
        self.ask(102, "again")
        self.ask(101)
        self.ask(103)
        self.assertEqual(self.data("again"), self.data(102))
        self.assertEqual(self.processed, [100, 101, 102, 103])

    def test_kept(self) -> None:
        """
        As many responses are kept as there may be requests; who asks for an older one has
        lost its session.
        """
        for rid in (101, 102, 103):
            self.ask(rid)
        self.ask(102, "again")
        self.assertEqual(self.data("again"), self.data(102))
        self.ask(101, "old")
        self.assertBroken("item-not-found")
        self.assertEnded("old", "item-not-found")
        self.assertEnded(103, "item-not-found")

    def test_first(self) -> None:
        """
        The first response is kept like others.
        """
        self.ask(FIRST, "again")
        self.assertEqual(self.data("again"), self.data(FIRST))


class PauseTests(WindowCase):
    """
    XEP-0124 section 10: a client that will be away.
    """

    def test_answered(self) -> None:
        """
        All requests are answered, that one with nothing in it.
        """
        self.ask(101)
        self.poll(102, pause=60)
        self.assertAnswered(101, 102)
        self.send(1)
        self.poll(103)
        self.assertPayload(103, 1)

    def test_payload(self) -> None:
        """
        What waits goes into those before, or stays.
        """
        self.rules = Rules(responseBytes=1)
        self.begin(hold=2)
        self.ask(101)
        self.window.send(message(1).data, message(1))
        self.window.send(message(2).data, message(2))
        self.poll(102, pause=60)
        self.assertPayload(101, 1)
        self.assertPayload(102)
        self.poll(103)
        self.assertPayload(103, 2)

    def test_oneMore(self) -> None:
        """
        It may be one more than others.
        """
        self.window.request(101, Body(rid=101), self.now)
        self.window.request(102, Body(rid=102), self.now)
        self.poll(103, pause=60)
        self.assertAnswered(101, 102, 103)
        self.ask(101, "again")
        self.assertEqual(self.data("again"), self.data(101))

    def test_patience(self) -> None:
        """
        The client may be away for so long, and no longer.
        """
        self.poll(101, pause=60)
        self.assertEqual(self.window.due, self.now + 60)
        self.flush(59.9)
        self.assertIsNone(self.window.ending)
        self.flush(0.1)
        self.assertIs(self.window.ending, Ending.SILENT)

    def test_shorter(self) -> None:
        """
        It may ask for less than it would have had.
        """
        self.poll(101, pause=1)
        self.flush(1)
        self.assertIs(self.window.ending, Ending.SILENT)

    def test_tooLong(self) -> None:
        """
        It gets no more than the rules allow.
        """
        self.poll(101, pause=121)
        self.assertEqual(self.window.due, self.now + 120)

    def test_over(self) -> None:
        """
        With the next request all is as before.
        """
        self.poll(101, pause=60)
        self.poll(102)
        self.send(1)
        self.assertEqual(self.window.due, self.now + 30)

    def test_repeated(self) -> None:
        """
        It may come again.
        """
        self.poll(101, pause=60)
        self.poll(101, "again", pause=60)
        self.assertEqual(self.data("again"), EMPTY)

    def test_notAllowed(self) -> None:
        """
        Where there is no pause the request is like any other.
        """
        self.rules = Rules(maxPause=0)
        self.begin()
        self.poll(101, pause=60)
        self.assertAnswered()
        self.send(1)
        self.assertPayload(101, 1)


class SilenceTests(WindowCase):
    """
    XEP-0124 section 10: a client that does not come back.
    """

    def test_silent(self) -> None:
        """
        With no request here the session ends after so many seconds, not before, and without a
        word.
        """
        self.assertFalse(self.window.isAttended)
        self.assertEqual(self.window.due, self.now + 30)
        self.flush(29.9)
        self.assertIsNone(self.window.ending)
        self.flush(0.1)
        self.assertIs(self.window.ending, Ending.SILENT)
        self.assertEqual((self.window.due, self.window.isTold), (None, False))
        self.ask(101)
        self.assertEnded(101, "item-not-found")
        self.assertEqual(self.processed, [100])

    def test_here(self) -> None:
        """
        A client with a request here is not silent.
        """
        self.ask(101)
        self.assertTrue(self.window.isAttended)
        self.flush(59)
        self.assertIsNone(self.window.ending)
        self.flush(1)
        self.assertEqual(self.window.due, self.now + 30)

    def test_polling(self) -> None:
        """
        One that polls has longer.
        """
        self.begin(hold=0)
        self.assertEqual(self.window.due, self.now + 90)

    def test_lost(self) -> None:
        """
        A request that was lost is not here, from then on.
        """
        self.ask(101)
        self.flush(40)
        self.window.lost(101, self.now)
        self.assertEqual(self.window.due, self.now + 30)
        self.flush(30)
        self.assertIs(self.window.ending, Ending.SILENT)

    def test_repeated(self) -> None:
        """
        Who comes for an old response is not silent.
        """
        self.flush(20)
        self.ask(FIRST, "again")
        self.assertEqual(self.window.due, self.now + 30)

    def test_missing(self) -> None:
        """
        A request behind one that does not come does not count; it is told.
        """
        self.ask(102)
        self.assertEqual(self.window.due, self.now + 30)
        self.flush(30)
        self.assertIs(self.window.ending, Ending.SILENT)
        self.assertEnded(102, "item-not-found")

    def test_unknownLost(self) -> None:
        """
        To lose what has long been answered and forgotten changes nothing.
        """
        due = self.window.due
        self.window.lost("unknown", self.now + 5)
        self.assertEqual(self.window.due, due)


class AcknowledgementTests(WindowCase):
    """
    XEP-0124 section 9.
    """

    def test_ours(self) -> None:
        """
        A response says up to which rid all requests have come, unless that is its own.
        """
        self.begin(hold=2)
        self.send(1)
        self.ask(101)
        self.assertNotIn("ack", self.attributes(101))
        self.ask(102)
        self.ask(103)
        self.ask(105)
        self.send(2)
        self.assertEqual(self.attributes(102)["ack"], "103")

    def test_legacy(self) -> None:
        """
        An old client is told nothing of it.
        """
        self.begin(ver=None)
        self.ask(101)
        self.ask(102)
        self.assertEqual(self.data(101), EMPTY)

    def test_report(self) -> None:
        """
        A client that misses a response is told which, and since when, as soon as there is a
        request to say so, once.
        """
        self.begin(hold=1, ack=1)
        self.send(1)
        self.ask(101)
        self.ask(102, ack=100)
        self.assertAnswered(101)
        self.flush(2.5)
        self.send(2)
        self.ask(103, ack=100)
        self.assertEqual(self.attributes(103), {"report": "101", "time": "2500"})
        self.flush(5)
        self.ask(104, ack=100)
        self.assertNotIn(104, self.answers)
        self.ask(101, "again", ack=None)
        self.assertEqual(self.data("again"), self.data(101))

    def test_reportIsRead(self) -> None:
        """
        It is told in a request that is here.
        """
        self.begin(hold=1, ack=1)
        self.send(1)
        self.ask(101)
        self.ask(102, ack=100)
        self.window.lost(102, self.now)
        self.flush(5)
        self.ask(103, ack=100)
        self.assertEqual(self.attributes(103)["report"], "101")
        self.ask(102, "again", ack=100)
        self.assertEqual(self.attributes("again"), {"ack": "103"})

    def test_reportOnlyWhenLate(self) -> None:
        """
        A response that may still be on its way is not missed.
        """
        for seconds, isMissed in ((REPORT_SECONDS - 0.01, False), (REPORT_SECONDS, True)):
            self.begin(hold=1, ack=1)
            self.send(1)
            self.ask(101)
            self.flush(seconds)
            self.ask(102, ack=100)
            self.assertEqual(102 in self.answers, isMissed)

    def test_kept(self) -> None:
        """
        What a client says that it misses is kept for longer, but not for ever.
        """
        self.begin(hold=1, ack=1)
        last = FIRST + 2 * UNACKNOWLEDGED_FACTOR
        for rid in range(101, last + 1):
            self.send(rid)
            self.ask(rid, ack=100)
        self.assertIsNone(self.window.ending)
        self.ask(101, "again")
        self.assertEqual(self.data("again"), self.data(101))
        self.ask(last + 1, ack=100)
        self.assertBroken("policy-violation")
        self.assertNotIn(last + 1, self.processed)

    def test_said(self) -> None:
        """
        What it says that it has is not given back.
        """
        self.begin(hold=1, ack=1)
        for rid in (101, 102):
            self.send(rid)
            self.ask(rid)
        self.ask(103, ack=101)
        self.assertEqual(numbers(self.window.takeUndelivered()), [102])

    def test_notSaid(self) -> None:
        """
        One that acknowledges, and says nothing, has everything.
        """
        self.begin(hold=1, ack=1)
        for rid in (101, 102):
            self.send(rid)
            self.ask(rid)
        self.ask(103)
        self.assertEqual(self.window.takeUndelivered(), [])

    def test_senseless(self) -> None:
        """
        What no client can know is not believed: the window counts instead.
        """
        for ack in (1, 0, 999):
            self.begin(hold=1, ack=1)
            for rid in (101, 102):
                self.send(rid)
                self.ask(rid, ack=ack)
            self.ask(103, ack=ack)
            self.assertEqual(numbers(self.window.takeUndelivered()), [102])

    def test_notAgreed(self) -> None:
        """
        Nor what is said by one that has not said that it would.
        """
        self.send(101)
        self.ask(101)
        self.ask(102, ack=101)
        self.assertEqual(numbers(self.window.takeUndelivered()), [101])


class KeyTests(WindowCase):
    """
    XEP-0124 section 15.
    """

    def setUp(self) -> None:
        first, *self.keys = keys("seed", 5)
        self.begin(newkey=first)

    def test_sequence(self) -> None:
        """
        Requests with the right keys pass, in their order.
        """
        self.ask(102, key=self.keys[1])
        self.ask(101, key=self.keys[0])
        self.assertEqual(self.processed, [100, 101, 102])

    def test_wrong(self) -> None:
        """
        One with another ends the session, and is not processed.
        """
        for key in (None, "0" * 40, self.keys[1]):
            self.setUp()
            self.ask(101, key=key)
            self.assertBroken("item-not-found")
            self.assertEnded(101, "item-not-found")
            self.assertEqual(self.processed, [100])

    def test_repeated(self) -> None:
        """
        To have a response again takes the same key, whether it was made or not.
        """
        self.ask(101, key=self.keys[0])
        self.ask(101, "again", key=self.keys[0])
        self.assertIsNone(self.window.ending)
        self.ask(101, "stolen", key=self.keys[1])
        self.assertBroken("item-not-found")
        self.setUp()
        self.send(1)
        self.ask(101, key=self.keys[0])
        self.ask(101, "stolen")
        self.assertBroken("item-not-found")
        self.assertPayload("stolen")


class LeavingTests(WindowCase):
    """
    XEP-0124 section 13: the client ends the session.
    """

    def test_answered(self) -> None:
        """
        All requests are answered, what waits goes into one before the last.
        """
        self.ask(101)
        self.window.send(message(1).data, message(1))
        self.ask(102, isTerminate=True)
        self.assertIs(self.window.ending, Ending.LEFT)
        self.assertPayload(101, 1)
        self.assertEqual(self.data(102), f'<body xmlns="{NS_BODY}" type="terminate"/>'.encode())
        self.assertEqual((self.processed, self.window.isTold), ([100, 101, 102], True))

    def test_inOrder(self) -> None:
        """
        It waits for its turn.
        """
        self.ask(102, isTerminate=True)
        self.assertIsNone(self.window.ending)
        self.ask(101)
        self.assertIs(self.window.ending, Ending.LEFT)
        self.assertEqual(self.processed, [100, 101, 102])

    def test_nothingAfter(self) -> None:
        """
        What comes behind it is not processed, before and after it has been answered.
        """
        for rid in (102, 101):
            self.window.request(rid, Body(rid=rid, isTerminate=rid == 101), self.now)
        body = self.window.next()
        assert body is not None and body.isTerminate
        self.window.end("remote-stream-error", ERROR)
        self.assertIsNone(self.window.next())
        self.flush()
        self.assertIs(self.window.ending, Ending.LEFT)
        self.assertEnded(101, None)
        self.assertEnded(102, "item-not-found")
        self.ask(103)
        self.assertEnded(103, "item-not-found")

    def test_repeated(self) -> None:
        """
        It may come again.
        """
        self.ask(101, isTerminate=True)
        self.ask(101, "again", isTerminate=True)
        self.assertEqual(self.data("again"), self.data(101))

    def test_lost(self) -> None:
        """
        Also if it was lost before it could be answered.
        """
        self.window.request(101, Body(rid=101, isTerminate=True), self.now)
        self.window.next()
        self.window.lost(101, self.now)
        self.flush()
        self.ask(101, "again", isTerminate=True)
        self.assertEnded("again", None)


class ClosingTests(WindowCase):
    """
    We end the session.
    """

    def end(self) -> None:
        """
        End it for an error.
        """
        self.window.end("remote-stream-error", ERROR)
        self.flush()

    def test_here(self) -> None:
        """
        The oldest request that is here is told, behind what waits; the others are told no
        more than that it is over.
        """
        self.begin(hold=2)
        self.ask(101)
        self.ask(102)
        self.window.send(message(1).data, message(1))
        self.end()
        self.assertIs(self.window.ending, Ending.CLOSED)
        self.assertAnswered(101, 102)
        self.assertEnded(101, "remote-stream-error")
        self.assertPayload(101, 1)
        error = etree.fromstring(self.data(101))[-1]
        self.assertEqual(error.tag, f"{{{NS_STREAMS}}}error")
        self.assertEnded(102, "remote-stream-error")
        self.assertEqual(len(etree.fromstring(self.data(102))), 0)
        self.assertTrue(self.window.isTold)

    def test_everything(self) -> None:
        """
        All that waits is told at once.
        """
        self.rules = Rules(responseBytes=1)
        self.begin()
        self.send(1, 2, 3)
        self.end()
        self.ask(101)
        self.assertPayload(101, 1, 2, 3)

    def test_withoutError(self) -> None:
        """
        There need not be anything wrong.
        """
        self.ask(101)
        self.window.end()
        self.flush()
        self.assertEqual(self.data(101), f'<body xmlns="{NS_BODY}" type="terminate"/>'.encode())

    def test_later(self) -> None:
        """
        Where no request is here the next is told; it is not processed.
        """
        self.send(1)
        self.end()
        self.assertEqual((self.window.isTold, self.window.due), (False, None))
        self.ask(101)
        self.assertPayload(101, 1)
        self.assertEnded(101, "remote-stream-error")
        self.assertTrue(self.window.isTold)
        self.assertEqual(self.processed, [100])

    def test_repeated(self) -> None:
        """
        Word of the end can be had again, and so can what came before.
        """
        self.send(1)
        self.ask(101)
        self.ask(102)
        self.end()
        for rid in (101, 102):
            self.ask(rid, f"{rid} again")
            self.assertEqual(self.data(f"{rid} again"), self.data(rid))

    def test_after(self) -> None:
        """
        Whatever else comes is told that it is over.
        """
        self.ask(101)
        self.end()
        for rid in (102, 1, 2000):
            self.ask(rid)
            self.assertEnded(rid, "remote-stream-error")
        self.assertIs(self.window.ending, Ending.CLOSED)
        self.assertIsNone(self.window.error)

    def test_lost(self) -> None:
        """
        A request that was lost before is answered before: the client may read nothing behind
        word of the end.
        """
        self.begin(hold=2)
        self.ask(101)
        self.window.lost(101, self.now)
        self.ask(102)
        self.window.send(message(1).data, message(1))
        self.end()
        self.ask(101, "again")
        self.assertEqual(self.data("again"), EMPTY.replace(b"/>", b' ack="102"/>'))
        self.assertPayload(102, 1)

    def test_onlyLost(self) -> None:
        """
        Where only that is known it is told once it comes again.
        """
        self.ask(101)
        self.window.lost(101, self.now)
        self.end()
        self.ask(101, "again")
        self.assertEnded("again", "remote-stream-error")

    def test_missing(self) -> None:
        """
        Behind one that is missing a request waits for it.
        """
        self.send(1)
        self.ask(102)
        self.end()
        self.assertAnswered()
        self.ask(101)
        self.assertPayload(101, 1)
        self.assertEnded(102, "remote-stream-error")

    def test_stranger(self) -> None:
        """
        A request that cannot be the client's gets nothing but a refusal.
        """
        self.begin(newkey=keys("seed", 2)[0])
        self.send(1)
        self.end()
        self.ask(200)
        self.assertPayload(200)
        self.ask(101, key="0" * 40)
        self.assertNotIn(101, self.answers)
        self.window.abandon()
        self.flush()
        self.assertPayload(101)
        self.assertEnded(101, "remote-stream-error")

    def test_abandoned(self) -> None:
        """
        At last all that is here is told that it is over.
        """
        self.ask(102)
        self.end()
        self.window.abandon()
        self.flush()
        self.assertEnded(102, "remote-stream-error")

    def test_once(self) -> None:
        """
        What has ended does not end again.
        """
        self.end()
        self.window.end("system-shutdown")
        self.ask(101)
        self.assertEnded(101, "remote-stream-error")


class LegacyTests(WindowCase):
    """
    XEP-0124 section 17.1: clients that go by the status.
    """

    def setUp(self) -> None:
        self.begin(ver=(1, 5))

    def test_broken(self) -> None:
        """
        What they have done wrong is a status; so it is for all requests that are here.
        """
        self.ask(101)
        self.ask(200)
        self.assertEqual(self.answers[200], (404, b""))
        self.assertEqual(self.answers[101], (404, b""))

    def test_leaving(self) -> None:
        """
        Their own end is a body.
        """
        self.ask(101, isTerminate=True)
        self.assertEnded(101, None)

    def test_closed(self) -> None:
        """
        Other conditions are told in a body, with what waits.
        """
        self.send(1)
        self.window.end("remote-stream-error", ERROR)
        self.ask(101)
        self.assertEnded(101, "remote-stream-error")
        self.assertPayload(101, 1)

    def test_closedByStatus(self) -> None:
        """
        Where we end it with a condition that is a status, what waits stays here.
        """
        self.send(1)
        self.window.end("policy-violation")
        self.ask(101)
        self.assertEqual(self.answers[101], (403, b""))
        self.assertEqual(numbers(self.window.takeUndelivered()), [1])


class UndeliveredTests(WindowCase):
    """
    What the client has not got.
    """

    def respond(self, *rids: int) -> None:
        """
        Let requests be answered with a stanza each, that has the number of the rid.
        """
        for rid in rids:
            self.send(rid)
            self.ask(rid)

    def test_window(self) -> None:
        """
        A client that sends another request than it may have here has the response to the
        first of them; of the others it is not known.
        """
        self.respond(101, 102, 103)
        self.send(1)
        self.assertEqual(numbers(self.window.takeUndelivered()), [102, 103, 1])
        self.assertEqual(self.window.takeUndelivered(), [])

    def test_pause(self) -> None:
        """
        A request for a pause says less: it may be one more.
        """
        self.respond(101, 102)
        self.poll(103, pause=10)
        self.assertEqual(numbers(self.window.takeUndelivered()), [101, 102])

    def test_sameConnection(self) -> None:
        """
        What is known otherwise to have been received is not given back, if what is before it is
        known to have been, too: without that it cannot be read.
        """
        for known, expected in (
            ((101,), [102]),
            ((102,), [101, 102]),
            ((102, 101), []),
            (("unknown",), [101, 102]),
        ):
            self.begin()
            self.respond(101, 102)
            for token in known:
                self.window.received(token)
            self.assertEqual(numbers(self.window.takeUndelivered()), expected)

    def test_givenUp(self) -> None:
        """
        What was given back cannot be had again.
        """
        self.respond(101)
        self.window.takeUndelivered()
        self.ask(101, "again")
        self.assertBroken("item-not-found")

    def test_silent(self) -> None:
        """
        Of a client that did not come back nothing is taken for received but what is known to
        be.
        """
        self.respond(101, 102)
        self.flush(30)
        self.assertIs(self.window.ending, Ending.SILENT)
        self.assertEqual(numbers(self.window.takeUndelivered()), [101, 102])

    def test_broken(self) -> None:
        """
        The same is so where it broke the rules.
        """
        self.respond(101, 102)
        self.ask(200)
        self.assertEqual(numbers(self.window.takeUndelivered()), [101, 102])

    def test_left(self) -> None:
        """
        A client that ended its session has all that was written to it, what was lost
        excepted.
        """
        self.respond(101, 102, 103)
        self.window.lost(102, self.now)
        self.send(1)
        self.ask(104, isTerminate=True)
        self.assertEqual(numbers(self.window.takeUndelivered()), [102, 1])

    def test_closed(self) -> None:
        """
        So has one that was told of our end; otherwise the last words are lost with it.
        """
        self.respond(101)
        self.send(1)
        self.window.end("remote-stream-error", ERROR)
        self.ask(102)
        self.assertPayload(102, 1)
        self.assertEqual(self.window.takeUndelivered(), [])

    def test_closedAndLost(self) -> None:
        """
        Where word of the end was lost so was what stood before it.
        """
        self.send(1)
        self.window.end("remote-stream-error", ERROR)
        self.ask(101)
        self.window.lost(101, self.now)
        self.assertEqual(numbers(self.window.takeUndelivered()), [1])

    def test_notStanzas(self) -> None:
        """
        Elements of ours are nobody's loss.
        """
        self.window.send(b"<stream:features/>")
        self.ask(101)
        self.window.send(b"<stream:features/>")
        self.assertEqual(self.window.takeUndelivered(), [])


class BoundTests(WindowCase):
    """
    What is kept for a client.
    """

    def kept(self) -> dict[int, Response]:
        """
        Return the responses that are kept.
        """
        return self.window._ledger.responses

    def test_responses(self) -> None:
        """
        As many responses are kept as there may be requests.
        """
        for rid in range(101, 120):
            self.ask(rid)
            self.assertLessEqual(len(self.kept()), 2)

    def test_tokens(self) -> None:
        """
        However often a response is fetched, few of the requests are remembered.
        """
        self.send(1)
        self.ask(101)
        for number in range(50):
            self.ask(101, f"again {number}")
        self.assertEqual(len(self.kept()[101].tokens), MAX_TOKENS)

    def test_bodies(self) -> None:
        """
        Of a request that waits for its response the content is not kept.
        """
        self.ask(101)
        self.assertIsNone(self.window._arrivals.open[101].body)
