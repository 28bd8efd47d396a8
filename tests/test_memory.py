# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.memory}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.memory import REMEMBERED_BYTES, REMEMBERED_ROUTES, RouteMemory, abridged
from cmanager.stanza import NS_CLIENT, NS_SASL, Stanza, escapeAttribute


class RouteMemoryTests(SynchronousTestCase):
    """
    What was routed is found by the id of its route.
    """

    def test_found(self) -> None:
        """
        Name, namespace and attributes are remembered, the content is not.
        """
        attributes = {"id": '<\u00e9>"\n', "to": "juliet@example.org", "xml:lang": "it"}
        written = "".join(f' {k}="{escapeAttribute(v).decode()}"' for k, v in attributes.items())
        for tag, name, namespace in (
            (f"<iq{written}", "iq", NS_CLIENT),
            (f"<iq{written}/", "iq", NS_CLIENT),
            (f'<auth xmlns="{NS_SASL}"{written}', "auth", NS_SASL),
            (f'<s:auth xmlns:s="{NS_SASL}" xmlns="u"{written}', "auth", NS_SASL),
        ):
            memory = RouteMemory()
            memory.put(b's&quot;" id="1f">' + tag.encode())
            found = memory.get("1F", 's"')
            assert found is not None
            self.assertEqual(
                (found.name, found.namespace, found.attributes, found.data),
                (name, namespace, attributes, b""),
            )

    def test_many(self) -> None:
        """
        However many attributes and declarations a client may have sent, they are found.
        """
        written = b"".join(b' xmlns:p%d="u%d" p%d:a=""' % (n, n, n) for n in range(200))
        memory = RouteMemory()
        memory.put(b's" id="1"><iq' + written)
        found = memory.get("1", "s")
        assert found is not None
        self.assertEqual(len(found.attributes), 200)

    def test_notFound(self) -> None:
        """
        Another session's route, an unknown id, no id, and what is no id find nothing.
        """
        memory = RouteMemory()
        memory.put(b's" id="1"><iq')
        for routeID, streamID in (
            ("1", "t"),
            ("1", ""),
            ("2", "s"),
            ("11", "s"),
            (None, "s"),
            ("r1", "s"),
            ("-1", "s"),
        ):
            self.assertIsNone(memory.get(routeID, streamID))

    def test_bounded(self) -> None:
        """
        The last 1024 are remembered, and not one more.
        """
        memory = RouteMemory()
        for number in range(1, REMEMBERED_ROUTES + 1):
            memory.put(b's" id="%x"><iq' % number)
        self.assertIsNotNone(memory.get("1", "s"))
        memory.put(b's" id="%x"><iq' % (REMEMBERED_ROUTES + 1))
        self.assertIsNone(memory.get("1", "s"))
        self.assertIsNotNone(memory.get("2", "s"))

    def test_large(self) -> None:
        """
        Of a large stanza only what an error repeats is kept, where it is not large itself.
        """
        large = "x" * REMEMBERED_BYTES
        attributes = {"id": large, "other": "o", "type": "get", "to": large + "x"}
        self.assertEqual(
            abridged(Stanza("iq", NS_CLIENT, attributes, b"")),
            f'<iq xmlns="jabber:client" id="{large}" type="get"'.encode(),
        )
        self.assertEqual(
            abridged(Stanza("message", "<", {"to": '"'}, b"")),
            b'<message xmlns="&lt;" to="&quot;"',
        )
