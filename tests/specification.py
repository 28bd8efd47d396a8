# Copyright the cmanager authors.
# See LICENSE for details.

"""
What C{docs/connection-manager-protocol.rst} says, for tests: its schemas and its examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lxml import etree

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "connection-manager-protocol.rst"

_BLOCK = re.compile(r"::\n\n((?:    .*\n|\n)+)")
LINK = (
    '<w:link xmlns:w="urn:x-tests" xmlns="jabber:connectionmanager"'
    ' xmlns:stream="http://etherx.jabber.org/streams">%s</w:link>'
)
"""
What stands around all that is written on a link.
"""

MANAGEMENT = "http://jabber.org/protocol/connectionmanager"
STANZAS = ("iq", "message", "presence")


@cache
def blocks() -> tuple[str, ...]:
    """
    Return all that is set apart in the document.
    """
    return tuple(_BLOCK.findall(DOCUMENT.read_text()))


@cache
def schemas() -> dict[str, etree.XMLSchema]:
    """
    Return its schemas, each by the namespace it is of.
    """
    found = [etree.fromstring(block) for block in blocks() if "<xs:schema" in block]
    return {tree.get("targetNamespace"): etree.XMLSchema(tree) for tree in found}


def faults(xml: str | bytes) -> list[str]:
    """
    Return what is not as the schemas have it, in C{xml} and at any depth of it.
    """
    found = []
    for element in etree.fromstring(xml).iter(etree.Element):
        name, parent = etree.QName(element), element.getparent()
        schema = schemas().get(name.namespace)
        isInside = parent is not None and name.namespace == etree.QName(parent).namespace
        if schema is None or isInside or name.localname in STANZAS:
            continue
        # By itself, and what it inherits from links taken along.
        if not schema.validate(etree.fromstring(etree.tostring(element, with_tail=False))):
            found += [str(error.message) for error in schema.error_log]
    return found


def examples() -> Iterator[str]:
    """
    Return its examples, with something in the place of each ellipsis.
    """
    for block in blocks():
        if "<xs:schema" in block or not block.strip().startswith("<"):
            continue
        for open_, closed in (
            ('"7ad2…"', f'"{"7ad2" * 16}"'),
            # The one that an error repeats, because it has no id.
            (">…</session>", ' id="1"><close/></session>'),
            ("MIIB…", "MIIB"),
            ("…", ""),
            # One stands by itself.
            ("    <create>\n      <host", f'<session xmlns="{MANAGEMENT}" id="1"><create>\n<host'),
            ("\n    </create>", "</create></session>"),
        ):
            block = block.replace(open_, closed)
        if "<stream:stream" in block:
            block = re.sub(r"<stream:stream[^>]*>", "", block)
        yield LINK % block
