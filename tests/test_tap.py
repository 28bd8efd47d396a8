# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.tap}, also in processes of their own.
"""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from attrs import evolve
from twisted.application.service import Application, IServiceMaker, Service
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from cmanager import tap
from cmanager.config import LogFormat, LogLevel, LogSettings, load
from cmanager.errors import ConfigError, StanzaError
from cmanager.front import Front, Surroundings
from cmanager.logs import LogWriter
from cmanager.plan import Plan
from cmanager.server import demo
from cmanager.stanza import NS_CLIENT, Stanza
from cmanager.supervisor import Supervisor
from cmanager.worker import Tie
from tests.etc import DOMAIN, SECRET, Site
from tests.processes import CREW
from tests.test_plugins import PluginCase, example

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 30
"""
How long a process may take for what takes a second on a machine at rest.
"""


class OptionsTests(SynchronousTestCase):
    """
    The command line.
    """

    def parsed(self, *arguments: str) -> tap.Options:
        """
        Parse the options of the subcommand.
        """
        options = tap.Options()
        options.parseOptions(list(arguments))
        return options

    def test_named(self) -> None:
        """
        C{twistd} knows the command.
        """
        makers = [m for m in getPlugins(IServiceMaker) if m.tapname == "cmanager"]
        self.assertEqual(len(makers), 1)
        self.assertIs(makers[0].options, tap.Options)
        self.assertIs(makers[0].makeService, tap.makeService)

    def test_config(self) -> None:
        """
        The configuration is a file.
        """
        for option in ("--config", "-c"):
            self.assertEqual(self.parsed(option, "x")["config"], "x")

    def test_oneOfTwo(self) -> None:
        """
        A configuration or a demonstration, one of the two.
        """
        for arguments in ((), ("--config", "x", "--demo", "y")):
            error = self.assertRaises(UsageError, self.parsed, *arguments)
            self.assertIn("one of --config FILE and --demo DIRECTORY", str(error))

    def test_checkDemo(self) -> None:
        """
        There is nothing to check in a demonstration.
        """
        self.assertRaises(UsageError, self.parsed, "--demo", "x", "--check")

    def test_check(self) -> None:
        """
        C{--check} ends with the status of the check, and starts nothing.
        """
        site = Site(self.mktemp())
        for more, status in (("", 0), ("links = 0\n", 1)):
            site.write(more)
            self.patch(sys, "stdout", io.StringIO())
            self.patch(sys, "stderr", io.StringIO())
            error = self.assertRaises(
                SystemExit, self.parsed, "--check", "--config", str(site.path)
            )
            self.assertEqual(error.code, status)
            self.assertEqual(bool(sys.stdout.getvalue()), status == 0)

    def test_help(self) -> None:
        """
        The help explains each option.
        """
        text = " ".join(str(tap.Options()).split())
        for word in ("--config", "--check", "--demo", "SIGHUP", "etc/cmanager.toml", "romeo"):
            self.assertIn(word, text)


class BuildTests(PluginCase):
    """
    The tree.
    """

    def setUp(self) -> None:
        """
        Make a site.
        """
        self.site = Site(self.mktemp())
        self.around = Surroundings(MemoryReactorClock())

    def build(self, more: str = "") -> Front:
        """
        Build without a process around.
        """
        self.site.write(more)
        return tap.build(load(self.site.path, {}), self.around)

    def test_name(self) -> None:
        """
        A manager without a name gets a random one that is hard to guess.
        """
        names = {self.build().settings.manager.name for _ in range(2)}
        self.assertEqual(len(names), 2)
        for name in names:
            self.assertTrue(re.fullmatch("cm-[0-9a-f]{24}", name or ""))
        self.site.write(manager='name = "cm-1"')
        front = tap.build(load(self.site.path, {}), self.around)
        self.assertEqual(front.settings.manager.name, "cm-1")

    def test_tree(self) -> None:
        """
        Certificates and the router are children of the root, links and listeners of the
        router.
        """
        tls, router = self.build()
        self.assertEqual(len(tls.certificates), 1)
        self.assertEqual([host.domain for host in router.hosts.values()], [DOMAIN])
        self.assertEqual(len(list(router)), 2)

    def test_problems(self) -> None:
        """
        Plugins and certificates that cannot be used are the operator's business.
        """
        self.assertRaises(ConfigError, self.build, '[[filter]]\ntype = "x"\n')
        (self.site.certificates / f"{DOMAIN}.pem").write_text("x")
        self.assertRaises(ConfigError, self.build)

    def test_filter(self) -> None:
        """
        The filter of C{docs/plugins.rst}, installed in a directory and named in a
        configuration, refuses a bound session's message.
        """
        self.install(manners=example())
        _, router = self.build('[[filter]]\ntype = "manners"\nwords = ["knave"]\n')
        session = SimpleNamespace(link=None, filters=None)
        router.sessionBound(session)
        message = Stanza(
            "message", NS_CLIENT, {}, b'<message to="a@b.example"><body>Knave!</body></message>'
        )
        error = self.assertRaises(StanzaError, session.filters.upstream, message)
        self.assertEqual(error.condition, "not-acceptable")


class SurroundingsTests(SynchronousTestCase):
    """
    Where the log goes.
    """

    def surroundings(self, *arguments: str) -> Surroundings:
        """
        Parse twistd's own options, and look around.
        """
        parent = ServerOptions()
        parent.parseOptions([*arguments, "cmanager", "--config", "x"])
        return tap.surroundings(parent.subOptions, LogSettings(format=LogFormat.JSON), None)

    def test_foreground(self) -> None:
        """
        In the foreground it goes to the standard output.
        """
        for arguments in (("-n",), ("-n", "-l", "-")):
            around = self.surroundings(*arguments)
            self.assertIsInstance(around.writer, LogWriter)
            self.assertIsNone(around.logFile)

    def test_file(self) -> None:
        """
        Or to a file that is not rotated from inside.
        """
        path = os.path.abspath(self.mktemp())
        for arguments in (("-n", "-l", path), ("-l", path)):
            around = self.surroundings(*arguments)
            assert around.logFile is not None
            self.addCleanup(around.logFile.close)
            self.assertEqual(around.logFile.path, path)
            self.assertIsNone(around.logFile.rotateLength)

    def test_background(self) -> None:
        """
        In the background the file is twistd's.
        """
        around = self.surroundings()
        assert around.logFile is not None
        self.addCleanup(around.logFile.close)
        self.assertEqual(around.logFile.path, os.path.abspath("twistd.log"))

    def test_told(self) -> None:
        """
        Who tells twistd otherwise has it so.
        """
        for arguments in (
            ("-n", "--syslog"),
            ("-n", "--logger", "cmanager.logs.jsonLines"),
            ("-l", "-"),
        ):
            self.assertIsNone(self.surroundings(*arguments).writer)

    def test_alone(self) -> None:
        """
        Without C{twistd} around there is the default.
        """
        options = tap.Options()
        around = tap.surroundings(options, LogSettings(), None)
        assert around.logFile is not None
        self.addCleanup(around.logFile.close)

    def test_fail(self) -> None:
        """
        In the foreground a failed start is exit status 1, and leaves no pid file; in the
        background twistd passes the error on to who waits.
        """
        path = Path(self.mktemp())
        path.write_text("1")
        fail = self.surroundings("-n", f"--pidfile={path}").fail
        self.assertEqual(self.assertRaises(SystemExit, fail, ConfigError(["x"])).code, 1)
        self.assertFalse(path.exists())
        fail = self.surroundings("-n", "--pidfile=").fail
        self.assertRaises(SystemExit, fail, ConfigError(["x"]))
        self.assertRaises(ConfigError, self.surroundings("--syslog").fail, ConfigError(["x"]))


class MakeServiceTests(SynchronousTestCase):
    """
    What C{twistd} calls.
    """

    def options(self, *arguments: str) -> tap.Options:
        """
        Parse as C{twistd -n} does.
        """
        parent = ServerOptions()
        parent.parseOptions(["-n", "cmanager", *arguments])
        return parent.subOptions

    def test_config(self) -> None:
        """
        From a file comes a front that reads it again on reload, from wherever.
        """
        site = Site(self.mktemp())
        options = self.options("--config", os.path.relpath(site.path))
        front = tap.makeService(options)
        application = Application("cmanager")
        front.setServiceParent(application)
        self.assertIsInstance(application.getComponent(ILogObserver), LogWriter)
        directory = os.getcwd()
        self.addCleanup(os.chdir, directory)
        os.chdir("/")
        site.write("[limits]\nsessions = 7\n")
        front.reload()
        self.assertEqual(front.settings.limits.sessions, 7)

    def test_workers(self) -> None:
        """
        With more workers than one comes a supervisor, which has them use the reactor that it
        was told to use.
        """
        site = Site(self.mktemp())
        site.write(manager="workers = 2")
        options = self.options("--config", str(site.path))
        options.parent["reactor"] = "poll"
        supervisor = tap.makeService(options)
        self.assertIsInstance(supervisor, Supervisor)
        self.assertEqual(len(supervisor.posts), 2)
        self.assertEqual(supervisor._options, ("--reactor=poll",))
        orders = supervisor._read()
        self.assertEqual(orders.text, site.path.read_text())
        self.assertEqual(orders.settings, supervisor.posts[0].orders.settings)

    def test_problems(self) -> None:
        """
        What a worker could not do is found out before there is one.
        """
        site = Site(self.mktemp())
        site.write(manager="workers = 2")
        (site.certificates / f"{DOMAIN}.pem").write_text("x")
        options = self.options("--config", str(site.path))
        error = self.assertRaises(ConfigError, tap.fromFile, options, {}, None)
        self.assertIn("holds no certificate", error.problems[0])

    def test_cores(self) -> None:
        """
        Unless told otherwise there is one for each core.
        """
        self.patch(tap, "cores", lambda: 5)
        site = Site(self.mktemp())
        site.write(manager="")
        supervisor = tap.makeService(self.options("--config", str(site.path)))
        self.assertEqual(len(supervisor.posts), 5)
        self.assertEqual(supervisor._options, ())

    def test_chroot(self) -> None:
        """
        Where no worker could be started that is said.
        """
        site = Site(self.mktemp())
        site.write(manager="workers = 2")
        options = self.options("--config", str(site.path))
        options.parent["chroot"] = "/srv"
        error = self.assertRaises(ConfigError, tap.fromFile, options, {}, None)
        self.assertIn("--chroot", error.problems[0])

    def test_worker(self) -> None:
        """
        A worker is a front by its plan, with lines of JSON for the supervisor to read.
        """
        site = Site(self.mktemp())
        site.write('[log]\nlevel = "debug"\n')
        shared = os.memfd_create("commons")
        self.addCleanup(os.close, shared)
        crew = evolve(CREW, shared=shared)
        plan = Plan(str(site.path), site.path.read_text(), "cm-1", crew)
        plans = []
        self.patch(tap, "readPlan", lambda descriptor: plans.append(descriptor) or plan)
        front = tap.makeService(self.options("--worker", "1"))
        self.assertEqual(plans, [0])
        self.assertEqual(front.settings.manager.name, "cm-1")
        self.assertIs(front._around.crew, crew)
        writer = front._around.writer
        self.assertEqual((writer.form, writer.level), (LogFormat.JSON, LogLevel.DEBUG))
        self.assertIsInstance(list(front)[-1], Tie)
        site.write("[limits]\nsessions = 7\n", manager='name = "x"\nworkers = 9')
        front.reload()
        self.assertEqual(front.settings.limits.sessions, 7)
        self.assertEqual(front.settings.manager.name, "cm-1")

    def test_broken(self) -> None:
        """
        A file that cannot be used is a line for each problem, and exit status 1.
        """
        site = Site(self.mktemp())
        site.write("links = 0\n[limits]\nsessions = 0\n")
        self.patch(sys, "stderr", io.StringIO())
        error = self.assertRaises(
            SystemExit, tap.makeService, self.options("--config", str(site.path))
        )
        self.assertEqual(error.code, 1)
        lines = sys.stderr.getvalue().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].startswith("cmanager: server[0].links = 0: must be"))

    def test_demo(self) -> None:
        """
        A demonstration is a front with a server behind, and a screen.
        """
        site = Site(self.mktemp())
        behind = Service()
        asked = []

        def demoService(directory: str, reactor: object, ports: str) -> SimpleNamespace:
            asked.append((directory, ports))
            return SimpleNamespace(
                settings=load(site.path, {}), service=behind, screen="Wherefore art thou?\n"
            )

        self.patch(demo, "demoService", demoService)
        self.patch(demo, "Ports", SimpleNamespace(named=str.upper))
        front = tap.makeService(self.options("--demo", "somewhere", "--demo-ports", "a,b"))
        self.assertEqual(asked, [(os.path.abspath("somewhere"), "A,B")])
        around = front._around
        self.assertIs(around.behind, behind)
        self.assertIsNone(around.reload)
        self.patch(sys, "__stdout__", io.StringIO())
        around.welcome()
        self.assertEqual(sys.__stdout__.getvalue(), "Wherefore art thou?\n")
        self.patch(sys, "__stdout__", None)
        around.welcome()


class Process:
    """
    C{twistd} in a process of its own, with its standard output as lines.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        for name in ("COVERAGE_PROCESS_START", "NOTIFY_SOCKET", "LISTEN_FDS"):
            environ.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *arguments],
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: list[str] = []
        self._rest = b""

    def waitFor(self, text: str) -> str:
        """
        Read lines until one holds C{text}, and return it.
        """
        assert self.process.stdout is not None
        number = self.process.stdout.fileno()
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            ready, _, _ = select.select([number], [], [], max(0, end - time.monotonic()))
            read = os.read(number, 65536) if ready else b""
            if not read:
                raise AssertionError(f"no {text!r} in {self.lines}, {self.finish()}")
            *lines, self._rest = (self._rest + read).split(b"\n")
            fresh = [line.decode() for line in lines]
            self.lines += fresh
            for line in fresh:
                if text in line:
                    return line

    def finish(self) -> tuple[int, str, str]:
        """
        Wait for the end.

        @return: The exit status, and what is left of the two outputs.
        """
        try:
            out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.communicate()
        return self.process.returncode, (self._rest + out).decode(), err.decode()


class ProcessTests(SynchronousTestCase):
    """
    The program as it is started.
    """

    def setUp(self) -> None:
        """
        Make a site.
        """
        self.site = Site(self.mktemp())

    def twistd(self, *arguments: str) -> Process:
        """
        Start, and see to it that it does not stay.
        """
        process = Process(self.site.directory, *arguments)
        self.addCleanup(process.finish)
        self.addCleanup(process.process.kill)
        return process

    def start(self, *arguments: str) -> Process:
        """
        Start in the foreground with the site's configuration.
        """
        return self.twistd(
            "-n", "--pidfile=", *arguments, "cmanager", "--config", str(self.site.path)
        )

    def test_life(self) -> None:
        """
        It says what it does, reloads on SIGHUP and ends with status 0 within five seconds
        of SIGTERM and SIGINT; the secret is in no line.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self.site.write()
            process = self.start()
            process.waitFor("listening on tcp:0")
            process.waitFor("refuses the connection")
            self.site.write("[limits]\nsessions = 7\n[log]\nformat = 'json'\n")
            process.process.send_signal(signal.SIGHUP)
            self.assertIn("changed: limits.sessions", process.waitFor("configuration read again"))
            self.site.write("x = 1\n")
            process.process.send_signal(signal.SIGHUP)
            self.assertIn("server[0].x: unknown key", process.waitFor("not taken over"))
            began = time.monotonic()
            process.process.send_signal(number)
            process.waitFor("front: stopped")
            status, out, err = process.finish()
            self.assertEqual((status, err), (0, ""))
            self.assertLess(time.monotonic() - began, 5)
            text = "\n".join([*process.lines, out])
            self.assertNotIn(SECRET, text)
            self.assertNotIn("Traceback", text)
            self.assertTrue(all(line.startswith("20") for line in text.split("\n") if line))

    def test_json(self) -> None:
        """
        With C{log.format = "json"} every line is JSON, from the first on.
        """
        self.site.write('[log]\nformat = "json"\n')
        process = self.start()
        process.waitFor("refuses the connection")  # the reactor runs
        process.process.terminate()
        status, out, err = process.finish()
        self.assertEqual((status, err), (0, ""))
        events = [json.loads(line) for line in [*process.lines, *out.splitlines()]]
        self.assertEqual(events[0]["namespace"], "cmanager.opening.Opening")
        self.assertEqual(events[0]["version"], "0.1.0")
        self.assertEqual(events[-1]["message"], "stopped")

    def test_logFile(self) -> None:
        """
        The log goes to twistd's file, and to a new one of that name after SIGHUP.
        """
        path = self.site.directory / "log"
        process = self.start("--logfile=log")
        self.until(lambda: path.exists() and "listening" in path.read_text())
        path.rename(path.with_suffix(".1"))
        process.process.send_signal(signal.SIGHUP)
        self.until(lambda: path.exists() and "read again" in path.read_text())
        process.process.terminate()
        self.assertEqual(process.finish(), (0, "", ""))

    def until(self, condition) -> None:
        """
        Wait for what another process does to files.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_bindFails(self) -> None:
        """
        A port that is taken is one line that says what to do, exit status 1, and no pid
        file; in the background too.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            self.site.write(endpoint=endpoint)
            process = self.twistd("-n", "cmanager", "--config", str(self.site.path))
            status, out, err = process.finish()
            self.assertEqual((status, err), (1, ""))
            last = out.splitlines()[-1]
            self.assertIn(f"critical front: cannot listen on {endpoint}", last)
            self.assertNotIn("Traceback", out)
            self.assertFalse((self.site.directory / "twistd.pid").exists())
            process = self.twistd("cmanager", "--config", str(self.site.path))
            status, out, err = process.finish()
            self.assertEqual(status, 1)
            self.assertIn("cannot listen on", out + err)

    def test_broken(self) -> None:
        """
        A broken certificate or file is one line and exit status 1.
        """
        (self.site.certificates / f"{DOMAIN}.pem").write_text("x")
        for _ in range(2):
            status, out, err = self.start().finish()
            self.assertEqual((status, out), (1, ""))
            (line,) = err.splitlines()
            self.assertTrue(line.startswith("cmanager: "), line)
            self.site.write("x = 1\n")

    def test_check(self) -> None:
        """
        C{twistd -n cmanager --check} shows the settings, or what is wrong.
        """
        process = self.twistd("-n", "cmanager", "--check", "--config", str(self.site.path))
        status, out, err = process.finish()
        self.assertEqual((status, err), (0, ""))
        self.assertIn(f'domains = ["{DOMAIN}"]', out)
        self.site.write("x = 1\n")
        process = self.twistd("-n", "cmanager", "--check", "--config", str(self.site.path))
        status, out, err = process.finish()
        self.assertEqual((status, out, err), (1, "", "server[0].x: unknown key\n"))

    def test_help(self) -> None:
        """
        C{twistd cmanager --help} explains.
        """
        status, out, _ = self.twistd("cmanager", "--help").finish()
        self.assertEqual(status, 0)
        self.assertIn("--check", out)
