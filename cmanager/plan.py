# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a supervisor tells a worker as it starts.  Layer 1; a value, and its form on the pipe
between the two.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import cattrs
from attrs import evolve, frozen

from cmanager.config import Settings, loads
from cmanager.crew import Crew
from cmanager.errors import ConfigError

READ_BYTES = 65536


@frozen
class Orders:
    """
    What all workers are to do.

    @ivar path: Of the configuration file; absolute.
    @ivar text: What stood there when it was found to be good.  A worker that died is
        followed by one that does the same, whatever stands there by then.
    @ivar settings: What it means, with the name of the manager.
    """

    path: str
    text: str
    settings: Settings

    def name(self, slot: int) -> str:
        """
        Return what the servers know a worker by.
        """
        return f"{self.settings.manager.name}-{slot}"

    @property
    def endpoints(self) -> list[str]:
        """
        Where clients connect.
        """
        return [listener.endpoint for listener in self.settings.listeners]


@frozen
class Plan:
    """
    What one worker is to do.

    @ivar path: Of the configuration file, to be read again on SIGHUP; absolute.
    @ivar text: What stood there when it was found to be good.
    @ivar name: What the servers know the worker by.
    """

    path: str
    text: str
    name: str
    crew: Crew

    def encode(self) -> bytes:
        """
        Return the line to write.
        """
        return json.dumps(cattrs.unstructure(self)).encode() + b"\n"

    def settings(self, environ: Mapping[str, str], text: str | None = None) -> Settings:
        """
        Return what the configuration means for this worker.

        @param text: What stands there now.
        @raise ConfigError: It cannot be used.
        """
        path = Path(self.path)
        settings = loads(
            self.text if text is None else text, environ, directory=path.parent, name=self.path
        )
        return evolve(settings, manager=evolve(settings.manager, name=self.name, workers=1))


def readPlan(descriptor: int) -> Plan:
    """
    Wait for the line, before there is anything else to do.  What comes behind it stays in
    the pipe: nothing does until it is closed.

    @raise ConfigError: There is none.
    """
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(descriptor, READ_BYTES)
        if not data:
            break
        line += data
    try:
        return cattrs.structure(json.loads(line), Plan)
    except (ValueError, cattrs.BaseValidationError):
        raise ConfigError(["--worker: is for a supervisor to give, with a plan"]) from None
