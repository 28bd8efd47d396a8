# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.check}.
"""

from __future__ import annotations

import io
import tomllib

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from cmanager import check as module
from cmanager.check import check
from tests.etc import DOMAIN, SECRET, Site


class CheckTests(SynchronousTestCase):
    """
    A file that works, and files that do not.
    """

    def setUp(self) -> None:
        """
        Make a site that works.
        """
        self.site = Site(self.mktemp())

    def check(self) -> tuple[int, str, str]:
        """
        Return the exit status and what was written to the two outputs.
        """
        out, err = io.StringIO(), io.StringIO()
        status = check(str(self.site.path), {}, MemoryReactorClock(), out, err)
        return status, out.getvalue(), err.getvalue()

    def problem(self, more: str = "", **changes: str) -> str:
        """
        Check a file that has one problem.
        """
        self.site.write(more, **changes)
        status, out, err = self.check()
        self.assertEqual((status, out), (1, ""))
        (line,) = err.splitlines()
        return line

    def test_works(self) -> None:
        """
        All settings in effect are shown, without the secret, as TOML.
        """
        status, out, err = self.check()
        self.assertEqual((status, err), (0, ""))
        shown = tomllib.loads(out)
        self.assertEqual(shown["server"][0]["domains"], [DOMAIN])
        self.assertEqual(shown["client"]["stanza-bytes"], 262144)
        self.assertNotIn(SECRET, out)

    def test_workers(self) -> None:
        """
        How many workers there are going to be is shown where the file leaves it open.
        """
        self.patch(module, "cores", lambda: 7)
        for manager, shown in (("", 7), ("workers = 3", 3)):
            self.site.write(manager=manager)
            self.assertIn(f"[manager]\nworkers = {shown}\n", self.check()[1])

    def test_warnings(self) -> None:
        """
        What can work but is likely not meant is a warning.
        """
        self.site.write("insecure = true\n")
        status, out, err = self.check()
        self.assertEqual(status, 0)
        self.assertTrue(err.startswith("warning: server[0].insecure: "), err)
        self.assertIn("insecure = true", out)

    def test_file(self) -> None:
        """
        Problems of the file are one line each.
        """
        self.site.write("[limits]\nsessions = 0\n[client]\nmax-depth = 0\n")
        status, out, err = self.check()
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(
            [line.split(" =")[0] for line in err.splitlines()],
            ["client.max-depth", "limits.sessions"],
        )

    def test_plugins(self) -> None:
        """
        Plugins that there are not.
        """
        self.assertIn('filter[0].type = "x"', self.problem('[[filter]]\ntype = "x"\n'))

    def test_certificates(self) -> None:
        """
        Certificates that cannot be used.
        """
        path = self.site.certificates / f"{DOMAIN}.pem"
        path.write_text("nonsense")
        self.assertIn(str(path), self.problem())
        path.unlink()
        self.assertIn("holds no certificate", self.problem())

    def test_endpoints(self) -> None:
        """
        Endpoints that there are not; what systemd would hand over cannot be checked.
        """
        self.assertTrue(
            self.problem(endpoint="nonsense:1").startswith(
                'listener[0].endpoint = "nonsense:1": Unknown endpoint type'
            )
        )
        self.site.write(endpoint="systemd:domain=INET:index=0")
        self.assertEqual(self.check()[0], 0)

    def test_files(self) -> None:
        """
        Files to serve that cannot be read.
        """
        listener = '[[listener]]\ntype = "any"\nendpoint = "tcp:0"\nfiles = "page"\n'
        line = self.problem(listener)
        page = self.site.directory / "page"
        self.assertEqual(
            line, f"listener[1].files: {page}: cannot be read: No such file or directory"
        )
        page.mkdir()
        self.assertEqual(self.check()[0], 0)

    def test_trust(self) -> None:
        """
        Certificates to trust that cannot be read are a problem where links use TLS.
        """
        self.site.write('ca = "nowhere.pem"\n')
        self.assertEqual(self.check()[0], 0)
        text = self.site.path.read_text().replace('"plain"', '"starttls"')
        self.site.path.write_text(text)
        status, _, err = self.check()
        self.assertEqual(status, 1)
        self.assertTrue(err.startswith("server[0].ca = "), err)
