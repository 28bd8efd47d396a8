# Copyright the cmanager authors.
# See LICENSE for details.

"""
Very many clients at once through one process: they log in over TLS, stay, write to
each other and ping the server, and leave.

    python -m bench.soak --clients 5000

Prints how long that took and the memory for each client.  The exit status is 0 only
if nobody failed to log in, nobody was cut, and each message arrived once.

The server behind and the clients run in processes of their own, all on the loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.part import HOST, BenchError, Part, freePort, raiseFileLimit
from tests.certificates import authority

DOMAIN = "soak.example"
PASSWORD = "soak"
SECRET = "for the soak test"
RESOURCES = 100
LOGINS_AT_ONCE = 64
START_SECONDS = 120.0
LEAST_LOGIN_SECONDS = 60.0
LOGINS_PER_SECOND = 25.0
ARRIVAL_SECONDS = 90.0

CONFIGURATION = """
[manager]
workers = 1
drain = 5.0

[tls]
certificates = "{directory}/certificates"

[[listener]]
type = "tls"
endpoint = "tcp:{port}:interface={host}"

[[server]]
domains = ["{domain}"]
address = "{host}:{linkPort}"
secret-file = "{directory}/secret"
security = "plain"
"""


def write(directory: Path, linkPort: int, port: int) -> None:
    """
    Write what the program is configured with.
    """
    (directory / "certificates").mkdir()
    (directory / "authority.pem").write_bytes(authority().pem)
    authority().issue(DOMAIN).write(directory / "certificates", DOMAIN)
    (directory / "secret").write_text(SECRET)
    (directory / "secret").chmod(0o600)
    (directory / "cmanager.toml").write_text(
        CONFIGURATION.format(
            directory=directory, domain=DOMAIN, host=HOST, linkPort=linkPort, port=port
        )
    )


@contextlib.contextmanager
def running(options: argparse.Namespace) -> Iterator[tuple[Part, list[Part], dict[str, Any]]]:
    """
    Start all parts; stop them at the end, however it comes.
    """
    parts: list[Part] = []
    with tempfile.TemporaryDirectory(prefix="cmanager-soak-") as name:
        directory = Path(name)
        linkPort, port = freePort(), freePort()
        write(directory, linkPort, port)
        try:
            users = -(-options.clients // RESOURCES)
            server = Part("server", sys.executable, "-m", "bench.serve")
            parts.append(server)
            server.say(
                directory=name,
                host=HOST,
                port=linkPort,
                domain=DOMAIN,
                secret=SECRET,
                prefix="soak",
                users=users,
                password=PASSWORD,
            )
            server.hear("listening", START_SECONDS)
            front = Part(
                "cmanager",
                str(Path(sys.executable).with_name("twistd")),
                *("-n", "--pidfile=", "cmanager", "--config", str(directory / "cmanager.toml")),
            )
            parts.append(front)
            for _ in range(2):
                front.wait(lambda line: "is ready" in line, START_SECONDS)
            loads = [
                Part("clients", sys.executable, "-m", "bench.load")
                for _ in range(options.processes)
            ]
            parts += loads
            plan = {
                "host": HOST,
                "port": port,
                "domain": DOMAIN,
                "authority": str(directory / "authority.pem"),
                "prefix": "soak",
                "password": PASSWORD,
                "resources": RESOURCES,
                "clients": options.clients,
                "atOnce": LOGINS_AT_ONCE // options.processes,
            }
            yield front, loads, plan
            status = front.stop()
            if status:
                raise BenchError(f"cmanager ended with {status}: {front.lines[-20:]}")
        finally:
            for part in reversed(parts):
                part.stop()


def soak(options: argparse.Namespace) -> None:
    """
    Do it.

    @raise BenchError: Something was lost, or took too long.
    """
    with running(options) as (front, loads, plan):
        empty, used = front.memory(), front.seconds()
        started = time.monotonic()
        first = 0
        for number, load in enumerate(loads):
            count = (options.clients - first) // (len(loads) - number)
            load.say(plan={**plan, "first": first, "count": count})
            first += count
        bound = max(LEAST_LOGIN_SECONDS, options.clients / LOGINS_PER_SECOND)
        problems = [p for load in loads for p in load.hear("online", bound)["problems"]]
        if problems:
            raise BenchError(f"{len(problems)} could not log in: {problems[:5]}")
        took = time.monotonic() - started
        full, cost = front.memory(), front.seconds() - used
        each = (full - empty) / options.clients
        print(f"{options.clients} clients logged in over TLS in {took:.1f} s")
        print(f"processor time for a login: {cost / options.clients * 1000:.2f} ms")
        print(f"memory without clients: {empty / 2**20:.1f} MiB, with: {full / 2**20:.1f} MiB")
        print(f"memory for a client: {each / 1024:.1f} KiB", flush=True)

        used = front.seconds()
        for load in loads:
            load.say(order="chat", messages=options.messages, seconds=options.hold)
        said = [load.hear("sent", options.hold + ARRIVAL_SECONDS) for load in loads]
        sent, pings = sum(s["messages"] for s in said), sum(s["pings"] for s in said)
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while True:
            for load in loads:
                load.say(order="count")
            counted = [load.hear("counted", ARRIVAL_SECONDS) for load in loads]
            total = {
                key: sum(c[key] for c in counted)
                for key in ("received", "doubled", "pongs", "lost")
            }
            arrived = (total["received"], total["pongs"]) == (sent, pings)
            if arrived or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        delays = sorted(delay for c in counted for delay in c["delays"])
        print(
            f"{sent} messages and {pings} pings in {options.hold:.0f} s: {total['received']} and"
            f" {total['pongs']} arrived, {total['doubled']} twice; {total['lost']} clients lost"
        )
        if delays:
            middle, late = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
            print(
                f"on the way: {middle * 1000:.1f} ms in the middle,"
                f" 99 % within {late * 1000:.1f} ms"
            )
        share = (front.seconds() - used) / options.hold
        print(
            f"processor: {share * 100:.0f} % of a core; memory now {front.memory() / 2**20:.1f} MiB"
        )
        if not arrived or total["doubled"] or total["lost"]:
            raise BenchError("something was lost")
        if sent != options.clients * options.messages:
            raise BenchError(f"only {sent} messages could be sent")
        for load in loads:
            load.say(order="leave")
        clean = sum(load.hear("left", ARRIVAL_SECONDS)["clean"] for load in loads)
        if clean != options.clients:
            raise BenchError(f"only {clean} streams were closed in order")
    print("none lost")


def main(arguments: list[str]) -> int:
    """
    The command.
    """
    parser = argparse.ArgumentParser(description="Very many clients at once through one process.")
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--hold", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--messages", type=int, default=4, help="sent by each client")
    parser.add_argument("--processes", type=int, default=2, help="that hold the clients")
    options = parser.parse_args(arguments)
    raiseFileLimit()
    try:
        soak(options)
    except BenchError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
