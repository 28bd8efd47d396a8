# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.supervisor}.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.python.logfile import LogFile

from cmanager import supervisor as module
from cmanager.child import READY, WAITING
from cmanager.commons import Commons
from cmanager.config import LogFormat, LogLevel, loads, read
from cmanager.errors import ConfigError
from cmanager.front import STOP_MARGIN
from cmanager.plan import Orders
from cmanager.post import RESTART_SECONDS
from cmanager.root import Surroundings
from cmanager.supervisor import LEAVE_SECONDS, START_SECONDS, Supervisor
from cmanager.tap import complete
from tests.etc import SiteCase
from tests.processes import FakeProcess, ProcessReactor

WORKERS = 3
ENDPOINT = "tcp:0:interface=127.0.0.1"
OTHER = "tcp:0:interface=127.0.0.1:backlog=7"
SETUP_TIMEOUT = 30.0
STOP_SECONDS = 4.0 + STOP_MARGIN + LEAVE_SECONDS


class FakePorts:
    """
    Binds nothing.

    @ivar bound: What is bound, with descriptors that are none.
    @ivar problem: What it says of the next endpoint.
    """

    def __init__(self, reactor: Any) -> None:
        self.bound: dict[str, int] = {}
        self.problem: str | None = None

    def bind(self, endpoints: Any) -> None:
        """
        See L{Ports <cmanager.ports.Ports>}.
        """
        if self.problem is not None:
            raise ConfigError([self.problem])
        for endpoint in endpoints:
            self.bound.setdefault(endpoint, 70 + len(self.bound))

    def keep(self, endpoints: Any) -> None:
        """
        Likewise.
        """
        self.bound = {key: value for key, value in self.bound.items() if key in endpoints}

    def descriptors(self, endpoints: Any) -> dict[str, int]:
        """
        Likewise.
        """
        return {endpoint: self.bound[endpoint] for endpoint in endpoints}


class SupervisorCase(SiteCase):
    """
    A supervisor of processes that are none.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        super().setUp()
        self.site.write(manager=f"workers = {WORKERS}")
        self.patch(module, "Ports", FakePorts)
        self.reactor = ProcessReactor()
        self.failures: list[ConfigError] = []
        self.supervisor = Supervisor(
            self.read(),
            Surroundings(self.reactor, writer=self.writer, fail=self.failures.append),
            self.read,
            ("--reactor=poll",),
            lambda: 1.0,
        )
        self.ports: Any = self.supervisor._ports
        self.addCleanup(self.supervisor._provisions.close)

    def read(self) -> Orders:
        """
        Read the configuration.
        """
        text = read(self.site.path)
        settings = loads(text, {}, directory=self.site.directory)
        return Orders(str(self.site.path), text, complete(settings, "cm"))

    def start(self) -> list[FakeProcess]:
        """
        Start it, with all workers ready, and return them.
        """
        self.supervisor.privilegedStartService()
        self.supervisor.startService()
        for process in self.processes:
            process.tell(READY)
        self.lines()
        return self.processes

    @property
    def processes(self) -> list[FakeProcess]:
        """
        All that were ever started.
        """
        return self.reactor.processes

    def change(self, more: str = "links = 3\n", **changes: str) -> None:
        """
        Change the configuration, and send SIGHUP.
        """
        self.site.write(more, **{"manager": f"workers = {WORKERS}", **changes})
        self.supervisor.reload()

    @property
    def certificate(self) -> Path:
        """
        The file of the only one.
        """
        (path,) = self.site.certificates.glob("*.pem")
        return path

    def spoil(self) -> None:
        """
        Break the certificate.
        """
        self.certificate.write_text("x")

    def slots(self) -> list[int]:
        """
        Return the slots of the posts.
        """
        return [post.slot for post in self.supervisor.posts]


class StartTests(SupervisorCase):
    """
    How the workers are started.
    """

    def test_plans(self) -> None:
        """
        Each gets a slot, a name, and what all share; there is a slot more than workers.
        """
        processes = self.start()
        self.assertEqual(len(processes), WORKERS)
        for slot, process in enumerate(processes):
            plan, crew = process.plan, process.plan["crew"]
            self.assertEqual(plan["name"], f"cm-{slot}")
            self.assertEqual(plan["text"], self.site.path.read_text())
            self.assertEqual((crew["slot"], crew["size"]), (slot, WORKERS + 1))
            self.assertEqual(crew["paths"], list(self.supervisor._provisions.paths))
            self.assertEqual(process.line[-2:], [str(slot), "--reactor=poll"])
            shared, listening = self.supervisor._provisions, crew["listening"]
            self.assertEqual(process.descriptors[crew["shared"]], shared.shared)
            self.assertEqual(process.descriptors[listening], shared.listening(slot))
            self.assertIn(shared.held, process.descriptors.values())
            self.assertEqual(process.descriptors[crew["sockets"][ENDPOINT]], 70)

    def test_lines(self) -> None:
        """
        The operator is told what is tried, and what is there.
        """
        self.supervisor.privilegedStartService()
        self.supervisor.startService()
        lines = self.lines()
        self.assertIn("opening: cmanager 0.1.0 starts as cm: ", lines[0])
        self.assertIn("for each of 3 workers", lines[-1])
        self.processes[1].tell(WAITING)
        self.assertEqual(
            self.lines(),
            ["info child: worker 1 takes clients: process 1001, known to servers as cm-1"],
        )

    def test_cannotBind(self) -> None:
        """
        What cannot be bound is one line, and the end.
        """
        self.ports.problem = "cannot listen on tcp:5222"
        self.supervisor.privilegedStartService()
        self.assertEqual(self.lines()[-1], "critical supervisor: cannot listen on tcp:5222")
        self.assertEqual(len(self.failures), 1)

    def test_noDirectory(self) -> None:
        """
        Likewise where there is no room for sockets.
        """

        def fail(addresses: int) -> None:
            raise ConfigError(["TMPDIR"])

        self.patch(self.supervisor._provisions, "open", fail)
        self.supervisor._fill = lambda: None  # type: ignore[method-assign]
        self.supervisor.startService()
        self.assertEqual(self.lines()[-1], "critical supervisor: TMPDIR")
        self.assertEqual(len(self.failures), 1)


class DeathTests(SupervisorCase):
    """
    A worker dies.
    """

    def test_restarted(self) -> None:
        """
        Another one follows, in its slot; the others are not concerned.
        """
        first = self.start()[1]
        share = Commons(self.supervisor._provisions.shared, WORKERS + 1, 1).join(1)
        self.assertTrue(share.room.take(9))
        first.end(None, signal.SIGKILL)
        self.assertEqual(
            self.lines(),
            ["error post: worker 1 was ended by SIGKILL, with 1 clients; started again in 1.0 s"],
        )
        self.assertFalse(share.isPresent(1))
        self.reactor.advance(RESTART_SECONDS)
        self.assertEqual(len(self.processes), WORKERS + 1)
        self.assertEqual(self.processes[-1].plan, first.plan)
        self.assertEqual([process.signals for process in self.processes], [[], [], [], []])

    def test_sameOrders(self) -> None:
        """
        It does what the one before did, whatever is in the file by now.
        """
        first = self.start()[0]
        self.site.path.write_text("x")
        first.end(1)
        self.reactor.advance(RESTART_SECONDS)
        self.assertEqual(self.processes[-1].plan["text"], first.plan["text"])


class StopTests(SupervisorCase):
    """
    The end.
    """

    def test_all(self) -> None:
        """
        All are told to leave; when they are gone it is over, and nothing stays.
        """
        processes = self.start()
        stopped = self.supervisor.stopService()
        self.assertEqual(self.ports.bound, {})
        for process in processes:
            self.assertEqual(process.signals, ["TERM"])
            self.assertNoResult(stopped)
            process.end()
        self.successResultOf(stopped)
        self.assertEqual(
            self.lines(),
            ["info supervisor: stopping: clients are told to leave", "info supervisor: stopped"],
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(os.path.exists(os.path.dirname(self.supervisor._provisions.paths[0])))

    def test_bounded(self) -> None:
        """
        Who does not leave is ended, and who does not end is left.
        """
        processes = self.start()
        stopped = self.supervisor.stopService()
        self.reactor.advance(STOP_SECONDS)
        for process in processes:
            self.assertEqual(process.signals, ["TERM", "KILL"])
        self.assertNoResult(stopped)
        self.reactor.advance(STOP_MARGIN)
        self.successResultOf(stopped)
        self.assertIn("warn supervisor: stopped before all was closed", self.lines())

    def test_dead(self) -> None:
        """
        Who has died before is not started again.
        """
        processes = self.start()
        processes[0].end(1)
        stopped = self.supervisor.stopService()
        for process in processes[1:]:
            process.end()
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_changed(self) -> None:
        """
        Nor is anybody for a configuration that has changed since.
        """
        processes = self.start()
        self.supervisor.stopService()
        self.change()
        self.assertEqual(len(processes), WORKERS)
        self.assertEqual(self.ports.bound, {})
        self.assertEqual([process.signals for process in processes], [["TERM"]] * WORKERS)

    def test_rolling(self) -> None:
        """
        Nor does a replacement go on; the one on trial leaves, too.
        """
        processes = self.start()
        self.change()
        stopped = self.supervisor.stopService()
        for process in list(processes):
            self.assertEqual(process.signals, ["TERM"])
            process.end()
        self.successResultOf(stopped)
        self.assertEqual(len(processes), WORKERS + 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ReloadTests(SupervisorCase):
    """
    SIGHUP, and what changes without a restart.
    """

    def test_live(self) -> None:
        """
        It is passed on; who dies later is followed by one that does as it says now.
        """
        processes = self.start()
        processes[2].end(1)
        self.lines()
        self.change('[limits]\nsessions = 7\n[log]\nlevel = "debug"\n')
        self.assertEqual([process.signals for process in processes], [["HUP"], ["HUP"], []])
        self.assertEqual(self.writer.level, LogLevel.DEBUG)
        self.assertEqual(
            self.lines(),
            [
                "info supervisor: configuration read again; changed: log.level, limits.sessions",
            ],
        )
        self.reactor.advance(RESTART_SECONDS)
        self.assertIn("sessions = 7", processes[-1].plan["text"])

    def test_nothing(self) -> None:
        """
        It is passed on where nothing has changed: certificates may have.
        """
        processes = self.start()
        self.supervisor.reload()
        self.assertEqual([process.signals for process in processes], [["HUP"]] * WORKERS)
        self.assertIn("changed: nothing", self.lines()[-1])

    def test_broken(self) -> None:
        """
        A configuration that cannot be used changes nothing.
        """
        processes = self.start()
        self.change("[limits]\nsessions = 0\n")
        self.assertEqual([process.signals for process in processes], [[]] * WORKERS)
        (line,) = self.lines()
        self.assertIn("error supervisor: configuration not taken over: limits.sessions = 0", line)

    def test_certificate(self) -> None:
        """
        Where a certificate is broken each is to take over what it can, and who dies later
        is followed by one that does as before.
        """
        processes = self.start()
        before = self.site.path.read_text()
        self.spoil()
        self.change("[limits]\nsessions = 7\n")
        self.assertEqual([process.signals for process in processes], [["HUP"]] * WORKERS)
        self.assertEqual(
            self.lines(), ["info supervisor: configuration read again; changed: limits.sessions"]
        )
        processes[0].end(1)
        self.reactor.advance(RESTART_SECONDS)
        self.assertEqual(processes[-1].plan["text"], before)

    def test_certificateFixed(self) -> None:
        """
        Then nobody is replaced, and that is said; once it is good all of it counts.
        """
        processes = self.start()
        good = self.certificate.read_bytes()
        self.spoil()
        self.change("links = 3\n[limits]\nsessions = 7\n")
        self.assertEqual([process.signals for process in processes], [["HUP"]] * WORKERS)
        self.assertEqual(
            self.lines(),
            [
                "info supervisor: configuration read again; changed: limits.sessions",
                "error supervisor: worker 0 stays as it is, and those after it:"
                f" {self.certificate}: holds no certificate in PEM; correct the configuration, and"
                " send SIGHUP again",
            ],
        )
        self.certificate.write_bytes(good)
        self.supervisor.reload()
        self.assertEqual(len(processes), WORKERS + 1)
        self.assertIn("changed: server[0].links, limits.sessions", self.lines()[0])

    def test_cannotBind(self) -> None:
        """
        Likewise with an endpoint that cannot be bound.
        """
        processes = self.start()
        self.ports.problem = "cannot listen on it"
        self.change(endpoint=OTHER)
        self.assertEqual([process.signals for process in processes], [["HUP"]] * WORKERS)
        lines = self.lines()
        self.assertIn("changed: nothing", lines[-2])
        self.assertIn("worker 0 stays as it is, and those after it: cannot listen on it", lines[-1])

    def test_workers(self) -> None:
        """
        How many workers there are is settled at the start.
        """
        self.start()
        self.change("insecure = true\n", manager="workers = 4")
        lines = self.lines()
        self.assertIn(
            "warn supervisor: configuration: only a restart changes manager.workers", lines
        )
        self.assertIn("warn supervisor: configuration: server[0].insecure", "\n".join(lines))

    def test_form(self) -> None:
        """
        The form of the log is a matter of this process alone.
        """
        processes = self.start()
        self.change('[log]\nformat = "json"\n')
        self.assertEqual(len(processes), WORKERS)
        self.assertIs(self.writer.form, LogFormat.JSON)

    def test_logFile(self) -> None:
        """
        The log's file is opened again; that it is not ours does no harm.
        """
        path = Path(os.path.abspath(self.mktemp()))
        logFile = LogFile.fromFullPath(str(path), rotateLength=None)
        self.addCleanup(logFile.close)
        around = Surroundings(self.reactor, logFile=logFile)
        supervisor = Supervisor(self.read(), around, self.read)
        path.rename(path.with_suffix(".1"))
        supervisor.reload()
        self.assertTrue(path.exists())


class RollTests(SupervisorCase):
    """
    SIGHUP, and workers are replaced.
    """

    def test_oneByOne(self) -> None:
        """
        Each is told to leave when another is ready in the free slot, which then is its own;
        none before the one before is gone.
        """
        processes = self.start()
        self.change()
        for number, slot in enumerate((3, 0, 1)):
            self.assertEqual(len(processes), WORKERS + number + 1)
            fresh, old = processes[-1], processes[number]
            self.assertEqual(fresh.plan["crew"]["slot"], slot)
            self.assertEqual(fresh.plan["name"], f"cm-{slot}")
            self.assertIn("links = 3", fresh.plan["text"])
            fresh.tell(WAITING)
            self.assertEqual(old.signals, [])
            fresh.tell(READY)
            self.assertEqual(old.signals, ["TERM"])
            self.assertEqual(len(processes), WORKERS + number + 1)
            old.end()
        self.assertEqual(len(processes), WORKERS * 2)
        self.assertEqual(self.slots(), [3, 0, 1])
        lines = self.lines()
        self.assertIn("info supervisor: configuration read again; changed: server[0].links", lines)
        self.assertIn("info supervisor: worker 3 is in the place of worker 0, which leaves", lines)
        self.assertEqual(lines[-1], "info supervisor: all workers run with the new configuration")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def roll(self) -> None:
        """
        Let one be replaced.
        """
        self.processes[-1].tell(READY)
        (old,) = (p for p in self.processes if "TERM" in p.signals and not p.isGone)
        old.end()

    def test_again(self) -> None:
        """
        Another change makes another round, with the slot that is free then.
        """
        self.start()
        for links, slots in ((3, [3, 0, 1]), (4, [2, 3, 0])):
            self.change(f"links = {links}\n")
            for _ in range(WORKERS):
                self.roll()
            self.assertEqual(self.slots(), slots)

    def test_meanwhile(self) -> None:
        """
        A SIGHUP that comes meanwhile counts afterwards.
        """
        processes = self.start()
        self.change()
        self.change("links = 4\n")
        self.assertEqual(len(processes), WORKERS + 1)
        for _ in range(WORKERS * 2):
            self.roll()
        self.assertEqual(len(processes), WORKERS * 3)
        for process in processes[-WORKERS:]:
            self.assertIn("links = 4", process.plan["text"])

    def test_endpoints(self) -> None:
        """
        New endpoints are bound first; old ones are closed when nobody needs them.
        """
        processes = self.start()
        self.change(endpoint=OTHER)
        self.assertEqual(set(self.ports.bound), {ENDPOINT, OTHER})
        self.assertEqual(list(processes[-1].plan["crew"]["sockets"]), [OTHER])
        for _ in range(WORKERS):
            self.assertEqual(set(self.ports.bound), {ENDPOINT, OTHER})
            self.roll()
        self.assertEqual(set(self.ports.bound), {OTHER})

    def stays(self, why: str) -> None:
        """
        Assert that no worker was replaced.
        """
        self.assertEqual(self.slots(), [0, 1, 2])
        self.assertEqual(
            self.lines()[-1],
            f"error supervisor: worker 0 stays as it is, and those"
            f" after it: {why}; correct the configuration, and send SIGHUP again",
        )
        self.assertEqual([process.signals for process in self.processes[:3]], [[]] * WORKERS)

    def test_ends(self) -> None:
        """
        A replacement that ends replaces nobody.
        """
        processes = self.start()
        self.change(endpoint=OTHER)
        processes[-1].end(1)
        self.stays("its replacement ended with status 1")
        self.assertEqual(set(self.ports.bound), {ENDPOINT})
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.change()
        self.assertEqual(processes[-1].plan["crew"]["slot"], 3)

    def test_silent(self) -> None:
        """
        Nor does one that does not start.
        """
        processes = self.start()
        self.change()
        self.reactor.advance(START_SECONDS + SETUP_TIMEOUT)
        self.assertEqual(processes[-1].signals, ["TERM"])
        processes[-1].end()
        self.stays("its replacement has not started after 40 s")

    def test_noLink(self) -> None:
        """
        Nor does one that cannot reach the servers, if the one before can.
        """
        processes = self.start()
        self.change()
        processes[-1].tell(WAITING)
        self.reactor.advance(START_SECONDS + SETUP_TIMEOUT)
        processes[-1].end()
        self.stays("its replacement has no link to each server after 40 s")

    def test_noLinkBefore(self) -> None:
        """
        If the one before cannot, either, it does.
        """
        processes = self.start()
        processes[0].tell(WAITING)
        self.change()
        processes[-1].tell(WAITING)
        self.reactor.advance(START_SECONDS + SETUP_TIMEOUT)
        self.assertEqual(processes[0].signals, ["TERM"])
        self.assertEqual(self.slots(), [3, 1, 2])

    def test_vacant(self) -> None:
        """
        Where a worker has died, another takes its place when it is up; the one that was to
        follow does not come.
        """
        processes = self.start()
        processes[0].end(1)
        self.change()
        self.assertEqual(processes[-1].plan["crew"]["slot"], 3)
        processes[-1].tell(READY)
        self.assertEqual(processes[-1].plan["crew"]["slot"], 0)
        self.assertEqual(len(processes), WORKERS + 2)
        for _ in range(WORKERS - 1):
            self.roll()
        self.reactor.advance(RESTART_SECONDS)
        self.assertEqual(len(processes), WORKERS * 2)

    def test_partly(self) -> None:
        """
        Who was replaced before it went wrong stays so, and is not replaced again when the
        others are.
        """
        processes = self.start()
        self.change()
        self.roll()
        processes[-1].end(1)
        self.assertEqual(self.slots(), [3, 1, 2])
        self.lines()
        self.change()
        self.assertEqual(processes[3].signals, ["HUP"])
        for _ in range(WORKERS - 1):
            self.roll()
        self.assertEqual(self.slots(), [3, 0, 1])
        self.assertEqual(
            self.lines()[-1], "info supervisor: all workers run with the new configuration"
        )

    def test_impossible(self) -> None:
        """
        Where no process can be started nothing changes, and a later SIGHUP is heard.
        """
        processes = self.start()
        self.reactor.error = OSError(11, "Resource temporarily unavailable")
        self.change()
        self.assertIn("critical supervisor: workers cannot be replaced", self.lines())
        self.flushLoggedErrors(OSError)
        self.reactor.error = None
        self.change()
        self.assertEqual(len(processes), WORKERS + 1)
