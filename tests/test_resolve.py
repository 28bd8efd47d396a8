# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.resolve}.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.names import dns, error
from twisted.trial.unittest import SynchronousTestCase

from cmanager.resolve import Locator

Records = list[tuple[int, int, str]]


class Resolver:
    """
    Answers from a table; what is not in it does not exist.
    """

    def __init__(self, table: dict[str, Records | Exception]) -> None:
        self.table = table
        self.asked: list[str] = []

    def lookupService(self, name: str) -> Deferred[object]:
        self.asked.append(name)
        found = self.table.get(name, error.DNSNameError())
        if isinstance(found, Exception):
            return fail(found)
        answers = [
            dns.RRHeader(name.encode(), dns.SRV, payload=dns.Record_SRV(p, w, 5269, host.encode()))
            for p, w, host in found
        ]
        answers.append(dns.RRHeader(name.encode(), dns.A, payload=dns.Record_A()))
        return succeed((answers, [], []))


SERVER = "_xmpp-server._tcp.example.org"
JABBER = "_jabber._tcp.example.org"


class LocatorTests(SynchronousTestCase):
    """
    The hosts of a server come from its SRV records.
    """

    def locate(
        self, table: dict[str, Records | Exception], random: Callable[[], float] = lambda: 0.5
    ) -> list[str]:
        """
        Look up once.
        """
        self.resolver = Resolver(table)
        locator = Locator("example.org", self.resolver, random)
        return self.successResultOf(ensureDeferred(locator.hosts()))

    def test_server(self) -> None:
        """
        The record for servers comes first; of it only the host is used.
        """
        found = self.locate({SERVER: [(0, 0, "a.example.org.")], JABBER: [(0, 0, "b")]})
        self.assertEqual((found, self.resolver.asked), (["a.example.org"], [SERVER]))

    def test_jabber(self) -> None:
        """
        The old record is asked for where there is no other.
        """
        self.assertEqual(self.locate({JABBER: [(0, 0, "b")]}), ["b"])
        self.assertEqual(self.locate({SERVER: [(0, 0, ".")], JABBER: [(0, 0, "b")]}), ["b"])

    def test_none(self) -> None:
        """
        Without records it is the domain itself; so it is when they cannot be had.
        """
        self.assertEqual(self.locate({}), ["example.org"])
        self.assertEqual(self.resolver.asked, [SERVER, JABBER])
        broken: dict[str, Records | Exception] = {SERVER: OSError(), JABBER: error.DNSServerError()}
        self.assertEqual(self.locate(broken), ["example.org"])

    def test_priority(self) -> None:
        """
        Lower priorities come first; a host is named once.
        """
        found = self.locate({SERVER: [(20, 0, "b"), (10, 0, "a"), (30, 0, "a")]})
        self.assertEqual(found, ["a", "b"])

    def test_weight(self) -> None:
        """
        Within a priority the heavier host comes first more often.
        """
        draws = iter([0.9, 0.5])
        records: Records = [(0, 90, "heavy"), (0, 10, "light")]
        self.assertEqual(self.locate({SERVER: records}, lambda: next(draws)), ["heavy", "light"])
        draws = iter([0.9999999, 0.1])
        self.assertEqual(self.locate({SERVER: records}, lambda: next(draws)), ["light", "heavy"])

    def test_stable(self) -> None:
        """
        The order stays the same until the hosts change.
        """
        draws = iter([0.1, 0.2, 0.3, 0.4, 0.5])
        resolver = Resolver({SERVER: [(0, 1, "a"), (0, 1, "b")]})
        locator = Locator("example.org", resolver, lambda: next(draws))
        for _ in range(3):
            self.assertEqual(self.successResultOf(ensureDeferred(locator.hosts())), ["a", "b"])
        resolver.table[SERVER] = [(0, 1, "a"), (0, 1, "b"), (0, 1, "c")]
        self.successResultOf(ensureDeferred(locator.hosts()))
        self.assertEqual(list(draws), [])
