# Copyright the cmanager authors.
# See LICENSE for details.

"""
The program as an operator meets it: C{twistd} and its exit status.
"""

from __future__ import annotations

import base64
import os
import sys
from itertools import islice
from pathlib import Path

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.acts.case import ActCase
from tests.acts.stage import BLOCK, CLIENT_PORT, PASSWORD, claim, loopback

TWISTD = str(Path(sys.executable).with_name("twistd"))


class InstalledTests(TestCase):
    """
    The installed program.
    """

    async def twistd(self, *arguments: str) -> tuple[str, str, int]:
        """
        Run C{twistd} in a folder that is not ours.
        """
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        output, errors, status = await getProcessOutputAndValue(
            TWISTD, arguments, env={**os.environ, "PYTHONPATH": ""}, path=str(folder)
        )
        return output.decode(), errors.decode(), status

    async def test_listed(self) -> None:
        """
        C{twistd} knows the program wherever it is started.
        """
        output, _, status = await self.twistd("--help")
        self.assertEqual(status, 0)
        self.assertRegex(output, r"(?m)^ +cmanager  +A front-end tier")

    async def test_noConfiguration(self) -> None:
        """
        A configuration that cannot be read is one line, and exit status 1.
        """
        for mode in (("-n",), ("-n", "--pidfile=")):
            _, errors, status = await self.twistd(*mode, "cmanager", "--config", "missing.toml")
            self.assertEqual(status, 1)
            self.assertIn("missing.toml: cannot be read: No such file or directory", errors)
            self.assertEqual(errors.count("\n"), 1, errors)


class StageTests(ActCase):
    """
    The program on a stage.
    """

    async def test_portTaken(self) -> None:
        """
        A port that somebody else has is one line that names it, and exit status 1.
        """
        front = self.front
        await front.stop()
        other = await TCP4ServerEndpoint(
            self.stage.reactor, CLIENT_PORT, interface=self.stage.host
        ).listen(Factory.forProtocol(Protocol))
        self.addCleanup(other.stopListening)
        second = self.stage.startFront()
        self.stage.front = front
        self.assertEqual(await second.ended, 1)
        critical = [r["message"] for r in second.records if r["level"] == "critical"]
        self.assertEqual(len(critical), 1, second.output)
        self.assertIn(f"{CLIENT_PORT}:interface={self.stage.host}", critical[0])

    async def test_interrupted(self) -> None:
        """
        Ctrl-C ends it with status 0, as SIGTERM does in the other acts.
        """
        self.front.signal("INT")
        self.assertEqual(await self.front.ended, 0)

    async def test_noSecretInTheLog(self) -> None:
        """
        At the most talkative level, too, the log holds neither the secret nor a password
        nor a message.
        """
        romeo = await self.stage.online("slix", "romeo@verona.example/a", mechanism="PLAIN")
        romeo.order("message", to="romeo@verona.example/a", body="by yonder blessed moon")
        await romeo.expect("message")
        front = self.front
        await front.stop()
        secret = (self.stage.directory / "secret").read_text()
        response = base64.b64encode(f"\0romeo\0{PASSWORD}".encode()).decode()
        for text in (secret, PASSWORD, response, "blessed moon"):
            self.assertNotIn(text, front.output)


class StageAddressTests(TestCase):
    """
    Addresses for stages.
    """

    def test_distinct(self) -> None:
        """
        Two stages never share an address, nor do those of two processes, however many
        each of them has.
        """
        ours = {loopback() for _ in range(100)}
        others = set(islice(claim(), BLOCK + 1))
        self.assertEqual((len(ours), len(others)), (100, BLOCK + 1))
        self.assertFalse(ours & others)
