# Copyright the cmanager authors.
# See LICENSE for details.

"""
C{make bench} in small: it measures what it says it does, and loses nothing.  How much
anything takes is not looked at.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.acts.actor import HERE
from tests.programs import find

TINY = (
    *("--sessions", "4", "--idle", "10", "--rate", "200", "--high-rate", "400"),
    *("--web-rate", "100", "--rounds", "1", "--seconds", "0.2", "--logins", "4"),
)


class BenchTests(TestCase):
    """
    L{bench.cost}.
    """

    timeout = 600

    async def bench(self, *arguments: str) -> tuple[str, dict[str, Any]]:
        """
        Run it.

        @return: What it has said, and its results.
        """
        folder = Path(self.mktemp()).absolute()
        output, errors, status = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "bench.cost", *TINY, "--results", str(folder), *arguments],
            env={**os.environ, "PYTHONPATH": str(HERE)},
            path=str(HERE),
        )
        said = (output + errors).decode()
        self.assertEqual(status, 0, said)
        (path,) = folder.glob("*.json")
        self.assertEqual(path.with_suffix(".txt").read_text(), output.decode())
        return said, json.loads(path.read_text())

    def assertMeasured(self, result: dict[str, Any], proxies: set[str], web: set[str]) -> None:
        """
        Assert that each kind of subject has all its figures.

        @param proxies: Kinds of subjects for streams.
        @param web: And for browsers.
        """
        self.assertEqual(
            {
                (row["kind"], row["transport"], row["load"], row["idle"])
                for row in result["stanzas"]
            },
            {
                (kind, transport, load, idle)
                for kind in proxies
                for transport in ("TCP", "TLS")
                for load in ("200/s", "400/s", "saturated")
                for idle in (0, 10)
                if load != "400/s" or (transport == "TCP" and not idle)
            },
        )
        self.assertEqual(
            {(row["kind"], row["transport"], row["load"]) for row in result["web"]},
            {
                (kind, transport, load)
                for kind in web
                for transport in ("WebSocket", "WebSocket TLS", "BOSH", "BOSH TLS")
                for load in ("100/s", "saturated")
            },
        )
        self.assertEqual(
            {(row["kind"], row["workers"]) for row in result["workers"]},
            {(kind, workers) for kind in proxies for workers in (1, 2, 4)},
        )
        for row in result["stanzas"] + result["web"] + result["workers"]:
            self.assertGreater(row["stanzas"], 0)
            self.assertGreater(row["cost"]["least"], 0)
            self.assertLessEqual(row["cost"]["least"], row["cost"]["median"])
            self.assertLessEqual(row["cost"]["median"], row["cost"]["most"])
        subjects = {f"{kind}, {way}" for kind in proxies for way in ("TCP", "TLS")}
        self.assertEqual(
            {(row["subject"], row["to"]) for row in result["memory"]},
            {(subject, 14) for subject in subjects},
        )
        self.assertEqual({row["subject"] for row in result["delays"]}, {*subjects, "direct"})
        for row in result["delays"]:
            self.assertGreater(row["milliseconds"]["median"], 0)

    async def test_ratios(self) -> None:
        """
        Beside HAProxy and nginx each subject has its cost with and without a pace and idle
        sessions, for browsers and for several workers, its memory, its logins and its
        delays, and there are ratios.
        """
        find("haproxy", "haproxy")
        find("nginx", "nginx-light")
        _, result = await self.bench()
        self.assertMeasured(result, {"HAProxy", "cmanager"}, {"nginx", "cmanager"})
        rows = result["stanzas"] + result["web"] + result["workers"]
        self.assertTrue(all(row["ratio"] > 0 for row in rows))
        self.assertEqual(
            [(row["subject"], row["isResumed"], row["resumed"]) for row in result["logins"]],
            [
                ("cmanager, TCP", False, 0),
                ("cmanager, TLS", False, 0),
                ("handshakes alone, TLS", False, 0),
                ("cmanager, TLS", True, 1),
                ("handshakes alone, TLS", True, 1),
            ],
        )
        for name in ("Python", "Twisted", "OpenSSL", "HAProxy", "nginx", "kernel"):
            self.assertTrue(result["versions"][name])

    async def test_alone(self) -> None:
        """
        Where there are no HAProxy and no nginx it says how to get them, and there are the
        same figures without ratios.
        """
        said, result = await self.bench("--without-haproxy", "--without-nginx")
        self.assertIn("apt install haproxy", said)
        self.assertIn("apt install nginx-light", said)
        self.assertMeasured(result, {"cmanager"}, {"cmanager"})
        rows = result["stanzas"] + result["web"] + result["workers"]
        self.assertEqual({row["ratio"] for row in rows}, {None})
