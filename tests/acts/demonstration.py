# Copyright the cmanager authors.
# See LICENSE for details.

"""
The demonstration as C{make demo} runs it, on other ports.
"""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.acts.stage import FrontProcess

LOOPBACK = "127.0.0.1"
SCREEN_ENDS = r"^ +echo Hello \| "


class DemoCase(TestCase):
    """
    A demonstration for each act.

    @ivar home: Its folder.
    @ivar ports: Its ports, as C{--demo-ports} has them.
    """

    timeout = 180

    def setUp(self) -> None:
        """
        Find free ports.
        """
        self.home = Path(self.mktemp()).absolute()
        self.home.parent.mkdir(parents=True, exist_ok=True)
        probes = [socket.create_server((LOOPBACK, 0)) for _ in range(4)]
        self.ports = [probe.getsockname()[1] for probe in probes]
        for probe in probes:
            probe.close()

    def begin(self) -> FrontProcess:
        """
        Start it.
        """
        named = ",".join(str(port) for port in self.ports)
        front = FrontProcess(
            reactor,
            ["-n", "--pidfile=", "cmanager", "--demo", str(self.home), "--demo-ports", named],
            str(self.home.parent),
        )
        self.addCleanup(front.stop)
        return front
