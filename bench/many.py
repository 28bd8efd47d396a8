# Copyright the cmanager authors.
# See LICENSE for details.

"""
A hundred thousand clients at once: C{make bench-100k}.

    python -m bench.many [--clients 100000] [--tls-clients 100000] [--hold 300]

They log in, without TLS and then with it; at some numbers of sessions it is measured what
a stanza costs and what memory they take; then they stay for five minutes and write to each
other, each message from one of them to another at random.  The exit status is 0 only if
nobody failed to log in, nobody was cut, each message arrived once and with whom it was
for, and all streams were closed in order.

Workers, clients and far end are processes of their own, all on the loopback.  Each client
has an address of its own.  How to read it: C{docs/performance.rst}.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.command import perform
from bench.configurations import prepare
from bench.crowds import Crowds
from bench.machine import environment
from bench.part import HERE
from bench.report import Row, head


@contextlib.contextmanager
def crowds(isTLS: bool, clients: int, options: argparse.Namespace) -> Iterator[Crowds]:
    """
    Start everything; stop it at the end, however it comes.
    """
    with tempfile.TemporaryDirectory(prefix="cmanager-many-") as name:
        prepare(Path(name))
        found = Crowds(isTLS, clients, options, Path(name))
        try:
            found.start()
            yield found
        finally:
            found.stop()


def text(result: Row) -> str:
    """
    Return the table.
    """
    lines = head("at once", result)
    for way in result["ways"]:
        lines += ["", *_way(way)]
    return "\n".join(lines) + "\n"


def _way(way: Row) -> list[str]:
    hold, leave = way["hold"], way["leave"]
    delays, memory = hold["milliseconds"], hold["memory"]
    shares = [used / hold["seconds"] for used in hold["front"]]
    clients, far = (hold[key] / hold["seconds"] for key in ("clients", "far"))
    lines = [
        f"{way['clients']} clients, {way['way']}; processes: {way['workers']} for workers,"
        f" {way['client processes']} for clients",
        f"{'sessions':>8} {'MiB in all':>10} {'KiB each':>8} {'us a stanza':>11}"
        f" {'cores, quiet':>12} {'logins/s':>8} {'ms a login':>10}",
    ]
    before = 0
    for step in way["steps"]:
        new, before = step["sessions"] - before, step["sessions"]
        quiet = sum(step["quiet"]["front"]) / step["quiet"]["seconds"]
        lines.append(
            f"{step['sessions']:8} {step['memory']['front'] / 2**20:10.0f}"
            f" {step['kibibytes']:8.1f} {step['cost']:11.1f} {quiet:12.3f}"
            f" {new / step['login seconds']:8.0f}"
            f" {sum(step['login']['front']) / new * 1000:10.2f}"
        )
    return [
        *lines,
        f"{hold['sent']} messages in {hold['seconds']:.0f} s between pairs at random:"
        f" {hold['received']} arrived, {hold['doubled']} twice, {hold['astray']} astray;"
        f" {hold['lost']} clients lost",
        f"on the way: {delays['median']:.1f} ms in the middle, 99 % within"
        f" {delays['p99']:.1f} ms, all within {delays['most']:.1f} ms",
        f"cores: workers {sum(shares):.2f} (each {min(shares[-way['workers'] :]):.2f} to"
        f" {max(shares):.2f}), clients {clients:.2f}, far end {far:.2f};"
        f" others used {hold['others'] / hold['seconds']:.1f}",
        f"MiB: workers {memory['front'] / 2**20:.0f}, clients {memory['clients'] / 2**20:.0f},"
        f" far end {memory['far'] / 2**20:.0f}, the kernel {memory['kernel'] / 2**20:.0f}",
        f"all streams closed in order, in {leave['took']:.0f} s",
    ]


def parse(arguments: list[str]) -> argparse.Namespace:
    """
    Return what the command line says.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench.many", description="A hundred thousand clients at once."
    )
    parser.add_argument("--clients", type=int, default=100000, help="without TLS; 0: none")
    parser.add_argument("--tls-clients", type=int, default=100000, help="0: none")
    parser.add_argument("--hold", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second")
    parser.add_argument(
        "--steps",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[1000, 10000, 50000, 100000],
        metavar="N,N,...",
        help="sessions at which costs and memory are measured",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of messages at each step")
    parser.add_argument("--quiet", type=float, default=3.0, help="seconds of silence before")
    parser.add_argument("--workers", type=int, help="as many as the open files ask for")
    parser.add_argument("--results", type=Path, default=HERE / "var" / "bench", metavar="FOLDER")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> Row:
    """
    Measure.

    @raise BenchError: Something was lost, or took too long.
    """
    result: Row = {**environment(options), "ways": []}
    for isTLS, clients in ((False, options.clients), (True, options.tls_clients)):
        if clients:
            with crowds(isTLS, clients, options) as found:
                result["ways"].append(found.run())
    return result


def main(arguments: list[str]) -> int:
    """
    The command.
    """
    options = parse(arguments)
    return perform("many", options.results, lambda: run(options), text)


if __name__ == "__main__":
    os.chdir(HERE)
    sys.exit(main(sys.argv[1:]))
