# Copyright the cmanager authors.
# See LICENSE for details.

"""
The processes of a measurement: started, told, listened to, and ended.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
STOP_SECONDS = 15.0


class BenchError(Exception):
    """
    What must not happen has happened.
    """


class Part:
    """
    A process that says lines.
    """

    def __init__(self, name: str, *command: str, **options: Any) -> None:
        self.name = name
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            command,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C is for whoever has started it, who then stops it.
            process_group=0,
            env={**os.environ, "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"},
            **options,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._seen = 0

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines.append("(the end)")
            self._news.notify_all()

    def say(self, **order: Any) -> None:
        """
        Give an order.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def wait(self, wanted: Callable[[str], bool], seconds: float) -> str:
        """
        Return the next line that is wanted.
        """
        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                while self._seen < len(self.lines):
                    line = self.lines[self._seen]
                    self._seen += 1
                    if wanted(line):
                        return line
                left = deadline - time.monotonic()
                if self.lines[-1:] == ["(the end)"] or left <= 0:
                    raise BenchError(f"{self.name}: not in time: {self.lines[-20:]}")
                self._news.wait(left)

    def hear(self, event: str, seconds: float) -> dict[str, Any]:
        """
        Return the next event of this kind.
        """
        line = self.wait(
            lambda said: said.startswith("{") and f'"event": "{event}"' in said, seconds
        )
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> int:
        """
        End it in order.

        @return: Its exit status.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in family(self.process.pid):
                os.kill(pid, signal.SIGKILL)
            return self.process.wait()

    def memory(self) -> int:
        """
        Return the bytes of memory that it and those it has started have now; what they
        share counts once.  Without what is a file's: the share in that depends on who else has
        it mapped.
        """
        found = 0
        for pid in family(self.process.pid):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            for kind in ("Anon", "Shmem"):
                found += int(text.partition(f"\nPss_{kind}:")[2].split()[0]) * 1024
        return found

    def seconds(self) -> float:
        """
        Return the processor time that it and those it has started have used, roughly.
        """
        ticks = 0
        for pid in family(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def threadSeconds(self) -> dict[tuple[int, int], float]:
        """
        Return the processor time, user and system, of each thread of it and of those it has
        started, to the nanosecond, by process and thread.
        """
        return {
            (pid, int(task.name)): int((task / "schedstat").read_text().split()[0]) / 1e9
            for pid in family(self.process.pid)
            for task in Path(f"/proc/{pid}/task").iterdir()
        }

    def secondsSince(self, before: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
        """
        Return what each thread has used since.

        @raise BenchError: One has ended meanwhile, and what it had used is not known.
        """
        after = self.threadSeconds()
        if not before.keys() <= after.keys():
            raise BenchError(f"a process or thread of {self.name} has ended")
        return {thread: used - before.get(thread, 0.0) for thread, used in after.items()}


def family(pid: int) -> list[int]:
    """
    Return a process and those it has started, and so on.
    """
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def raiseFileLimit() -> None:
    """
    Let this process and those it starts open as many files as they may.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def freePort() -> int:
    """
    Return a port that was free a moment ago.
    """
    import socket

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
