# Copyright the cmanager authors.
# See LICENSE for details.

"""
What all workers count together, in memory that they share: connections and failed logins by
address, and places for clients; and which of them are there.  Layer 3; knows no connection.

A lock, which the kernel takes from who dies, lets one of them write at a time; it is held
for some microseconds.  Who writes to the register leaves a mark meanwhile.  Where the next
one finds it somebody has died in the middle, and the register is rebuilt first.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import sys
from collections.abc import Callable
from hashlib import blake2b
from types import TracebackType
from typing import TYPE_CHECKING

from attrs import field, frozen

from cmanager.limits import Addresses, OwnAddresses
from cmanager.register import Entry, Register, sizeOf
from cmanager.table import Room

if TYPE_CHECKING:
    from cmanager.crew import Crew

KEY_BYTES = 16
"""
Of what makes marks from addresses, which nobody outside must be able to aim at.
"""

NOTICEABLE = 64
"""
A share of its clients by which a process may be ahead of another.
"""

_HEAD = struct.Struct(f"=QQQ{KEY_BYTES}s")
_BUSY = 2
_ADDRESSES_LOCK, _PLACES_LOCK = range(2)


_GONE, _PRESENT, _TAKING = range(3)


class Balance:
    """
    Which of the processes that take clients is to take the next one.  Without that they
    would come to whoever wakes up first, which mostly is the same one.

    @param states: By slot.
    @param taken: Likewise: how many places.
    """

    __slots__ = ("_slot", "_states", "_taken")

    def __init__(self, slot: int, states: memoryview[int], taken: memoryview[int]) -> None:
        self._slot = slot
        self._states = states
        self._taken = taken

    def begin(self) -> None:
        """
        We take clients from now on.
        """
        self._states[self._slot] = _TAKING

    def end(self) -> None:
        """
        We take no more.
        """
        self._states[self._slot] = _PRESENT

    def isOurs(self) -> bool:
        """
        Tell whether no other has noticeably fewer clients than we have.
        """
        others = zip(self._states, self._taken, strict=True)
        fewest = min((taken for state, taken in others if state == _TAKING), default=0)
        return self._taken[self._slot] <= fewest + fewest // NOTICEABLE


@frozen
class Share:
    """
    What one process has of the commons.

    @ivar addresses: Those it counts.
    @ivar room: Where it takes places for clients.
    @ivar isPresent: Tells whether somebody has a slot.
    @ivar balance: Whose the next client is; L{None} where nobody else takes any.
    """

    addresses: Addresses = field(factory=OwnAddresses)
    room: Room = field(factory=Room)
    isPresent: Callable[[int], bool] = lambda slot: False
    balance: Balance | None = None


def shareOf(crew: Crew | None, addresses: int) -> Share:
    """
    Return the share of a process that has no clients yet.

    @param crew: L{None} if it is the only one.
    @param addresses: How many addresses there is to be room for.
    """
    return Share() if crew is None else Commons(crew.shared, crew.size, addresses).join(crew.slot)


class _Lock:
    """
    One of the locks on a descriptor, as a context.

    They are C{fcntl}'s: they belong to the process, which must not close another descriptor
    of the same memory meanwhile.
    """

    __slots__ = ("_at", "_descriptor")

    def __init__(self, descriptor: int, at: int) -> None:
        self._descriptor = descriptor
        self._at = at

    def __enter__(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, self._at)

    def __exit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._at)


class Commons:
    """
    The memory, as one process sees it.

    @param descriptor: The memory's; it must stay open.  Who comes first finds it empty, or
        all 0, and lays it out.
    @param slots: How many processes there can be.
    @param addresses: How many addresses there is to be room for; who comes first decides.
        Memory is used only for as many as there have been.
    """

    def __init__(self, descriptor: int, slots: int, addresses: int) -> None:
        lock = _Lock(descriptor, _ADDRESSES_LOCK)
        with lock:
            capacity = _layOut(descriptor, slots, addresses)
            memory = memoryview(mmap.mmap(descriptor, _size(slots, capacity)))
            head, self._states, self._taken, rest = _parts(memory, slots)
            register = Register(rest, slots, capacity)
        self._descriptor = descriptor
        self._shared = (lock, head.cast("Q"), register)

    def join(self, slot: int) -> Share:
        """
        Somebody has a slot from now on.  Whoever had it before is gone.
        """
        self.vacate(slot)
        self._states[slot] = _PRESENT
        lock = _Lock(self._descriptor, _PLACES_LOCK)
        return Share(
            SharedAddresses(slot, *self._shared),
            SharedRoom(slot, lock, self._taken),
            lambda slot: self._states[slot] != _GONE,
            Balance(slot, self._states, self._taken),
        )

    def vacate(self, slot: int) -> int:
        """
        Who had a slot is gone, and all its connections are.

        @return: How many places it had taken.
        """
        taken = self._taken[slot]
        self._states[slot] = _GONE
        self._taken[slot] = 0
        with SharedAddresses(slot, *self._shared) as addresses:
            addresses.vacate()
        return taken


def _size(slots: int, capacity: int) -> int:
    return _HEAD.size + 2 * 8 * slots + sizeOf(slots, capacity)


def _parts(
    memory: memoryview, slots: int
) -> tuple[memoryview, memoryview[int], memoryview[int], memoryview]:
    """
    Return the head, by slot their states and how many places they have taken, and the rest.
    """
    one, two, three = (_HEAD.size + 8 * slots * n for n in range(3))
    return memory[:one], memory[one:two].cast("Q"), memory[two:three].cast("Q"), memory[three:]


def _layOut(descriptor: int, slots: int, addresses: int) -> int:
    """
    See that the memory is laid out.

    @return: How many addresses there is room for.
    """
    found = os.pread(descriptor, _HEAD.size, 0).ljust(_HEAD.size, b"\0")
    isLaidOut, capacity, _, _ = _HEAD.unpack(found)
    if not isLaidOut:
        capacity = addresses
        os.ftruncate(descriptor, _size(slots, capacity))
        os.pwrite(descriptor, _HEAD.pack(1, capacity, 0, os.urandom(KEY_BYTES)), 0)
    return int(capacity)


class SharedAddresses:
    """
    The addresses that all processes count.  See L{cmanager.limits.Addresses}; but where an
    address was forgotten while it was connected, its connections of before are gone for
    all, and their end changes nothing.
    """

    __slots__ = ("_hash", "_head", "_lock", "_register", "_slot")

    def __init__(self, slot: int, lock: _Lock, head: memoryview[int], register: Register) -> None:
        self._slot = slot
        self._lock = lock
        self._head = head
        self._register = register
        self._hash = blake2b(digest_size=8, key=bytes(head.cast("B")[-KEY_BYTES:]))

    def __enter__(self) -> SharedAddresses:
        self._lock.__enter__()
        if self._head[_BUSY]:
            try:
                self._register.rebuild()
            except BaseException:
                self._lock.__exit__(*sys.exc_info())
                raise
        self._head[_BUSY] = 1
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._head[_BUSY] = 0
        self._lock.__exit__(type_, error, traceback)

    def __len__(self) -> int:
        return len(self._register)

    def _mark(self, key: str) -> int:
        made = self._hash.copy()
        made.update(key.encode())
        return int.from_bytes(made.digest(), "little") or 1

    def find(self, key: str) -> Entry | None:
        """
        See L{cmanager.limits.Addresses}.
        """
        index = self._register.find(self._mark(key))
        return Entry(self._register, index) if index else None

    def remember(self, key: str, most: int) -> Entry:
        """
        See L{cmanager.limits.Addresses}.
        """
        return Entry(self._register, self._register.remember(self._mark(key), most))

    def connected(self, key: str, address: Entry) -> None:
        """
        See L{cmanager.limits.Addresses}.
        """
        self._register.connected(self._slot, address.index)

    def released(self, key: str) -> None:
        """
        See L{cmanager.limits.Addresses}.
        """
        index = self._register.find(self._mark(key))
        if index:
            self._register.released(self._slot, index)

    def vacate(self) -> None:
        """
        None of our connections is there any more.
        """
        self._register.vacate(self._slot)


class SharedRoom(Room):
    """
    The places that all processes take.  What each has taken stands in a cell that only it
    writes to, unless it is gone.
    """

    __slots__ = ("_cells", "_lock", "_slot")

    def __init__(self, slot: int, lock: _Lock, cells: memoryview[int]) -> None:
        super().__init__()
        self._slot = slot
        self._lock = lock
        self._cells = cells

    def take(self, capacity: int) -> bool:
        """
        See L{Room}.
        """
        with self._lock:
            if sum(self._cells) >= capacity:
                return False
            self.taken += 1
            self._cells[self._slot] = self.taken
        return True

    def leave(self) -> None:
        """
        See L{Room}.
        """
        self.taken -= 1
        self._cells[self._slot] = self.taken
