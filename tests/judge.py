# Copyright the cmanager authors.
# See LICENSE for details.

"""
A strict judge of what goes up a link: a character scanner like the server's, and
expat beside it.

Shares no code with the program.  It is stricter than any one server: it knows the
flaws of all of them, and a byte that I{some} server would stumble over is an error.
"""

from __future__ import annotations

from xml.parsers import expat

SERVER_BUFFER_CHARACTERS = 1048576
FOOTER = b"</stream:stream>"

_WHITE = b" \t\r\n"
_NAMED = {"amp", "lt", "gt", "quot", "apos"}
_LONGEST_REFERENCE = 12

(
    _OUTSIDE,
    _OPENED,
    _NAME,
    _END_NAME,
    _GAP,
    _ATTRIBUTE,
    _EQUALS,
    _VALUE,
    _BEHIND_VALUE,
    _SLASH,
    _TEXT,
    _REFERENCE,
    _DECLARATION,
    _OVER,
) = range(14)


def isCharacter(code: int) -> bool:
    """
    Return whether XML 1.0 has such a character.
    """
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or 0x10000 <= code <= 0x10FFFF
    )


class LinkJudge:
    """
    Reads all the bytes of one link stream, from its header on.

    @ivar elements: The elements directly in the stream, as they came.
    """

    def __init__(
        self,
        *,
        limit: int = SERVER_BUFFER_CHARACTERS,
        maxDepth: int = 136,
        bmpOnly: bool = False,
    ) -> None:
        self.elements: list[bytes] = []
        self._limit = limit
        self._maxDepth = maxDepth
        self._bmpOnly = bmpOnly
        self._offset = 0
        self._state = _OUTSIDE
        self._isOpen = False
        self._element = bytearray()
        self._name = bytearray()
        self._names: list[bytes] = []
        self._reference = bytearray()
        self._behindReference = _TEXT

    def feed(self, data: bytes) -> None:
        """
        Judge some more bytes.

        @raise AssertionError: It names the rule that is broken, and the offset.
        """
        for byte in data:
            self._byte(byte)
            self._offset += 1

    def end(self) -> None:
        """
        The stream is over: nothing may be incomplete.
        """
        if self._state == _OVER:
            return
        self._assert(self._state == _OUTSIDE and not self._element, "an incomplete element")

    def _assert(self, holds: bool, rule: str) -> None:
        if not holds:
            tail = bytes(self._element[-60:])
            raise AssertionError(f"{rule}, at offset {self._offset}, behind {tail!r}")

    def _byte(self, byte: int) -> None:
        self._assert(byte >= 0x20 or byte in b"\t\n\r", "a control character")
        state = self._state
        if state == _OVER:
            self._assert(False, "something behind the end of the stream")
        if state == _OUTSIDE:
            if byte in _WHITE:
                return
            self._assert(byte == 0x3C, "text outside of elements")
        self._element.append(byte)
        self._assert(len(self._element) <= 4 * self._limit, "an element is too large")
        self._state = getattr(self, _STEPS[state])(byte)

    def _outside(self, byte: int) -> int:
        return _OPENED

    def _opened(self, byte: int) -> int:
        self._name = bytearray()
        if byte == 0x2F:
            return _END_NAME
        self._assert(byte != 0x21, "a comment, CDATA section or DTD")
        if byte == 0x3F:
            self._assert(not self._isOpen and self._element == b"<?", "a processing instruction")
            return _DECLARATION
        return self._inName(byte)

    def _declaration(self, byte: int) -> int:
        if not self._element.endswith(b"?>"):
            return _DECLARATION
        self._assert(self._element.startswith(b"<?xml "), "a processing instruction")
        self._element = bytearray()
        return _OUTSIDE

    def _nameByte(self, byte: int) -> None:
        self._assert(
            byte not in b" \t\r\n\"'<>&=/!?", "in a tag, something that belongs in no name there"
        )
        self._name.append(byte)

    def _inName(self, byte: int) -> int:
        if byte in b" />" and self._name:
            self._names.append(bytes(self._name))
            self._assert(len(self._names) <= self._maxDepth, "elements are nested too deeply")
            return self._afterAttributes(byte)
        self._nameByte(byte)
        return _NAME

    def _afterAttributes(self, byte: int) -> int:
        if byte == 0x20:
            return _GAP
        if byte == 0x2F:
            return _SLASH
        self._assert(byte == 0x3E, "in a tag, something but one space, / or >")
        return self._tagDone()

    def _gap(self, byte: int) -> int:
        self._name = bytearray()
        self._nameByte(byte)
        return _ATTRIBUTE

    def _attribute(self, byte: int) -> int:
        if byte == 0x3D:
            return _EQUALS
        self._nameByte(byte)
        return _ATTRIBUTE

    def _equals(self, byte: int) -> int:
        self._assert(byte == 0x22, "an attribute without double quotes")
        return _VALUE

    def _value(self, byte: int) -> int:
        if byte == 0x22:
            return _BEHIND_VALUE
        self._assert(byte not in b"<>", "< or > in an attribute")
        self._assert(byte not in b"\t\n\r", "bare white space in an attribute")
        return self._maybeReference(byte, _VALUE)

    def _behindValue(self, byte: int) -> int:
        return self._afterAttributes(byte)

    def _slash(self, byte: int) -> int:
        self._assert(byte == 0x3E, "something between / and >")
        self._names.pop()
        return self._elementDone()

    def _endName(self, byte: int) -> int:
        if byte != 0x3E:
            self._nameByte(byte)
            return _END_NAME
        if self._element == FOOTER:
            self._assert(self._isOpen, "an end without a header")
            return _OVER
        self._assert(bool(self._names), "an end tag of nothing")
        self._assert(self._names.pop() == self._name, "an end tag of another element")
        return self._elementDone()

    def _tagDone(self) -> int:
        if not self._isOpen:
            self._assert(self._names == [b"stream:stream"], "a stream that is none")
            self._characters(self._element)
            self._parse(bytes(self._element) + FOOTER)
            self._isOpen = True
            self._names.pop()
            self._element = bytearray()
            return _OUTSIDE
        return _TEXT

    def _elementDone(self) -> int:
        if self._names:
            return _TEXT
        self._assert(self._isOpen, "an element before the header")
        element = bytes(self._element)
        self._characters(element)
        self._parse(element)
        self.elements.append(element)
        self._element = bytearray()
        return _OUTSIDE

    def _text(self, byte: int) -> int:
        if byte == 0x3C:
            return _OPENED
        self._assert(byte != 0x3E, "> in text")
        self._assert(byte != 0x0D, "a bare carriage return")
        return self._maybeReference(byte, _TEXT)

    def _maybeReference(self, byte: int, state: int) -> int:
        if byte != 0x26:
            return state
        self._behindReference = state
        self._reference = bytearray()
        return _REFERENCE

    def _inReference(self, byte: int) -> int:
        if byte != 0x3B:
            self._reference.append(byte)
            self._assert(len(self._reference) <= _LONGEST_REFERENCE, "a reference without an end")
            return _REFERENCE
        name = self._reference.decode("ascii", "replace")
        if name.startswith("#"):
            digits, base = (name[2:], 16) if name[1:2] == "x" else (name[1:], 10)
            try:
                code = int(digits, base)
            except ValueError:
                code = 0
            self._assert(isCharacter(code), "a reference to no character")
            self._assert(not self._bmpOnly or code <= 0xFFFF, "an astral character")
        else:
            self._assert(name in _NAMED, "a reference to an entity")
        return self._behindReference

    def _characters(self, element: bytes | bytearray) -> None:
        try:
            text = element.decode("utf-8")
        except UnicodeDecodeError:
            self._assert(False, "malformed UTF-8")
            raise
        self._assert(all(isCharacter(ord(c)) for c in text), "no character of XML")
        astral = sum(c > "\uffff" for c in text)
        self._assert(not (astral and self._bmpOnly), "an astral character")
        self._assert(len(text) + astral < self._limit, "an element is too large")

    def _parse(self, document: bytes) -> None:
        try:
            expat.ParserCreate("UTF-8", "\x0c").Parse(document, True)
        except expat.ExpatError as error:
            self._assert(False, f"not well-formed on its own ({error})")


_STEPS = {
    _OUTSIDE: "_outside",
    _OPENED: "_opened",
    _NAME: "_inName",
    _END_NAME: "_endName",
    _GAP: "_gap",
    _ATTRIBUTE: "_attribute",
    _EQUALS: "_equals",
    _VALUE: "_value",
    _BEHIND_VALUE: "_behindValue",
    _SLASH: "_slash",
    _TEXT: "_text",
    _REFERENCE: "_inReference",
    _DECLARATION: "_declaration",
}
