# Copyright the cmanager authors.
# See LICENSE for details.

"""
What L{bench.cost} measures, standing between clients and a far end that all have alike.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from attrs import frozen

from bench.configurations import (
    DOMAIN,
    LINKS,
    certificate,
    openFiles,
    startFront,
    startHAProxy,
    startNginx,
)
from bench.machine import machineSeconds
from bench.part import HOST, BenchError, Part, freePort

START_SECONDS = 120.0
CONNECT_SECONDS = 600.0
CLOSE_SECONDS = 60.0
RUSH_SECONDS = 1.0
CLIENT_PROCESSES = 4
"""
So many that at the highest pace each stanza is sent for itself, when it is due.
"""
FRONT_SESSIONS = 100000
POLL_SECONDS = 0.05

_numbers = itertools.count()


class Kind(enum.Enum):
    """
    What stands between the clients and the far end.
    """

    DIRECT = "direct"
    HAPROXY = "HAProxy"
    NGINX = "nginx"
    FRONT = "cmanager"
    BARE = "handshakes alone"


class Way(enum.Enum):
    """
    What the clients speak.
    """

    STREAM = "stream"
    WEBSOCKET = "websocket"
    BOSH = "bosh"


_LISTENERS = {
    (Way.STREAM, False): "tcp",
    (Way.STREAM, True): "tls",
    (Way.WEBSOCKET, False): "http",
    (Way.WEBSOCKET, True): "https",
    (Way.BOSH, False): "http",
    (Way.BOSH, True): "https",
}
_TRANSPORTS = {
    (Way.STREAM, False): "TCP",
    (Way.STREAM, True): "TLS",
    (Way.WEBSOCKET, False): "WebSocket",
    (Way.WEBSOCKET, True): "WebSocket TLS",
    (Way.BOSH, False): "BOSH",
    (Way.BOSH, True): "BOSH TLS",
}


@frozen
class Subject:
    """
    What is measured.

    @ivar workers: Processes or threads that share the work.
    """

    kind: Kind
    isTLS: bool = False
    way: Way = Way.STREAM
    workers: int = 1

    @property
    def transport(self) -> str:
        """
        How the clients come, as the table says it.
        """
        return _TRANSPORTS[self.way, self.isTLS]

    @property
    def name(self) -> str:
        """
        As the table says it.
        """
        name = str(self.kind.value)
        return name if self.kind is Kind.DIRECT else f"{name}, {self.transport}"

    @property
    def mostSessions(self) -> int:
        """
        How many sessions the open files are enough for.  A proxy needs two for each.
        """
        return openFiles() // 2 if self.kind is Kind.HAPROXY else openFiles()


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
        farPort = freePort()
        kind = "links" if isFront else subject.way.value
        # A proxy has connections of its own for each client, and they cost the far end more.
        count = subject.workers + (subject.kind in {Kind.HAPROXY, Kind.NGINX})
        self.far = [
            self._add(Part("far end", sys.executable, "-m", "bench.farend")) for _ in range(count)
        ]
        for part in self.far:
            part.say(domain=DOMAIN, host=HOST, port=farPort, kind=kind)
        for part in self.far:
            part.hear("listening", START_SECONDS)
        self.tested = self._startSubject(freePort(), farPort)
        self.clients = [
            self._add(Part("clients", sys.executable, "-m", "bench.pace"))
            for _ in range(CLIENT_PROCESSES)
        ]
        waitFor(self._port)
        for part in self.clients:
            number = next(_numbers)
            part.say(
                host=HOST,
                port=self._port,
                source=f"127.0.{number // 250 + 1}.{number % 250 + 1}",
                domain=DOMAIN,
                way=subject.way.value,
                login=isFront,
                greeted=subject.kind is Kind.BARE,
                authority=str(directory / "authority.pem") if subject.isTLS else None,
            )

    def _startSubject(self, port: int, farPort: int) -> Part | None:
        subject, directory = self.subject, self._directory
        self._port = port
        if subject.kind is Kind.DIRECT:
            self._port = farPort
            return None
        if subject.kind is Kind.BARE:
            bare = self._add(Part(subject.name, sys.executable, "-m", "bench.bare"))
            bare.say(host=HOST, port=port, certificate=str(certificate(directory)))
            bare.hear("listening", START_SECONDS)
            return bare
        if subject.kind is Kind.FRONT:
            kind = _LISTENERS[subject.way, subject.isTLS]
            front = startFront(directory, kind, port, farPort, FRONT_SESSIONS, subject.workers)
            self._add(front)
            self._awaitLinks(LINKS * subject.workers)
            return front
        start = startHAProxy if subject.kind is Kind.HAPROXY else startNginx
        return self._add(start(directory, subject.isTLS, port, farPort, subject.workers))

    def _add(self, part: Part) -> Part:
        self._parts.append(part)
        return part

    def _awaitLinks(self, count: int) -> None:
        end = time.monotonic() + START_SECONDS
        while sum(line.count('"configured"') for p in self.far for line in p.lines) < count:
            if time.monotonic() > end:
                raise BenchError(f"{self.subject.name}: no links: {self._parts[-1].lines[-20:]}")
            time.sleep(POLL_SECONDS)

    def connect(self, count: int, *, resume: bool = False) -> dict[str, Any]:
        """
        Open so many more sessions, and log them in where that is the subject's work.

        @return: C{seconds}, C{cpu} seconds of the subject, how many TLS sessions were
            C{resumed}; how busy the C{busiest} thread of the subject was, the busiest process
            of C{clients} and of the C{far} end, in cores, and of the C{machine} what share.
        """
        if self.subject.kind is Kind.FRONT:
            self._expectLogins(True)
        answer = self._ask("connect", CONNECT_SECONDS, _shares("count", count), resume=resume)
        answer["resumed"] = sum(said["resumed"] for said in answer["said"])
        if self.subject.kind is Kind.FRONT:
            self._expectLogins(False)
        self.sessions += count
        return answer

    def rush(self, count: int) -> None:
        """
        Have so many connect at once that then go without a word: as after a restart, when
        many have come before the first has logged in.
        """
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(socket.create_connection((HOST, self._port), RUSH_SECONDS))
            time.sleep(RUSH_SECONDS)

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
            how many stanzas were not sent, to be C{late}, and how many were sent at once,
            C{burst}, on average.
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
        answer["burst"] = sent / max(1, sum(s["bursts"] for s in said))
        answer["delays"] = sorted(delay for s in said for delay in s["delays"])
        return answer

    def _ask(
        self, event: str, bound: float, orders: list[dict[str, Any]], **order: Any
    ) -> dict[str, Any]:
        tested = [] if self.tested is None else [self.tested]
        before = [part.threadSeconds() for part in (*self.far, *tested)]
        busy, began = machineSeconds(), time.monotonic()
        for part, own in zip(self.clients, orders, strict=True):
            part.say(order=event, **order, **own)
        said = [part.hear(event, bound) for part in self.clients]
        took, busy = time.monotonic() - began, machineSeconds() - busy
        used = [
            part.secondsSince(then) for part, then in zip((*self.far, *tested), before, strict=True)
        ]
        far = [sum(each.values()) for each in used[: len(self.far)]]
        threads = [seconds for each in used[len(self.far) :] for seconds in each.values()]
        # Each of the two misses something: others, and what has just been used.
        own = sum(far) + sum(threads) + sum(one["used"] for one in said)
        return {
            "said": said,
            "seconds": took,
            "cpu": sum(threads),
            "busiest": max(threads, default=0.0) / took,
            "far": max(far) / took,
            "clients": max(one["used"] for one in said) / took,
            "machine": min(1.0, max(own, busy) / took / len(os.sched_getaffinity(0))),
        }

    def _expectLogins(self, isLoggingIn: bool) -> None:
        for part in self.far:
            part.say(isLoggingIn=isLoggingIn)
        for part in self.far:
            part.hear("done", START_SECONDS)

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
            time.sleep(POLL_SECONDS)
