# Copyright the cmanager authors.
# See LICENSE for details.

"""
What L{bench.cost} tells: the table, with the bars beside the figures they are for.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STANZA_BARS = {"TCP": 1.0, "TLS": 1.4}
"""
Times HAProxy.
"""
IDLE_BAR = 1.1
"""
Times the same subject's own without idle sessions.
"""
MEMORY_BARS = {"TCP": 3.0, "TLS": 20.0}
LOGIN_BAR = 0.6

SATURATED = "saturated"
_SHARES = {"clients": "clients", "far end": "far", "machine": "machine"}
"""
How busy all were: what the table calls it, and where it is in a row.
"""

Row = dict[str, Any]


def spread(values: list[float]) -> Row:
    """
    Return the median of the rounds, the least and the most.
    """
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def compare(rows: list[Row]) -> list[Row]:
    """
    Set C{ratio}, to HAProxy or nginx with the same load, and C{idle ratio}, to the same
    subject without idle sessions; L{None} where there is nothing to compare with.
    """

    def key(row: Row, kind: str, isCrowded: bool) -> tuple[Any, ...]:
        return kind, row["transport"], row["workers"], row["load"], isCrowded

    costs = {key(row, row["kind"], row["idle"] > 0): row["cost"]["median"] for row in rows}
    for row in rows:
        cost, isCrowded = row["cost"]["median"], row["idle"] > 0
        yardstick = "HAProxy" if row["transport"] in STANZA_BARS else "nginx"
        other = costs.get(key(row, yardstick, isCrowded))
        alone = costs.get(key(row, row["kind"], False)) if isCrowded else None
        row["ratio"] = cost / other if other else None
        row["idle ratio"] = cost / alone if alone else None
    return rows


def verdict(value: float, bar: float, form: str = ".1f", unit: str = "") -> str:
    """
    Return a figure beside its bar.
    """
    holds = "met" if value <= bar else "NOT MET"
    return f"bar {bar:{form}}{unit}: {holds}"


def text(result: Row) -> str:
    """
    Return the table.
    """
    parts = [_head(result)]
    parts += [make(result) for name, make in _TABLES.items() if name in result]
    return "\n".join("\n".join(part) + "\n" for part in parts)


def head(name: str, result: Row) -> list[str]:
    """
    Return on what machine it was measured, and when.
    """
    return [
        f"cmanager {name}, {result['date']}",
        f"{result['machine']}, {result['cores']} cores; scanner: {result['engine']}",
        ", ".join(f"{name} {value}" for name, value in result["versions"].items() if value),
    ]


def _head(result: Row) -> list[str]:
    options = result["options"]
    return [
        *head("bench", result),
        f"{options['rounds']} rounds of {options['seconds']} s; took {result['seconds']:.0f} s;"
        f" others used {result['cores that others used']:.1f} cores meanwhile"
        f" (load average at the start: {result['load average at the start']:.1f})",
    ]


def _range(values: Row, form: str = ".1f") -> str:
    return f"{values['median']:{form}} [{values['least']:{form}}-{values['most']:{form}}]"


def _stanzas(result: Row) -> list[str]:
    rows = result["stanzas"]
    return [
        f"CPU for a stanza in and out, 200 bytes, {result['options']['sessions']} busy sessions",
        *_costs(
            rows,
            "x HAProxy",
            {
                "idle": lambda row: str(row["idle"]),
                "x no idle": lambda row: _figure(row["idle ratio"]),
            },
            hasBar=True,
        ),
    ]


def _web(result: Row) -> list[str]:
    rows = result["web"]
    return [
        f"CPU for a stanza in and out by clients in browsers, {rows[0]['sessions']} busy sessions",
        *_costs(rows, "x nginx"),
    ]


def _workers(result: Row) -> list[str]:
    rows = result["workers"]
    return [
        f"CPU for a stanza in and out with several workers, {rows[0]['sessions']} busy sessions",
        *_costs(
            rows,
            "x HAProxy",
            {
                "workers": lambda row: str(row["workers"]),
                "busiest": lambda row: f"{row['busiest']['median']:.0%}",
            },
        ),
    ]


def _costs(
    rows: list[Row],
    ratio: str,
    more: Mapping[str, Callable[[Row], str]] | None = None,
    hasBar: bool = False,
) -> list[str]:
    """
    Return a table of costs.

    @param ratio: What is above the column with the ratios.
    @param more: More columns, behind the load.
    @param hasBar: The ratios have one.
    """
    more = more or {}
    width = max(len(row["subject"]) for row in rows)
    lines = [
        f"{'':{width}} {'load':9}"
        + "".join(f" {name:>9}" for name in more)
        + f" {'us':>19} {ratio:>9} {'stanzas/s':>9}"
        + "".join(f" {name:>7}" for name in ("subject", *_SHARES))
    ]
    lines += [
        f"{row['subject']:{width}} {row['load']:9}"
        + "".join(f" {value(row):>9}" for value in more.values())
        + f" {_range(row['cost']):>19} {_figure(row['ratio'])} {row['rate']['median']:9.0f}"
        + "".join(f" {row[key]['median']:7.0%}" for key in ("share", *_SHARES.values()))
        + f"  {'; '.join(_notes(row, hasBar))}".rstrip()
        for row in rows
    ]
    return lines


def _notes(row: Row, hasBar: bool) -> list[str]:
    isOurs = row["kind"] == "cmanager"
    notes = []
    if isOurs and row["ratio"] and hasBar and not row["idle"]:
        notes.append(verdict(row["ratio"], STANZA_BARS[row["transport"]]))
    if isOurs and row["idle ratio"]:
        notes.append(verdict(row["idle ratio"], IDLE_BAR))
    if row["isLimited"]:
        notes.append("clients or far end may be the limit")
    if row["isMachineLimited"] and row["load"] == SATURATED:
        notes.append("the machine is the limit")
    if row["isBehind"]:
        notes.append("could not keep the pace")
    return notes


def _figure(value: float | None, width: int = 9) -> str:
    return " " * width if value is None else f"{value:{width}.2f}"


def _memory(result: Row) -> list[str]:
    lines = [
        "Memory for an idle client that is logged in",
        f"{'':14} {'KiB':>6}  {'sessions':>14} {'MiB in all':>14}",
    ]
    for row in result["memory"]:
        name = row["subject"]
        isOurs = name.startswith("cmanager")
        lines.append(
            f"{name:14} {row['kibibytes']:6.1f}  {row['from']:>6} to {row['to']:>5}"
            f" {row['first mebibytes']:>5.0f} to {row['last mebibytes']:>5.0f}"
            f"  {verdict(row['kibibytes'], MEMORY_BARS[name[-3:]]) if isOurs else ''}".rstrip()
        )
    return lines


def _logins(result: Row) -> list[str]:
    lines = [
        "CPU for a login",
        f"{'':21} {'TLS':8} {'ms':>20} {'above':>6} {'a second':>8} {'subject':>7} {'clients':>7}",
    ]
    for row in result["logins"]:
        isTLS = row["subject"].endswith("TLS")
        handshake = ("resumed" if row["isResumed"] else "full") if isTLS else ""
        if row["isResumed"] and row["resumed"] < 1:
            handshake = f"{row['resumed']:.0%} res."
        above = row["above"]
        lines.append(
            f"{row['subject']:21} {handshake:8} {_range(row['milliseconds'], '.2f'):>20}"
            f" {_figure(above, 6)} {row['rate']['median']:8.0f} {row['share']['median']:7.0%}"
            f" {row['clients']['median']:7.0%}"
            f"  {verdict(above, LOGIN_BAR) if above is not None else ''}".rstrip()
        )
    return lines


def _delays(result: Row) -> list[str]:
    lines = [
        "Milliseconds for a stanza in and out, at half of what cmanager can do",
        f"{'':14} {'stanzas/s':>9} {'subject':>7}"
        + "".join(f"{name:>8}{'added':>8}" for name in ("median", "p99", "p99.9")),
    ]
    for row in result["delays"]:
        added = row["added"] or {}
        figures = "".join(
            f"{_figure(value, 8) if value is not None else '-':>8}{_figure(added.get(name), 8)}"
            for name, value in row["milliseconds"].items()
        )
        note = "  could not keep the pace" if row["late"] else ""
        share = "" if row["added"] is None else f"{row['share']['median']:.0%}"
        lines.append(f"{row['subject']:14} {row['rate']:9.0f} {share:>7}{figures}".rstrip() + note)
    return lines


_TABLES = {
    "stanzas": _stanzas,
    "memory": _memory,
    "logins": _logins,
    "delays": _delays,
    "workers": _workers,
    "web": _web,
}


def write(folder: Path, name: str, result: Row, table: str) -> list[Path]:
    """
    Keep the results, and the same as text.

    @return: Where.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{result['date'].replace(':', '')}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".txt").write_text(table)
    return [path, path.with_suffix(".txt")]
