# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the supervisor gives its workers to share: memory, and a socket for each slot on
which the others reach who is there.  It cleans up behind one that is gone, and behind a
supervisor that could not.  Layer 5.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile

from cmanager.commons import Commons
from cmanager.errors import ConfigError

BACKLOG = 128
PREFIX = "cmanager-workers-"


class Provisions:
    """
    The memory and the sockets; none before L{open}.

    @ivar size: How many slots there are.
    @ivar shared: The descriptor of the memory.
    @ivar paths: Of the sockets, in a directory that only this user can look into.
    @ivar held: A descriptor of that directory.  As long as this process or a worker has it
        the directory stays.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._commons: Commons | None = None
        self.shared = -1
        self.paths: tuple[str, ...] = ()
        self.held = -1
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
            _tidyUp()
            self._directory = tempfile.mkdtemp(prefix=PREFIX)
            self.held = os.open(self._directory, os.O_RDONLY)
            # Before there is anything in it.  Where locks do not work nobody gets one.
            with contextlib.suppress(OSError):
                fcntl.flock(self.held, fcntl.LOCK_EX)
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
        with contextlib.suppress(OSError):
            while True:
                # For the one who is gone.
                self._sockets[slot].accept()[0].close()
        return clients

    def close(self) -> None:
        """
        Let go of them.
        """
        for descriptor in (self.shared, self.held):
            if descriptor >= 0:
                os.close(descriptor)
        self.shared = self.held = -1
        self._commons = None
        while self._sockets:
            self._sockets.pop().close()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)


def _tidyUp() -> None:
    """
    Remove directories of this user's that nobody holds any more.
    """
    for entry in os.scandir(tempfile.gettempdir()):
        if entry.name.startswith(PREFIX):
            with contextlib.suppress(OSError):
                _remove(entry)


def _remove(entry: os.DirEntry[str]) -> None:
    # One with nothing in it may be about to be held.
    if entry.stat(follow_symlinks=False).st_uid != os.geteuid() or not os.listdir(entry.path):
        return
    descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path)
    finally:
        os.close(descriptor)
