# Copyright the cmanager authors.
# See LICENSE for details.

"""
Both scanner engines read the same generated streams, very many of them, and must not
differ.  The native one is built for this run with AddressSanitizer and UBSan.

    python -m bench.fuzz --inputs 1000000 --seed 5

The seed is printed; the same one gives the same inputs with as many C{--jobs}.  The exit
status is 0 only if nothing differed and nothing crashed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
FLAGS = ["-std=c11", "-g", "-O1", "-fPIC", "-shared", "-fno-omit-frame-pointer"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
REPORTED = 100_000
SHOWN_CHARACTERS = 4000


def build(folder: Path, compiler: str) -> tuple[Path, dict[str, str]] | None:
    """
    Build the engine with sanitizers.

    @return: Where it is, and what the environment of a Python must be that loads it;
        L{None} if this compiler cannot.
    """
    extension = folder / f"_scanner{sysconfig.get_config_var('EXT_SUFFIX')}"
    sources = [TOP / "cmanager/_scanner.c", *sorted((TOP / "cmanager/native").glob("*.c"))]
    include = f"-I{sysconfig.get_path('include')}"
    command = [compiler, *FLAGS, *SANITIZERS, include, *map(str, sources), "-o", str(extension)]
    try:
        subprocess.run(command, check=True)
        found = subprocess.run(
            [compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    library = Path(found.stdout.strip())
    if not library.is_absolute():
        return None
    return extension, {
        "LD_PRELOAD": str(library.resolve()),
        # Python itself leaves much behind.  Its own allocator would hide overflows.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }


def load(extension: str) -> Any:
    """
    Return the module of the engine in a file, or of that of this checkout.
    """
    if extension:
        spec = importlib.util.spec_from_file_location("cmanager._scanner", extension)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return importlib.import_module("cmanager._scanner")


def compare(seed: int, inputs: int, extension: str) -> int:
    """
    Compare the engines; return how often they differed.
    """
    from cmanager.routes import ROUTE_IDS, Routes
    from cmanager.scanner import Scanner
    from tests.differential import trials

    native = load(extension)
    routes, nativeRoutes = Routes(b"<route", 7), native.Routes(b"<route", 7)
    wrong = wrapped = 0
    ends: Counter[str] = Counter()
    for number, trial in enumerate(islice(trials(seed), inputs), 1):
        expected, found = trial.run(Scanner), trial.run(native.Scanner)
        for data in trial.steps:
            if isinstance(data, bytes):
                wrapped += 1
                ids = ROUTE_IDS % (data[-9:], wrapped - wrapped % 3)
                expected += [routes.wrap(data[-9:], data), routes.sent(ids)]
                found += [nativeRoutes.wrap(data[-9:], data), nativeRoutes.sent(ids)]
        if expected != found:
            wrong += 1
            print(f"seed {seed}, input {number}: {trial!r:.{SHOWN_CHARACTERS}}")
            print(f"  python: {expected!r:.{SHOWN_CHARACTERS}}")
            print(f"  native: {found!r:.{SHOWN_CHARACTERS}}", flush=True)
        ends[next((each[0] for each in expected if isinstance(each, tuple)), "accepted")] += 1
        if number % REPORTED == 0:
            print(f"seed {seed}: {number} inputs, {wrong} differ", flush=True)
    print(f"seed {seed}: {', '.join(f'{count} {end}' for end, count in ends.most_common())}")
    return wrong


def spread(inputs: int, seed: int, jobs: int, extension: str, more: dict[str, str]) -> int:
    """
    Compare in several processes; return how many of them found something, or broke.
    """
    running = []
    for job in range(jobs):
        share = inputs // jobs + (job < inputs % jobs)
        command = [sys.executable, "-m", "bench.fuzz", "--extension", extension]
        command += ["--seed", str(seed + job), "--inputs", str(share), "--worker"]
        running.append(subprocess.Popen(command, cwd=TOP, env={**os.environ, **more}))
    return sum(process.wait() != 0 for process in running)


def main(arguments: list[str]) -> int:
    """
    Do what was asked for.
    """
    parser = argparse.ArgumentParser(description="Both scanner engines, compared.")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--compiler", default=os.environ.get("CC") or "gcc")
    parser.add_argument("--plain", action="store_true", help="the engine as it is built here")
    parser.add_argument("--extension", default="", help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        return 1 if compare(options.seed, options.inputs, options.extension) else 0

    print(f"seed {options.seed}, {options.jobs} jobs", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        built = None if options.plain else build(Path(folder), options.compiler)
        extension, more = built or ("", {})
        how = "with AddressSanitizer and UBSan" if built else "without sanitizers"
        failed = spread(options.inputs, options.seed, options.jobs, str(extension), more)
    print(
        f"{options.inputs} inputs in {time.monotonic() - start:.0f} s, {how}: "
        + (f"{failed} of {options.jobs} jobs failed" if failed else "no difference, no error")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
