# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the acts have in common.
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.acts.backends import ProsodyBackend
from tests.acts.stage import DOMAIN, Backend, Stage

ROMEO = f"romeo@{DOMAIN}/orchard"
JULIET = f"juliet@{DOMAIN}/balcony"


def bare(jid: str) -> str:
    """
    Return C{jid} without its resource.
    """
    return jid.partition("/")[0]


class ActCase(TestCase):
    """
    A stage for each act.
    """

    timeout = 60

    def makeBackend(self) -> Backend:
        """
        Make the server behind.
        """
        return ProsodyBackend()

    async def setUp(self) -> None:
        """
        Set the stage.
        """
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        self.stage = Stage(reactor, directory, self.makeBackend())
        self.addCleanup(self.stage.stop)
        await self.stage.start()
