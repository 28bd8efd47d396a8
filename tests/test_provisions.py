# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.provisions}.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from cmanager.commons import Commons
from cmanager.errors import ConfigError
from cmanager.provisions import Provisions


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
