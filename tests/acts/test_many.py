# Copyright the cmanager authors.
# See LICENSE for details.

"""
C{make bench-100k} in small: nobody is lost, and no message.  How much anything takes is
not looked at.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from bench.part import family
from bench.plot import PANELS, draw
from tests.acts.actor import HERE

CLIENTS = 2000
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE)}


class ManyTests(TestCase):
    """
    L{bench.many}.
    """

    timeout = 600

    async def test_noneIsLost(self) -> None:
        """
        Two thousand clients stay, without TLS and with it, write to each other, and leave;
        each message arrives once, with whom it is for.  What it took can be drawn.
        """
        folder = Path(self.mktemp()).absolute()
        output, errors, status = await getProcessOutputAndValue(
            sys.executable,
            [
                *("-m", "bench.many", "--clients", str(CLIENTS), "--tls-clients", str(CLIENTS)),
                *("--steps", "500", "--seconds", "1", "--quiet", "0.2", "--hold", "4"),
                *("--rate", "500", "--workers", "2", "--results", str(folder)),
            ],
            env=ENVIRONMENT,
            path=str(HERE),
        )
        said = (output + errors).decode()
        self.assertEqual(status, 0, said)
        (path,) = folder.glob("*.json")
        self.assertEqual(path.with_suffix(".txt").read_text(), output.decode())
        result = json.loads(path.read_text())
        self.assertEqual([way["way"] for way in result["ways"]], ["TCP", "TLS"])
        for way in result["ways"]:
            self.assertEqual([step["sessions"] for step in way["steps"]], [500, CLIENTS])
            hold = way["hold"]
            self.assertEqual((hold["sent"], hold["received"]), (2000, 2000))
            self.assertEqual((hold["doubled"], hold["astray"], hold["lost"]), (0, 0, 0))
            self.assertEqual(hold["online"], CLIENTS)
        self.assertEqual(len(draw(result).axes), len(PANELS))

    async def test_interrupted(self) -> None:
        """
        Ctrl-C in the middle leaves no process behind, and there is no result.
        """
        folder = Path(self.mktemp()).absolute()
        run = Interrupted()
        spawning: Any = reactor
        spawning.spawnProcess(
            run,
            sys.executable,
            [sys.executable, "-m", "bench.many", "--clients", "200", "--results", str(folder)],
            env=ENVIRONMENT,
            path=str(HERE),
        )
        await run.ended
        self.assertEqual(run.status, 130, run.said)
        self.assertFalse(folder.exists())
        for pid in run.family:
            self.assertFalse(Path(f"/proc/{pid}").exists(), run.said)


class Interrupted(ProcessProtocol):
    """
    A run that is interrupted when its clients have logged in.

    @ivar family: All its processes then.
    """

    def __init__(self) -> None:
        self.said = b""
        self.family: list[int] = []
        self.status: int | None = None
        self.ended: Deferred[None] = Deferred()

    def errReceived(self, data: bytes) -> None:
        """
        It tells that the clients stay.
        """
        self.said += data
        if b"stay for" in self.said and not self.family:
            assert self.transport is not None
            self.family = family(self.transport.pid)
            self.transport.signalProcess(signal.SIGINT)

    def processEnded(self, reason: Failure) -> None:
        """
        It is over.
        """
        self.status = 0 if reason.check(ProcessDone) else reason.value.exitCode
        self.ended.callback(None)
