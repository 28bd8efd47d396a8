# Copyright the cmanager authors.
# See LICENSE for details.

"""
One element of a stream over TCP, put where that stream's header is not around it.
Layer 1, pure.

Over TCP an element without an C{xmlns} is in C{jabber:client}, and C{stream} stands for
the namespace of streams, because the header says so.  A C{<body/>} of XEP-0124 and a
message of RFC 7395 have no such header.
"""

from __future__ import annotations

import re

from cmanager.stanza import NS_CLIENT, NS_STREAMS

STREAM_ELEMENTS = (b"<stream:features", b"<stream:error")
"""
How the elements begin that have the prefix C{stream} from the header.
"""

_XMLNS = f' xmlns="{NS_CLIENT}"'.encode()
_XMLNS_STREAM = f' xmlns:stream="{NS_STREAMS}"'.encode()
_NAME = re.compile(rb"<[^\s/>]+")
# An attribute and its value, in which anything may stand.
_OTHER = rb"""\s+(?!%s[\s=])[^\s=/>]++\s*=\s*(?:"[^"]*"|'[^']*')"""
_TO_ATTRIBUTE = rb"<[^\s/>]++(?>(?:" + _OTHER + rb")*)\s+%s[\s=]"
_HAS_XMLNS = re.compile(_TO_ATTRIBUTE % (b"xmlns", b"xmlns"))
_HAS_XMLNS_STREAM = re.compile(_TO_ATTRIBUTE % (b"xmlns:stream", b"xmlns:stream"))


def inClientNamespace(element: bytes) -> bytes:
    """
    Write on an element that it is in C{jabber:client}, unless it says where it is.
    Features and stream errors are left alone: all that is in them says where it is.

    @param element: As it stands in a stream over TCP.
    @return: What may stand where C{xmlns:stream} is declared, and no C{xmlns} counts.
    """
    if element.startswith(STREAM_ELEMENTS) or _HAS_XMLNS.match(element):
        return element
    return _declare(element, _XMLNS)


def selfContained(element: bytes) -> bytes:
    """
    Write on an element which namespaces it is in, the prefix C{stream} included.

    @param element: As it stands in a stream over TCP.
    @return: What may stand anywhere.
    """
    if not element.startswith(STREAM_ELEMENTS):
        return inClientNamespace(element)
    if _HAS_XMLNS_STREAM.match(element):
        return element
    return _declare(element, _XMLNS_STREAM)


def _declare(element: bytes, declaration: bytes) -> bytes:
    name = _NAME.match(element)
    end = name.end() if name else 0
    return element[:end] + declaration + element[end:]
