# Copyright the cmanager authors.
# See LICENSE for details.

"""
The console script C{cmanager}: what is done to files, without a running process.
Layer 5.  The program itself is started with C{twistd cmanager}.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from cmanager import __version__
from cmanager.errors import ConfigError
from cmanager.legacy import importFile
from cmanager.properties import CARRIED, LEFT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cmanager", epilog="To start the connection manager: twistd -n cmanager --config FILE"
    )
    parser.add_argument("--version", action="version", version=__version__)
    command = parser.add_subparsers(required=True, metavar="command").add_parser(
        "import-config",
        help="convert the old program's manager.xml",
        description="Turn the configuration file of the Java Connection Manager into one for this"
        " program.  The shared secret goes to a file of its own beside it.",
    )
    command.add_argument("source", metavar="manager.xml", nargs="?", help="the old file")
    command.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="cmanager.toml",
        help="the file to write (%(default)s); its secret gets the ending .secret",
    )
    command.add_argument(
        "-l", "--list", action="store_true", help="show what becomes of each property, no more"
    )
    return parser


def run(arguments: Sequence[str], out: TextIO, err: TextIO) -> int:
    """
    Do what the arguments say.

    @return: The exit status.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.list:
        for title, rows in (("Carried over:", CARRIED), ("Left behind:", LEFT)):
            out.write(title + "\n" + "".join(f"  {k}: {v}\n" for k, v in rows.items()))
        return 0
    if chosen.source is None:
        parser.error("which manager.xml?")
    output = Path(chosen.output)
    try:
        conversion = importFile(Path(chosen.source), output)
    except ConfigError as error:
        err.writelines(f"cmanager: {problem}\n" for problem in error.problems)
        return 1
    out.write(conversion.report())
    out.write(f"\nWritten to {output}.  Next: twistd -n cmanager --check --config {output}\n")
    return 0


def main() -> None:
    """
    The console script.
    """
    sys.exit(run(sys.argv[1:], sys.stdout, sys.stderr))
