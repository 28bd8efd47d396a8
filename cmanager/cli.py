# Copyright the cmanager authors.
# See LICENSE for details.

"""
The console script C{cmanager}: what is done to files and asked of the DNS, without a
running process.  Layer 5.  The program itself is started with C{twistd cmanager}.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from attrs import field, frozen
from twisted.internet.task import react

from cmanager import __version__
from cmanager.config import Settings, load
from cmanager.discovery import zone
from cmanager.errors import ConfigError
from cmanager.legacy import importFile
from cmanager.properties import CARRIED, LEFT
from cmanager.survey import Survey
from cmanager.world import IWorld, connected


@frozen
class Surroundings:
    """
    What the commands use of the world around them.

    @ivar react: As L{react}: runs a coroutine with the reactor, then exits.
    """

    out: TextIO
    err: TextIO
    environ: Mapping[str, str] = field(factory=lambda: os.environ)
    react: Callable[[Callable[[Any], Any]], Any] = react  # Any: reactor, coroutine, nothing
    connect: Callable[[Any], IWorld] = connected


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cmanager", epilog="To start the connection manager: twistd -n cmanager --config FILE"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _importParser(commands)
    command = commands.add_parser(
        "dns",
        help="print the DNS records that lead clients here",
        description="Print the SRV records of all domains in the configuration as lines of a zone"
        " file.  public.host must be set.",
    )
    command.add_argument("-c", "--config", metavar="FILE", required=True, help="the configuration")
    command.set_defaults(command=_dns)
    command = commands.add_parser(
        "check-dns",
        help="find out what clients find of a domain",
        description="Look up what clients of a domain look up: SRV records, addresses, and the"
        " documents for browsers.  Each finding is a line, with what to do.  Exit status 1 if"
        " there is a problem.",
    )
    command.add_argument("domain", metavar="DOMAIN")
    command.add_argument(
        "-c", "--config", metavar="FILE", help="the configuration that should be found"
    )
    command.set_defaults(command=_checkDNS)
    return parser


def _importParser(commands: Any) -> None:  # Any: a private class of argparse
    command = commands.add_parser(
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
    command.set_defaults(command=_importConfig)


def run(arguments: Sequence[str], around: Surroundings) -> int:
    """
    Do what the arguments say.

    @return: The exit status.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is _importConfig and not (chosen.list or chosen.source):
        parser.error("which manager.xml?")
    command: Callable[[argparse.Namespace, Surroundings], int] = chosen.command
    try:
        return command(chosen, around)
    except ConfigError as error:
        around.err.writelines(f"cmanager: {problem}\n" for problem in error.problems)
        return 1


def _importConfig(chosen: argparse.Namespace, around: Surroundings) -> int:
    out = around.out
    if chosen.list:
        for title, rows in (("Carried over:", CARRIED), ("Left behind:", LEFT)):
            out.write(title + "\n" + "".join(f"  {k}: {v}\n" for k, v in rows.items()))
        return 0
    output = Path(chosen.output)
    conversion = importFile(Path(chosen.source), output)
    out.write(conversion.report())
    out.write(f"\nWritten to {output}.  Next: twistd -n cmanager --check --config {output}\n")
    return 0


def _dns(chosen: argparse.Namespace, around: Surroundings) -> int:
    around.out.write(zone(load(chosen.config, around.environ)))
    return 0


def _checkDNS(chosen: argparse.Namespace, around: Surroundings) -> int:
    settings: Settings | None = None
    if chosen.config is not None:
        settings = load(chosen.config, around.environ)
        zone(settings)  # names what is missing before anything is asked
    surveys: list[Survey] = []

    async def look(reactor: Any) -> None:
        def report(line: str) -> None:
            around.out.write(line + "\n")
            around.out.flush()

        survey = Survey(chosen.domain, around.connect(reactor), settings, report)
        await survey.run()
        surveys.append(survey)

    try:
        around.react(look)
    except SystemExit as end:
        if end.code:
            raise
    # Who is interrupted has not found everything to be well.
    return 0 if surveys and not surveys[0].problems else 1


def main() -> None:
    """
    The console script.
    """
    sys.exit(run(sys.argv[1:], Surroundings(sys.stdout, sys.stderr)))
