# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.front}.
"""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

from twisted.application.service import Application, IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from cmanager.config import LogLevel, Settings, load
from cmanager.errors import ConfigError
from cmanager.front import STOP_MARGIN, Front, Surroundings, isLive
from cmanager.process import COLLECTOR_THRESHOLDS
from cmanager.tap import complete
from cmanager.tls import CertificateStore
from tests.etc import Site, SiteCase
from tests.processes import CREW


class FakeRouter(Service):
    """
    Takes settings, and stops when told.
    """

    def __init__(self) -> None:
        self.settings: list[Settings] = []
        self.stopped: Deferred[None] = Deferred()
        self.problems: list[str] = []

    def reconfigure(self, settings: Settings) -> None:
        """
        See L{Router <cmanager.router.Router>}.
        """
        self.settings.append(settings)

    def privilegedStartService(self) -> None:
        """
        Bind, or fail.
        """
        if self.problems:
            raise ConfigError(self.problems)

    def stopService(self) -> Deferred[None]:
        """
        Stop, some time.
        """
        super().stopService()
        return self.stopped


class FakeReactor(MemoryReactorClock):
    """
    Runs at once what should run once it runs.
    """

    def callWhenRunning(self, callable, *args, **kwargs):
        """
        See L{IReactorCore.callWhenRunning}.
        """
        callable(*args, **kwargs)


class FrontCase(SiteCase):
    """
    A front over a site, with a router that does nothing.
    """

    def setUp(self) -> None:
        """
        Make both.
        """
        super().setUp()
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        self.reactor = FakeReactor()
        self.router = FakeRouter()
        self.failures: list[ConfigError] = []

    def read(self) -> Settings:
        """
        Read the configuration.
        """
        return complete(load(self.site.path, {}), "cm-test")

    def front(self, **surroundings) -> Front:
        """
        Make the front.
        """
        settings = self.read()
        tls = CertificateStore(settings.tls, self.reactor)
        tls.load()
        around = {
            "reload": self.read,
            "writer": self.writer,
            "fail": self.failures.append,
            **surroundings,
        }
        front = Front(settings, self.router, tls, Surroundings(self.reactor, **around))
        tls.setServiceParent(front)
        self.router.setServiceParent(front)
        return front


class StartTests(FrontCase):
    """
    What the operator reads first.
    """

    def test_lines(self) -> None:
        """
        What is going to be tried, unless a supervisor has said so.
        """
        self.front().privilegedStartService()
        self.assertIn("info opening: cmanager 0.1.0 starts as cm-test: ", self.lines()[0])
        self.front(crew=CREW).privilegedStartService()
        self.assertEqual(self.lines(), [])

    def test_bindFails(self) -> None:
        """
        A port that cannot be had is one line, and the end.
        """
        front = self.front()
        self.router.problems = ["cannot listen on tcp:5222"]
        front.privilegedStartService()
        self.assertEqual(self.lines()[-1], "critical front: cannot listen on tcp:5222")
        (error,) = self.failures
        self.assertEqual(error.problems, ("cannot listen on tcp:5222",))

    def test_fails(self) -> None:
        """
        Unless told otherwise the end is exit status 1.
        """
        error = self.assertRaises(SystemExit, Surroundings(None).fail, ConfigError([]))
        self.assertEqual(error.code, 1)

    def test_signals(self) -> None:
        """
        Signals are ours once the reactor runs.
        """
        self.reactor.callFromThread = lambda function: function()
        front = self.front()
        front.startService()
        self.addCleanup(front.stopService)
        self.lines()
        signal.raise_signal(signal.SIGHUP)
        self.assertIn("read again", self.lines()[-1])

    def test_collector(self) -> None:
        """
        Once all runs, cycles are looked for less often.
        """
        front = self.front()
        self.assertNotEqual(gc.get_threshold(), COLLECTOR_THRESHOLDS)
        front.startService()
        self.addCleanup(front.stopService)
        self.assertEqual(gc.get_threshold(), COLLECTOR_THRESHOLDS)

    def test_behind(self) -> None:
        """
        A server in the same process is started before all else, and the operator is
        welcomed last.
        """
        order: list[str] = []
        self.router.privilegedStartService = lambda: order.append("bind")
        self.router.startService = lambda: order.append("start")
        behind = Service()
        behind.privilegedStartService = lambda: order.append("behind binds")
        behind.startService = lambda: order.append("behind starts")
        front = self.front(behind=behind, welcome=lambda: order.append("welcome"))
        front.privilegedStartService()
        front.startService()
        self.assertEqual(order, ["behind binds", "bind", "behind starts", "start", "welcome"])

    def test_log(self) -> None:
        """
        The application's log is ours, unless there is none of ours.
        """
        for writer in (self.writer, None):
            application = Application("cmanager")
            self.front(writer=writer).setServiceParent(application)
            self.assertIs(application.getComponent(ILogObserver, None), writer)
            self.assertEqual(len(list(IService(application))), 1)
        parent = self.front()
        self.front().setServiceParent(parent)


class StopTests(FrontCase):
    """
    The end.
    """

    def test_waits(self) -> None:
        """
        It is over when the router has stopped.
        """
        front = self.front()
        front.startService()
        stopped = front.stopService()
        self.assertNoResult(stopped)
        self.router.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(
            self.lines()[-2:],
            ["info front: stopping: clients are told to leave", "info front: stopped"],
        )

    def test_behind(self) -> None:
        """
        A server in the same process stops when all else has stopped.
        """
        behind = FakeRouter()
        front = self.front(behind=behind)
        front.startService()
        stopped = front.stopService()
        self.assertTrue(behind.running)
        self.router.stopped.callback(None)
        self.assertFalse(behind.running)
        self.assertNoResult(stopped)
        behind.stopped.callback(None)
        self.successResultOf(stopped)

    def test_bounded(self) -> None:
        """
        Or when drain, grace and a margin are over.
        """
        front = self.front()
        front.startService()
        stopped = front.stopService()
        self.reactor.advance(4 + STOP_MARGIN - 0.01)
        self.assertNoResult(stopped)
        self.reactor.advance(0.01)
        self.successResultOf(stopped)
        self.assertIn("warn front: stopped before all was closed", self.lines())
        self.router.stopped.callback(None)
        self.assertEqual(self.lines(), [])


class ReloadTests(FrontCase):
    """
    SIGHUP.
    """

    def reload(self, more: str, before: str = "") -> tuple[Front, list[str]]:
        """
        Start with one configuration, reload another, and return what was written.
        """
        self.site.write(before)
        front = self.front()
        self.site.write(more)
        front.reload()
        return front, self.lines()

    def test_live(self) -> None:
        """
        What can change does, and is named.
        """
        front, lines = self.reload(
            '[log]\nlevel = "warn"\n[client]\nstanza-bytes = 20000\n[limits]\nsessions = 7\n'
        )
        (settings,) = self.router.settings
        self.assertIs(settings, front.settings)
        self.assertEqual((settings.client.stanzaBytes, settings.limits.sessions), (20000, 7))
        self.assertEqual(settings.manager.name, "cm-test")
        self.assertEqual(self.writer.level, LogLevel.WARN)
        self.assertEqual(lines, [])

    def test_named(self) -> None:
        """
        The log names what has changed.
        """
        _, lines = self.reload("[client]\nstanza-bytes = 20000\n[limits]\nsessions = 7\n")
        self.assertEqual(
            lines[-1],
            "info front: configuration read again; changed: client.stanza-bytes, limits.sessions",
        )

    def test_fixed(self) -> None:
        """
        What cannot change does not, and is named, each time.
        """
        front = self.front()
        self.site.write('links = 3\n[log]\nformat = "json"\n', manager='name = "x"\nworkers = 1')
        front.reload()
        lines = self.lines()
        self.assertEqual(front.settings.servers[0].links, 2)
        self.assertEqual(front.settings.manager.name, "cm-test")
        warning = (
            "warn front: configuration: only a restart changes manager.name, log.format,"
            " server[0].links"
        )
        self.assertIn(warning, lines)
        front.reload()
        self.assertIn(warning, self.lines())

    def test_fixedWorker(self) -> None:
        """
        A worker leaves it to the supervisor to say what becomes of that.
        """
        front = self.front(crew=CREW)
        self.site.write("links = 3\n")
        front.reload()
        self.assertIn("changed: nothing", self.lines()[-1])
        self.assertNotIn("restart", "\n".join(self.lines()))

    def test_secret(self) -> None:
        """
        A changed secret is named and not shown.
        """
        front = self.front()
        (self.site.directory / "secret").write_text("hunter2")
        front.reload()
        text = "\n".join(self.lines())
        self.assertIn("only a restart changes server[0].secret", text)
        self.assertNotIn("hunter2", text)

    def test_broken(self) -> None:
        """
        A file that cannot be used changes nothing, and each problem is a line.
        """
        front, lines = self.reload("[limits]\nsessions = 0\nx = 1\n")
        self.assertEqual(self.router.settings, [])
        self.assertEqual(front.settings.limits.sessions, 100000)
        self.assertEqual(len(lines), 2)
        self.assertTrue(
            lines[0].startswith("error front: configuration not taken over: limits.sessions = 0")
        )

    def test_nothing(self) -> None:
        """
        Where nothing has changed, that is said; a warning is repeated.
        """
        _, lines = self.reload("insecure = true\n", "insecure = true\n")
        self.assertEqual(lines[-1], "info front: configuration read again; changed: nothing")
        self.assertIn("warn front: configuration: server[0].insecure", lines[-2])

    def test_certificates(self) -> None:
        """
        Certificates are read again from where the new configuration says.
        """
        front = self.front()
        other = Site(self.mktemp())
        text = self.site.path.read_text().replace('"certificates"', f'"{other.certificates}"')
        self.site.path.write_text(text)
        front.reload()
        (certificate,) = front._tls.certificates
        self.assertEqual(certificate.path.parent, other.certificates)

    def test_noFile(self) -> None:
        """
        Without a file the certificates are read again, no more.
        """
        front = self.front(reload=None, writer=None)
        front.reload()
        self.assertIn("1 certificates in use", "\n".join(self.lines()))
        self.assertEqual(len(self.router.settings), 1)

    def test_logFile(self) -> None:
        """
        The log's file is opened again, so that it can be moved away before.
        """
        path = Path(os.path.abspath(self.mktemp()))
        logFile = LogFile.fromFullPath(str(path), rotateLength=None)
        self.addCleanup(logFile.close)
        front = self.front(logFile=logFile)
        path.rename(path.with_suffix(".1"))
        front.reload()
        self.assertTrue(path.exists())


class LiveTests(SynchronousTestCase):
    """
    Which keys change without a restart.
    """

    def test_paths(self) -> None:
        """
        Single keys, and whole tables.
        """
        for path in ("log.level", "client.keepalive", "limits.sessions", "tls.certificates"):
            self.assertTrue(isLive(path), path)
        for path in ("log.format", "tls.preset", "server[0].links", "listener", "manager.name"):
            self.assertFalse(isLive(path), path)
