# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.register}.  That it remembers and forgets as one process alone does is
tested with L{cmanager.commons}.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import LocalError
from cmanager.register import (
    CONNECTED,
    FIRST,
    IDLE,
    LONGEST_CHAIN,
    MOST_FAILURES,
    Entry,
    Register,
    sizeOf,
)
from tests.properties import given, settings, st

SLOTS = 3
CAPACITY = 4
OPERATIONS = ("remember", "connected", "released", "vacate")


class Killed(BaseException):
    """
    Nobody catches it.
    """


class Mortal:
    """
    A part of the memory whose writer is killed before one of its stores.
    """

    def __init__(self, part: memoryview, life: list[int]) -> None:
        self._part = part
        self._life = life

    def __getitem__(self, index: Any) -> Any:
        return self._part[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._life[0] -= 1
        if self._life[0] < 0:
            raise Killed
        self._part[index] = value


def fresh(memory: bytearray | None = None, capacity: int = CAPACITY) -> Register:
    """
    Return a register, the process of which can do as it likes.
    """
    if memory is None:
        memory = bytearray(sizeOf(SLOTS, capacity))
    return Register(memoryview(memory), SLOTS, capacity)


def mortal(memory: bytearray, stores: int) -> Register:
    """
    Return one whose process is killed after so many stores.
    """
    register: Any = fresh(memory)
    life = [stores]
    for name in ("_head", "marks", "failures", "tokens", "at", "failedAt"):
        setattr(register, name, Mortal(getattr(register, name), life))
    for name in ("newer", "older", "chain", "buckets"):
        setattr(register, name, Mortal(getattr(register, name), life))
    register.counts = [Mortal(column, life) for column in register.counts]
    return register  # type: ignore[no-any-return]  # it is


def lists(register: Register) -> tuple[list[int], list[int]]:
    """
    Return the marks of idle and of connected addresses, oldest first.
    """
    found: tuple[list[int], list[int]] = ([], [])
    for end in (IDLE, CONNECTED):
        index = register.newer[end]
        before = end
        while index != end:
            assert register.older[index] == before, "the other way is the same"
            found[end].append(register.marks[index])
            assert len(found[end]) <= CAPACITY, "it has an end"
            before, index = index, register.newer[index]
        assert register.older[end] == before, "the other way is the same"
    return found


class RegisterCase(SynchronousTestCase):
    """
    Registers, and what must be true of them.
    """

    def assertSound(self, register: Register) -> None:
        """
        All that helps to find records says the same as they do.
        """
        idle, connected = lists(register)
        self.assertEqual(len(register), len(idle) + len(connected))
        self.assertEqual(len(set(idle + connected)), len(register))
        self.assertLessEqual(len(register), CAPACITY)
        for marks, isConnected in ((idle, False), (connected, True)):
            for mark in marks:
                index = register.find(mark)
                self.assertEqual(register.marks[index], mark)
                self.assertEqual(register.connections(index) > 0, isConnected)

    def do(self, register: Register, name: str, slot: int, mark: int) -> None:
        """
        Do something of what processes do.
        """
        if name == "remember":
            register.remember(mark, CAPACITY)
        elif name == "connected":
            register.connected(slot, register.remember(mark, CAPACITY))
        elif name == "released":
            index = register.find(mark)
            if index:
                register.released(slot, index)
        else:
            register.vacate(slot)


class RecordTests(RegisterCase):
    """
    Records come, change and go.
    """

    def setUp(self) -> None:
        self.register = fresh()

    def test_new(self) -> None:
        """
        One that is new knows nothing.
        """
        entry = Entry(self.register, self.register.remember(7, CAPACITY))
        self.assertEqual((entry.connections, entry.tokens, entry.failures), (0, 0, 0))
        self.assertEqual((entry.at, entry.failedAt), (-math.inf, -math.inf))

    def test_kept(self) -> None:
        """
        It keeps what is written, for whoever looks at the same memory.
        """
        memory = bytearray(sizeOf(SLOTS, CAPACITY))
        register = fresh(memory)
        entry = Entry(register, register.remember(7, CAPACITY))
        entry.tokens, entry.at, entry.failures, entry.failedAt = 1.5, 2.5, 3, 4.5
        other = fresh(memory)
        found = Entry(other, other.find(7))
        self.assertEqual(
            (found.tokens, found.at, found.failures, found.failedAt), (1.5, 2.5, 3, 4.5)
        )

    def test_usedAgain(self) -> None:
        """
        A record that was another's begins anew.
        """
        entry = Entry(self.register, self.register.remember(1, CAPACITY))
        entry.tokens, entry.at, entry.failures, entry.failedAt = 1.5, 2.5, 3, 4.5
        self.register.connected(0, entry.index)
        self.register.remember(2, 1)
        found = Entry(self.register, self.register.find(2))
        self.assertEqual(found.index, entry.index)
        self.assertEqual((found.connections, found.failures, found.at), (0, 0, -math.inf))

    def test_bound(self) -> None:
        """
        n are remembered, not n + 1; never more than there is room for, whatever is permitted.
        """
        for most in (CAPACITY, CAPACITY + 10):
            register = fresh()
            for mark in range(1, CAPACITY + 1):
                register.remember(mark, most)
            self.assertEqual(len(register), CAPACITY)
            register.remember(99, most)
            self.assertEqual(lists(register), ([*range(2, CAPACITY + 1), 99], []))

    def test_lowered(self) -> None:
        """
        Where fewer are permitted than before, the others are forgotten.
        """
        for mark in range(1, CAPACITY + 1):
            self.register.remember(mark, CAPACITY)
        self.register.remember(99, 2)
        self.assertEqual(lists(self.register), ([CAPACITY, 99], []))
        self.assertSound(self.register)

    def test_slots(self) -> None:
        """
        Connections are those of all slots, and each slot gives back its own only.
        """
        index = self.register.remember(7, CAPACITY)
        for slot in (0, 1, 1):
            self.register.connected(slot, index)
        self.assertEqual(self.register.connections(index), 3)
        for _ in range(2):
            self.register.released(0, index)
        self.register.released(2, index)
        self.assertEqual(self.register.connections(index), 2)

    def test_vacate(self) -> None:
        """
        Where one is gone, what it had is; what others have stays.
        """
        both, one, other = (self.register.remember(mark, CAPACITY) for mark in (1, 2, 3))
        for slot, index in ((0, both), (1, both), (0, one), (0, one), (1, other)):
            self.register.connected(slot, index)
        self.register.vacate(0)
        self.assertEqual([self.register.connections(i) for i in (both, one, other)], [1, 0, 1])
        self.assertEqual(lists(self.register), ([2], [1, 3]))

    def test_endless(self) -> None:
        """
        A chain that has no end is noticed.
        """
        index = self.register.remember(1, CAPACITY)
        self.register.chain[index] = index
        bucket = 1 + len(self.register.buckets)
        self.assertRaises(LocalError, self.register.find, bucket)
        self.assertRaises(LocalError, self.register.remember, bucket, CAPACITY)
        self.register.buckets[1] = 0
        self.assertRaises(LocalError, self.register._forget, index)
        self.register.rebuild()
        self.assertSound(self.register)

    def test_long(self) -> None:
        """
        As long as chains are, all of them can be found, forgotten and rebuilt.
        """
        capacity = LONGEST_CHAIN
        register = fresh(capacity=capacity)
        marks = [1 + n * len(register.buckets) for n in range(capacity)]
        for mark in marks:
            register.remember(mark, capacity)
        register.rebuild()
        self.assertEqual(len(register), capacity)
        for mark in marks:
            self.assertEqual(register.marks[register.find(mark)], mark)
        register.remember(2, 1)
        self.assertEqual(len(register), 1)


class DeathTests(RegisterCase):
    """
    Processes die where they are.
    """

    def test_anywhere(self) -> None:
        """
        Whatever a process does when it is killed, and before whichever store: nothing is the
        worse for it but what it was about, and that can be as if it had been done or not.
        """
        randomly = random.Random(1)
        for name in OPERATIONS:
            for life in range(40):
                memory = bytearray(sizeOf(SLOTS, CAPACITY))
                register = fresh(memory)
                for _ in range(20):
                    slot, mark = randomly.randrange(SLOTS), randomly.randrange(1, 8)
                    self.do(register, randomly.choice(OPERATIONS[:3]), slot, mark)
                before = self.counts(register)
                slot, mark = randomly.randrange(SLOTS), randomly.randrange(1, 8)
                with contextlib.suppress(Killed):
                    self.do(mortal(memory, life), name, slot, mark)
                register.rebuild()
                self.assertSound(register)
                after = self.counts(register)
                changed = {key for key in after if after[key] != before.get(key, after[key])}
                allowed = {(slot, other) for other in range(8) if other == mark or name == "vacate"}
                self.assertLessEqual(changed, allowed)
                gone = {key[1] for key in before} - {key[1] for key in after}
                self.assertLessEqual(len(gone), 1)
                register.vacate(slot)
                for other in range(1, 8):
                    index = register.find(other)
                    if index:
                        self.assertEqual(register.counts[slot][index], 0)

    def counts(self, register: Register) -> dict[tuple[int, int], int]:
        """
        Return what is counted, by slot and mark.
        """
        return {
            (slot, mark): register.counts[slot][index]
            for mark in range(1, 8)
            if (index := register.find(mark))
            for slot in range(SLOTS)
        }

    def test_order(self) -> None:
        """
        What is rebuilt is in the order of attempts to connect.
        """
        register = fresh()
        for mark, at in ((1, 30.0), (2, 10.0), (3, 20.0)):
            register.at[register.remember(mark, CAPACITY)] = at
        register.rebuild()
        self.assertEqual(lists(register), ([2, 3, 1], []))

    @settings(max_examples=300)
    @given(
        st.integers(0, 1 << 32).map(random.Random),
        st.lists(
            st.tuples(st.sampled_from(OPERATIONS), st.integers(0, SLOTS - 1), st.integers(1, 9)),
            max_size=20,
        ),
    )
    def test_garbage(self, randomly: random.Random, steps: list[tuple[str, int, int]]) -> None:
        """
        Whatever there is in the records, and in all that helps to find them, what is rebuilt
        works; and once no process has a connection any more, nothing counts against anybody.
        """
        memory = bytearray(randomly.randbytes(sizeOf(SLOTS, CAPACITY)))
        if randomly.random() < 0.5:
            for at in range(len(memory)):
                memory[at] = randomly.choice((0, 0, 1, 2, 3))
        memory[:8] = (FIRST + CAPACITY).to_bytes(8, sys.byteorder)
        register = fresh(memory)
        register.rebuild()
        for name, slot, mark in steps:
            self.do(register, name, slot, mark)
            self.assertSound(register)
        for slot in range(SLOTS):
            register.vacate(slot)
        for index in range(FIRST, FIRST + CAPACITY):
            if register.marks[index]:
                self.assertEqual(register.connections(index), 0)
                self.assertGreaterEqual(register.tokens[index], 0)
                self.assertLessEqual(register.failures[index], MOST_FAILURES)
        self.assertEqual(lists(register)[1], [])
