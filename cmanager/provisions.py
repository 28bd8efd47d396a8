# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the supervisor gives its workers to share: memory, and a socket for each slot on
which the others reach who is there.  It cleans up behind one that is gone.  Layer 5.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile

from cmanager.commons import Commons
from cmanager.errors import ConfigError

BACKLOG = 128


class Provisions:
    """
    The memory and the sockets; none before L{open}.

    @ivar size: How many slots there are.
    @ivar shared: The descriptor of the memory.
    @ivar paths: Of the sockets, in a directory that only this user can look into.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._commons: Commons | None = None
        self.shared = -1
        self.paths: tuple[str, ...] = ()
        self._directory = ""
        self._sockets: list[socket.socket] = []

    def open(self, addresses: int) -> None:
        """
        Make them, as the user that the workers run as.

        @param addresses: See L{Commons}.
        @raise ConfigError: It cannot be done.
        """
        self.shared = os.memfd_create("cmanager")
        self._commons = Commons(self.shared, self.size, addresses)
        try:
            self._directory = tempfile.mkdtemp(prefix="cmanager-")
            self.paths = tuple(f"{self._directory}/{slot}" for slot in range(self.size))
            for path in self.paths:
                made = socket.socket(socket.AF_UNIX)
                self._sockets.append(made)
                made.setblocking(False)
                made.bind(path)
                made.listen(BACKLOG)
        except OSError as error:
            raise ConfigError(
                [f"workers need a directory for sockets, see TMPDIR: {error}"]
            ) from None

    def listening(self, slot: int) -> int:
        """
        Return the descriptor of the socket of a slot.
        """
        return self._sockets[slot].fileno()

    def freed(self, slot: int) -> int:
        """
        Clean up: the worker of that slot is gone, and none is there yet.

        @return: How many clients it had.
        """
        assert self._commons is not None
        clients = self._commons.vacate(slot)
        with contextlib.suppress(BlockingIOError):
            while True:
                # For the one who is gone.
                self._sockets[slot].accept()[0].close()
        return clients

    def close(self) -> None:
        """
        Let go of them.
        """
        if self.shared >= 0:
            os.close(self.shared)
        self.shared, self._commons = -1, None
        while self._sockets:
            self._sockets.pop().close()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
