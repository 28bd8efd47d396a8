# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.tree}.
"""

from __future__ import annotations

from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element

from cmanager.tree import ElementStream


class ElementStreamTests(SynchronousTestCase):
    """
    Trees can be written again, whatever their namespaces hold.
    """

    def test_strangeNamespaces(self) -> None:
        """
        A namespace may hold spaces and what XML escapes, and is the same when written.
        """
        namespace = "urn:a b&amp;&lt;&gt;&quot;&apos;/&gt;&lt;/route&gt;&#9;&#10;&#13;"

        def read(text: str) -> list[tuple[str, dict[str, str]]]:
            return [(node.tag, node.attrib) for node in ElementTree.fromstring(text).iter()]

        for text in (
            f'<x xmlns="{namespace}"/>',
            f'<p:x xmlns:p="{namespace}" p:y="1"><z xmlns=""/></p:x>',
        ):
            seen: list[Element] = []
            stream = ElementStream()
            stream.DocumentStartEvent = lambda root: None
            stream.ElementEvent = seen.append
            stream.parse(b"<s>" + text.encode())
            self.assertEqual(read(seen[0].toXml()), read(text))
