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
    *("--sessions", "4", "--idle", "10", "--rate", "200"),
    *("--rounds", "1", "--seconds", "0.2", "--logins", "4"),
)


class BenchTests(TestCase):
    """
    L{bench.cost}.
    """

    timeout = 300

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

    def assertMeasured(self, result: dict[str, Any], kinds: set[str]) -> None:
        """
        Assert that each kind of subject has all its figures.
        """
        subjects = {f"{kind}, {way}" for kind in kinds for way in ("TCP", "TLS")}
        stanzas = {(row["subject"], row["pace"], row["idle"]) for row in result["stanzas"]}
        self.assertEqual(
            stanzas,
            {
                (subject, pace, idle)
                for subject in subjects
                for pace in ("paced", "saturated")
                for idle in (0, 10)
            },
        )
        for row in result["stanzas"]:
            self.assertGreater(row["stanzas"], 0)
            self.assertGreater(row["cost"]["least"], 0)
            self.assertLessEqual(row["cost"]["least"], row["cost"]["median"])
            self.assertLessEqual(row["cost"]["median"], row["cost"]["most"])
        self.assertEqual(
            {(row["subject"], row["to"]) for row in result["memory"]},
            {(subject, 14) for subject in subjects},
        )
        self.assertEqual({row["subject"] for row in result["delays"]}, {*subjects, "direct"})
        for row in result["delays"]:
            self.assertGreater(row["milliseconds"]["median"], 0)

    async def test_ratios(self) -> None:
        """
        Beside HAProxy each subject has its cost with and without a pace and idle sessions,
        its memory, its logins and its delays, and there are ratios.
        """
        find("haproxy", "haproxy")
        _, result = await self.bench()
        self.assertMeasured(result, {"HAProxy", "cmanager"})
        self.assertTrue(all(row["ratio"] > 0 for row in result["stanzas"]))
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
        for name in ("Python", "Twisted", "OpenSSL", "HAProxy", "kernel"):
            self.assertTrue(result["versions"][name])

    async def test_alone(self) -> None:
        """
        Where there is no HAProxy it says how to get it, and there are the same figures
        without ratios.
        """
        said, result = await self.bench("--without-haproxy")
        self.assertIn("apt install haproxy", said)
        self.assertMeasured(result, {"cmanager"})
        self.assertEqual({row["ratio"] for row in result["stanzas"]}, {None})
