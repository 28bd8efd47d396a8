# Copyright the cmanager authors.
# See LICENSE for details.

"""
Which sessions are asked for, and when.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.audit import Auditor
from cmanager.host import Host
from cmanager.table import State, StreamID, Table


class Silent:
    """
    As much of a session as is looked at.
    """

    def __init__(self, number: int, host: Host) -> None:
        self.id = StreamID(str(number))
        self.state = State.BOUND
        self.link: Any = None
        self.host = host
        self.heard = False
        self.audits = 0

    def audit(self) -> None:
        self.audits += 1


class AuditorTests(SynchronousTestCase):
    """
    Silent sessions are asked for, spread over time.
    """

    def setUp(self) -> None:
        """
        A domain that is audited every 100 seconds.
        """
        self.clock = Clock()
        self.table = Table(1000)
        self.auditor = Auditor(self.table, self.clock.seconds)
        self.host = Host("verona.example", auditAfter=100)
        self.made = 0

    def add(self, amount: int, host: Host | None = None) -> list[Silent]:
        """
        Add silent sessions.
        """
        sessions = [Silent(self.made + number, host or self.host) for number in range(amount)]
        self.made += amount
        for session in sessions:
            self.table.add(session)  # type: ignore[arg-type] # stands in for a session
        return sessions

    def advance(self, seconds: int) -> None:
        """
        Let time pass.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.auditor.tick([self.host])

    def test_spread(self) -> None:
        """
        One round takes C{audit-after}, with a few sessions each second.
        """
        sessions = self.add(500)
        self.advance(1)
        before = 0
        for _ in range(100):
            self.advance(1)
            asked = sum(session.audits for session in sessions)
            self.assertLessEqual(asked - before, 6)
            before = asked
        self.assertEqual([session.audits for session in sessions], [1] * 500)

    def test_heard(self) -> None:
        """
        One that has sent something since the last round is left in peace for a round.
        """
        (session,) = self.add(1)
        session.heard = True
        self.advance(102)
        self.assertEqual((session.audits, session.heard), (0, False))
        self.advance(101)
        self.assertEqual(session.audits, 1)

    def test_onlyBound(self) -> None:
        """
        Only bound sessions of that domain are looked at.
        """
        unbound, (other,) = self.add(1), self.add(1, Host("mantua.example"))
        self.table.move(unbound[0], State.BINDING)  # type: ignore[arg-type] # as above
        self.advance(300)
        self.assertEqual((unbound[0].audits, other.audits), (0, 0))

    def test_never(self) -> None:
        """
        0 means never.
        """
        self.host.auditAfter = 0
        (session,) = self.add(1)
        self.advance(300)
        self.assertEqual(session.audits, 0)

    def test_newcomers(self) -> None:
        """
        Those that come during a round have their turn in the next.
        """
        self.advance(50)
        (session,) = self.add(1)
        self.advance(50)
        self.assertEqual(session.audits, 0)
        self.advance(110)
        self.assertEqual(session.audits, 1)
