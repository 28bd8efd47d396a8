# Copyright the cmanager authors.
# See LICENSE for details.

"""
The token that unfinished input ends in.  Layer 1, pure.

Expat reads an unfinished token anew with each call, so that many small reads of a
large start tag would cost the square of its length.  L{OpenMarkup} tells whether new
bytes can finish the token, in one pass over them; until they can, the scanner keeps
them to itself.  It is wrong at most in saying that they can.
"""

from __future__ import annotations

import re

from cmanager.errors import StreamError

# Stops before what is not part of an open tag: its end, or a quote that is not closed.
_IN_TAG = re.compile(rb"""[^"'<>]*+(?>(?:"[^"<]*+"[^"'<>]*+|'[^'<]*+'[^"'<>]*+)*)""")
# No well-formed quoted value holds "<": where one stands, something else was open.
_ENDS = {b'"': re.compile(rb'["<]'), b"'": re.compile(rb"['<]"), b"&": re.compile(rb"[;<]")}
_HEAD_BYTES = 9
_CDATA = b"<![CDATA["
_DECLARATION = b"<?xml"


class OpenMarkup:
    """
    The tag or reference that the input has begun and not finished.

    @ivar isOpen: There is one.
    """

    __slots__ = ("_head", "_strict", "_within", "isOpen")

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self.isOpen = False
        # b"" in a tag, b"&" in a reference, or the quote a value began with.
        self._within = b""
        self._head = b""

    def begin(self, token: bytes | bytearray, inProlog: bool) -> None:
        """
        Start from what a parser has not been able to use.

        @param token: The beginning of a token, or nothing.
        @param inProlog: No start tag has been read: an XML declaration may come.
        @raise StreamError: C{restricted-xml} where a comment, a processing instruction
            or a DTD has begun: nobody need wait for its end.
        """
        self.isOpen = False
        if token[:1] == b"<":
            self._head = bytes(token[:_HEAD_BYTES])
            self._refuse(inProlog)
            self._within = b""
            self.isOpen = not self._canEnd(token, 1)
        elif token[:1] == b"&":
            self._within = b"&"
            self.isOpen = True

    def goOn(self, data: bytes, inProlog: bool) -> bool:
        """
        Follow the token that is open through C{data}.

        @return: L{False} if C{data} cannot finish it.  After L{True}, L{begin} anew.
        @raise StreamError: As L{begin}.
        """
        if len(self._head) < _HEAD_BYTES and self._within != b"&":
            self._head += data[: _HEAD_BYTES - len(self._head)]
            self._refuse(inProlog)
        return self._canEnd(data, 0)

    def _canEnd(self, data: bytes | bytearray, position: int) -> bool:
        while True:
            if self._within:
                found = _ENDS[self._within].search(data, position)
                if found is None:
                    return False
                position = found.start()
                if data[position] in b"<;":
                    return True
                self._within = b""
                position += 1
            found = _IN_TAG.match(data, position)
            assert found is not None, "matches the empty string"
            position = found.end()
            if position == len(data):
                return False
            if data[position] in b"<>":
                return True
            self._within = bytes(data[position : position + 1])
            position += 1

    def _refuse(self, inProlog: bool) -> None:
        head = self._head
        if not self._strict:
            return
        if head.startswith(b"<!"):
            allowed = _CDATA
        elif head.startswith(b"<?"):
            allowed = _DECLARATION if inProlog else b""
        else:
            return
        if not (allowed.startswith(head) or (head.startswith(allowed) and allowed)):
            raise StreamError("restricted-xml")
