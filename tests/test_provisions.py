# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.provisions}.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cmanager.commons import Commons
from cmanager.errors import ConfigError
from cmanager.provisions import PREFIX, Provisions


class ProvisionsTests(SynchronousTestCase):
    """
    L{Provisions} are there for all slots.
    """

    def setUp(self) -> None:
        """
        Make them for two.
        """
        self.provisions = Provisions(2)
        self.provisions.open(100)
        self.addCleanup(self.provisions.close)

    def connect(self, slot: int) -> socket.socket:
        """
        Connect to who has a slot.
        """
        connected = socket.socket(socket.AF_UNIX)
        self.addCleanup(connected.close)
        connected.connect(self.provisions.paths[slot])
        return connected

    def test_memory(self) -> None:
        """
        What one that is gone has counted counts no more.
        """
        shares = [Commons(self.provisions.shared, 2, 100).join(slot) for slot in range(2)]
        self.assertTrue(shares[0].room.take(1))
        self.assertFalse(shares[1].room.take(1))
        self.assertEqual(self.provisions.freed(0), 1)
        self.assertFalse(shares[1].isPresent(0))
        self.assertTrue(shares[1].room.take(1))

    def test_sockets(self) -> None:
        """
        Who has a slot is reached by its path, and nobody else looks into the directory.
        """
        connected = self.connect(1)
        with socket.socket(fileno=os.dup(self.provisions.listening(1))) as listening:
            accepted, _ = listening.accept()
            self.assertFalse(os.get_blocking(listening.fileno()))
        with accepted:
            accepted.sendall(b"here")
        self.assertEqual(connected.recv(9), b"here")
        directory = os.path.dirname(self.provisions.paths[0])
        self.assertEqual(stat.S_IMODE(os.stat(directory).st_mode), 0o700)

    def test_freed(self) -> None:
        """
        What waits for one that is gone is not for the one that comes.
        """
        waiting = [self.connect(0) for _ in range(3)]
        other = self.connect(1)
        self.provisions.freed(0)
        for each in waiting:
            self.assertEqual(each.recv(1), b"")
        other.setblocking(False)
        self.assertRaises(BlockingIOError, other.recv, 1)

    def test_close(self) -> None:
        """
        Nothing stays.
        """
        shared, paths = self.provisions.shared, self.provisions.paths
        self.provisions.close()
        self.provisions.close()
        self.assertRaises(OSError, os.fstat, shared)
        self.assertFalse(os.path.exists(os.path.dirname(paths[0])))

    def test_nowhere(self) -> None:
        """
        Where the sockets cannot be, the operator is told what to see to.
        """
        provisions = Provisions(1)
        self.addCleanup(provisions.close)
        self.patch(tempfile, "tempdir", "/nowhere")
        (problem,) = self.assertRaises(ConfigError, provisions.open, 100).problems
        self.assertIn("TMPDIR", problem)
        self.assertIn("/nowhere", problem)


TOP = Path(__file__).resolve().parent.parent
KILLED = (
    "import os; from cmanager.provisions import Provisions; made = Provisions(2); made.open(100); "
    "print(os.path.dirname(made.paths[0]), flush=True); os.kill(os.getpid(), 9)"
)


class LeftTests(SynchronousTestCase):
    """
    Directories of supervisors that were killed.
    """

    def setUp(self) -> None:
        """
        Have a place for them.
        """
        # Sockets have short names only.
        self.place = Path(tempfile.mkdtemp(prefix="cmanager-test-"))
        self.addCleanup(shutil.rmtree, self.place)
        self.patch(tempfile, "tempdir", str(self.place))

    def open(self) -> Provisions:
        """
        Start a supervisor.
        """
        provisions = Provisions(2)
        self.addCleanup(provisions.close)
        provisions.open(100)
        return provisions

    def directory(self, provisions: Provisions) -> Path:
        """
        Return where the sockets are.
        """
        return Path(provisions.paths[0]).parent

    def killed(self) -> Path:
        """
        Return what one leaves that is killed.
        """
        run = subprocess.run(
            [sys.executable, "-c", KILLED],
            cwd=TOP,
            env={**os.environ, "TMPDIR": str(self.place)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(run.returncode, -signal.SIGKILL, run.stderr)
        left = Path(run.stdout.strip())
        self.assertEqual([path.name for path in sorted(left.iterdir())], ["0", "1"])
        return left

    def test_removed(self) -> None:
        """
        The next one removes it, and nothing of one that lives.
        """
        living, left = self.open(), self.killed()
        other = self.open()
        self.assertFalse(left.exists())
        self.assertEqual({*self.place.iterdir()}, {self.directory(living), self.directory(other)})
        for path in living.paths:
            self.assertTrue(Path(path).is_socket())

    def test_workers(self) -> None:
        """
        It stays as long as a worker lives.
        """
        dead = self.open()
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[dead.held]):
            os.close(dead.held)
            dead.held = -1
            self.open()
            self.assertTrue(self.directory(dead).exists())
        self.open()
        self.assertFalse(self.directory(dead).exists())

    def test_others(self) -> None:
        """
        What another user has left stays.
        """
        left, user = self.killed(), os.geteuid()
        self.patch(os, "geteuid", lambda: user + 1)
        self.open()
        self.assertTrue(left.exists())

    def test_foreign(self) -> None:
        """
        So does what is named otherwise, what is no directory, and what has nothing in it:
        it may be of one that starts.
        """
        (self.place / "cmanager-soak").mkdir()
        (self.place / "cmanager-soak" / "kept").touch()
        (self.place / f"{PREFIX}empty").mkdir()
        (self.place / f"{PREFIX}file").touch()
        (self.place / f"{PREFIX}link").symlink_to("cmanager-soak")
        before = {*self.place.rglob("*")}
        provisions = self.open()
        provisions.close()
        self.assertEqual({*self.place.rglob("*")}, before)
