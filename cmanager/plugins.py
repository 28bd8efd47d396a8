# Copyright the cmanager authors.
# See LICENSE for details.

"""
Finding the plugins that a configuration names.  Layer 5.

They are looked for in C{twisted.plugins}, the built-in ones too; see
C{docs/plugins.rst}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen
from twisted.plugin import getPlugins

from cmanager.config import Settings
from cmanager.errors import ConfigError
from cmanager.interfaces import ILinkProtocol, IListener, IStanzaFilter


@frozen
class Plugins:
    """
    The plugins of one configuration, by the names it gives them.
    """

    listeners: dict[str, Any]  # Any: IListener
    protocols: dict[str, Any]  # Any: ILinkProtocol
    filters: dict[str, Any]  # Any: IStanzaFilter


def find(settings: Settings) -> Plugins:
    """
    Find them.

    @raise ConfigError: With each that there is not, or is twice.
    """
    problems: list[str] = []
    wanted = (
        (IListener, "listener", "type", [item.type for item in settings.listeners]),
        (ILinkProtocol, "server", "protocol", [item.protocol for item in settings.servers]),
        (IStanzaFilter, "filter", "type", [item.type for item in settings.filters]),
    )
    found = []
    for interface, table, key, names in wanted:
        installed: dict[str, list[Any]] = {}
        if names:
            plugin: Any  # of that interface
            for plugin in getPlugins(interface):
                installed.setdefault(plugin.name, []).append(plugin)
        problems.extend(_problems(table, key, names, installed))
        found.append({name: installed[name][0] for name in names if name in installed})
    if problems:
        raise ConfigError(problems)
    return Plugins(*found)


def _problems(
    table: str, key: str, names: list[str], installed: dict[str, list[Any]]
) -> Iterator[str]:
    for number, name in enumerate(names):
        plugins = installed.get(name, [])
        if not plugins:
            others = ", ".join(f'"{other}"' for other in sorted(installed)) or "none"
            yield f'{table}[{number}].{key} = "{name}": no such plugin; there is {others}'
        elif len(plugins) > 1:
            classes = " and ".join(type(p).__module__ + "." + type(p).__name__ for p in plugins)
            yield f'{table}[{number}].{key} = "{name}": several plugins have that name: {classes}'
