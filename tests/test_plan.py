# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.plan}.
"""

from __future__ import annotations

import os
import threading

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from cmanager.config import load, read
from cmanager.errors import ConfigError
from cmanager.plan import READ_BYTES, Orders, Plan, readPlan
from tests.etc import Site
from tests.processes import CREW

PLAN = Plan("/etc/x.toml", "text", "cm-1", evolve(CREW, sockets={"tcp:5222": 6}))


class ReadTests(SynchronousTestCase):
    """
    From one process to the other.
    """

    def setUp(self) -> None:
        """
        A pipe.
        """
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)

    def send(self, data: bytes) -> None:
        """
        Write something, and no more.
        """
        os.write(self.writing, data)
        os.close(self.writing)

    def test_whole(self) -> None:
        """
        A plan arrives as it was, and what it is tied to stays in the pipe.
        """
        os.write(self.writing, PLAN.encode())
        self.assertEqual(readPlan(self.reading), PLAN)
        os.set_blocking(self.reading, False)
        self.assertRaises(BlockingIOError, os.read, self.reading, 1)
        os.close(self.writing)

    def test_large(self) -> None:
        """
        It may hold more than the pipe does.
        """
        plan = evolve(PLAN, text="x" * READ_BYTES * 3)
        sender = threading.Thread(target=lambda: os.write(self.writing, plan.encode()))
        sender.start()
        self.assertEqual(readPlan(self.reading), plan)
        sender.join()
        os.close(self.writing)

    def test_none(self) -> None:
        """
        Who starts a worker without one is told.
        """
        for data in (b"", b"{", b"{}\n", b"[1]\n", PLAN.encode()[:-10], b"\xff\n"):
            self.send(data)
            error = self.assertRaises(ConfigError, readPlan, self.reading)
            self.assertIn("--worker", error.problems[0])
            os.close(self.reading)
            self.reading, self.writing = os.pipe()
        os.close(self.writing)


class SettingsTests(SynchronousTestCase):
    """
    What a worker makes of the configuration.
    """

    def test_settings(self) -> None:
        """
        It is alone under a name of its own, and finds the files that the configuration
        names, as they were or as they are.
        """
        site = Site(self.mktemp())
        text = read(site.path)
        site.path.unlink()
        plan = evolve(PLAN, path=str(site.path), text=text)
        settings = plan.settings({})
        self.assertEqual((settings.manager.name, settings.manager.workers), ("cm-1", 1))
        self.assertEqual(settings.tls.certificates, str(site.certificates))
        changed = plan.settings({}, text + "[limits]\nsessions = 7\n")
        self.assertEqual(changed.limits.sessions, 7)
        self.assertRaises(ConfigError, plan.settings, {}, "x")

    def test_orders(self) -> None:
        """
        Orders name each worker, and the endpoints.
        """
        settings = load(Site(self.mktemp()).path, {})
        settings = evolve(settings, manager=evolve(settings.manager, name="cm-x"))
        orders = Orders("", "", settings)
        self.assertEqual(orders.name(3), "cm-x-3")
        self.assertEqual(orders.endpoints, ["tcp:0:interface=127.0.0.1"])
