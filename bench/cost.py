# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a stanza costs: processor time of the connection manager beside that of HAProxy, for
the same work in the same run.

    python -m bench.cost

Each subject stands between C{sessions} clients and the same far end.  The clients send
stanzas of 200 bytes at an even pace; each goes in and through to the far end, comes back
and out again.  What is told is the subject's processor time, user and system, for one
such stanza: in and out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from bench.part import HERE, HOST, BenchError, Part, freePort, raiseFileLimit
from tests.certificates import authority

DOMAIN = "bench.example"
SECRET = "for the measurement"
START_SECONDS = 30.0
WARM_SECONDS = 2.0
CONNECT_SECONDS = 300.0

HAPROXY_PROGRAM = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")

FRONT = """
[manager]
drain = 1.0

[log]
level = "warn"

[tls]
certificates = "{directory}/certificates"

[limits]
sessions = 15000
connections-per-address = 15000
connection-rate = 100000.0
connection-burst = 100000
bytes-per-second = 100000000
bytes-burst = 100000000

[[listener]]
type = "{kind}"
endpoint = "tcp:{port}:interface={host}"
starttls = "server"

[[server]]
domains = ["{domain}"]
address = "{host}:{farPort}"
secret-file = "{directory}/secret"
security = "plain"
"""

HAPROXY = """
global
    maxconn 9000
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


@frozen
class Subject:
    """
    What is measured.

    @ivar name: As the table says it.
    """

    name: str
    isFront: bool
    isTLS: bool


SUBJECTS = (
    Subject("HAProxy, TCP", False, False),
    Subject("cmanager, TCP", True, False),
    Subject("HAProxy, TLS", False, True),
    Subject("cmanager, TLS", True, True),
)


def cpuSeconds(pid: int) -> float:
    """
    Return the processor time of a process and of all its threads, to the nanosecond.
    """
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memoryBytes(pid: int) -> int:
    """
    Return the resident memory of a process.
    """
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


@contextlib.contextmanager
def standing(subject: Subject) -> Iterator[tuple[Part, Part, Part]]:
    """
    Start the far end, the subject and the clients; end them, however it comes.
    """
    parts: list[Part] = []
    with tempfile.TemporaryDirectory(prefix="cmanager-bench-") as name:
        directory = Path(name)
        (directory / "certificates").mkdir()
        (directory / "authority.pem").write_bytes(authority().pem)
        authority().issue(DOMAIN).write(directory / "certificates", DOMAIN)
        (directory / "secret").write_text(SECRET)
        (directory / "secret").chmod(0o600)
        port, farPort = freePort(), freePort()
        values: dict[str, Any] = {
            "directory": directory,
            "host": HOST,
            "port": port,
            "farPort": farPort,
            "domain": DOMAIN,
        }
        try:
            far = Part("far end", sys.executable, "-m", "bench.farend")
            parts.append(far)
            far.say(
                domain=DOMAIN, host=HOST, **{"links" if subject.isFront else "clients": farPort}
            )
            far.hear("listening", START_SECONDS)
            if subject.isFront:
                kind = "tls" if subject.isTLS else "tcp"
                (directory / "cmanager.toml").write_text(FRONT.format(kind=kind, **values))
                tested = Part(
                    subject.name,
                    str(Path(sys.executable).with_name("twistd")),
                    *("-n", "--pidfile=", "cmanager", "--config", str(directory / "cmanager.toml")),
                )
                parts.append(tested)
                far.say(isLoggingIn=True)
                far.hear("done", START_SECONDS)
            else:
                pem = next((directory / "certificates").glob("*.pem"))
                tls = f" ssl crt {pem}" if subject.isTLS else ""
                (directory / "haproxy.cfg").write_text(HAPROXY.format(tls=tls, **values))
                tested = Part(
                    subject.name, HAPROXY_PROGRAM or "", "-db", "-f", str(directory / "haproxy.cfg")
                )
                parts.append(tested)
            clients = Part("clients", sys.executable, "-m", "bench.pace")
            parts.append(clients)
            clients.say(
                host=HOST,
                port=port,
                domain=DOMAIN,
                login=subject.isFront,
                authority=str(directory / "authority.pem") if subject.isTLS else None,
            )
            waitFor(port)
            yield tested, far, clients
        finally:
            for part in reversed(parts):
                part.stop()


def waitFor(port: int) -> None:
    """
    Wait until somebody listens.
    """
    import socket
    import time

    end = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise BenchError(f"nobody listens on {port}") from None
            time.sleep(0.05)


def measure(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """
    Measure one subject.
    """
    with standing(subject) as (tested, far, clients):
        clients.say(order="connect", count=options.sessions)
        clients.hear("connect", CONNECT_SECONDS)
        if subject.isFront:
            far.say(isLoggingIn=False)
            far.hear("done", START_SECONDS)
        pid = tested.process.pid
        load = {"order": "load", "rate": options.rate, "busy": options.sessions}
        clients.say(**load, seconds=WARM_SECONDS)
        clients.hear("load", WARM_SECONDS + START_SECONDS)
        before, farBefore = cpuSeconds(pid), cpuSeconds(far.process.pid)
        clients.say(**load, seconds=options.seconds)
        result = clients.hear("load", options.seconds + START_SECONDS)
        used = cpuSeconds(pid) - before
        if result["received"] != result["sent"]:
            raise BenchError(
                f"{subject.name}: {result['sent'] - result['received']} did not come back"
            )
        return {
            **result,
            "cost": used / result["received"] * 1e6,
            "share": used / result["seconds"],
            "far": (cpuSeconds(far.process.pid) - farBefore) / result["seconds"],
            "memory": memoryBytes(pid),
        }


def main(arguments: list[str]) -> int:
    """
    The command.
    """
    parser = argparse.ArgumentParser(description="What a stanza costs.")
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--rate", type=float, default=5000.0, help="stanzas in and out a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args(arguments)
    raiseFileLimit()
    subjects = SUBJECTS if HAPROXY_PROGRAM else [s for s in SUBJECTS if s.isFront]
    print(f"{'':16} us/stanza  ratio  subject  clients  far end   median     p99   p99.9")
    costs: dict[bool, float] = {}
    for subject in subjects:
        found = measure(subject, options)
        costs.setdefault(subject.isTLS, found["cost"])
        middle, late, latest = (delay * 1000 for delay in found["delays"])
        print(
            f"{subject.name:16} {found['cost']:9.1f} {found['cost'] / costs[subject.isTLS]:6.2f}"
            f" {found['share']:7.0%} {found['busy']:8.0%} {found['far']:8.0%}"
            f" {middle:6.2f}ms {late:6.2f}ms {latest:6.2f}ms",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    os.chdir(HERE)
    sys.exit(main(sys.argv[1:]))
