# Copyright the cmanager authors.
# See LICENSE for details.

"""
Elements: parsed, built, addressed.  Knows no session and no link.

Stanzas are L{domish <twisted.words.xish.domish>} trees without a namespace of their
own inside the server, so that they can be put on any stream.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.protocols.jabber.xmlstream import toResponse
from twisted.words.xish.domish import Element
from wokkel.generic import stripNamespace

from cmanager.stanza import NS_CLIENT, NS_LINK, NS_SERVER, NS_STREAM_ERRORS, NS_STREAMS
from cmanager.tree import ElementStream

__all__ = ["JID", "Element", "StanzaError", "StrictStream"]

NS_DELAY = "urn:xmpp:delay"

JIDS_REMEMBERED = 8192

CONTENT = frozenset({None, "", NS_CLIENT, NS_SERVER, NS_LINK})
"""
Namespaces that mean C{jabber:client} on a link.
"""


class StrictStream(ElementStream):
    """
    A link's XML stream, read without mercy: whatever the scanner of a real server
    stumbles over ends it, so that a front that sends it is found out.

    Raises L{twisted.words.xish.domish.ParserError}.
    """

    maxStanzaSize = 1048576

    def __init__(self) -> None:
        super().__init__()
        parser = self.parser
        if hasattr(parser, "SetReparseDeferralEnabled"):
            parser.SetReparseDeferralEnabled(False)
        parser.CommentHandler = self._refused
        parser.ProcessingInstructionHandler = self._refused
        parser.StartDoctypeDeclHandler = self._refused
        parser.StartCdataSectionHandler = self._refused

    def _refused(self, *ignored: object) -> None:
        raise self.error("a comment, processing instruction, DTD or CDATA section")

    def _onCdata(self, text: str) -> None:
        if self.currElem is None and text.strip():
            raise self.error("text between the elements")
        super()._onCdata(text)


@lru_cache(maxsize=JIDS_REMEMBERED)
def address(text: str) -> JID:
    """
    Parse an address.  Never L{internJID
    <twisted.words.protocols.jabber.jid.internJID>}, which forgets nothing.

    @raise StanzaError: C{jid-malformed}.
    """
    try:
        return JID(text)
    except (InvalidFormat, RuntimeError, UnicodeError):
        raise StanzaError("jid-malformed") from None


def parse(xml: str) -> Element:
    """
    Parse a stanza that was written with C{toXml}.
    """
    # Not wokkel's parseXml, which loses the text of the root.
    roots: list[Element] = []
    stream = ElementStream()
    stream.DocumentStartEvent = lambda root: None
    stream.DocumentEndEvent = lambda: None
    stream.ElementEvent = roots.append
    stream.parse(b"<x>" + xml.encode() + b"</x>")  # type: ignore[no-untyped-call]  # Twisted's
    return freed(roots[0])


def build(
    namespace: str | None, name: str, content: str | None = None, **attributes: str | None
) -> Element:
    """
    Make an element.

    @param attributes: Those that are L{None} are left out; C{from_} stands for C{from}.
    """
    element = Element((namespace, name))
    for key, value in attributes.items():
        if value is not None:
            element[key.rstrip("_")] = value
    if content:
        element.addContent(content)
    return element


def result(iq: Element, *payload: Element) -> Element:
    """
    Answer a request.
    """
    answer: Element = toResponse(iq, "result")
    for child in payload:
        answer.addChild(child)
    return answer


def streamError(condition: str, *, declared: bool = True) -> str:
    """
    Return a stream error.

    @param declared: Whether it declares its prefix itself.
    """
    declaration = f' xmlns:stream="{NS_STREAMS}"' if declared else ""
    return f'<stream:error{declaration}><{condition} xmlns="{NS_STREAM_ERRORS}"/></stream:error>'


def freed(element: Element) -> Element:
    """
    Take a stanza's namespace off, if it is one of L{CONTENT}, down to where another
    begins.
    """
    return stripNamespace(element) if element.uri in CONTENT else element


def payload(iq: Element) -> Element | None:
    """
    Return the child of an iq, if it has one in a namespace of its own.
    """
    child: Element
    for child in iq.elements():
        if child.uri not in CONTENT:
            return child
    return None


def delayed(element: Element, domain: str, seconds: float) -> Element:
    """
    Say since when a stanza has been waiting (XEP-0203).
    """
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    element.addChild(build(NS_DELAY, "delay", from_=domain, stamp=stamp))
    return element
