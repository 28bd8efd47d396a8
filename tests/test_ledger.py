# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.ledger}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.ledger import MAX_TOKENS, Ledger, Response
from cmanager.stanza import NS_CLIENT, Stanza


def message(number: int, size: int = 40) -> Stanza:
    """
    Return a stanza of exactly so many bytes, at least 30.
    """
    head, tail = b'<message id="%04d">' % number, b"</message>"
    data = head + b"x" * (size - len(head) - len(tail)) + tail
    return Stanza("message", NS_CLIENT, {"id": str(number)}, data)


class LedgerCase(SynchronousTestCase):
    """
    A ledger for 100 bytes, 80 of them in a response.
    """

    def setUp(self) -> None:
        self.ledger = Ledger(100, 80)

    def put(self, *stanzas: Stanza) -> None:
        """
        Queue stanzas.
        """
        for stanza in stanzas:
            self.ledger.put(stanza.data, stanza)

    def respond(self, rid: int, *tokens: str) -> Response:
        """
        Make a response of what waits.
        """
        response = Response(rid, None, 0.0, self.ledger.take(), 200, b"data")
        for token in tokens:
            response.written(token)
        self.ledger.record(response)
        return response


class QueueTests(LedgerCase):
    """
    What waits.
    """

    def test_bound(self) -> None:
        """
        So many bytes may wait and no more.
        """
        self.put(message(1, 40))
        self.assertTrue(self.ledger.fits(60))
        self.assertFalse(self.ledger.fits(61))

    def test_giant(self) -> None:
        """
        Where nothing waits anything fits, and leaves the bound to what is behind it.
        """
        self.assertTrue(self.ledger.fits(5000))
        self.put(message(1, 5000))
        self.assertTrue(self.ledger.fits(100))
        self.assertFalse(self.ledger.fits(101))
        self.put(message(2, 40))
        self.assertTrue(self.ledger.fits(60))
        self.assertFalse(self.ledger.fits(61))

    def test_noGiant(self) -> None:
        """
        One that just fills the bound is none.
        """
        self.put(message(1, 100))
        self.assertFalse(self.ledger.fits(1))

    def test_take(self) -> None:
        """
        A response holds so many bytes of elements and no more, in order.
        """
        stanzas = [message(1, 40), message(2, 40), message(3, 40)]
        self.put(*stanzas)
        self.assertEqual([x for _, x in self.ledger.take()], stanzas[:2])
        self.assertEqual((self.ledger.size, self.ledger.isEmpty), (40, False))
        self.put(message(4, 41))
        self.assertEqual([x for _, x in self.ledger.take()], stanzas[2:])
        self.assertEqual(len(self.ledger.take()), 1)
        self.assertEqual((self.ledger.size, self.ledger.isEmpty), (0, True))
        self.assertEqual(self.ledger.take(), [])

    def test_takeGiant(self) -> None:
        """
        One element fits into a response, however large it is.
        """
        self.put(message(1, 5000), message(2))
        self.assertEqual(len(self.ledger.take()), 1)
        self.assertEqual(self.ledger.size, 40)

    def test_takeAll(self) -> None:
        """
        All can be had at once.
        """
        self.put(message(1, 5000), message(2), message(3))
        self.assertEqual(len(self.ledger.take(all=True)), 3)
        self.assertEqual(self.ledger.size, 0)

    def test_notCounted(self) -> None:
        """
        What is no stanza waits in its turn, and is not given back.
        """
        self.ledger.put(b"<stream:features/>")
        self.put(message(1))
        self.assertEqual(
            [data[:9] for data, _ in self.ledger.take(all=True)], [b"<stream:f", b"<message "]
        )
        self.ledger.put(b"<stream:features/>")
        self.assertEqual(self.ledger.takeUndelivered(trust=False), [])


class ResponseTests(LedgerCase):
    """
    What has been sent.
    """

    def test_received(self) -> None:
        """
        What the client has is not given back; it can still be had again.
        """
        stanzas = [message(number) for number in range(3)]
        for rid, stanza in enumerate(stanzas):
            self.put(stanza)
            self.respond(rid, f"t{rid}")
        self.ledger.received(1)
        self.assertEqual(list(self.ledger.responses), [0, 1, 2])
        self.assertEqual(self.ledger.takeUndelivered(trust=False), stanzas[2:])

    def test_allReceived(self) -> None:
        """
        It may have all of them.
        """
        self.put(message(1))
        self.respond(1, "a")
        self.ledger.received(1)
        self.assertEqual(self.ledger.takeUndelivered(trust=False), [])

    def test_confirm(self) -> None:
        """
        A response that was written counts as received once all before it do.
        """
        self.put(message(1))
        first = self.respond(1, "a")
        self.put(message(2))
        second = self.respond(2, "b")
        self.ledger.confirm("c")
        self.ledger.confirm("b")
        self.assertEqual((len(first.stanzas), len(second.stanzas)), (1, 1))
        self.ledger.confirm("a")
        self.assertEqual((first.stanzas, second.stanzas), ([], []))

    def test_doubtful(self) -> None:
        """
        It is open whether the client has what is in responses before the last.
        """
        self.assertFalse(self.ledger.isDoubtful)
        self.put(message(1))
        self.respond(1)
        self.assertFalse(self.ledger.isDoubtful)
        self.respond(2)
        self.assertTrue(self.ledger.isDoubtful)
        self.ledger.received(1)
        self.assertFalse(self.ledger.isDoubtful)

    def test_forget(self) -> None:
        """
        What is forgotten cannot be had again.
        """
        for rid in range(3):
            self.respond(rid)
        self.ledger.forget(1)
        self.assertEqual(list(self.ledger.responses), [2])

    def test_find(self) -> None:
        """
        A response is found by where it was written to, as long as that is remembered.
        """
        response = self.respond(1, "a")
        self.respond(2, "b")
        self.assertIs(self.ledger.find("a"), response)
        self.assertIsNone(self.ledger.find("c"))
        for number in range(MAX_TOKENS - 1):
            response.written(f"a{number}")
        self.assertIs(self.ledger.find("a"), response)
        response.written("last")
        self.assertIsNone(self.ledger.find("a"))
        self.assertEqual(len(response.tokens), MAX_TOKENS)

    def test_payload(self) -> None:
        """
        A response knows whether there is anything in it.
        """
        self.assertFalse(self.respond(1).hasPayload)
        self.ledger.put(b"<stream:features/>")
        response = self.respond(2)
        self.assertTrue(response.hasPayload)
        self.assertEqual(response.stanzas, [])


class UndeliveredTests(LedgerCase):
    """
    What is given back.
    """

    def test_order(self) -> None:
        """
        What was sent comes before what waits; after that nothing is left.
        """
        first, second, third = message(1), message(2), message(3)
        self.put(first)
        self.respond(1, "a")
        self.put(second, third)
        self.assertEqual(self.ledger.takeUndelivered(trust=False), [first, second, third])
        self.assertEqual(self.ledger.takeUndelivered(trust=False), [])
        self.assertEqual(self.ledger.size, 0)

    def test_givenUp(self) -> None:
        """
        What was given back cannot be had again; what held nothing can.
        """
        self.put(message(1))
        self.respond(1, "a")
        empty = self.respond(2, "b")
        self.ledger.takeUndelivered(trust=False)
        self.assertEqual(self.ledger.responses, {2: empty})

    def test_trust(self) -> None:
        """
        With trust only that is given back which was written nowhere, or lost everywhere.
        """
        stanzas = [message(number) for number in range(4)]
        for rid, tokens in enumerate((("a",), (), ("b", "c"))):
            self.put(stanzas[rid])
            self.respond(rid, *tokens)
        self.put(stanzas[3])
        lost = self.ledger.find("a")
        assert lost is not None
        lost.tokens.remove("a")
        half = self.ledger.find("b")
        assert half is not None
        half.tokens.remove("b")
        undelivered = self.ledger.takeUndelivered(trust=True)
        self.assertEqual(undelivered, [stanzas[0], stanzas[1], stanzas[3]])
        self.assertEqual(self.ledger.responses, {2: half})
