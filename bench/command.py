# Copyright the cmanager authors.
# See LICENSE for details.

"""
How a measurement is run from the command line.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from bench.part import BenchError, raiseFileLimit
from bench.report import Row, write


def say(line: str) -> None:
    """
    Tell how far it is, where the table does not go.
    """
    print(line, file=sys.stderr, flush=True)


def perform(name: str, folder: Path, measure: Callable[[], Row], text: Callable[[Row], str]) -> int:
    """
    Measure, show the table, and keep it.

    @param name: What its files in C{folder} begin with.
    @param text: Makes the table.
    @return: The exit status.
    """
    raiseFileLimit()
    # A stop from elsewhere is Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = measure()
    except BenchError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    table = text(result)
    print(table, end="")
    for path in write(folder, name, result, table):
        say(f"written: {path}")
    return 0
