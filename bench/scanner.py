# Copyright the cmanager authors.
# See LICENSE for details.

"""
What reading XML costs: microseconds for each stanza, bytes for each idle stream, with
both scanner engines, and with expat alone, which reports it to nobody.

    python -m bench.scanner
"""

from __future__ import annotations

import sys
import timeit
import tracemalloc
from collections.abc import Callable
from typing import Any
from xml.parsers import expat

from cmanager.framing import native
from cmanager.scanner import Scanner as PythonScanner

HEADER = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" to='capulet.example' version='1.0'>"
)
LINK_HEADER = HEADER.replace(b"client", b"connectionmanager")
CHAT = (
    b'<message to="juliet@capulet.example/balcony" type="chat" id="aab8a" xml:lang="en"><body>'
    b"Wherefore art thou, Romeo? Deny thy father and refuse thy name.</body>"
    b'<active xmlns="http://jabber.org/protocol/chatstates"/></message>'
)
ROUTE = b'<route from="capulet.example" to="cm/1" streamid="abcdef0123456789">%s</route>' % CHAT
LIMIT = 1 << 20
SECONDS = 0.3
REPEATS = 5
IDLE = 2000


def engines() -> dict[str, Any]:
    """
    Return the engines there are, by name.
    """
    found: dict[str, Any] = {"python": PythonScanner}
    try:
        _, scanner = native()
    except ImportError:
        return found
    return {"native": scanner, **found}


def microseconds(call: Callable[[], object]) -> float:
    """
    Return how long a call takes, at its best.
    """
    timer = timeit.Timer(call)
    count, taken = timer.autorange()
    count = max(1, int(count * SECONDS / taken))
    return min(timer.repeat(REPEATS, count)) / count * 1e6


def fed(engine: Any, level: int, header: bytes, *reads: bytes) -> float:
    """
    Return what some reads cost.
    """
    scanner = engine(level, LIMIT, strict=level == 1)
    scanner.feed(header)

    def call() -> None:
        for read in reads:
            scanner.feed(read)

    return microseconds(call)


def idleBytes(engine: Any) -> float:
    """
    Return what a stream takes on which a stanza has come and no other has begun.
    """
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    scanners = []
    for _ in range(IDLE):
        scanner = engine(1, LIMIT)
        for read in (HEADER, CHAT[:50], CHAT[50:]):
            scanner.feed(read)
        scanners.append(scanner)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return taken / len(scanners)


def main() -> int:
    """
    Print a table.
    """
    spelled = CHAT.replace(b'"', b"'")
    half = len(CHAT) // 2
    print(f"a chat stanza of {len(CHAT)} bytes, a route of {len(ROUTE)}; Python {sys.version[:7]}")
    print(f"{'':8}{'chat':>9}{'quoted':>9}{'2 reads':>9}{'route':>9}{'20 routes':>11}{'idle':>9}")
    for name, engine in engines().items():
        figures = [
            fed(engine, 1, HEADER, CHAT),
            fed(engine, 1, HEADER, spelled),
            fed(engine, 1, HEADER, CHAT[:half], CHAT[half:]),
            fed(engine, 2, LINK_HEADER, ROUTE),
            fed(engine, 2, LINK_HEADER, ROUTE * 20) / 20,
        ]
        line = "".join(f"{figure:>9.2f}" for figure in figures[:4])
        print(f"{name:8}{line}{figures[4]:>11.2f}{idleBytes(engine):>9.0f}")
    parser = expat.ParserCreate("UTF-8", "\f")
    parser.Parse(HEADER)
    print(f"{'expat':8}{microseconds(lambda: parser.Parse(CHAT)):>9.2f}")
    print("µs; quoted: in single quotes, to be spelled anew; idle: bytes, expat's included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
