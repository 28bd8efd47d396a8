# Copyright the cmanager authors.
# See LICENSE for details.

"""
The table of sessions: its counts are always true.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import LocalError, StreamError
from cmanager.table import (
    STREAM_ID_CHARACTERS,
    Ghost,
    Room,
    State,
    StreamID,
    Table,
    javaHash,
)
from tests.doubles import FakeLink
from tests.properties import given, settings, st


class Entry:
    """
    As much of a session as the table looks at.
    """

    def __init__(self, streamID: str) -> None:
        self.id = StreamID(streamID)
        self.state = State.AWAITING_HEADER
        self.link: Any = None


def entry(streamID: str) -> Any:  # stands in for a session
    """
    Return a new entry.
    """
    return Entry(streamID)


class StreamIDTests(SynchronousTestCase):
    """
    Stream ids cannot be guessed, and the server can live with them.
    """

    def test_shape(self) -> None:
        """
        An id is at least 22 ASCII letters and digits, and no two are alike.
        """
        made = [Table(10).newStreamID() for _ in range(200)]
        self.assertEqual(len(set(made)), 200)
        self.assertGreaterEqual(STREAM_ID_CHARACTERS, 22)
        for streamID in made:
            self.assertRegex(streamID, f"^[A-Za-z0-9]{{{STREAM_ID_CHARACTERS}}}$")

    def test_manager(self) -> None:
        """
        An id never holds the manager's name, in whatever case.
        """
        table = Table(10, "a")
        for _ in range(50):
            self.assertNotIn("a", table.newStreamID().lower())
        self.assertFalse(table.isUsable("xAx"))
        self.assertTrue(table.isUsable("xbx"))

    def test_unique(self) -> None:
        """
        An id that a session has is not given again.
        """
        table = Table(10)
        table.add(entry("x"))
        self.assertFalse(table.isUsable("x"))

    def test_worstHash(self) -> None:
        """
        An id whose Java hash is -2**31 is not given out (pitfall S-9).
        """
        # Known from Java: "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        self.assertEqual(javaHash("polygenelubricants"), -(2**31))
        self.assertFalse(Table(10).isUsable("polygenelubricants"))

    def test_hash(self) -> None:
        """
        The hash is Java's.
        """
        for text, value in (("", 0), ("a", 97), ("hello", 99162322)):
            self.assertEqual(javaHash(text), value)

    def test_ghost(self) -> None:
        """
        A ghost has an id, also as it is written between quotes, and nothing else.
        """
        ghost = Ghost('"x<')
        self.assertEqual((ghost.id, ghost.wireID), ('"x<', b"&quot;x&lt;"))


class TableTests(SynchronousTestCase):
    """
    Sessions come, move and go.
    """

    def test_capacity(self) -> None:
        """
        As many as there is room for, and not one more: C{resource-constraint}.
        """
        table = Table(2)
        table.add(entry("a"))
        table.add(entry("b"))
        error = self.assertRaises(StreamError, table.add, entry("c"))
        self.assertEqual(error.condition, "resource-constraint")
        self.assertEqual(len(table), 2)
        table.remove(table.get("a"))
        table.add(entry("c"))

    def test_strangers(self) -> None:
        """
        A connection without a session takes the place of one.
        """
        table = Table(2)
        table.addStranger()
        table.add(entry("a"))
        for add in (table.addStranger, lambda: table.add(entry("b"))):
            error = self.assertRaises(StreamError, add)
            self.assertEqual(error.condition, "resource-constraint")
        self.assertEqual((len(table), table.strangers), (1, 1))
        table.removeStranger()
        table.add(entry("b"))
        self.assertRaises(StreamError, table.addStranger)

    def test_room(self) -> None:
        """
        Where others take places, too, there are as many fewer; all are given back.
        """
        room = Room()
        tables = Table(2, room=room), Table(2, room=room)
        tables[0].addStranger()
        tables[1].add(entry("a"))
        for table in tables:
            self.assertRaises(StreamError, table.addStranger)
            self.assertRaises(StreamError, table.add, entry("b"))
        tables[0].removeStranger()
        tables[0].add(entry("b"))
        for table, name in zip(tables, "ba", strict=True):
            table.remove(table.get(name))
        self.assertEqual(room.taken, 0)

    def test_twice(self) -> None:
        """
        One stream id cannot be listed twice.
        """
        table = Table(2)
        table.add(entry("a"))
        self.assertRaises(LocalError, table.add, entry("a"))

    def test_remove(self) -> None:
        """
        What is removed is in no list any more; twice is harmless.
        """
        table = Table(2)
        one, link = entry("a"), FakeLink()
        table.add(one)
        table.pin(one, link)
        table.remove(one)
        table.remove(one)
        self.assertIs(table.get("a"), None)
        self.assertEqual(table.pinned(link), [])
        self.assertIs(one.link, None)
        self.assertEqual(table.counts(), {})

    def test_unlisted(self) -> None:
        """
        One that is not listed changes its state, and no count.
        """
        table = Table(2)
        one = entry("a")
        table.move(one, State.CLOSED)
        self.assertIs(one.state, State.CLOSED)
        self.assertEqual(table.counts(), {})

    def test_iteration(self) -> None:
        """
        Sessions may go while they are looked at.
        """
        table = Table(3)
        for name in "abc":
            table.add(entry(name))
        for session in table:
            table.remove(session)
        self.assertEqual(len(table), 0)

    @settings(max_examples=200)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["add", "move", "pin", "remove"]),
                st.integers(0, 7),
                st.integers(0, 7),
            )
        )
    )
    def test_countsAreTrue(self, steps: list[tuple[str, int, int]]) -> None:
        """
        Whatever happens in whatever order, lists and counts say the same as the
        sessions themselves.
        """
        table = Table(6)
        sessions = [entry(str(number)) for number in range(8)]
        links: list[Any] = [FakeLink(name=str(number)) for number in range(3)]
        listed: set[Any] = set()
        for action, which, value in steps:
            session = sessions[which]
            if action == "add" and session not in listed:
                try:
                    table.add(session)
                    listed.add(session)
                except StreamError:
                    self.assertEqual(len(listed), 6)
            elif action == "move":
                table.move(session, list(State)[value])
            elif action == "pin" and session in listed:
                table.pin(session, links[value] if value < 3 else None)
            elif action == "remove":
                table.remove(session)
                listed.discard(session)
        self.assertEqual(set(table), listed)
        self.assertEqual(len(table), len(listed))
        for state in State:
            self.assertEqual(table.counts().get(state, 0), sum(s.state is state for s in listed))
        for link in links:
            self.assertEqual(set(table.pinned(link)), {s for s in listed if s.link is link})
