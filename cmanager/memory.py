# Copyright the cmanager authors.
# See LICENSE for details.

"""
What was sent on a link lately, as far as an error that comes back must repeat it.
Layer 1.
"""

from __future__ import annotations

from cmanager.framing import Scanner
from cmanager.stanza import Stanza, StreamHeader, escapeAttribute

REMEMBERED_ROUTES = 1024
"""
How many routes a route error can be matched with.
"""

REMEMBERED_BYTES = 4096
"""
Of a larger stanza not even all attributes are remembered.
"""

_AROUND = StreamHeader(id="memory", from_=None).encode()
_UNBOUNDED = 1 << 30  # it was bounded when it came


def abridged(stanza: Stanza) -> bytes:
    """
    Return what L{Routes <cmanager.routes.Routes>} should remember of a large one.
    """
    parts = [b'<%s xmlns="%s"' % (stanza.name.encode(), escapeAttribute(stanza.namespace))]
    for name in ("id", "to", "type"):
        value = stanza.attributes.get(name)
        if value is not None and len(value) <= REMEMBERED_BYTES:
            parts.append(b' %s="%s"' % (name.encode(), escapeAttribute(value)))
    return b"".join(parts)


def recalled(tag: bytes) -> Stanza:
    """
    Return the stanza, without its content, of which that is remembered.
    """
    scanner = Scanner(1, _UNBOUNDED, maxAttributes=_UNBOUNDED, maxNamespaces=_UNBOUNDED)
    scanner.feed(_AROUND)
    (stanza,) = scanner.feed(tag.removesuffix(b"/") + b"/>")
    assert isinstance(stanza, Stanza), "it was one"
    return Stanza(stanza.name, stanza.namespace, stanza.attributes, b"")
