# Copyright the cmanager authors.
# See LICENSE for details.

"""
What C{make test} and C{make lint} run: the gates, and all tests under coverage.

The last line is C{N passed, N failed}, with C{, N skipped} where there are any:
trial's own counts.  A gate that fails counts as one more that failed; one that
holds counts as nothing.  Tests that were left out are named before it, with what
they lack; where C{CMANAGER_REQUIRE_ALL_ACTS} is 1 that is one more failure.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
LEAST_COVERAGE_PERCENT = 95
CHECKED = ["cmanager", "tests", "bench", "twisted", "setup.py"]

GATES = {
    "ruff check": ["ruff", "check", *CHECKED],
    "ruff format": ["ruff", "format", "--check", *CHECKED],
    "mypy": ["mypy"],
}

_SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((?P<counts>[a-zA-Z0-9=, ]*)\))?$", re.MULTILINE)
_SKIPPED = re.compile(
    r"^\[SKIPPED\]\n(?P<reason>.*?)\n\n(?P<tests>.*?)\n(?:=|-){70,}$", re.MULTILINE | re.DOTALL
)
_RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)


def isRequired(environment: Mapping[str, str] = os.environ) -> bool:
    """
    Say whether no test may be left out.
    """
    return environment.get("CMANAGER_REQUIRE_ALL_ACTS") == "1"


def counts(output: str) -> tuple[int, int, int]:
    """
    Return how many tests passed, failed and were skipped, by trial's last words.

    A run without last words, or of no test, is one failure: trial itself broke.
    """
    summary, ran = None, 0
    for summary in _SUMMARY.finditer(output):
        pass
    for found in _RAN.finditer(output):
        ran = int(found.group(1))
    if summary is None or not ran:
        return 0, 1, 0
    by = {
        name: int(value)
        for name, _, value in (
            part.partition("=") for part in (summary["counts"] or "").split(", ") if part
        )
    }
    failed = by.get("failures", 0) + by.get("errors", 0) + by.get("unexpectedSuccesses", 0)
    passed = by.get("successes", 0) + by.get("expectedFailures", 0)
    return passed, failed, by.get("skips", 0)


def leftOut(output: str) -> list[str]:
    """
    Return what to say of the tests that were skipped: for each reason a line, and below
    it a line for each of their classes.
    """
    lines = []
    for found in _SKIPPED.finditer(output):
        tests = found["tests"].split("\n")
        lines.append(f"{len(tests)} left out: {' '.join(found['reason'].split())}")
        classes = Counter(test.rpartition(".")[0] for test in tests)
        lines += [f"    {name} ({classes[name]})" for name in sorted(classes)]
    return lines


def closingLine(passed: int, failed: int, skipped: int) -> str:
    """
    Return the line a run ends with.
    """
    line = f"{passed} passed, {failed} failed"
    return f"{line}, {skipped} skipped" if skipped else line


def conclusion(
    passed: int, failed: int, skipped: int, missing: list[str], *, isRequired: bool = False
) -> list[str]:
    """
    Return the lines a run ends with.

    @param missing: What was L{leftOut}.
    @param isRequired: That is not permitted.
    """
    failed += isRequired and skipped > 0
    return [*missing, closingLine(passed, failed, skipped)]


def gate(name: str, command: list[str]) -> bool:
    """
    Run one gate and say how it went.
    """
    program = str(PROGRAMS / command[0])
    holds = subprocess.run([program, *command[1:]], cwd=HERE, check=False).returncode == 0
    print(f"{name}: {'holds' if holds else 'FAILS'}", flush=True)
    return holds


def trial(jobs: int, tests: list[str]) -> tuple[tuple[int, int, int], list[str]]:
    """
    Run the tests under coverage, in C{jobs} processes, and show their output as
    it comes.

    @return: Their L{counts}, and what was L{leftOut}.
    """
    subprocess.run([str(PROGRAMS / "coverage"), "erase"], cwd=HERE, check=False)
    command = [str(PROGRAMS / "coverage"), "run", "-m", "twisted.trial"]
    if jobs > 1:
        command.append(f"-j{jobs}")
    output = []
    with subprocess.Popen(
        [*command, *tests],
        cwd=HERE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            print(line, end="", flush=True)
    passed, failed, skipped = counts("".join(output))
    if process.returncode and not failed:
        failed = 1
    return (passed, failed, skipped), leftOut("".join(output))


def main(arguments: list[str]) -> int:
    """
    Run what was asked for; the exit status is 0 only where nothing failed.
    """
    parser = argparse.ArgumentParser(description="The gates, and all tests under coverage.")
    parser.add_argument("--lint", action="store_true", help="the gates without the tests")
    parser.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 2))
    parser.add_argument("tests", nargs="*", help="only these, and no bound for coverage")
    options = parser.parse_args(arguments)

    broken = sum(not gate(name, command) for name, command in GATES.items())
    if options.lint:
        return 1 if broken else 0

    (passed, failed, skipped), missing = trial(options.jobs, options.tests or ["tests"])
    subprocess.run([str(PROGRAMS / "coverage"), "combine", "--quiet"], cwd=HERE, check=False)
    least = 0 if options.tests else LEAST_COVERAGE_PERCENT
    covered = gate("coverage", ["coverage", "report", f"--fail-under={least}"])
    failed += broken + (not covered)
    required = isRequired()
    print(*conclusion(passed, failed, skipped, missing, isRequired=required), sep="\n", flush=True)
    return 1 if failed or (skipped and required) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
