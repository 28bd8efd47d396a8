# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.commons}: one process, several in one, and real ones.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.commons import KEY_BYTES, NOTICEABLE, Commons, Share, shareOf
from cmanager.crew import Crew
from cmanager.limits import AddressLimits, OwnAddresses, Refused
from cmanager.settings import LimitSettings
from cmanager.table import Room
from tests.properties import given, settings, st
from tests.test_limits import settings as limitSettings

SLOTS = 3
PATIENCE_SECONDS = 120

Step = tuple[str, int, int]

_WORKER = """
import os, sys, time
from cmanager.commons import Commons
from cmanager.limits import AddressLimits, Refused
from cmanager.settings import LimitSettings

descriptor, slot, slots = map(int, sys.argv[1:4])
commons = Commons(descriptor, slots, 100)
share = commons.join(slot)
addresses, room = share.addresses, share.room
settings = LimitSettings(connectionsPerAddress=50, connectionRate=1000000, connectionBurst=1000000)
limits = AddressLimits(settings, time.monotonic, addresses)

def accepts(peer):
    try:
        limits.accept(peer)
    except Refused:
        return False
    return True

sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
"""

HAMMER = (
    _WORKER
    + """
for turn in range(300):
    peers = [f"192.0.2.{n % 7}" for n in range(turn, turn + 10)]
    accepted = [peer for peer in peers if accepts(peer)]
    taken = sum(room.take(15) for _ in range(10))
    for peer in accepted:
        limits.released(peer)
    for _ in range(taken):
        room.leave()
for n in range(200):
    limits.accept(f"198.51.100.{n}")
    limits.released(f"198.51.100.{n}")
print(sum(accepts("192.0.2.9") for _ in range(40)), sum(room.take(100) for _ in range(60)))
"""
)

HOLD = (
    _WORKER
    + """
limits.accept("192.0.2.1")
room.take(10)
addresses.__enter__()
addresses.connected("192.0.2.1", addresses.remember("192.0.2.1", 100))
sys.stdout.write("holding\\n")
sys.stdout.flush()
sys.stdin.readline()
"""
)


class CommonsCase(SynchronousTestCase):
    """
    Memory that several processes may share.
    """

    def setUp(self) -> None:
        self.clock = Clock()

    def memory(self) -> int:
        """
        Return a descriptor of new memory.
        """
        descriptor = os.memfd_create("commons")
        self.addCleanup(os.close, descriptor)
        return descriptor

    def limits(self, share: Share, **changes: float) -> AddressLimits:
        """
        Return the limits as one process has them.
        """
        settings: Any = limitSettings(**changes)
        return AddressLimits(settings, self.clock.seconds, share.addresses)


class MemoryTests(CommonsCase):
    """
    The memory itself.
    """

    def test_first(self) -> None:
        """
        Who comes first says how much there is, and what nobody else can know; the others find
        it so.
        """
        descriptor = self.memory()
        one, two = Commons(descriptor, SLOTS, 100), Commons(descriptor, SLOTS, 500)
        size = os.fstat(descriptor).st_size
        limits = self.limits(one.join(0)), self.limits(two.join(1))
        for n in range(3):
            limits[n % 2].accept("192.0.2.1")
        self.assertRaises(Refused, limits[1].accept, "192.0.2.1")
        self.assertEqual(os.fstat(descriptor).st_size, size)
        other = self.memory()
        Commons(other, SLOTS, 100)
        self.assertNotEqual(os.pread(descriptor, KEY_BYTES, 24), os.pread(other, KEY_BYTES, 24))

    def test_zeroes(self) -> None:
        """
        Memory that has a size already is as good.
        """
        descriptor = self.memory()
        os.ftruncate(descriptor, 64)
        limits = self.limits(Commons(descriptor, SLOTS, 100).join(0))
        limits.accept("192.0.2.1")
        self.assertEqual(limits.connections("192.0.2.1"), 1)

    def test_lazy(self) -> None:
        """
        Addresses that were never seen take no memory.
        """
        descriptor = self.memory()
        many = 10_000_000
        limits = self.limits(Commons(descriptor, SLOTS, many).join(0), addresses=many)
        for n in range(100):
            limits.accept(f"192.0.2.{n}")
        self.assertGreater(os.fstat(descriptor).st_size, 500_000_000)
        self.assertLess(os.fstat(descriptor).st_blocks * 512, 5_000_000)

    def test_bound(self) -> None:
        """
        There is never more than what there was room for at first, whatever the settings say
        later: n addresses are remembered, not n + 1.
        """
        commons = Commons(self.memory(), SLOTS, 3)
        limits = self.limits(commons.join(0), addresses=100)
        for n in range(3):
            limits.loginFailed(f"192.0.2.{n}")
        self.assertEqual(len(limits), 3)
        limits.loginFailed("192.0.2.3")
        self.assertEqual(len(limits), 3)
        self.assertEqual(len(self.limits(commons.join(2))), 3)


class ShareTests(CommonsCase):
    """
    What a process has of it.
    """

    def test_alone(self) -> None:
        """
        One that is alone counts for itself; there are no others.
        """
        share = shareOf(None, 100)
        self.assertIsInstance(share.addresses, OwnAddresses)
        self.assertIs(type(share.room), Room)
        self.assertIsNot(share.room, shareOf(None, 100).room)
        self.assertFalse(share.isPresent(0))

    def test_crew(self) -> None:
        """
        One of a crew counts with the others, in its slot, and begins with nothing: whoever had
        that before is gone.
        """
        descriptor = self.memory()
        for slot, expected in ((0, (1, 1)), (2, (2, 2)), (2, (2, 2))):
            share = shareOf(Crew(slot, SLOTS, descriptor, -1, ()), 100)
            limits = self.limits(share)
            limits.accept("192.0.2.1")
            self.assertTrue(share.room.take(2))
            taken = 2 - sum(share.room.take(2) for _ in range(2))
            self.assertEqual((limits.connections("192.0.2.1"), taken), expected)
            while share.room.taken > 1:
                share.room.leave()

    def test_present(self) -> None:
        """
        Who is there can be known, from the beginning to the end.
        """
        commons = Commons(self.memory(), SLOTS, 100)
        share = commons.join(1)
        self.assertEqual([share.isPresent(slot) for slot in range(SLOTS)], [False, True, False])
        commons.join(2)
        commons.vacate(1)
        self.assertEqual([share.isPresent(slot) for slot in range(SLOTS)], [False, False, True])


class BalanceTests(CommonsCase):
    """
    Whose the next client is.
    """

    def setUp(self) -> None:
        """
        Three processes, of which two take clients.
        """
        super().setUp()
        self.commons = Commons(self.memory(), SLOTS, 10)
        self.shares = [self.commons.join(slot) for slot in range(SLOTS)]
        for share in self.shares[:2]:
            assert share.balance is not None
            share.balance.begin()

    def isOurs(self) -> list[bool]:
        """
        Return what they think.
        """
        return [share.balance.isOurs() for share in self.shares if share.balance is not None]

    def take(self, slot: int, count: int) -> None:
        """
        Let one take clients.
        """
        for _ in range(count):
            self.assertTrue(self.shares[slot].room.take(100000))

    def test_fewest(self) -> None:
        """
        It is whose has the fewest; who takes none does not count.
        """
        self.assertEqual(self.isOurs()[:2], [True, True])
        self.take(0, 1)
        self.assertEqual(self.isOurs()[:2], [False, True])
        self.take(1, 2)
        self.assertEqual(self.isOurs()[:2], [True, False])

    def test_ended(self) -> None:
        """
        Nor does who takes none any more, or is gone.
        """
        self.take(0, 1)
        balance = self.shares[1].balance
        assert balance is not None
        balance.end()
        self.assertTrue(self.shares[2].isPresent(1))
        self.assertTrue(self.isOurs()[0])
        balance.begin()
        self.assertFalse(self.isOurs()[0])
        self.commons.vacate(1)
        self.assertTrue(self.isOurs()[0])

    def test_noticeable(self) -> None:
        """
        With many clients a few more make no difference.
        """
        self.take(1, NOTICEABLE * 2)
        self.take(0, NOTICEABLE * 2 + 2)
        self.assertEqual(self.isOurs()[:2], [True, True])
        self.take(0, 1)
        self.assertEqual(self.isOurs()[:2], [False, True])


class SlotTests(CommonsCase):
    """
    What several count together.
    """

    def setUp(self) -> None:
        super().setUp()
        self.commons = Commons(self.memory(), SLOTS, 100)
        self.shares = [self.commons.join(slot) for slot in range(SLOTS)]
        self.workers = [self.limits(share) for share in self.shares]

    def test_connections(self) -> None:
        """
        The n-th connection of an address is accepted by whichever, the one after by none.
        """
        for worker in self.workers:
            worker.accept("192.0.2.1")
        for worker in self.workers:
            error = self.assertRaises(Refused, worker.accept, "192.0.2.1")
            self.assertEqual(error.limit, "connections-per-address")
        self.workers[1].released("192.0.2.1")
        self.workers[0].accept("192.0.2.1")

    def test_rate(self) -> None:
        """
        So many new ones a second, by whichever.
        """
        for worker in self.workers:
            worker.settings = limitSettings(connectionBurst=4, connectionsPerAddress=99)
        for n in range(4):
            self.workers[n % SLOTS].accept("192.0.2.1")
        for worker in self.workers:
            error = self.assertRaises(Refused, worker.accept, "192.0.2.1")
            self.assertEqual(error.limit, "connection-rate")
        self.clock.advance(1)
        self.workers[2].accept("192.0.2.1")
        self.assertRaises(Refused, self.workers[0].accept, "192.0.2.1")

    def test_logins(self) -> None:
        """
        Logins that fail here are waited for there, until one succeeds anywhere.
        """
        delays = [self.workers[n % SLOTS].loginFailed("192.0.2.1") for n in range(5)]
        self.assertEqual(delays, [0, 0, 1, 2, 4])
        self.workers[1].loginSucceeded("192.0.2.1")
        self.assertEqual(self.workers[2].loginFailed("192.0.2.1"), 0)

    def test_forgotten(self) -> None:
        """
        The end of a connection whose address was forgotten takes nothing from what another has
        counted since.
        """
        for worker in self.workers:
            worker.settings = limitSettings(addresses=1)
        one, two, _ = self.workers
        one.accept("192.0.2.1")
        one.accept("192.0.2.2")
        two.accept("192.0.2.1")
        one.released("192.0.2.1")
        self.assertEqual(two.connections("192.0.2.1"), 1)
        one.released("192.0.2.2")

    def test_vacate(self) -> None:
        """
        Connections and places of one that is gone are given back, and nobody else's.
        """
        rooms = [share.room for share in self.shares]
        for n in (0, 1, 1):
            self.workers[n].accept("192.0.2.1")
            self.assertTrue(rooms[n].take(3))
        self.assertFalse(rooms[2].take(3))
        self.commons.vacate(1)
        self.assertEqual(self.workers[0].connections("192.0.2.1"), 1)
        self.assertEqual([rooms[2].take(3) for _ in range(3)], [True, True, False])

    def test_room(self) -> None:
        """
        There is room for n, over all, and not for n + 1.
        """
        rooms = [share.room for share in self.shares]
        self.assertEqual([rooms[n % SLOTS].take(5) for n in range(6)], [True] * 5 + [False])
        rooms[0].leave()
        self.assertEqual([rooms[n].take(5) for n in (2, 1)], [True, False])
        self.assertEqual([room.taken for room in rooms], [1, 2, 2])
        # More may be permitted, and fewer.
        self.assertEqual([rooms[1].take(most) for most in (6, 3)], [True, False])

    def test_broken(self) -> None:
        """
        Who fails while he writes leaves nothing that the next one does not put right.
        """
        limits = self.workers[0]
        limits.accept("192.0.2.1")
        addresses = self.shares[0].addresses
        with self.assertRaises(ZeroDivisionError), addresses:
            entry = addresses.remember("192.0.2.2", 100)
            addresses._register.newer[entry.index] = 1000
            addresses._register.buckets[:] = memoryview(bytes(4 * 128)).cast("I")
            raise ZeroDivisionError
        limits.accept("192.0.2.2")
        self.assertEqual([limits.connections(f"192.0.2.{n}") for n in (1, 2)], [1, 1])

    def test_notRebuilt(self) -> None:
        """
        Who cannot bring in order what another has left holds up nobody.
        """
        addresses = self.shares[0].addresses
        with self.assertRaises(ZeroDivisionError), addresses:
            raise ZeroDivisionError
        patched = self.patch(addresses._register, "rebuild", lambda: 1 // 0)
        for _ in range(2):
            with self.assertRaises(ZeroDivisionError):
                addresses.__enter__()
        patched.restore()
        with self.shares[1].addresses as others:
            self.assertEqual(len(others), 0)


class ModelTests(CommonsCase):
    """
    The same as one process alone.
    """

    def decide(self, limits: AddressLimits, name: str, peer: str) -> object:
        """
        Do something, and return what was said.
        """
        try:
            return getattr(limits, name)(peer)
        except Refused as error:
            return error.limit, error.reason

    def play(self, steps: list[Step], slots: int, addresses: int) -> None:
        """
        Have workers do what one that is alone does, too, and see that it is the same.  Only
        that end connections which have some.
        """
        changes = {"addresses": addresses, "connectionBurst": 5}
        commons = Commons(self.memory(), slots, 100)
        workers = [self.limits(commons.join(slot), **changes) for slot in range(slots)]
        alone = AddressLimits(limitSettings(**changes), self.clock.seconds)  # type: ignore[arg-type]  # those it has
        has: dict[tuple[int, str], int] = {}
        for name, which, number in steps:
            peer, slot = f"192.0.2.{number}", which % slots
            if name == "advance":
                self.clock.advance(number / 4)
                continue
            if name == "released":
                if not has.get((slot, peer)):
                    continue
                has[slot, peer] -= 1
            said = self.decide(workers[slot], name, peer)
            self.assertEqual(said, self.decide(alone, name, peer))
            if name == "accept" and said is None:
                has[slot, peer] = has.get((slot, peer), 0) + 1
            self.assertEqual(len(workers[0]), len(alone))
            for n in range(8):
                other = f"192.0.2.{n}"
                self.assertEqual(workers[0].connections(other), alone.connections(other))

    steps = st.lists(
        st.tuples(
            st.sampled_from(
                ["accept", "accept", "released", "loginFailed", "loginSucceeded", "advance"]
            ),
            st.integers(0, 2),
            st.integers(0, 7),
        ),
        max_size=60,
    )

    @settings(max_examples=300)
    @given(steps, st.integers(1, 9))
    def test_one(self, steps: list[Step], addresses: int) -> None:
        """
        One worker decides as a process alone does, whatever happens, and forgets the same
        addresses.
        """
        self.play(steps, 1, addresses)

    @settings(max_examples=300)
    @given(steps)
    def test_several(self, steps: list[Step]) -> None:
        """
        So do several together, as one process would that had seen all.
        """
        self.play(steps, SLOTS, 8)


class ProcessTests(CommonsCase):
    """
    Real processes.
    """

    def start(self, script: str, descriptor: int, slot: int) -> subprocess.Popen[str]:
        """
        Start one; it is ready, and waits for a line.
        """
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(descriptor), str(slot), str(SLOTS + 1)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[descriptor],
            text=True,
        )
        self.addCleanup(self.end, process)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        """
        See that it has ended.
        """
        process.kill()
        process.communicate()

    def go(self, process: subprocess.Popen[str]) -> None:
        """
        Let it do what it is to do.
        """
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    def test_together(self) -> None:
        """
        However many write at once, each connection and each place is counted once, and all
        are given back.
        """
        descriptor = self.memory()
        processes = [self.start(HAMMER, descriptor, slot) for slot in range(SLOTS)]
        for process in processes:
            self.go(process)
        said = [process.communicate(timeout=PATIENCE_SECONDS)[0].split() for process in processes]
        accepted, taken = (sum(int(words[n]) for words in said) for n in (0, 1))
        self.assertEqual((accepted, taken), (50, 100))
        share = Commons(descriptor, SLOTS + 1, 100).join(SLOTS)
        settings = LimitSettings(connectionsPerAddress=50)
        limits = AddressLimits(settings, self.clock.seconds, share.addresses)
        self.assertEqual(limits.connections("192.0.2.9"), 50)
        self.assertEqual([limits.connections(f"192.0.2.{n}") for n in range(7)], [0] * 7)
        self.assertEqual(len(limits), 100)
        self.assertFalse(share.room.take(100))

    def test_killed(self) -> None:
        """
        One that is killed while it holds the lock holds up nobody, and what it has counted is
        given back.
        """
        descriptor = self.memory()
        process = self.start(HOLD, descriptor, 1)
        commons = Commons(descriptor, SLOTS + 1, 100)
        share = commons.join(SLOTS)
        limits = self.limits(share, connectionsPerAddress=2)
        limits.accept("192.0.2.2")
        self.go(process)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "holding\n")
        process.send_signal(signal.SIGKILL)
        process.wait()
        error = self.assertRaises(Refused, limits.accept, "192.0.2.1")
        self.assertEqual(error.limit, "connections-per-address")
        commons.vacate(1)
        limits.accept("192.0.2.1")
        self.assertEqual([limits.connections(f"192.0.2.{n}") for n in (1, 2)], [1, 1])
        self.assertEqual([share.room.take(1), share.room.take(1)], [True, False])
