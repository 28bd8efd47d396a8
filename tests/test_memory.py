# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.memory}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.memory import REMEMBERED_BYTES, abridged, recalled
from cmanager.stanza import NS_CLIENT, NS_SASL, Stanza, escapeAttribute


class MemoryTests(SynchronousTestCase):
    """
    What is remembered of a stanza.
    """

    def test_recalled(self) -> None:
        """
        Name, namespace and attributes come back.
        """
        attributes = {"id": '<\u00e9>"\n', "to": "juliet@example.org", "xml:lang": "it"}
        written = "".join(f' {k}="{escapeAttribute(v).decode()}"' for k, v in attributes.items())
        for tag, name, namespace in (
            (f"<iq{written}", "iq", NS_CLIENT),
            (f"<iq{written}/", "iq", NS_CLIENT),
            (f'<auth xmlns="{NS_SASL}"{written}', "auth", NS_SASL),
            (f'<s:auth xmlns:s="{NS_SASL}" xmlns="u"{written}', "auth", NS_SASL),
        ):
            found = recalled(tag.encode())
            self.assertEqual(
                (found.name, found.namespace, found.attributes, found.data),
                (name, namespace, attributes, b""),
            )

    def test_many(self) -> None:
        """
        However many attributes and declarations a client may have sent, they are found.
        """
        written = b"".join(b' xmlns:p%d="u%d" p%d:a=""' % (n, n, n) for n in range(200))
        self.assertEqual(len(recalled(b"<iq" + written).attributes), 200)

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
