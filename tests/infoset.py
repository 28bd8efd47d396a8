# Copyright the cmanager authors.
# See LICENSE for details.

"""
What an element means, by a parser that is not the program's.
"""

from __future__ import annotations

from lxml import etree

CONTENT = b'<x xmlns="jabber:client">'


def infoset(element: bytes) -> bytes:
    """
    Return the exclusive canonical form of an element in C{jabber:client}.
    """
    return infosetIn(CONTENT, element, b"</x>")


def infosetIn(header: bytes, element: bytes, footer: bytes) -> bytes:
    """
    Return the exclusive canonical form of an element in the scope of a header.
    """
    parser = etree.XMLParser(resolve_entities=False, huge_tree=True)
    (child,) = etree.fromstring(header + element + footer, parser)
    child.tail = None
    return bytes(etree.tostring(child, method="c14n", exclusive=True, with_comments=False))
