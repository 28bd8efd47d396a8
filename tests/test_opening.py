# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.opening}.
"""

from __future__ import annotations

from attrs import evolve

from cmanager.config import load
from cmanager.framing import ENGINE
from cmanager.opening import Opening
from tests.etc import DOMAIN, SiteCase


class OpeningTests(SiteCase):
    """
    What the operator reads first.
    """

    def tell(self, workers: int = 1, files: int | None = None, lack: str = "") -> list[str]:
        """
        Return the lines, from the level on.

        @param files: As many as may be opened; L{None} for as many as are asked for.
        """
        settings = load(self.site.path, {})
        settings = evolve(settings, manager=evolve(settings.manager, name="cm-test"))
        Opening(settings, workers, lambda wanted: min(files or wanted, wanted), lack).tell()
        return self.lines()

    def test_lines(self) -> None:
        """
        Version, domains, links, listeners and the limit of open files.
        """
        lines = self.tell()
        self.assertIn("cmanager 0.1.0 starts as cm-test: Python 3.", lines[0])
        self.assertIn(", Twisted ", lines[0])
        self.assertTrue(lines[0].endswith(f", scanner: {ENGINE}"), lines[0])
        self.assertEqual(
            [line.partition("opening: ")[2] for line in lines[1:]],
            [
                f"server for {DOMAIN}: 127.0.0.1:1, 2 links, plain",
                "clients come in by tcp on tcp:0:interface=127.0.0.1",
                "open files: the limit of 100067 is enough for 100000 clients",
            ],
        )

    def test_lack(self) -> None:
        """
        Where the native engine is missing, one line says what to do.
        """
        self.assertIn("warn opening: slower than need be: build it", self.tell(lack="build it")[1])

    def test_srv(self) -> None:
        """
        Where the server is looked up, that is said.
        """
        text = self.site.path.read_text().replace('address = "127.0.0.1:1"\n', "")
        self.site.path.write_text(text)
        self.assertIn(
            f"{DOMAIN}: the host of the SRV record of {DOMAIN}, port 5262, 2 links, plain",
            "\n".join(self.tell()),
        )

    def test_files(self) -> None:
        """
        Too few open files are a warning that names how many clients they are enough
        for.
        """
        for files, clients in ((100066, 99999), (67, 0), (10, 0)):
            line = self.tell(files=files)[-1]
            self.assertIn(f"warn opening: open files: the limit of {files} is enough for", line)
            self.assertIn(f"for {clients} clients, but limits.sessions is 100000", line)

    def test_workers(self) -> None:
        """
        Several processes may open as many files each.
        """
        self.assertEqual(
            self.tell(workers=3, files=40000)[-1].partition("opening: ")[2],
            "open files: the limit of 40000 for each of 3 workers is enough for 119787 clients",
        )

    def test_warnings(self) -> None:
        """
        Doubts about the configuration are told.
        """
        self.site.write("insecure = true\n")
        self.assertIn("warn opening: configuration: server[0].insecure: any", self.tell()[1])
