# Copyright the cmanager authors.
# See LICENSE for details.

"""
Elements parsed to domish trees, for the few that look inside a stanza.  Layer 0;
knows nothing of XMPP.
"""

from __future__ import annotations

import pyexpat

from twisted.words.xish.domish import ExpatElementStream

_SEPARATOR = "\x0c"
"""
Between namespace and name, inside of expat: a character that XML does not have.
"""

_ESCAPES = (
    ("&", "&amp;"),
    ("<", "&lt;"),
    (">", "&gt;"),
    ("'", "&apos;"),
    ('"', "&quot;"),
    ("\t", "&#9;"),
    ("\n", "&#10;"),
    ("\r", "&#13;"),
)


def _escapedName(name: str) -> str:
    for character, reference in _ESCAPES:
        name = name.replace(character, reference)
    return name.replace(_SEPARATOR, " ")


class ElementStream(ExpatElementStream):
    """
    An XML stream in which a namespace may hold anything.

    Twisted's own separates it from the name with a space, which expat then takes for an
    error in the namespace; and its serialiser writes namespaces as they are, so that
    they are kept escaped.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        parser = pyexpat.ParserCreate("UTF-8", _SEPARATOR)
        parser.StartElementHandler = self._onStartElement
        parser.EndElementHandler = self._onEndElement
        parser.CharacterDataHandler = self._onCdata
        parser.StartNamespaceDeclHandler = self._onStartNamespace
        parser.EndNamespaceDeclHandler = self._onEndNamespace
        self.parser = parser

    def _onStartElement(self, name: str, attributes: dict[str, str]) -> None:
        attributes = {_escapedName(key): value for key, value in attributes.items()}
        super()._onStartElement(_escapedName(name), attributes)  # type: ignore[no-untyped-call]  # Twisted's

    def _onStartNamespace(self, prefix: str | None, uri: str | None) -> None:
        super()._onStartNamespace(prefix, uri and _escapedName(uri))  # type: ignore[no-untyped-call]  # Twisted's

    def _onCdata(self, text: str) -> None:
        super()._onCdata(text)  # type: ignore[no-untyped-call]  # Twisted's
