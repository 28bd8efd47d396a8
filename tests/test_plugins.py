# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.plugins}, the plugin files and C{docs/plugins.rst}.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from cmanager import plugins
from cmanager.config import (
    FilterSettings,
    ListenerSettings,
    ServerSettings,
    Settings,
    TLSSettings,
)
from cmanager.errors import ConfigError, StanzaError
from cmanager.interfaces import ILinkProtocol, IListener, ISessionFilter, IStanzaFilter
from cmanager.stanza import NS_CLIENT, Stanza

ROOT = Path(__file__).resolve().parent.parent


def settings(listener: str = "tcp", protocol: str = "openfire", *filters: str) -> Settings:
    """
    Settings that name plugins.
    """
    return Settings(
        tls=TLSSettings("x"),
        listeners=(ListenerSettings(listener, "tcp:1"),),
        servers=(ServerSettings(("montague.example",), protocol=protocol),),
        filters=tuple(FilterSettings(name) for name in filters),
    )


def example(page: str = "plugins.rst") -> str:
    """
    Return the first Python example of the page.
    """
    text = (ROOT / "docs" / page).read_text()
    match = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)
    assert match is not None
    return textwrap.dedent(match.group(1)).strip() + "\n"


class PluginCase(SynchronousTestCase):
    """
    A directory with plugins of its own.
    """

    def install(self, **sources: str) -> Path:
        """
        Put plugin files into a directory on the path, for this test.
        """
        directory = Path(os.path.abspath(self.mktemp()))
        folder = directory / "twisted" / "plugins"
        folder.mkdir(parents=True)
        for name, source in sources.items():
            (folder / f"{name}.py").write_text(source)
        import twisted.plugins

        # As at a start, when the packages have not been imported yet.
        self.patch(sys, "path", [str(directory), *sys.path])
        self.patch(twisted.plugins, "__path__", [str(folder), *twisted.plugins.__path__])
        for name in sources:
            self.addCleanup(sys.modules.pop, f"twisted.plugins.{name}", None)
        return directory


class FindTests(PluginCase):
    """
    Plugins are found by the names the configuration gives.
    """

    def test_builtin(self) -> None:
        """
        The built-in listeners and link protocol are found like anybody's.
        """
        for name in ("tcp", "tls"):
            found = plugins.find(settings(name))
            self.assertEqual(found.listeners[name].name, name)
            verifyObject(IListener, found.listeners[name])
        verifyObject(ILinkProtocol, found.protocols["openfire"])
        self.assertEqual(found.filters, {})

    def test_unknown(self) -> None:
        """
        All that there are not are named at once, with those that there are.
        """
        error = self.assertRaises(ConfigError, plugins.find, settings("udp", "ejabberd", "a"))
        self.assertEqual(
            error.problems,
            (
                'listener[0].type = "udp": no such plugin; there is "any", "http", "https", "tcp", "tls"',
                'server[0].protocol = "ejabberd": no such plugin; there is "openfire"',
                'filter[0].type = "a": no such plugin; there is none',
            ),
        )

    def test_twice(self) -> None:
        """
        Two plugins of one name are a problem, if it is asked for.
        """
        source = (
            "from cmanager.tcp import TCPListener\nclass Mine(TCPListener):\n    pass\nx = Mine()\n"
        )
        self.install(cmanager_test_twice=source)
        (problem,) = self.assertRaises(ConfigError, plugins.find, settings()).problems
        self.assertIn("several plugins have that name: ", problem)
        self.assertIn("cmanager.tcp.TCPListener", problem)
        self.assertIn("Mine", problem)

    def test_reactor(self) -> None:
        """
        Looking for plugins does not choose a reactor: C{twistd --reactor} comes first.
        """
        program = (
            "import sys, cmanager.pool, cmanager.tcp\n"
            "from twisted.plugin import getPlugins\n"
            "from cmanager.interfaces import IListener\n"
            "assert list(getPlugins(IListener))\n"
            "sys.exit('twisted.internet.reactor' in sys.modules)\n"
        )
        status = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode
        self.assertEqual(status, 0)

    def test_noPackage(self) -> None:
        """
        The plugin folders are no packages, or they would hide those of others.
        """
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])


class ExampleTests(PluginCase):
    """
    The filter of C{docs/plugins.rst}.
    """

    def filter(self) -> ISessionFilter:
        """
        Install the example, find it and open it for a session.
        """
        self.install(manners=example())
        found = plugins.find(settings("tcp", "openfire", "manners"))
        plugin = found.filters["manners"]
        verifyObject(IStanzaFilter, plugin)
        opened = plugin.open(None, {"words": ["knave"]})
        verifyObject(ISessionFilter, opened)
        return opened

    def message(self, body: str) -> Stanza:
        """
        Make a message.
        """
        return Stanza("message", NS_CLIENT, {}, f"<message><body>{body}</body></message>".encode())

    def test_size(self) -> None:
        """
        A filter is some twenty lines.
        """
        lines = [line for line in example().splitlines() if line.strip()]
        self.assertLessEqual(len(lines), 24)

    def test_found(self) -> None:
        """
        Before it is installed there is no such plugin.
        """
        self.assertRaises(ConfigError, plugins.find, settings("tcp", "openfire", "manners"))
        self.filter()
        self.assertIn("manners", [plugin.name for plugin in getPlugins(IStanzaFilter)])

    def test_refuses(self) -> None:
        """
        It refuses what it is there to refuse, and nothing else.
        """
        opened = self.filter()
        error = self.assertRaises(StanzaError, opened.upstream, self.message("Thou Knave!"))
        self.assertEqual((error.condition, error.type), ("not-acceptable", "modify"))
        for stanza in (self.message("Good morrow"), Stanza("iq", NS_CLIENT, {}, b"<iq/>")):
            self.assertIs(opened.upstream(stanza), stanza)
            self.assertIs(opened.downstream(stanza), stanza)

    def test_classes(self) -> None:
        """
        The built-in classes keep to their interfaces.
        """
        from cmanager.pool import Openfire
        from cmanager.tcp import TCPListener, TLSListener

        verifyClass(IListener, TCPListener)
        verifyClass(IListener, TLSListener)
        verifyClass(ILinkProtocol, Openfire)
