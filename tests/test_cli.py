# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.cli}.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from cmanager.cli import Surroundings, main, run
from cmanager.world import Page, Place, Service, Unanswered
from tests.etc import DOMAIN, Site

PUBLIC = '[public]\nhost = "xmpp.montague.example"\nstarttls-ports = [5222]\n'


class World:
    """
    A world with one way in for everybody.
    """

    async def services(self, name: str) -> list[Service]:
        return [Service(0, 5, 5222, "xmpp.montague.example")] if "client" in name else []

    async def place(self, name: str) -> Place:
        return Place(("198.41.0.4",))

    async def page(self, url: str) -> Page:
        raise Unanswered("no such host")


class Case(SynchronousTestCase):
    """
    With the console script.
    """

    reactor = object()

    def react(self, look: Callable[[object], Awaitable[object]]) -> None:
        """
        Run it to its end, and exit.
        """
        self.successResultOf(ensureDeferred(look(self.reactor)))  # type: ignore[arg-type]
        raise SystemExit(0)

    def connect(self, reactor: object) -> Any:
        """
        Make the world.
        """
        self.assertIs(reactor, self.reactor)
        return World()

    def run_(self, *arguments: str) -> tuple[int, str, str]:
        """
        Return the exit status and what was written to the two outputs.
        """
        out, err = io.StringIO(), io.StringIO()
        around = Surroundings(out, err, {}, self.react, self.connect)
        return run(arguments, around), out.getvalue(), err.getvalue()


class DNSTests(Case):
    """
    C{dns}.
    """

    def test_prints(self) -> None:
        """
        The records of a configuration are printed.
        """
        path = Site(self.mktemp()).write(PUBLIC)
        status, out, err = self.run_("dns", "--config", str(path))
        self.assertEqual((status, err), (0, ""))
        self.assertIn(
            f"\n_xmpp-client._tcp.{DOMAIN}. 3600 IN SRV 0 5 5222 xmpp.montague.example.\n", out
        )

    def test_broken(self) -> None:
        """
        What is missing in the configuration is a line, and status 1.
        """
        path = Site(self.mktemp()).path
        status, out, err = self.run_("dns", "-c", str(path))
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.startswith("cmanager: public.host: is missing"))


class CheckTests(Case):
    """
    C{check-dns}.
    """

    def test_problems(self) -> None:
        """
        Each finding is a line; with problems the status is 1, without it is 0.
        """
        site = Site(self.mktemp())
        path = site.write(PUBLIC + "tls-ports = [5222]\n")
        status, out, err = self.run_("check-dns", DOMAIN, "--config", str(path))
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith(f"ok: _xmpp-client._tcp.{DOMAIN}: xmpp.montague.example"))
        site.write(PUBLIC + "tls-ports = [443]\n")
        status, out, _ = self.run_("check-dns", DOMAIN, "--config", str(path))
        self.assertEqual(status, 1)
        self.assertIn(f"\nproblem: _xmpps-client._tcp.{DOMAIN}: ", out)

    def test_anybodys(self) -> None:
        """
        No configuration is needed.
        """
        status, out, _ = self.run_("check-dns", "capulet.example")
        self.assertEqual(status, 0)
        self.assertIn("\nok: xmpp.montague.example: 198.41.0.4\n", out)

    def test_broken(self) -> None:
        """
        A configuration that cannot be compared is told before anything is asked.
        """
        self.react = lambda look: self.fail("asked")  # type: ignore[method-assign]
        path = Site(self.mktemp()).path
        status, out, err = self.run_("check-dns", DOMAIN, "-c", str(path))
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.startswith("cmanager: public.host: is missing"))

    def test_interrupted(self) -> None:
        """
        Who does not wait for the end has status 1.
        """

        def react(look: Callable[[object], Awaitable[object]]) -> None:
            raise SystemExit(0)

        self.react = react  # type: ignore[method-assign]
        self.assertEqual(self.run_("check-dns", DOMAIN)[0], 1)

    def test_bug(self) -> None:
        """
        An error of ours has the status it is given.
        """

        def react(look: Callable[[object], Awaitable[object]]) -> None:
            raise SystemExit(3)

        self.react = react  # type: ignore[method-assign]
        end = self.assertRaises(SystemExit, self.run_, "check-dns", DOMAIN)
        self.assertEqual(end.code, 3)

    def test_world(self) -> None:
        """
        Unless told otherwise it runs with the reactor, in this world.
        """
        around = Surroundings(io.StringIO(), io.StringIO())
        self.assertIs(around.environ, os.environ)
        self.assertEqual(around.react.__name__, "react")
        self.assertEqual(around.connect.__name__, "connected")


class RunTests(Case):
    """
    C{import-config}, and the whole.
    """

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
            status = self.assertRaises(SystemExit, self.run_, *arguments).code
            self.assertEqual(status, 2)
            self.assertIn(why, err.getvalue().splitlines()[-1])

    def test_main(self) -> None:
        """
        The entry point exits with the status.
        """
        self.patch(sys, "argv", ["cmanager", "import-config", "-l"])
        self.patch(sys, "stdout", io.StringIO())
        self.assertEqual(self.assertRaises(SystemExit, main).code, 0)
