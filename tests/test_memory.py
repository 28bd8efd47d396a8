# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.memory}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.memory import REMEMBERED_BYTES, REMEMBERED_ROUTES, RouteMemory
from cmanager.stanza import NS_CLIENT, Stanza


def stanza(size: int = 100, **attributes: str) -> Stanza:
    """
    Return a stanza of so many bytes.
    """
    return Stanza("iq", NS_CLIENT, attributes, b"x" * size)


class RouteMemoryTests(SynchronousTestCase):
    """
    What was routed is found by the id of its route.
    """

    def test_found(self) -> None:
        """
        Name, namespace and attributes are remembered, the content is not.
        """
        memory = RouteMemory()
        memory.put(0x1F, "s", stanza(id="i", to="juliet@example.org"))
        found = memory.get("1f", "s")
        assert found is not None
        self.assertEqual(
            (found.name, found.namespace, found.attributes, found.data),
            ("iq", NS_CLIENT, {"id": "i", "to": "juliet@example.org"}, b""),
        )

    def test_notFound(self) -> None:
        """
        Another session's route, an unknown id, no id, and what is no id find nothing.
        """
        memory = RouteMemory()
        memory.put(1, "s", stanza())
        for routeID, streamID in (("1", "t"), ("2", "s"), (None, "s"), ("r1", "s"), ("-1", "s")):
            self.assertIsNone(memory.get(routeID, streamID))

    def test_bounded(self) -> None:
        """
        The last 1024 are remembered, and not one more.
        """
        memory = RouteMemory()
        for number in range(1, REMEMBERED_ROUTES + 1):
            memory.put(number, "s", stanza(id=str(number)))
        self.assertIsNotNone(memory.get("1", "s"))
        memory.put(REMEMBERED_ROUTES + 1, "s", stanza())
        self.assertIsNone(memory.get("1", "s"))
        self.assertIsNotNone(memory.get("2", "s"))

    def test_large(self) -> None:
        """
        Of a large stanza only what an error repeats is kept, where it is not large itself.
        """
        memory = RouteMemory()
        large = "x" * (REMEMBERED_BYTES + 1)
        memory.put(1, "s", stanza(REMEMBERED_BYTES, id="i", other="o"))
        memory.put(2, "s", stanza(REMEMBERED_BYTES + 1, id="i", other="o", to=large))
        kept = [memory.get(number, "s") for number in ("1", "2")]
        self.assertEqual(
            [found.attributes for found in kept if found], [{"id": "i", "other": "o"}, {"id": "i"}]
        )
