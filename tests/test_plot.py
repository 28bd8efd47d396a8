# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{bench.plot}; that it knows what L{bench.many} writes is in
L{tests.acts.test_many}.
"""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from bench.plot import PANELS, draw, main
from bench.report import Row


def step(sessions: int, mebibytes: int, login: list[float], cost: float) -> Row:
    """
    Return what was measured with so many sessions.

    @param login: Seconds of each worker for the logins since the step before.
    """
    return {
        "sessions": sessions,
        "memory": {"front": mebibytes << 20},
        "login": {"front": login},
        "cost": cost,
    }


def result(others: float = 0.0) -> Row:
    """
    Return a small one.

    @param others: Cores that others used.
    """
    steps = {
        "TCP": [step(1000, 80, [0.5, 0.25], 50.0), step(3000, 85, [1.0, 0.5], 40.0)],
        "TLS": [step(2000, 130, [3.0], 60.0)],
    }
    return {
        "machine": "a loom",
        "cores": 2,
        "date": "2024-05-06T07:08:09Z",
        "ways": [
            {
                "way": way,
                "workers": workers,
                "steps": steps[way],
                "hold": {"others": others * 10, "seconds": 10.0},
            }
            for way, workers in (("TCP", 5), ("TLS", 6))
        ],
    }


class PlotTests(SynchronousTestCase):
    """
    The plot in C{docs/performance.rst}.
    """

    def test_values(self) -> None:
        """
        Each panel has a line for each way, over thousands of sessions: memory, all logins
        so far, and a stanza.
        """
        lines = {
            axes.get_title(): {
                line.get_label(): [*zip(line.get_xdata(), line.get_ydata(), strict=True)]
                for line in axes.lines
            }
            for axes in draw(result()).axes
        }
        self.assertEqual(
            lines,
            {
                "MiB of memory": {"TCP": [(1, 80), (3, 85)], "TLS": [(2, 130)]},
                "processor seconds for all logins": {
                    "TCP": [(1, 0.75), (3, 2.25)],
                    "TLS": [(2, 3.0)],
                },
                "µs of processor for a stanza": {"TCP": [(1, 50), (3, 40)], "TLS": [(2, 60)]},
            },
        )

    def drawn(self) -> list[str]:
        """
        Return the texts of a file that was drawn twice, and is the same.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        source, first, second = (folder / name for name in ("many.json", "1.svg", "2.svg"))
        source.write_text(json.dumps(result()))
        for output in (first, second):
            with redirect_stdout(StringIO()) as said:
                main([str(source), "--output", str(output)])
            self.assertEqual(said.getvalue(), f"many.json is drawn in {output}\n")
        self.assertEqual(first.read_bytes(), second.read_bytes())
        return [
            "".join(text.itertext())
            for text in etree.parse(first).iter("{http://www.w3.org/2000/svg}text")
        ]

    def test_file(self) -> None:
        """
        The file holds text as text, says where and when, and is the same where the figures
        are.
        """
        texts = self.drawn()
        for text in (*PANELS, "TCP", "TLS", "thousand sessions"):
            self.assertIn(text, texts)
        self.assertIn("a loom, 2 cores; workers: 5 for TCP, 6 for TLS; 2024-05-06", texts)

    def test_others(self) -> None:
        """
        Others that used the machine are named where it matters.
        """
        for others, isSaid in ((0.09, False), (0.1, True)):
            self.assertEqual(
                f"others used {others:.1f} cores" in draw(result(others)).get_supxlabel(), isSaid
            )
