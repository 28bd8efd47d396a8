# Copyright the cmanager authors.
# See LICENSE for details.

"""
What L{bench.cost} measures, standing between clients and a far end that all have alike.
"""

from __future__ import annotations

import enum
import itertools
import os
import resource
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

from attrs import frozen

from bench.part import HOST, BenchError, Part, freePort

DOMAIN = "bench.example"
SECRET = "for the measurement"
START_SECONDS = 30.0
CONNECT_SECONDS = 600.0
CLOSE_SECONDS = 60.0
LINKS = 2
CLIENT_PROCESSES = 2
SPARE_FILES = 200
"""
Files that a process opens besides the connections of its sessions.
"""

_numbers = itertools.count()
HAPROXY_PROGRAM = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

FRONT = """
[manager]
drain = 0.5
grace = 0.5

[log]
level = "warn"

[tls]
certificates = "{directory}/certificates"

[limits]
sessions = 100000
connections-per-address = 100000
connection-rate = 100000.0
connection-burst = 100000
bytes-per-second = 1000000000
bytes-burst = 1000000000

[[listener]]
type = "{kind}"
endpoint = "tcp:{port}:interface={host}"
starttls = "server"

[[server]]
domains = ["{domain}"]
address = "{host}:{farPort}"
secret-file = "{directory}/secret"
security = "plain"
links = {links}
audit-after = 0
"""

HAPROXY = """
global
    maxconn {most}
    nbthread 1
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend clients
    bind {host}:{port}{tls}
    default_backend far
backend far
    server far {host}:{farPort}
"""


class Kind(enum.Enum):
    """
    What stands between the clients and the far end.
    """

    DIRECT = "direct"
    HAPROXY = "HAProxy"
    FRONT = "cmanager"
    BARE = "handshakes alone"


@frozen
class Subject:
    """
    What is measured.
    """

    kind: Kind
    isTLS: bool

    @property
    def name(self) -> str:
        """
        As the table says it.
        """
        if self.kind is Kind.DIRECT:
            return self.kind.value
        return f"{self.kind.value}, {'TLS' if self.isTLS else 'TCP'}"

    @property
    def mostSessions(self) -> int:
        """
        How many sessions the open files are enough for.  A proxy needs two for each.
        """
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES
        return files // 2 if self.kind is Kind.HAPROXY else files


def processorSeconds(pid: int) -> float:
    """
    Return the processor time, user and system, of a process, its threads and those it
    has started, to the nanosecond; none of them may have ended meanwhile.
    """
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
        for child in (task / "children").read_text().split():
            total += int(processorSeconds(int(child)) * 1e9)
    return total / 1e9


class Stand:
    """
    A subject with its far end and its clients, all in processes of their own.
    """

    def __init__(self, subject: Subject, directory: Path) -> None:
        """
        @param directory: With C{authority.pem}, C{certificates} and C{secret} in it.
        """
        self.subject = subject
        self.sessions = 0
        self._directory = directory
        self._parts: list[Part] = []

    def start(self) -> None:
        """
        Start all processes.  Whatever comes of that, L{stop} ends those there are.
        """
        subject, directory = self.subject, self._directory
        isFront = subject.kind is Kind.FRONT
        port, farPort = freePort(), freePort()
        pem = directory / "certificates" / f"{DOMAIN}.pem"
        values: dict[str, Any] = {
            "directory": directory,
            "host": HOST,
            "port": port,
            "farPort": farPort,
            "domain": DOMAIN,
            "links": LINKS,
            "kind": "tls" if subject.isTLS else "tcp",
            "tls": f" ssl crt {pem}" if subject.isTLS else "",
            "most": subject.mostSessions,
        }
        self.far = self._part("far end", sys.executable, "-m", "bench.farend")
        self.far.say(domain=DOMAIN, host=HOST, **{"links" if isFront else "clients": farPort})
        self.far.hear("listening", START_SECONDS)
        self.tested: Part | None = None
        if subject.kind is Kind.DIRECT:
            port = farPort
        elif subject.kind is Kind.BARE:
            self.tested = self._part(subject.name, sys.executable, "-m", "bench.bare")
            self.tested.say(host=HOST, port=port, certificate=str(pem))
            self.tested.hear("listening", START_SECONDS)
        elif isFront:
            path = directory / f"{port}.toml"
            path.write_text(FRONT.format(**values))
            self.tested = self._part(
                subject.name,
                str(Path(sys.executable).with_name("twistd")),
                *("-n", "--pidfile=", "cmanager", "--config", str(path)),
            )
            for _ in range(LINKS):
                self.far.hear("configured", START_SECONDS)
        else:
            path = directory / f"{port}.cfg"
            path.write_text(HAPROXY.format(**values))
            self.tested = self._part(subject.name, HAPROXY_PROGRAM or "", "-db", "-f", str(path))
        self.clients = [
            self._part("clients", sys.executable, "-m", "bench.pace")
            for _ in range(CLIENT_PROCESSES)
        ]
        waitFor(port)
        for part in self.clients:
            number = next(_numbers)
            part.say(
                host=HOST,
                port=port,
                source=f"127.0.{number // 250 + 1}.{number % 250 + 1}",
                domain=DOMAIN,
                login=isFront,
                greeted=subject.kind is Kind.BARE,
                authority=str(directory / "authority.pem") if subject.isTLS else None,
            )

    def _part(self, name: str, *command: str) -> Part:
        part = Part(name, *command)
        self._parts.append(part)
        return part

    def connect(self, count: int, *, resume: bool = False) -> dict[str, Any]:
        """
        Open so many more sessions, and log them in where that is the subject's work.

        @return: C{seconds}, C{cpu} seconds of the subject, how many TLS sessions were
            C{resumed}, C{clients} and C{far}: how busy they were.
        """
        if self.subject.kind is Kind.FRONT:
            self._expectLogins(True)
        answer = self._ask("connect", CONNECT_SECONDS, _shares("count", count), resume=resume)
        answer["resumed"] = sum(said["resumed"] for said in answer["said"])
        if self.subject.kind is Kind.FRONT:
            self._expectLogins(False)
        self.sessions += count
        return answer

    def close(self) -> None:
        """
        Close all sessions.
        """
        if self.subject.kind is Kind.FRONT:
            self._expectLogins(True)
        self._ask("close", CLOSE_SECONDS, _shares("", 0))
        self.sessions = 0

    def load(
        self, seconds: float, busy: int, *, rate: float = 0.0, window: int = 0
    ) -> dict[str, Any]:
        """
        Send and get back; see L{bench.pace.Pace.load}.

        @param rate: Of all clients together.
        @param busy: Sessions that send, likewise.
        @return: As L{connect}, and C{count}, C{rate} as it was, the C{delays} in order,
            and how many stanzas were not sent, to be C{late}.
        @raise BenchError: A stanza did not come back.
        """
        orders = [
            {**order, "rate": rate * order["busy"] / busy, "window": window}
            for order in _shares("busy", busy)
        ]
        answer = self._ask("load", seconds + START_SECONDS, orders, seconds=seconds)
        said = answer["said"]
        sent, received, late = (sum(s[key] for s in said) for key in ("sent", "received", "late"))
        if sent != received:
            raise BenchError(f"{self.subject.name}: of {sent} stanzas {received} came back")
        answer["count"], answer["late"] = received, late
        answer["rate"] = received / max(s["seconds"] for s in said)
        answer["delays"] = sorted(delay for s in said for delay in s["delays"])
        return answer

    def _ask(
        self, event: str, bound: float, orders: list[dict[str, Any]], **order: Any
    ) -> dict[str, Any]:
        before = self._used()
        began = time.monotonic()
        for part, own in zip(self.clients, orders, strict=True):
            part.say(order=event, **order, **own)
        said = [part.hear(event, bound) for part in self.clients]
        took = time.monotonic() - began
        tested, far = (b - a for a, b in zip(before, self._used(), strict=True))
        return {
            "said": said,
            "seconds": took,
            "cpu": tested,
            "far": far / took,
            "clients": max(own["used"] for own in said) / took,
        }

    def _used(self) -> tuple[float, float]:
        tested = processorSeconds(self.tested.process.pid) if self.tested else 0.0
        return tested, processorSeconds(self.far.process.pid)

    def _expectLogins(self, isLoggingIn: bool) -> None:
        self.far.say(isLoggingIn=isLoggingIn)
        self.far.hear("done", START_SECONDS)

    def memory(self) -> int:
        """
        Return the bytes that are resident in the subject.
        """
        return 0 if self.tested is None else self.tested.memory()

    def processorSeconds(self) -> float:
        """
        Return what all processes of this stand have used, threads that have ended
        included.
        """
        return sum(part.seconds() for part in self._parts)

    def stop(self) -> None:
        """
        End all processes.
        """
        # The clients first: a subject without any has nothing to wait for.
        for part in reversed(self._parts):
            part.stop()


def _shares(name: str, count: int) -> list[dict[str, Any]]:
    """
    Return an order for each process of clients, with its share of C{count}.
    """
    if not name:
        return [{} for _ in range(CLIENT_PROCESSES)]
    return [
        {name: count // CLIENT_PROCESSES + (number < count % CLIENT_PROCESSES)}
        for number in range(CLIENT_PROCESSES)
    ]


def waitFor(port: int) -> None:
    """
    Wait until somebody listens.
    """
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise BenchError(f"nobody listens on {port}") from None
            time.sleep(0.05)
