# Copyright the cmanager authors.
# See LICENSE for details.

"""
What C{twistd cmanager --check} does: finds all that would keep a configuration
from working, as far as that can be told without starting.  Layer 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from attrs import evolve
from twisted.internet.endpoints import serverFromString

from cmanager import plugins
from cmanager.config import Security, Settings, load
from cmanager.errors import ConfigError
from cmanager.files import Files
from cmanager.process import cores
from cmanager.schema import render
from cmanager.tls import CertificateStore
from cmanager.trust import Trust


def check(path: str, environ: Mapping[str, str], reactor: Any, out: TextIO, err: TextIO) -> int:
    """
    Check a file, and write the settings in effect to C{out} or what is wrong to
    C{err}.

    @param reactor: To ask whether there are such endpoints; nothing is opened.
    @return: The exit status.
    """
    try:
        settings = load(path, environ)
        problems = list(found(settings, reactor))
        if problems:
            raise ConfigError(problems)
    except ConfigError as error:
        err.writelines(f"{problem}\n" for problem in error.problems)
        return 1
    err.writelines(f"warning: {warning}\n" for warning in settings.warnings)
    manager = evolve(settings.manager, workers=settings.manager.workers or cores())
    out.write(render(evolve(settings, manager=manager)))
    return 0


def found(settings: Settings, reactor: Any) -> Iterator[str]:
    """
    Name what is wrong with what the configuration names: plugins, certificates,
    endpoints, files.
    """
    yield from _tried(lambda: plugins.find(settings))
    yield from _tried(lambda: CertificateStore(settings.tls, reactor).load())
    for number, listener in enumerate(settings.listeners):
        yield from _endpoint(f"listener[{number}]", listener.endpoint, reactor)
        if listener.files is not None:
            for problem in _tried(lambda listener=listener: Files(listener.files)):  # type: ignore[misc]
                yield f"listener[{number}].files: {problem}"
    for number, server in enumerate(settings.servers):
        if server.security is not Security.PLAIN:
            for problem in _tried(lambda server=server: Trust(server)):  # type: ignore[misc]
                yield f"server[{number}]." + problem.removeprefix("server.")


def _tried(attempt: Callable[[], object]) -> Iterator[str]:
    try:
        attempt()
    except ConfigError as error:
        yield from error.problems


def _endpoint(path: str, endpoint: str, reactor: Any) -> Iterator[str]:
    if "systemd:" in endpoint:
        return  # It is there only when systemd has started us.
    try:
        serverFromString(reactor, endpoint)
    except Exception as error:  # noqa: BLE001 # each kind of endpoint raises its own
        yield f'{path}.endpoint = "{endpoint}": {error}'
