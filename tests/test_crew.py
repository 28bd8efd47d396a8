# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.crew}.
"""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.config import load
from cmanager.crew import Crew
from cmanager.front import Surroundings
from cmanager.router import Router
from cmanager.tap import build
from tests.etc import Site

PATHS = ("/run/a/0", "/run/a/1", "/run/a/2")


class CrewTests(SynchronousTestCase):
    """
    L{Crew} reaches who needs it.
    """

    def test_router(self) -> None:
        """
        The router has that of its process, or none where the process is alone.
        """
        shared = os.memfd_create("crew")
        self.addCleanup(os.close, shared)
        crew = Crew(1, 3, shared, 11, PATHS)
        settings = load(Site(self.mktemp()).path, {})
        front = build(settings, Surroundings(MemoryReactorClock(), crew=crew))
        (router,) = (child for child in front if isinstance(child, Router))
        self.assertIs(router.crew, crew)
        self.assertIsNone(Router(Clock(), front.settings).crew)

    def test_noSockets(self) -> None:
        """
        Without sockets of others' each listener makes its own.
        """
        self.assertEqual(dict(Crew(1, 3, 10, 11, PATHS).sockets), {})
