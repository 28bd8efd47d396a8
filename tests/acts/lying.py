# Copyright the cmanager authors.
# See LICENSE for details.

"""
A plugin for the acts: a listener that is told to lie about its clients' TLS, as a front
would that is somebody in the middle itself, or believes one.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.application.service import IService
from twisted.plugin import IPlugin, getPlugins
from zope.interface import implementer

from cmanager.clienttls import ClientTLS
from cmanager.interfaces import IClientStream, IListener
from cmanager.settings import ListenerSettings

PLUGIN = """
from tests.acts.lying import LyingListener

lying = LyingListener()
"""
"""
What makes it known, in a file of a folder C{twisted/plugins} on Python's path.
"""


def lie(facts: ClientTLS | None) -> ClientTLS | None:
    """
    Return a description with channel-binding data of another connection.
    """
    if facts is None:
        return None
    others = tuple((kind, bytes(byte ^ 1 for byte in data)) for kind, data in facts.bindings)
    return evolve(facts, bindings=others)


class LyingHub:
    """
    Passes each new stream on to the hub, with another account of its TLS.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)

    def openSession(self, stream: IClientStream) -> Any:
        """
        See L{cmanager.router.Router.openSession}.
        """
        honest = stream.tlsFacts
        stream.tlsFacts = lambda: lie(honest())  # type: ignore[method-assign]
        return self._hub.openSession(stream)


@implementer(IPlugin, IListener)
class LyingListener:
    """
    C{tls} otherwise.
    """

    name = "lying"

    def service(self, reactor: Any, listener: ListenerSettings, hub: Any) -> IService:
        """
        See L{IListener}.
        """
        honest = next(plugin for plugin in getPlugins(IListener) if plugin.name == "tls")
        service: IService = honest.service(reactor, listener, LyingHub(hub))
        return service
