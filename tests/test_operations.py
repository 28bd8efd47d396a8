# Copyright the cmanager authors.
# See LICENSE for details.

"""
C{docs/operations.rst} is about the program as it is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docutils.core import publish_doctree
from docutils.utils import Reporter
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.config import load
from cmanager.front import Surroundings
from cmanager.metrics import COUNTERS
from cmanager.tap import build
from tests.etc import Site

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs" / "operations.rst", ROOT / "docs" / "plugins.rst"]
LEVELS = {"info", "warn", "error", "critical"}


def written() -> Iterator[tuple[str, str]]:
    """
    Yield every message the program may log, with its module, as it stands in the
    code.
    """
    for path in sorted((ROOT / "cmanager").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Attribute)
                and node.func.value.attr in ("log", "_log")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield path.stem, str(node.args[0].value)


class OperationsTests(SynchronousTestCase):
    """
    What operators can see is explained.
    """

    def setUp(self) -> None:
        """
        Read the page, without line ends.
        """
        self.page = " ".join(PAGES[0].read_text().split())

    def test_lines(self) -> None:
        """
        Each line of the log stands there as it is in the code.
        """
        messages = list(written())
        self.assertGreater(len(messages), 15)
        missing = [
            f"{module}: {message}"
            for module, message in messages
            if message != "{problem}" and " ".join(message.split()) not in self.page
        ]
        self.assertEqual(missing, [])

    def test_noOther(self) -> None:
        """
        No line stands there that the program does not write.
        """
        messages = {" ".join(message.split()) for _, message in written()}
        shown = re.findall(r"``([^`]*\{[a-z]+\}[^`]*)``", self.page)
        self.assertEqual([line for line in shown if line not in messages], [])

    def test_metrics(self) -> None:
        """
        Each counter and each gauge stands there.
        """
        site = Site(self.mktemp())
        _, router = build(load(site.path, {}), Surroundings(MemoryReactorClock()))
        for name in [*COUNTERS, *(gauge[0] for gauge in router.gauges())]:
            self.assertIn(f"``cmanager_{name}``", self.page)

    def test_wellFormed(self) -> None:
        """
        The pages are reStructuredText without a mistake.
        """
        for path in PAGES:
            publish_doctree(
                path.read_text(),
                source_path=str(path),
                settings_overrides={
                    "halt_level": Reporter.WARNING_LEVEL,
                    "syntax_highlight": "none",
                },
            )
