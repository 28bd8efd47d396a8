# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.terms}.
"""

from __future__ import annotations

import hashlib

from twisted.trial.unittest import SynchronousTestCase

from cmanager.body import Body
from cmanager.settings import BOSHSettings, ClientSettings
from cmanager.terms import (
    BODY_STANZAS,
    KeySequence,
    Rules,
    Terms,
    agree,
    contentType,
    isLegacyClient,
    rulesFor,
)

RULES = Rules(wait=60, hold=2, inactivity=30, pollingInactivity=90, polling=5, maxPause=120)


def keys(seed: str, count: int) -> list[str]:
    """
    Return a sequence in the order of its use: the first is the C{newkey}.
    """
    sequence = []
    for _ in range(count):
        seed = hashlib.sha1(seed.encode()).hexdigest()
        sequence.append(seed)
    return sequence[::-1]


class TermsTests(SynchronousTestCase):
    """
    What a client asks for, and gets.
    """

    def agree(self, **asked: int) -> Terms:
        """
        Agree with a client that asks for so much.
        """
        return agree(Body(rid=7, ver=(1, 6), **asked), RULES)

    def test_asked(self) -> None:
        """
        It gets what it asks for, as far as the rules go.
        """
        for asked, got in ((59, 59), (60, 60), (61, 60)):
            self.assertEqual(self.agree(wait=asked).wait, got)
        for asked, hold, requests in ((1, 1, 2), (2, 2, 3), (3, 2, 3)):
            terms = self.agree(hold=asked)
            self.assertEqual((terms.hold, terms.requests), (hold, requests))

    def test_notAsked(self) -> None:
        """
        One that asks for nothing has a request held, for as long as the rules go.
        """
        terms = self.agree()
        self.assertEqual((terms.wait, terms.hold, terms.requests), (60, 1, 2))
        self.assertEqual((terms.inactivity, terms.isPolling), (30, False))

    def test_polling(self) -> None:
        """
        One that wants no request held, or for no time, polls; it may be silent for longer.
        """
        for terms in (self.agree(hold=0), self.agree(hold=2, wait=0), self.agree(hold=0, wait=0)):
            self.assertEqual((terms.hold, terms.requests, terms.inactivity), (0, 2, 90))
            self.assertTrue(terms.isPolling)

    def test_pollingByRule(self) -> None:
        """
        Where nothing may be held all clients poll.
        """
        self.assertTrue(agree(Body(rid=7, hold=1), Rules(hold=0)).isPolling)

    def test_version(self) -> None:
        """
        The lower of the two versions is spoken; a client before 1.6, or without a version, is
        an old one.
        """
        for asked, ver, isLegacy in (
            ((1, 5), (1, 5), True),
            ((1, 6), (1, 6), False),
            ((1, 10), (1, 10), False),
            ((1, 12), (1, 11), False),
            ((2, 0), (1, 11), False),
            (None, None, True),
        ):
            terms = agree(Body(rid=7, ver=asked), RULES)
            self.assertEqual((terms.ver, terms.isLegacy), (ver, isLegacy))

    def test_acknowledging(self) -> None:
        """
        Who sends C{ack} in the first request acknowledges.
        """
        self.assertTrue(self.agree(ack=1).isAcknowledging)
        self.assertFalse(self.agree().isAcknowledging)

    def test_attributes(self) -> None:
        """
        The first response says what was agreed.
        """
        self.assertEqual(
            self.agree(hold=1).attributes("s", 7),
            {
                "sid": "s",
                "wait": 60,
                "hold": 1,
                "requests": 2,
                "inactivity": 30,
                "polling": 5,
                "maxpause": 120,
                "ver": "1.6",
                "ack": 7,
                "xmpp:restartlogic": "true",
            },
        )

    def test_attributesLeftOut(self) -> None:
        """
        What is not so is not said: a client may poll as it likes, may not pause, and an old
        one is not told of acknowledgements.
        """
        terms = agree(Body(rid=7), Rules(polling=0, maxPause=0))
        self.assertEqual(
            {"polling", "maxpause", "ver", "ack"} & set(terms.attributes("s", 7)), set()
        )


class RulesTests(SynchronousTestCase):
    """
    Where the rules come from.
    """

    def test_settings(self) -> None:
        """
        The configuration; what may wait is as over TCP.
        """
        settings = BOSHSettings(
            wait=1, hold=2, inactivity=30, pollingInactivity=40, polling=5, maxPause=60
        )
        client = ClientSettings(queueBytes=70000, stanzaBytes=80000)
        self.assertEqual(
            rulesFor(settings, client),
            Rules(
                wait=1,
                hold=2,
                inactivity=30,
                pollingInactivity=40,
                polling=5,
                maxPause=60,
                queueBytes=70000,
                earlyBytes=BODY_STANZAS * 80000,
            ),
        )

    def test_wait(self) -> None:
        """
        Unless it is changed nothing is silent for as long as proxies permit: 60 seconds.
        """
        self.assertLess(BOSHSettings().wait, 60)


class FirstTests(SynchronousTestCase):
    """
    What the first request says of a client.
    """

    def test_isLegacy(self) -> None:
        """
        Before version 1.6 clients were different.
        """
        for ver, expected in ((None, True), ((1, 5), True), ((1, 6), False), ((2, 0), False)):
            self.assertEqual(isLegacyClient(Body(rid=1, ver=ver)), expected)

    def test_contentType(self) -> None:
        """
        Responses are of the type it wants; what charset they are in is always said.
        """
        for wanted, expected in (
            (None, "text/xml; charset=utf-8"),
            ("text/plain", "text/plain; charset=utf-8"),
            ("application/xml; Charset=utf-8", "application/xml; Charset=utf-8"),
        ):
            self.assertEqual(contentType(Body(rid=1, content=wanted)), expected)


class KeySequenceTests(SynchronousTestCase):
    """
    XEP-0124 section 15.
    """

    def test_notUsed(self) -> None:
        """
        Without a first key there is no sequence, whatever else is sent.
        """
        sequence = KeySequence()
        for key in (None, "x"):
            self.assertTrue(sequence.follows(Body(rid=1, key=key)))
            self.assertFalse(sequence.isUsed)

    def test_sequence(self) -> None:
        """
        Each key hashes to the one before.
        """
        sequence = KeySequence()
        first, *rest = keys("seed", 5)
        self.assertTrue(sequence.follows(Body(rid=1, newkey=first)))
        self.assertTrue(sequence.isUsed)
        for key in rest:
            self.assertTrue(sequence.follows(Body(rid=2, key=key)))

    def test_mismatch(self) -> None:
        """
        No key, the same again, a later one or none there is does not follow, and moves nothing.
        """
        first, second, third = keys("seed", 3)
        sequence = KeySequence()
        sequence.follows(Body(rid=1, newkey=first))
        for wrong in (None, first, third, "", "\u00e9"):
            self.assertFalse(sequence.follows(Body(rid=2, key=wrong)))
        self.assertFalse(sequence.follows(Body(rid=2, key=third, newkey=first)))
        self.assertTrue(sequence.follows(Body(rid=2, key=second)))

    def test_switch(self) -> None:
        """
        The last key of a sequence comes with the first of the next.
        """
        first, last = keys("seed", 2)
        newFirst, newSecond = keys("other", 2)
        sequence = KeySequence()
        sequence.follows(Body(rid=1, newkey=first))
        self.assertTrue(sequence.follows(Body(rid=2, key=last, newkey=newFirst)))
        self.assertTrue(sequence.follows(Body(rid=3, key=newSecond)))

    def test_case(self) -> None:
        """
        Hexadecimal digits of a first key may be of either case.
        """
        first, second = keys("seed", 2)
        sequence = KeySequence()
        sequence.follows(Body(rid=1, newkey=first.upper()))
        self.assertTrue(sequence.follows(Body(rid=2, key=second)))

    def test_late(self) -> None:
        """
        A sequence may begin in the middle of a session.
        """
        first, second = keys("seed", 2)
        sequence = KeySequence()
        self.assertTrue(sequence.follows(Body(rid=1)))
        self.assertTrue(sequence.follows(Body(rid=2, newkey=first)))
        self.assertFalse(sequence.follows(Body(rid=3)))
        self.assertTrue(sequence.follows(Body(rid=3, key=second)))
