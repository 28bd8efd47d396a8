# Copyright the cmanager authors.
# See LICENSE for details.

"""
Draws what sessions cost, from the results of C{make bench-100k}: C{make plot}.

    python -m bench.plot [--output docs/performance.svg] [RESULTS]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from bench.part import HERE
from bench.report import Row

RESULTS = HERE / "var" / "bench"
COLOURS = {"TCP": "#1f5fa8", "TLS": "#b5541c"}
INCHES = (9.0, 3.2)
SHOWN_OTHERS = 0.1
"""
Cores that others used: with more than that the figures are rough.
"""

Value = Callable[[Row], float]


def loginSeconds(way: Row) -> Value:
    """
    Return how long the logins of all sessions took the workers, by the row of a step.
    """
    total, at = 0.0, {}
    for step in way["steps"]:
        total += sum(step["login"]["front"])
        at[step["sessions"]] = total
    return lambda step: at[step["sessions"]]


PANELS: dict[str, Callable[[Row], Value]] = {
    "MiB of memory": lambda way: lambda step: step["memory"]["front"] / 2**20,
    "processor seconds for all logins": loginSeconds,
    "µs of processor for a stanza": lambda way: lambda step: step["cost"],
}
"""
For each the value of a step, by the way its clients have come.
"""


def draw(result: Row) -> Figure:
    """
    Return the plot.
    """
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, (title, value) in zip(axes, PANELS.items(), strict=True):
        for way in result["ways"]:
            sessions = [step["sessions"] / 1000 for step in way["steps"]]
            values = list(map(value(way), way["steps"]))
            axis.plot(sessions, values, marker="o", label=way["way"], color=COLOURS[way["way"]])
        axis.set_title(title, fontsize="medium")
        axis.set_xlabel("thousand sessions")
        axis.set_xlim(left=0)
        axis.margins(y=0.2)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    workers = ", ".join(f"{way['workers']} for {way['way']}" for way in result["ways"])
    others = max(way["hold"]["others"] / way["hold"]["seconds"] for way in result["ways"])
    figure.supxlabel(
        f"{result['machine']}, {result['cores']} cores; workers: {workers}; {result['date'][:10]}"
        + (f"; others used {others:.1f} cores" if others >= SHOWN_OTHERS else ""),
        fontsize="small",
        color="#666666",
    )
    return figure


def main(arguments: list[str]) -> None:
    """
    The command.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description="What sessions cost.")
    parser.add_argument("results", nargs="?", type=Path, help=f"unset: the last in {RESULTS}")
    parser.add_argument("--output", type=Path, default=HERE / "docs" / "performance.svg")
    options = parser.parse_args(arguments)
    path = options.results or max(RESULTS.glob("many-*.json"), default=None)
    if path is None:
        sys.exit("there are no results; first: make bench-100k")
    # Text as text, and nothing that differs where the figures do not.
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "cmanager"}
    matplotlib.rcParams["font.family"] = "sans-serif"
    draw(json.loads(path.read_text())).savefig(options.output, metadata={"Date": None})
    print(f"{path.name} is drawn in {options.output}")


if __name__ == "__main__":
    main(sys.argv[1:])
