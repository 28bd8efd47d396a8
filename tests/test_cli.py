# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.cli}.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cmanager.cli import main, run


class RunTests(SynchronousTestCase):
    """
    The console script.
    """

    def run_(self, *arguments: str) -> tuple[int, str, str]:
        """
        Return the exit status and what was written to the two outputs.
        """
        out, err = io.StringIO(), io.StringIO()
        return run(arguments, out, err), out.getvalue(), err.getvalue()

    def test_import(self) -> None:
        """
        C{import-config} writes the file and says what it did.
        """
        source = Path(self.mktemp())
        source.write_text(
            "<jive><xmpp><domain>a.example</domain><password>s3</password></xmpp></jive>"
        )
        output = self.mktemp()
        status, out, err = self.run_("import-config", str(source), "-o", output)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("xmpp.domain: server.domains", out)
        self.assertIn(f"--check --config {output}", out)
        self.assertIn("a.example", Path(output).read_text())

    def test_broken(self) -> None:
        """
        A file that cannot be converted is one line and status 1.
        """
        status, out, err = self.run_("import-config", "/nonexistent")
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, "cmanager: /nonexistent: cannot be read: No such file or directory\n")

    def test_list(self) -> None:
        """
        C{--list} shows both groups.
        """
        status, out, _ = self.run_("import-config", "--list")
        self.assertEqual(status, 0)
        self.assertIn("  xmpp.domain: server.domains\n", out)
        self.assertIn("  setup: ", out)

    def test_usage(self) -> None:
        """
        Without a command, a file or a known option there is a line that says so, and
        status 2.
        """
        for arguments, why in (
            ([], "required: command"),
            (["import-config"], "which manager.xml?"),
            (["--colour", "import-config", "x"], "colour"),
        ):
            err = io.StringIO()
            self.patch(sys, "stderr", err)
            status = self.assertRaises(SystemExit, run, arguments, io.StringIO(), err).code
            self.assertEqual(status, 2)
            self.assertIn(why, err.getvalue().splitlines()[-1])

    def test_main(self) -> None:
        """
        The entry point exits with the status.
        """
        self.patch(sys, "argv", ["cmanager", "import-config", "-l"])
        self.patch(sys, "stdout", io.StringIO())
        self.assertEqual(self.assertRaises(SystemExit, main).code, 0)
