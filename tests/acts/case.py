# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the acts have in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.acts.actor import Role
from tests.acts.backends import EmbeddedBackend, ProsodyBackend
from tests.acts.stage import DOMAIN, PASSWORD, Backend, FrontProcess, Stage
from tests.prosody import LOOPBACK, Prosody

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

    @cvar habits: Of the embedded server.
    @cvar settings: See L{Stage}.
    @cvar stageType: What stage it is.
    @ivar environment: See L{Stage}.
    """

    timeout = 180
    habits = "openfire-4.8"
    settings: ClassVar[dict[str, str]] = {}
    stageType: type[Stage] = Stage
    environment: Mapping[str, str] = MappingProxyType({})

    def makeBackend(self, directory: Path) -> Backend:
        """
        Make the server behind.
        """
        return EmbeddedBackend(reactor, directory, self.habits)

    async def setUp(self) -> None:
        """
        Set the stage.
        """
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        self.stage = self.stageType(
            reactor, directory, self.makeBackend(directory), **self.settings
        )
        self.stage.environment |= self.environment
        self.addCleanup(self.stage.stop)
        await self.stage.start()

    @property
    def front(self) -> FrontProcess:
        """
        The program; of several processes the supervisor.
        """
        front = self.stage.front
        assert front is not None
        return front


class ProsodyCase(ActCase):
    """
    A stage with Prosody behind.

    @cvar hosts: See L{ProsodyBackend}.
    @cvar options: Likewise.
    """

    hosts = ""
    options = ""

    def makeBackend(self, directory: Path) -> Backend:
        """
        See L{ActCase}.
        """
        backend = ProsodyBackend(self.hosts, self.options)
        self.prosody = backend.prosody
        self.addCleanup(backend.remove)
        return backend

    def connectDirectly(
        self, actor: Role, jid: str, prosody: Prosody, *, password: str = PASSWORD
    ) -> None:
        """
        Have C{actor} log in to a Prosody itself.
        """
        actor.order(
            "connect",
            jid=jid,
            password=password,
            host=LOOPBACK,
            port=prosody.clientPort,
            directTLS=False,
            authority=str(self.stage.authority),
            mechanism=None,
        )
