# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.sources}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cmanager.sources import HERE, LARGEST, interface


class InterfaceTests(SynchronousTestCase):
    """
    The number of the native engine's sources.
    """

    def setUp(self) -> None:
        """
        Make some.
        """
        self.folder = Path(self.mktemp())
        (self.folder / "native").mkdir(parents=True)
        self.files = [
            self.folder / name for name in ("_scanner.c", "native/engine.h", "native/spelling.c")
        ]
        for file in self.files:
            file.write_text("int\n")

    def test_changes(self) -> None:
        """
        It is another one when any source has changed, has come or has gone.
        """
        seen = {interface(self.folder)}
        for file in self.files:
            file.write_text(f"long {file.stem}\n")
            seen.add(interface(self.folder))
        (self.folder / "native/new.h").write_text("\n")
        seen.add(interface(self.folder))
        self.files[0].unlink()
        seen.add(interface(self.folder))
        self.assertEqual(len(seen), 6)

    def test_stays(self) -> None:
        """
        Nothing else changes it, and a C{long} holds it.
        """
        before = interface(self.folder)
        (self.folder / "native/notes.txt").write_text("new\n")
        (self.folder / "scanner.py").write_text("new\n")
        self.assertEqual(interface(self.folder), before)
        self.assertTrue(0 < before <= LARGEST)
        self.assertTrue(0 < interface(HERE) <= LARGEST)

    def test_none(self) -> None:
        """
        Without sources it is 0.
        """
        for file in self.files:
            file.unlink()
        self.assertEqual(interface(self.folder), 0)
