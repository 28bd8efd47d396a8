# Copyright the cmanager authors.
# See LICENSE for details.

"""
The machine that something is measured on.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from cmanager.framing import ENGINE


def environment(options: argparse.Namespace) -> dict[str, Any]:
    """
    Return what there is to know about a run before it begins.
    """
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z",
        "machine": cpu.group(1) if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "engine": ENGINE,
        "versions": {
            "kernel": platform.release(),
            "Python": platform.python_version(),
            "Twisted": version("Twisted"),
            "OpenSSL": SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode().split()[1],
            "HAProxy": _haproxy(getattr(options, "haproxy", None)),
            "nginx": _nginx(getattr(options, "nginx", None)),
        },
        "options": {name: str(value) for name, value in vars(options).items() if name != "results"},
    }


def _haproxy(program: str | None) -> str | None:
    if program is None:
        return None
    said = subprocess.run([program, "-vv"], capture_output=True, text=True, check=True).stdout
    own = re.search(r"version (\S+)", said)
    tls = re.search(r"Running on OpenSSL version : OpenSSL (\S+)", said)
    return f"{own.group(1) if own else '?'} with OpenSSL {tls.group(1) if tls else '?'}"


def _nginx(program: str | None) -> str | None:
    if program is None:
        return None
    said = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    own = re.search(r"nginx/(\S+)", said)
    tls = re.search(r"(?:running|built) with OpenSSL (\S+)", said)
    return f"{own.group(1) if own else '?'} with OpenSSL {tls.group(1) if tls else '?'}"


def loadAverage() -> float:
    """
    Return how many processes have wanted a core in the last minute.
    """
    return os.getloadavg()[0]


def machineSeconds() -> float:
    """
    Return the processor time of everything that runs here.
    """
    fields = [int(f) for f in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _, _, interrupts, soft = fields[:7]
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def kernelBytes() -> int:
    """
    Return the memory the kernel has taken for itself, sockets and what waits in them
    included.
    """
    slab = re.search(r"^SUnreclaim:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    pages = re.search(r"^TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    assert slab is not None and pages is not None
    return int(slab.group(1)) * 1024 + int(pages.group(1)) * resource.getpagesize()
