# Copyright the cmanager authors.
# See LICENSE for details.

"""
What L{bench.cost} measures, standing between clients and a far end that all have alike.
"""

from __future__ import annotations

import enum
import itertools
import resource
import socket
import sys
import time
from pathlib import Path
from typing import Any

from attrs import frozen

from bench.configurations import (
    DOMAIN,
    HAPROXY,
    HAPROXY_PROGRAM,
    LINKS,
    SPARE_FILES,
    startFront,
)
from bench.part import HOST, BenchError, Part, freePort

START_SECONDS = 30.0
CONNECT_SECONDS = 600.0
CLOSE_SECONDS = 60.0
CLIENT_PROCESSES = 2
FRONT_SESSIONS = 100000

_numbers = itertools.count()


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
            self.tested = startFront(
                directory,
                port=port,
                farPort=farPort,
                workers=1,
                kind="tls" if subject.isTLS else "tcp",
                most=FRONT_SESSIONS,
            )
            self._parts.append(self.tested)
            for _ in range(LINKS):
                self.far.hear("configured", START_SECONDS)
        else:
            path = directory / f"{port}.cfg"
            path.write_text(
                HAPROXY.format(
                    host=HOST,
                    port=port,
                    farPort=farPort,
                    most=subject.mostSessions,
                    tls=f" ssl crt {pem}" if subject.isTLS else "",
                )
            )
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
        tested = sum(self.tested.exactSeconds()) if self.tested else 0.0
        return tested, sum(self.far.exactSeconds())

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
