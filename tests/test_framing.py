# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.framing}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.native import requireNative

TOP = Path(__file__).resolve().parent.parent
WITHOUT = "import sys; sys.modules['cmanager._scanner'] = None; "
PRINT = (
    "from cmanager.framing import ENGINE, Routes, Scanner; "
    "print(ENGINE, Scanner.__module__, Routes.__module__)"
)


class EngineTests(SynchronousTestCase):
    """
    Which engine is chosen.
    """

    def chosen(self, wanted: str, before: str = "") -> str:
        """
        Return what a new process chooses, or the error it ends with.
        """
        run = subprocess.run(
            [sys.executable, "-c", before + PRINT],
            cwd=TOP,
            env={**os.environ, "CMANAGER_ENGINE": wanted},
            capture_output=True,
            text=True,
            check=False,
        )
        return run.stdout.strip() or run.stderr.strip().splitlines()[-1]

    def test_native(self) -> None:
        """
        The native engine is taken where it is there.
        """
        requireNative()
        for wanted in ("", "native"):
            self.assertEqual(self.chosen(wanted), "native cmanager._scanner cmanager._scanner")

    def test_python(self) -> None:
        """
        The other one is taken where it is asked for, and where there is no native one.
        """
        self.assertEqual(self.chosen("python"), "python cmanager.scanner cmanager.routes")
        self.assertEqual(self.chosen("", WITHOUT), "python cmanager.scanner cmanager.routes")

    def test_missing(self) -> None:
        """
        Who asks for the native engine gets no other.
        """
        self.assertIn("cmanager._scanner", self.chosen("native", WITHOUT))
