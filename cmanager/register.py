# Copyright the cmanager authors.
# See LICENSE for details.

"""
What several processes remember of addresses together, in one block of memory.  Layer 1,
pure: whose memory that is, and who may write to it when, is L{cmanager.commons}' part.

Whoever writes can be killed between any two stores.  So what is known of an address stands
in its record alone, and each part of it is true by itself:

    - A record with a mark is that of an address; one without is free.  The mark is the last
      thing that is written to a new record, and the first that is taken from an old one.
    - The records below C{_USED} have been used; those above are as they were at first.
    - How many connections there are is what the slots have counted, each by itself.  It is
      added up where it is asked for and stands nowhere else, so that what a process has
      counted can be taken back when it is gone.

All else only helps to find records: chains by mark, lists by age, the chain of free ones.
L{Register.rebuild} makes it anew from these, which is what has to be done after somebody was
killed while he wrote.
"""

from __future__ import annotations

import math

from cmanager.errors import LocalError

IDLE, CONNECTED = 0, 1
"""
The ends of the two lists: records that are none.
"""

FIRST = 2
"""
The first record that is one.
"""

LONGEST_CHAIN = 64
"""
There are as many chains as records, or more, and marks are as good as random: none is
longer than this.
"""

MOST_FAILURES = 1 << 32

_USED, _FREE, _COUNT, _WORDS = range(4)
_CLEARED = bytes(65536)
_ENDLESS = "a chain of addresses without an end"


class Entry:
    """
    One record of a L{Register}.  See L{cmanager.limits.Address}.

    @ivar index: Its number.
    """

    __slots__ = ("_register", "index")

    def __init__(self, register: Register, index: int) -> None:
        self._register = register
        self.index = index

    @property
    def connections(self) -> int:
        """
        How many there are, over all slots.
        """
        return self._register.connections(self.index)

    @property
    def tokens(self) -> float:
        """
        See L{cmanager.limits.Address}.
        """
        return self._register.tokens[self.index]

    @tokens.setter
    def tokens(self, value: float) -> None:
        self._register.tokens[self.index] = value

    @property
    def at(self) -> float:
        """
        See L{cmanager.limits.Address}.
        """
        return self._register.at[self.index]

    @at.setter
    def at(self, value: float) -> None:
        self._register.at[self.index] = value

    @property
    def failures(self) -> int:
        """
        See L{cmanager.limits.Address}.
        """
        return self._register.failures[self.index]

    @failures.setter
    def failures(self, value: int) -> None:
        self._register.failures[self.index] = value

    @property
    def failedAt(self) -> float:
        """
        See L{cmanager.limits.Address}.
        """
        return self._register.failedAt[self.index]

    @failedAt.setter
    def failedAt(self, value: float) -> None:
        self._register.failedAt[self.index] = value


class Register:
    """
    The records, by mark: a number that is not 0, of 64 bits which nobody can choose.

    @param memory: As many bytes as L{sizeOf} says, and all 0 at first.
    @param slots: How many processes count.
    @param capacity: How many records there are.
    """

    def __init__(self, memory: memoryview, slots: int, capacity: int) -> None:
        wide, narrow = 8 * (FIRST + capacity), 4 * (FIRST + capacity)
        at = 0

        def part(size: int) -> memoryview:
            nonlocal at
            at += size
            return memory[at - size : at]

        self._capacity = capacity
        self._head = part(8 * _WORDS).cast("Q")
        self.marks = part(wide).cast("Q")
        self.failures = part(wide).cast("Q")
        self.tokens = part(wide).cast("d")
        self.at = part(wide).cast("d")
        self.failedAt = part(wide).cast("d")
        self.counts = [part(narrow).cast("I") for _ in range(slots)]
        self.newer = part(narrow).cast("I")
        self.older = part(narrow).cast("I")
        self.chain = part(narrow).cast("I")
        self.buckets = part(4 * _buckets(capacity)).cast("I")
        self._mask = len(self.buckets) - 1
        if not self._head[_USED]:
            self.rebuild()

    def __len__(self) -> int:
        return self._head[_COUNT]

    def find(self, mark: int) -> int:
        """
        Return the number of the record with a mark; 0 if there is none.

        @raise LocalError: Nobody knows; see L{rebuild}.
        """
        index = self._find(mark)
        if index < 0:
            raise LocalError(_ENDLESS)
        return index

    def _find(self, mark: int) -> int:
        chain, marks = self.chain, self.marks
        index = self.buckets[mark & self._mask]
        for _ in range(LONGEST_CHAIN):
            if not index or marks[index] == mark:
                return index
            index = chain[index]
        return -1

    def connections(self, index: int) -> int:
        """
        Return how many there are, over all slots.
        """
        return sum([column[index] for column in self.counts])

    def remember(self, mark: int, most: int) -> int:
        """
        Return the number of the record with a mark, a new one if need be, as the one that was
        heard of last.

        @param most: How many records may be remembered; see L{cmanager.limits.Addresses} for
            which are forgotten.
        """
        index = self.find(mark)
        if index:
            if not self.connections(index):
                self._move(index, IDLE)
            return index
        head, newer = self._head, self.newer
        for _ in range(head[_COUNT] - min(most, self._capacity) + 1):
            self._forget(newer[IDLE] or newer[CONNECTED])
        index = head[_FREE]
        if index:
            head[_FREE] = self.chain[index]
        else:
            index = head[_USED]
            head[_USED] = index + 1
        self.failures[index] = 0
        self.tokens[index] = 0.0
        self.at[index] = self.failedAt[index] = -math.inf
        self.marks[index] = mark
        self._enter(index, IDLE)
        return index

    def connected(self, slot: int, index: int) -> None:
        """
        There is one more connection, in a slot.
        """
        wasIdle = not self.connections(index)
        self.counts[slot][index] += 1
        if wasIdle:
            self._move(index, CONNECTED)

    def released(self, slot: int, index: int) -> None:
        """
        A connection is gone; unless the slot has none, because the address was forgotten
        meanwhile.
        """
        column = self.counts[slot]
        if column[index]:
            column[index] -= 1
            if not self.connections(index):
                self._move(index, IDLE)

    def vacate(self, slot: int) -> None:
        """
        All connections of a slot are gone.
        """
        column = self.counts[slot]
        counted = enumerate(column[FIRST : self._head[_USED]], FIRST)
        for index in [index for index, count in counted if count]:
            column[index] = 0
            if not self.connections(index):
                self._move(index, IDLE)

    def _enter(self, index: int, end: int) -> None:
        """
        Let a record be found.
        """
        bucket = self.marks[index] & self._mask
        self.chain[index] = self.buckets[bucket]
        self.buckets[bucket] = index
        self._append(index, end)
        self._head[_COUNT] += 1

    def _append(self, index: int, end: int) -> None:
        newest = self.older[end]
        self.older[index] = newest
        self.newer[index] = end
        self.newer[newest] = index
        self.older[end] = index

    def _unlink(self, index: int) -> None:
        older, newer = self.older[index], self.newer[index]
        self.newer[older] = newer
        self.older[newer] = older

    def _move(self, index: int, end: int) -> None:
        """
        Make a record the newest of a list.
        """
        self._unlink(index)
        self._append(index, end)

    def _forget(self, index: int) -> None:
        bucket = self.marks[index] & self._mask
        self.marks[index] = 0
        self._unlink(index)
        chain, before = self.chain, self.buckets[bucket]
        if before == index:
            self.buckets[bucket] = chain[index]
        else:
            for _ in range(LONGEST_CHAIN):
                if chain[before] == index:
                    break
                before = chain[before]
            else:
                raise LocalError(_ENDLESS)
            chain[before] = chain[index]
        self._head[_COUNT] -= 1
        self._free(index)

    def _free(self, index: int) -> None:
        self.marks[index] = 0
        for column in self.counts:
            column[index] = 0
        self.chain[index] = self._head[_FREE]
        self._head[_FREE] = index

    def rebuild(self) -> None:
        """
        Make anew what helps to find records.  Their order by age is that of their last
        attempts to connect.
        """
        head = self._head
        head[_FREE] = head[_COUNT] = 0
        for end in (IDLE, CONNECTED):
            self.newer[end] = self.older[end] = end
        used = head[_USED]
        if used:  # or else it is all 0
            flat = self.buckets.cast("B")
            for start in range(0, len(flat), len(_CLEARED)):
                flat[start : start + len(_CLEARED)] = _CLEARED[: len(flat) - start]
        else:
            used = head[_USED] = FIRST
        for index in sorted(range(FIRST, used), key=self.at.__getitem__):
            mark = self.marks[index]
            if not mark or self._find(mark):
                self._free(index)
                continue
            self.tokens[index] = max(0.0, self.tokens[index])
            self.failures[index] = min(self.failures[index], MOST_FAILURES)
            self._enter(index, CONNECTED if self.connections(index) else IDLE)


def _buckets(capacity: int) -> int:
    return 1 << max(capacity - 1, 1).bit_length()


def sizeOf(slots: int, capacity: int) -> int:
    """
    Return how many bytes a L{Register} needs.
    """
    wide, narrow = 5, 3 + slots
    return 8 * _WORDS + (FIRST + capacity) * (8 * wide + 4 * narrow) + 4 * _buckets(capacity)
