# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.arrivals}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.arrivals import JITTER_SECONDS, Arrivals, Request
from cmanager.body import Body
from cmanager.errors import BOSHError
from cmanager.ledger import MAX_TOKENS, Response
from cmanager.stanza import NS_CLIENT, Stanza
from cmanager.terms import Rules, agree

PRESENCE = Stanza("presence", NS_CLIENT, {}, b"<presence/>")
EARLY_BYTES = 100


def message(rid: int, size: int = 10) -> Body:
    """
    Return a request with something in it.
    """
    return Body(rid=rid, size=size, children=(PRESENCE,))


def poll(rid: int) -> Body:
    """
    Return a request with nothing in it.
    """
    return Body(rid=rid, size=10)


def answered(rid: int, *, hasPayload: bool = False) -> Response:
    """
    Return a response.
    """
    return Response(rid, None, 0.0, [(b"<presence/>", None)] * hasPayload, 200, b"")


class ArrivalsCase(SynchronousTestCase):
    """
    A window of three requests, the first of which has the rid 10, and has been answered.
    """

    hold = 2
    polling = 5

    def setUp(self) -> None:
        rules = Rules(hold=2, polling=self.polling)
        terms = agree(Body(rid=10, hold=self.hold), rules)
        self.arrivals = Arrivals(terms, 10, EARLY_BYTES)
        self.take(message(10))
        self.arrivals.open.clear()

    def admit(
        self,
        body: Body,
        now: float = 100.0,
        *,
        isPause: bool = False,
        before: Response | None = None,
    ) -> Request:
        """
        Let a request come.
        """
        request = Request(f"t{body.rid}", body, now, isPause=isPause)
        self.arrivals.admit(request, before)
        return request

    def take(self, body: Body, now: float = 0.0) -> None:
        """
        Let a request come, and hand it out.
        """
        self.admit(body, now)
        request = self.arrivals.advance()
        assert request is not None
        self.assertEqual(request.rid, body.rid)

    def assertRefused(
        self, condition: str, body: Body, now: float = 100.0, **other: object
    ) -> None:
        """
        A request may not come.
        """
        error = self.assertRaises(BOSHError, self.admit, body, now, **other)
        self.assertEqual(error.condition, condition)


class OrderTests(ArrivalsCase):
    """
    XEP-0124 section 14.2.
    """

    def test_inOrder(self) -> None:
        """
        Requests are handed out in the order of rids, each once, whatever they came in.
        """
        for rid in (13, 11):
            self.admit(message(rid))
        self.assertEqual(self.arrivals.whole, 11)
        self.admit(message(12))
        self.assertEqual(self.arrivals.whole, 13)
        handed = []
        while (request := self.arrivals.advance()) is not None:
            handed.append(request.rid)
        self.assertEqual(handed, [11, 12, 13])
        self.assertEqual((list(self.arrivals.open), self.arrivals.last), ([11, 12, 13], 13))

    def test_missing(self) -> None:
        """
        Where one is missing those behind it wait.
        """
        self.admit(message(12))
        self.assertIsNone(self.arrivals.advance())
        self.assertEqual((self.arrivals.last, self.arrivals.whole), (10, 10))

    def test_find(self) -> None:
        """
        A request is known, whether it was handed out or not, until it is answered.
        """
        self.take(message(11))
        early = self.admit(message(13))
        self.assertIs(self.arrivals.find(11), self.arrivals.open[11])
        self.assertIs(self.arrivals.find(13), early)
        self.assertIsNone(self.arrivals.find(12))
        self.assertIsNone(self.arrivals.find(10))

    def test_keys(self) -> None:
        """
        One whose key does not follow is not handed out (section 15.4).
        """
        self.admit(Body(rid=11, newkey="0" * 40, children=(PRESENCE,)))
        self.arrivals.advance()
        self.admit(Body(rid=12, key="x", children=(PRESENCE,)))
        error = self.assertRaises(BOSHError, self.arrivals.advance)
        self.assertEqual(error.condition, "item-not-found")
        self.assertEqual((self.arrivals.last, list(self.arrivals.waiting)), (11, [12]))


class WindowTests(ArrivalsCase):
    """
    Which requests may come.
    """

    def test_tooHigh(self) -> None:
        """
        A rid may be higher than the last handed out by as much as there may be requests.
        """
        self.admit(message(13))
        self.assertRefused("item-not-found", message(14))

    def test_tooLow(self) -> None:
        """
        One that has been answered, and is not known any more, may not come again.
        """
        self.assertRefused("item-not-found", message(10))
        self.assertRefused("item-not-found", message(1))

    def test_leaving(self) -> None:
        """
        A client that leaves, for a while or for good, may use one more (section 11).
        """
        for rid in (11, 12, 13):
            self.admit(message(rid))
        self.assertRefused("item-not-found", message(14))
        self.assertRefused("item-not-found", Body(rid=15, isTerminate=True))
        self.admit(Body(rid=14, isTerminate=True))

    def test_leavingOvertakes(self) -> None:
        """
        That may come before the others.
        """
        self.admit(Body(rid=14, pause=5), isPause=True)
        for rid in (13, 12, 11):
            self.admit(message(rid))
        self.assertEqual(self.arrivals.whole, 14)

    def test_tooMany(self) -> None:
        """
        There may be so many without a response, and no more, also of those handed out.
        """
        self.take(message(11))
        self.take(message(12))
        self.admit(message(13))
        self.assertRefused("policy-violation", message(14))

    def test_tooManyLeaving(self) -> None:
        """
        One more, if the client leaves; but not two.
        """
        for rid in (11, 12, 13):
            self.take(message(rid))
        self.admit(Body(rid=14, isTerminate=True))
        self.assertRefused("policy-violation", message(15))
        self.assertRefused("policy-violation", Body(rid=15, isTerminate=True))

    def test_earlyBytes(self) -> None:
        """
        Those that came before their turn may have so many bytes, and no more.
        """
        self.admit(message(13, EARLY_BYTES - 10))
        self.assertRefused("policy-violation", message(12, 11))
        self.admit(message(12, 10))

    def test_nextBytes(self) -> None:
        """
        That whose turn it is does not count.
        """
        self.admit(message(12, EARLY_BYTES))
        self.admit(message(11, 10 * EARLY_BYTES))


class HasteTests(ArrivalsCase):
    """
    XEP-0124 section 11: requests that ask for nothing but a response.
    """

    def setUp(self) -> None:
        super().setUp()
        self.take(message(11), 100.0)
        self.take(message(12), 100.0)
        self.soon = 100.0 + self.polling - JITTER_SECONDS

    def test_hasty(self) -> None:
        """
        One that takes the last place may not come soon after another.
        """
        self.assertRefused("policy-violation", poll(13), self.soon - 0.01)
        self.admit(poll(13), self.soon)

    def test_notTheLast(self) -> None:
        """
        As long as there is another place it may.
        """
        del self.arrivals.open[11]
        self.admit(poll(13), 100.0)

    def test_excused(self) -> None:
        """
        One that wants something may.
        """
        for body in (
            message(13),
            Body(rid=13, isRestart=True),
            Body(rid=13, isTerminate=True),
        ):
            self.admit(body, 100.0)
            del self.arrivals.waiting[13]
        self.admit(Body(rid=13, pause=5), 100.0, isPause=True)


class PollingTests(ArrivalsCase):
    """
    XEP-0124 section 12: the same where no request is held.
    """

    hold = 0

    def setUp(self) -> None:
        super().setUp()
        self.take(poll(11), 100.0)
        self.arrivals.open.clear()
        self.soon = 100.0 + self.polling - JITTER_SECONDS

    def test_hasty(self) -> None:
        """
        After one that brought nothing the next may not come soon.
        """
        self.assertRefused("policy-violation", poll(12), self.soon - 0.01, before=answered(11))
        self.admit(poll(12), self.soon, before=answered(11))

    def test_payload(self) -> None:
        """
        After one that brought something it may.
        """
        self.admit(poll(12), 100.0, before=answered(11, hasPayload=True))

    def test_notAnswered(self) -> None:
        """
        One that overtakes another may.
        """
        self.admit(poll(12), 100.0)

    def test_notConsecutive(self) -> None:
        """
        After one that sent something it may.
        """
        self.take(message(12), 100.0)
        self.arrivals.open.clear()
        self.admit(poll(13), 100.0, before=answered(12))


class UnhurriedTests(ArrivalsCase):
    """
    Where the rules name no shortest time.
    """

    polling = 0

    def test_noBound(self) -> None:
        """
        A client may ask as it likes.
        """
        for rid in (11, 12, 13):
            self.admit(poll(rid), 100.0)


class TokenTests(ArrivalsCase):
    """
    The HTTP requests for a request.
    """

    def test_repeated(self) -> None:
        """
        So many may wait for the same response; one more takes the place of the oldest.
        """
        request = self.admit(message(11))
        for number in range(MAX_TOKENS - 1):
            self.assertIsNone(request.repeated(number, 101.0))
        self.assertEqual(request.repeated("last", 102.0), "t11")
        self.assertEqual(len(request.tokens), MAX_TOKENS)
        self.assertEqual(request.tokens[-1], ("last", 102.0))

    def test_lost(self) -> None:
        """
        One that is gone does not count, and is found wherever it is.
        """
        self.take(message(11))
        self.admit(message(13))
        for token in ("t13", "t11"):
            self.assertTrue(self.arrivals.lost(token))
            self.assertFalse(self.arrivals.lost(token))
        self.assertEqual(self.arrivals.open[11].tokens, [])
        self.assertEqual(self.arrivals.waiting[13].tokens, [])

    def test_attended(self) -> None:
        """
        A client is here with a request that was handed out, or that might be; not with one
        behind a request that is missing.
        """
        self.assertFalse(self.arrivals.isAttended)
        self.admit(message(12))
        self.assertFalse(self.arrivals.isAttended)
        self.admit(message(11))
        self.assertTrue(self.arrivals.isAttended)
        self.arrivals.lost("t12")
        self.assertTrue(self.arrivals.isAttended)
        self.arrivals.lost("t11")
        self.assertFalse(self.arrivals.isAttended)
        self.arrivals.advance()
        self.assertFalse(self.arrivals.isAttended)
        self.arrivals.open[11].repeated("again", 101.0)
        self.assertTrue(self.arrivals.isAttended)
