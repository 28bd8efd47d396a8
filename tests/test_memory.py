# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.memory}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.memory import REMEMBERED_BYTES, REMEMBERED_ROUTES, RouteMemory, Sent, abridged
from cmanager.stanza import NS_CLIENT


def sent(number: int, **attributes: str) -> Sent:
    """
    Return what is remembered of a route.
    """
    return (number, "s", "iq", NS_CLIENT, attributes)


class RouteMemoryTests(SynchronousTestCase):
    """
    What was routed is found by the id of its route.
    """

    def test_found(self) -> None:
        """
        Name, namespace and attributes are remembered, the content is not.
        """
        memory = RouteMemory()
        memory.put(sent(0x1F, id="i", to="juliet@example.org"))
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
        memory.put(sent(1))
        for routeID, streamID in (("1", "t"), ("2", "s"), (None, "s"), ("r1", "s"), ("-1", "s")):
            self.assertIsNone(memory.get(routeID, streamID))

    def test_bounded(self) -> None:
        """
        The last 1024 are remembered, and not one more.
        """
        memory = RouteMemory()
        for number in range(1, REMEMBERED_ROUTES + 1):
            memory.put(sent(number, id=str(number)))
        self.assertIsNotNone(memory.get("1", "s"))
        memory.put(sent(REMEMBERED_ROUTES + 1))
        self.assertIsNone(memory.get("1", "s"))
        self.assertIsNotNone(memory.get("2", "s"))

    def test_large(self) -> None:
        """
        Of a large stanza only what an error repeats is kept, where it is not large itself.
        """
        large = "x" * REMEMBERED_BYTES
        attributes = {"id": large, "other": "o", "type": "get", "to": large + "x"}
        self.assertEqual(abridged(attributes), {"id": large, "type": "get"})
