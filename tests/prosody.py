# Copyright the cmanager authors.
# See LICENSE for details.

"""
A private Prosody for a test: Debian's program with our module, its files in a
temporary directory, its ports on the loopback, in the foreground as somebody
without privileges.  It ends with the test or, at the latest, with this process.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from tests.programs import find

HERE = Path(__file__).resolve().parent.parent
MODULES = HERE / "contrib" / "prosody"
OPEN = re.compile(r"Activated service 'connection_manager' on ")
TAKEN = re.compile(r"Failed to open server port")
START_ATTEMPTS = 5
START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0
SHELL_TIMEOUT_SECONDS = 15.0
PR_SET_PDEATHSIG = 1
LOOPBACK = "127.0.0.1"
ADMIN = "xmpp:prosody.im/admin"
PREFIX = "cmanager-prosody-"

CONFIGURATION = """
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
certificates = "{directory}/certs"
plugin_paths = {{ "{directory}/modules" }}
admin_socket = "{directory}/admin.sock"
run_as_root = false
log = {{ {{ levels = {{ min = "debug" }}, to = "console", timestamps = false }} }}
modules_disabled = {{ "s2s" }}
modules_enabled = {{
    "roster"; "saslauth"; "tls"; "disco"; "ping"; "offline"; "carbons"; "mam"; "pep";
    "blocklist"; "private"; "vcard4"; "vcard_legacy"; "limits"; "version"; "time";
    "admin_shell"; "posix"; "register"; "smacks"; "csi_simple"; "connection_manager"; {modules}
}}
allow_registration = false
c2s_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {clientPort} }}
connection_manager_interfaces = {{ "127.0.0.1" }}
connection_manager_ports = {{ {linkPort} }}
{options}
{hosts}
"""


def freePorts() -> tuple[int, int]:
    """
    Return two ports of the loopback that were free a moment ago.
    """
    with socket.socket() as one, socket.socket() as two:
        one.bind((LOOPBACK, 0))
        two.bind((LOOPBACK, 0))
        return one.getsockname()[1], two.getsockname()[1]


def _owner() -> pwd.struct_passwd | None:
    """
    Return who runs Prosody, which does not start as root; L{None}: who runs this.
    """
    if os.geteuid() != 0:
        return None
    for name in ("prosody", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("there is no user to run Prosody as")


def _endWithParent() -> None:
    """
    Called in the new process: it is not to outlive a test run that is killed.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _sweep() -> None:
    """
    Remove what test runs left that were killed; each directory bears the number of the
    process it was for.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        number = path.name.removeprefix(PREFIX).partition("-")[0]
        if number.isdecimal() and not Path("/proc", number).exists():
            shutil.rmtree(path, ignore_errors=True)


class Prosody:
    """
    One Prosody.

    @ivar directory: Its files; gone after L{stop}.
    @ivar linkPort: Where connection managers come in.
    @ivar clientPort: Where clients come in that need no manager.
    """

    def __init__(
        self,
        hosts: str = 'VirtualHost "example.org"\n',
        options: str = "",
        *,
        modules: tuple[str, ...] = (),
    ) -> None:
        """
        @param hosts: The end of the configuration: virtual hosts and components.
        @param options: Its global part: whatever else is to be set.
        @param modules: Modules to load beside the usual.
        """
        self._program = find("prosody", "prosody")
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._modules = modules
        self._lines: list[str] = []
        self._news = threading.Condition()
        self.linkPort, self.clientPort = freePorts()
        _sweep()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        for name in ("data", "certs", "modules"):
            (self.directory / name).mkdir()
        shutil.copytree(
            MODULES / "mod_connection_manager", self.directory / "modules/mod_connection_manager"
        )
        self.configure(hosts, options)
        self._own()

    def configure(self, hosts: str, options: str = "") -> None:
        """
        Write the configuration.  A Prosody that runs reads it at C{config:reload()}.
        """
        text = CONFIGURATION.format(
            directory=self.directory,
            clientPort=self.clientPort,
            linkPort=self.linkPort,
            modules=" ".join(f'"{name}";' for name in self._modules),
            options=options,
            hosts=hosts,
        )
        (self.directory / "prosody.cfg.lua").write_text(text)

    def addModule(self, name: str, source: str) -> None:
        """
        Put a module beside ours, before the start.
        """
        (self.directory / "modules" / f"mod_{name}.lua").write_text(source)
        self._own()

    def addCertificate(self, name: str, certificate: bytes, key: bytes) -> None:
        """
        Put a certificate, in PEM, where Prosody looks for that of a host.
        """
        (self.directory / "certs" / f"{name}.crt").write_bytes(certificate)
        (self.directory / "certs" / f"{name}.key").write_bytes(key)
        self._own()

    def adopt(self, text: str) -> None:
        """
        Take a whole configuration as it is handed out, but for where its files and ports
        are, for its log, and for other servers, which it does without.

        @raise AssertionError: What is to be changed is not in it.
        """
        for old, new in {
            "/usr/local/lib/prosody/modules": f"{self.directory}/modules",
            "{ 5262 }": f"{{ {self.linkPort} }}",
            '"dialback"; "s2s";': "",
            "/var/lib/prosody": f"{self.directory}/data",
            "/run/prosody": str(self.directory),
            '"*syslog"': '"*console"',
            "c2s_ports = {}": "c2s_ports = {}; modules_disabled = { 's2s' };"
            f"admin_socket = '{self.directory}/admin.sock'",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        (self.directory / "prosody.cfg.lua").write_text(text)

    def _own(self) -> None:
        owner = _owner()
        if owner is not None:
            for path in (self.directory, *self.directory.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def start(self) -> None:
        """
        Start it, and return when its port is open.
        """
        for _ in range(START_ATTEMPTS):
            since = len(self.log)
            self._run()
            try:
                self.waitForLog(OPEN.search, since)
                if not any(TAKEN.search(line) for line in self.log[since:]):
                    self._waitForAnswer()
                    return
            except (AssertionError, OSError):
                self.stop()
                raise
            self.halt()
            self._move()
        raise AssertionError("no free port is to be had")

    def _move(self) -> None:
        """
        Take other ports: somebody was quicker.
        """
        path = self.directory / "prosody.cfg.lua"
        old = {str(self.linkPort): 0, str(self.clientPort): 1}
        ports = freePorts()
        self.linkPort, self.clientPort = ports
        path.write_text(
            re.sub(
                rf"\b({'|'.join(old)})\b",
                lambda match: str(ports[old[match.group()]]),
                path.read_text(),
            )
        )

    def _run(self) -> None:
        owner = _owner()
        self._process = subprocess.Popen(
            [self._program, "-F", "--config", str(self.directory / "prosody.cfg.lua")],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.directory), "LC_ALL": "C.UTF-8"},
            preexec_fn=_endWithParent,
            user=owner and owner.pw_uid,
            group=owner and owner.pw_gid,
            extra_groups=() if owner else None,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), daemon=True
        )
        self._reader.start()

    def _waitForAnswer(self) -> None:
        """
        Wait for the first answer on the port: the event loop runs only after all
        modules have been loaded.
        """
        with socket.create_connection((LOOPBACK, self.linkPort), START_TIMEOUT_SECONDS) as probe:
            probe.sendall(b"<probe/>")
            while probe.recv(4096):
                pass

    def _read(self, output: IO[str]) -> None:
        for line in output:
            with self._news:
                self._lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._lines.append("(end)")
            self._news.notify_all()

    def waitForLog(self, wanted: Callable[[str], object], since: int = 0) -> str:
        """
        Return the first line of the log, from number C{since} on, that is wanted.

        @raise AssertionError: Prosody ended, or wrote no such line in time.
        """
        begin, deadline = since, time.monotonic() + START_TIMEOUT_SECONDS
        with self._news:
            while True:
                for line in self._lines[since:]:
                    if wanted(line):
                        return line
                since = len(self._lines)
                left = deadline - time.monotonic()
                if "(end)" in self._lines[begin:] or left <= 0:
                    raise AssertionError("Prosody did not say it:\n" + "\n".join(self._lines[-60:]))
                self._news.wait(left)

    @property
    def log(self) -> list[str]:
        """
        What it has written until now.
        """
        with self._news:
            return list(self._lines)

    def kill(self) -> None:
        """
        End it at once, as a crash would, and keep its files.
        """
        if self._process is not None:
            self._process.kill()
            self._ended(self._process)

    def halt(self) -> None:
        """
        End it in order and keep its files, so that L{start} goes on where it was.
        """
        if self._process is not None:
            self._process.terminate()
            self._ended(self._process)

    def _ended(self, process: subprocess.Popen[str]) -> None:
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert self._reader is not None
        self._reader.join()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    def stop(self) -> None:
        """
        End it and remove its files.
        """
        self.halt()
        shutil.rmtree(self.directory, ignore_errors=True)

    def shell(self, command: str) -> str:
        """
        Have the admin shell execute C{command}; return all it said.
        """
        parser = ElementTree.XMLPullParser(["end"])
        said: list[str] = []
        with socket.socket(socket.AF_UNIX) as console, selectors.DefaultSelector() as selector:
            console.connect(str(self.directory / "admin.sock"))
            selector.register(console, selectors.EVENT_READ)
            query = ElementTree.Element("repl-input", {"id": "1"})
            query.text = command
            console.sendall(
                f"<stream:stream xmlns='{ADMIN}' xmlns:stream='http://etherx.jabber.org/streams'"
                f" version='1.0'>{ElementTree.tostring(query, 'unicode')}".encode()
            )
            while True:
                if not selector.select(SHELL_TIMEOUT_SECONDS):
                    raise AssertionError(f"the shell does not answer: {command}")
                read = console.recv(65536)
                if not read:
                    raise AssertionError(f"the shell hung up: {command}")
                parser.feed(read)
                for _, element in parser.read_events():
                    if element.tag in (f"{{{ADMIN}}}repl-output", f"{{{ADMIN}}}repl-result"):
                        said.append(element.text or "")
                    if element.tag == f"{{{ADMIN}}}repl-result":
                        return "\n".join(said)

    def addUser(self, address: str, password: str) -> None:
        """
        Register a user.
        """
        said = self.shell(f'user:create("{address}", "{password}")')
        if "created" not in said.lower():
            raise AssertionError(said)
