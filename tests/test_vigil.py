# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.vigil}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from cmanager.settings import ClientSettings
from cmanager.vigil import Vigil
from cmanager.wheel import Wheel


class VigilTests(TestCase):
    """
    Login 60 s, idle 100 s, keepalive 30 s, on a wheel of 1 s.
    """

    isListening = True

    def setUp(self) -> None:
        self.begin(ClientSettings(loginTimeout=60.0, idleTimeout=100.0, keepalive=30.0))

    def begin(self, settings: ClientSettings) -> None:
        """
        Watch from now on.
        """
        self.clock = Clock()
        self.wheel = Wheel(self.clock.seconds)
        self.seen: list[tuple[float, str]] = []
        self.stopAt = ""
        self.vigil = Vigil(self.wheel, settings, self, settings.keepalive)

    def idle(self, kind: str) -> None:
        """
        See it.
        """
        self.seen.append((self.clock.seconds(), kind))
        if kind == self.stopAt:
            self.vigil.stop()

    def keepAlive(self) -> None:
        """
        See it.
        """
        self.idle("keepalive")

    def run_(self, seconds: int, kind: str = "") -> list[float]:
        """
        Let time pass, and return when C{kind} was seen.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.wheel.tick()
        return [when for when, what in self.seen if what == kind]

    def test_login(self) -> None:
        """
        The time for the login passes once, whatever is sent or received.
        """
        self.run_(50)
        self.vigil.readAt = self.vigil.wroteAt = self.clock.seconds()
        self.assertEqual(self.run_(200, "login"), [60])

    def test_idle(self) -> None:
        """
        Silence for the whole time is noticed, and again after as much.
        """
        self.assertEqual(self.run_(200, "idle"), [100, 200])

    def test_received(self) -> None:
        """
        Anything received begins it anew.
        """
        self.run_(90)
        self.vigil.readAt = self.clock.seconds()
        self.assertEqual(self.run_(99, "idle"), [])
        self.assertEqual(self.run_(1, "idle"), [190])

    def test_notListening(self) -> None:
        """
        A client that is not read is not silent.
        """
        self.isListening = False
        self.assertEqual(self.run_(300, "idle"), [])
        self.isListening = True
        self.assertEqual(len(self.run_(100, "idle")), 1)

    def test_keepalive(self) -> None:
        """
        It is time for white space when nothing was sent for so long.
        """
        self.run_(20)
        self.vigil.wroteAt = self.clock.seconds()
        self.assertEqual(self.run_(70, "keepalive"), [50, 80])

    def test_noKeepalive(self) -> None:
        """
        With 0 it never is.
        """
        self.begin(ClientSettings(loginTimeout=60.0, idleTimeout=100.0, keepalive=0.0))
        self.run_(150)
        self.assertEqual([what for _, what in self.seen], ["login", "idle"])

    def test_stop(self) -> None:
        """
        Stopped, nothing happens any more; stopping again does no harm.
        """
        self.vigil.stop()
        self.vigil.stop()
        self.run_(200)
        self.assertEqual(self.seen, [])
        self.assertEqual(len(self.wheel), 0)

    def test_stopWithin(self) -> None:
        """
        A stop from within is one, at each point.
        """
        for kind in ("login", "idle"):
            self.begin(ClientSettings(loginTimeout=60.0, idleTimeout=60.0, keepalive=60.0))
            self.stopAt = kind
            self.run_(200)
            self.assertEqual(self.seen[-1], (60, kind))
            self.assertEqual(len(self.wheel), 0)
