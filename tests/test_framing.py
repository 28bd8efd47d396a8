# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.framing}.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cmanager.sources import interface
from tests.native import requireNative

TOP = Path(__file__).resolve().parent.parent
WITHOUT = "import sys; sys.modules['cmanager._scanner'] = None; "
PRINT = (
    "from cmanager.framing import ENGINE, LACK, Routes, Scanner; "
    "print(ENGINE, Scanner.__module__, Routes.__module__, LACK)"
)
NATIVE = "native cmanager._scanner cmanager._scanner"
PYTHON = "python cmanager.scanner cmanager.routes"
BUILD = "; build it: sh requirements/install runtime, or pip install ."
MISSING = "the native scanner has not been built here (apt install gcc python3-dev)" + BUILD
STALE = "the native scanner was built from other sources than there are now" + BUILD


class EngineTests(SynchronousTestCase):
    """
    Which engine is chosen.
    """

    def chosen(self, wanted: str, before: str = "", top: Path = TOP) -> str:
        """
        Return what a new process chooses, or the error it ends with.
        """
        run = subprocess.run(
            [sys.executable, "-c", before + PRINT],
            cwd=top,
            env={**os.environ, "CMANAGER_ENGINE": wanted},
            capture_output=True,
            text=True,
            check=False,
        )
        return run.stdout.strip() or run.stderr.strip().splitlines()[-1]

    def copied(self, *left: str) -> Path:
        """
        Return where there is a copy of the program.

        @param left: Patterns of what is not copied.
        """
        top = Path(self.mktemp()).resolve()
        shutil.copytree(TOP / "cmanager", top / "cmanager", ignore=shutil.ignore_patterns(*left))
        return top

    def assertFallsBack(self, why: str, before: str = "", top: Path = TOP) -> None:
        """
        The other engine is taken, which is said; who asks for the native one gets none.
        """
        self.assertEqual(self.chosen("", before, top), f"{PYTHON} {why}")
        self.assertEqual(self.chosen("native", before, top), f"ImportError: {why}")
        self.assertEqual(self.chosen("python", before, top), PYTHON)

    def test_native(self) -> None:
        """
        The native engine is taken where it is there.
        """
        requireNative()
        for wanted in ("", "native"):
            self.assertEqual(self.chosen(wanted), NATIVE)
        self.assertEqual(self.chosen("python"), PYTHON)

    def test_missing(self) -> None:
        """
        It has not been built.
        """
        self.assertFallsBack(MISSING, WITHOUT)

    def test_interface(self) -> None:
        """
        The number that was built in is that of the sources.
        """
        requireNative()
        self.assertEqual(import_module("cmanager._scanner").INTERFACE, interface())

    def test_stale(self) -> None:
        """
        It is not taken once a source has changed since.
        """
        requireNative()
        top = self.copied()
        self.assertEqual(self.chosen("", top=top), NATIVE)
        with (top / "cmanager/native/tokens.h").open("a") as file:
            file.write("/* More. */\n")
        self.assertFallsBack(STALE, top=top)

    def test_installed(self) -> None:
        """
        It is taken where there are no sources, as in a wheel.
        """
        requireNative()
        self.assertEqual(self.chosen("native", top=self.copied("*.[ch]")), NATIVE)

    def test_lacking(self) -> None:
        """
        One that lacks a name is not taken, even if there is nothing to compare it with.
        """
        top = self.copied("*.[ch]", "*.so")
        for names in ("", "INTERFACE = 1", "Routes = Scanner = 1", "INTERFACE = Scanner = 1"):
            (top / "cmanager/_scanner.py").write_text(names)
            self.assertFallsBack(STALE, top=top)

    def test_broken(self) -> None:
        """
        One that does not find in the program what it looks for is not taken.
        """
        top = self.copied("*.[ch]", "*.so")
        for line in ("import cmanager.gone", "import cmanager.stanza as s; s.Gone"):
            (top / "cmanager/_scanner.py").write_text(line)
            self.assertFallsBack(STALE, top=top)
