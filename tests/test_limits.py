# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.limits}.
"""

from __future__ import annotations

from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from cmanager.limits import AddressLimits, Refused, TokenBucket, addressKey


def settings(**changes: float) -> SimpleNamespace:
    """
    The keys of C{[limits]} that concern addresses, small.
    """
    values: dict[str, float] = {
        "connectionsPerAddress": 3,
        "connectionRate": 1.0,
        "connectionBurst": 100,
        "loginFailures": 2,
        "loginDelay": 1.0,
        "loginDelayMax": 5.0,
        "loginMemory": 900.0,
        "addresses": 100,
    }
    values.update(changes)
    return SimpleNamespace(**values)


class TokenBucketTests(TestCase):
    """
    So many tokens a second, and so many at once.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.bucket = TokenBucket(10, 100, self.clock.seconds)

    def test_burst(self) -> None:
        """
        The whole burst may be taken at once without waiting.
        """
        self.assertEqual(self.bucket.take(100), 0.0)

    def test_overBurst(self) -> None:
        """
        One token more has to be waited for.
        """
        self.assertEqual(self.bucket.take(101), 0.1)

    def test_debt(self) -> None:
        """
        After the wait the bucket is empty but no longer overdrawn.
        """
        self.clock.advance(self.bucket.take(150))
        self.assertEqual(self.bucket.take(0), 0.0)
        self.assertEqual(self.bucket.take(1), 0.1)

    def test_full(self) -> None:
        """
        Time does not save up more than the burst.
        """
        self.clock.advance(1000)
        self.assertEqual(self.bucket.take(110), 1.0)

    def test_clockPutBack(self) -> None:
        """
        Where the clock is put back nothing is lost, and nothing has to be waited for.
        """
        self.bucket.take(50)
        self.clock.rightNow -= 3600
        self.assertEqual(self.bucket.take(50), 0.0)
        self.clock.advance(1)
        self.assertEqual(self.bucket.take(10), 0.0)

    def test_tryTake(self) -> None:
        """
        C{tryTake} never overdraws.
        """
        self.assertTrue(self.bucket.tryTake(100))
        self.assertFalse(self.bucket.tryTake())
        self.clock.advance(0.1)
        self.assertTrue(self.bucket.tryTake())


class AddressKeyTests(TestCase):
    """
    What counts as one address.
    """

    def test_four(self) -> None:
        """
        An IPv4 address is itself.
        """
        self.assertEqual(addressKey("192.0.2.1"), "192.0.2.1")

    def test_six(self) -> None:
        """
        IPv6 addresses of one /64 are one, of two are two.
        """
        self.assertEqual(addressKey("2001:db8::1"), addressKey("2001:db8::ffff:0:0:1"))
        self.assertNotEqual(addressKey("2001:db8::1"), addressKey("2001:db8:0:1::1"))

    def test_mapped(self) -> None:
        """
        An IPv4 address mapped into IPv6 is the IPv4 address.
        """
        self.assertEqual(addressKey("::ffff:192.0.2.1"), "192.0.2.1")


class ConnectionTests(TestCase):
    """
    Connections at once, and new ones.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.limits = AddressLimits(settings(), self.clock.seconds)

    def test_count(self) -> None:
        """
        The n-th connection of an address is accepted, the one after refused.
        """
        for _ in range(3):
            self.limits.accept("192.0.2.1")
        error = self.assertRaises(Refused, self.limits.accept, "192.0.2.1")
        self.assertEqual(error.condition, "policy-violation")
        self.assertEqual(error.limit, "connections-per-address")
        self.assertIn("192.0.2.1", error.reason)
        self.assertNotIn("192.0.2.1", str(error.text))

    def test_network(self) -> None:
        """
        A /64 shares one count.
        """
        for n in range(3):
            self.limits.accept(f"2001:db8::{n}")
        self.assertRaises(Refused, self.limits.accept, "2001:db8::7:0:0:1")
        self.limits.accept("2001:db8:0:1::1")

    def test_others(self) -> None:
        """
        An address that is used up harms no other.
        """
        for _ in range(3):
            self.limits.accept("192.0.2.1")
        self.limits.accept("192.0.2.2")

    def test_released(self) -> None:
        """
        A connection that ends makes room for another.
        """
        for _ in range(3):
            self.limits.accept("192.0.2.1")
        self.limits.released("192.0.2.1")
        self.assertEqual(self.limits.connections("192.0.2.1"), 2)
        self.assertEqual(self.limits.connections("192.0.2.2"), 0)
        self.limits.accept("192.0.2.1")
        self.assertRaises(Refused, self.limits.accept, "192.0.2.1")

    def test_rate(self) -> None:
        """
        New connections beyond the burst are refused until time has passed.
        """
        limits = AddressLimits(
            settings(connectionBurst=2, connectionsPerAddress=99), self.clock.seconds
        )
        limits.accept("192.0.2.1")
        limits.accept("192.0.2.1")
        error = self.assertRaises(Refused, limits.accept, "192.0.2.1")
        self.assertEqual(error.limit, "connection-rate")
        self.clock.advance(1)
        limits.accept("192.0.2.1")

    def test_rateOutlivesConnections(self) -> None:
        """
        Closing connections does not give the burst back.
        """
        limits = AddressLimits(settings(connectionBurst=2), self.clock.seconds)
        for _ in range(2):
            limits.accept("192.0.2.1")
            limits.released("192.0.2.1")
        self.assertRaises(Refused, limits.accept, "192.0.2.1")

    def test_live(self) -> None:
        """
        New settings hold from the next connection on.
        """
        self.limits.settings = settings(connectionsPerAddress=1)
        self.limits.accept("192.0.2.1")
        self.assertRaises(Refused, self.limits.accept, "192.0.2.1")

    def test_liveRate(self) -> None:
        """
        So does another rate, of addresses that are known already, too.
        """
        limits = self.limits
        limits.settings = settings(connectionBurst=1)
        limits.accept("192.0.2.1")
        self.assertRaises(Refused, limits.accept, "192.0.2.1")
        limits.settings = settings(connectionBurst=2, connectionRate=100)
        self.clock.advance(0.02)
        limits.accept("192.0.2.1")
        limits.accept("192.0.2.1")
        self.assertRaises(Refused, limits.accept, "192.0.2.1")


class LoginTests(TestCase):
    """
    Failed logins make an address wait.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.limits = AddressLimits(settings(), self.clock.seconds)

    def fail_(self, count: int) -> list[float]:
        """
        Fail so often; return the delays.
        """
        return [self.limits.loginFailed("192.0.2.1") for _ in range(count)]

    def test_delay(self) -> None:
        """
        The first C{login-failures} cost nothing, then the delay doubles up to its
        maximum.
        """
        self.assertEqual(self.fail_(7), [0, 0, 1, 2, 4, 5, 5])

    def test_many(self) -> None:
        """
        However often it fails, the delay stays a number.
        """
        self.assertEqual(self.fail_(3000)[-1], 5)

    def test_memory(self) -> None:
        """
        Failures are remembered for C{login-memory} after the last one.
        """
        self.fail_(3)
        self.clock.advance(899)
        self.assertEqual(self.fail_(1), [2])
        self.clock.advance(900)
        self.assertEqual(self.fail_(1), [0])

    def test_success(self) -> None:
        """
        A login forgets the failures, of connected and of unconnected addresses.
        """
        self.fail_(3)
        self.limits.loginSucceeded("192.0.2.1")
        self.assertEqual(self.fail_(1), [0])
        self.limits.accept("192.0.2.1")
        self.fail_(2)
        self.limits.loginSucceeded("192.0.2.1")
        self.assertEqual(self.fail_(1), [0])

    def test_unknown(self) -> None:
        """
        A success of an address without failures is remembered nowhere.
        """
        self.limits.loginSucceeded("192.0.2.9")
        self.assertEqual(len(self.limits), 0)


class MemoryTests(TestCase):
    """
    The number of remembered addresses is bounded.
    """

    def setUp(self) -> None:
        self.limits = AddressLimits(settings(addresses=3, connectionsPerAddress=1), Clock().seconds)

    def test_bound(self) -> None:
        """
        n addresses are remembered, not n + 1: the quietest goes.
        """
        for n in range(3):
            self.limits.loginFailed(f"192.0.2.{n}")
        self.limits.loginFailed("192.0.2.0")
        self.limits.loginFailed("192.0.2.3")
        self.assertEqual(len(self.limits), 3)
        # .0 has failed twice and is remembered, .1 has gone.
        self.assertEqual(self.limits.loginFailed("192.0.2.0"), 1.0)

    def test_connected(self) -> None:
        """
        An address with connections outlives those without.
        """
        self.limits.accept("192.0.2.1")
        for n in range(2, 20):
            self.limits.loginFailed(f"192.0.2.{n}")
        self.assertRaises(Refused, self.limits.accept, "192.0.2.1")
        self.assertEqual(len(self.limits), 3)

    def test_forced(self) -> None:
        """
        With nothing but connected addresses the oldest is forgotten, and the end of
        its connections does no harm.
        """
        for n in range(4):
            self.limits.accept(f"192.0.2.{n}")
        self.assertEqual(len(self.limits), 3)
        self.limits.released("192.0.2.0")
        self.assertEqual(len(self.limits), 3)
        self.assertRaises(Refused, self.limits.accept, "192.0.2.1")
