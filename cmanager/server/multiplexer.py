# Copyright the cmanager authors.
# See LICENSE for details.

"""
One link, from the server's end: header, TLS, handshake, configuration, and the end
of it.  What stands on the link afterwards is L{cmanager.server.management}'s.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from enum import Enum
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.xish.domish import ParserError

from cmanager.linkevents import TLSPolicy
from cmanager.server.configuration import configurationOf
from cmanager.server.elements import Element, StrictStream, streamError
from cmanager.server.management import LinkFatal
from cmanager.stanza import FOOTER, NS_LINK, NS_STREAMS, NS_TLS, escapeAttribute

if TYPE_CHECKING:
    from cmanager.server.service import Server

NS_COMPRESS = "http://jabber.org/protocol/compress"

MAX_QUEUED_BYTES = 5242880
"""
What may wait for a manager that does not read; it loses the link then, as it would
with Openfire 4.0 to 4.7.
"""


class Habits(Enum):
    """
    Whose manners the server has on the wire.

    4.2 announces the end of bound sessions, the others do not; 4.8 sends SASL elements
    and stream errors as escaped text.  Our own are those of 4.2, with the extensions
    C{urn:cmanager:tls:0} and C{urn:cmanager:stream:0}, and a configuration that has
    changed is sent again.
    """

    OPENFIRE_4_2 = "openfire-4.2"
    OPENFIRE_4_7 = "openfire-4.7"
    OPENFIRE_4_8 = "openfire-4.8"
    OWN = "own"

    @property
    def announcesEnds(self) -> bool:
        """
        A close request is sent for a bound session too.
        """
        return self in (Habits.OPENFIRE_4_2, Habits.OWN)

    @property
    def isRecent(self) -> bool:
        """
        4.8 or later.
        """
        return self is Habits.OPENFIRE_4_8

    @property
    def hasExtensions(self) -> bool:
        """
        The extensions are announced.
        """
        return self is Habits.OWN


class State(Enum):
    """
    Of a link.
    """

    OPENING = "opening"
    UNPROVEN = "unproven"
    READY = "ready"
    CLOSED = "closed"


def handshakeDigest(id: str, secret: str) -> str:
    """
    Return what the manager has to answer.  Computed here apart from the front, which
    it judges.
    """
    return hashlib.sha1(id.encode() + secret.encode(), usedforsecurity=False).hexdigest()


class Link(Protocol):
    """
    One link.

    @ivar name: Its address, C{manager/link}; C{""} before the header.
    @ivar manager: The manager's name.
    @ivar id: The stream ID, which the handshake is over; the same after TLS.
    @ivar lastHeard: When anything came in last.
    """

    log = Logger()
    noisy = False

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stream = self._newStream()
        self.state = State.OPENING
        self.name = self.manager = self.id = ""
        self.lastHeard = server.clock.seconds()
        self._secure = False
        self._waits = False
        self._queued = 0

    @property
    def isReady(self) -> bool:
        """
        The handshake was right.
        """
        return self.state is State.READY

    def _newStream(self) -> StrictStream:
        stream = StrictStream()
        stream.DocumentStartEvent = lambda root: self._opened(stream, root)
        stream.ElementEvent = lambda element: self._received(stream, element)
        stream.DocumentEndEvent = self.drop
        return stream

    def connectionMade(self) -> None:
        """
        A manager has connected.
        """
        self._server.connections.add(self)
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]  # connected

    def dataReceived(self, data: bytes) -> None:
        """
        Read.  Whatever is wrong ends the link.
        """
        if self.state is State.CLOSED:
            return
        self.lastHeard = self._server.clock.seconds()
        if self._server.onBytes is not None:
            self._server.onBytes(self, data)
        stream = self._stream
        try:
            stream.parse(data)  # type: ignore[no-untyped-call]  # Twisted's
        except ParserError as error:
            tooLarge = stream.stanzaSize > stream.maxStanzaSize
            self.log.warn("{link}: {error}", link=self.name, error=str(error))
            self.fail("policy-violation" if tooLarge else "xml-not-well-formed")
        except LinkFatal as error:
            self.log.warn("{link}: {error}", link=self.name, error=str(error))
            self.drop()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        The link is gone.
        """
        self._end()

    def _end(self) -> None:
        self.state = State.CLOSED
        self._server.linkLost(self)

    # The header

    def _opened(self, stream: StrictStream, root: Element) -> None:
        if self.state is State.CLOSED or stream is not self._stream:
            return
        if self._secure:
            self._answerHeader(self._server.domain, lang="en")
            return
        if (root.uri, root.name, root.defaultUri) != (NS_STREAMS, "stream", NS_LINK):
            self.id = secrets.token_hex(4)
            self._refuseHeader("invalid-namespace", root.getAttribute("to"), self.id)
            return
        name = root.getAttribute("to")
        if name is None:
            self._refuseHeader("bad-format", None, None)
            return
        try:
            jid = JID(name)
        except (InvalidFormat, RuntimeError, UnicodeError):
            self.drop()
            return
        if not self._server.settings.secret:
            self._refuseHeader("internal-server-error", name, None)
            return
        self.name, self.manager, self.id = name, jid.host, secrets.token_hex(4)
        self.state = State.UNPROVEN
        self._server.managers.add(self)
        self._answerHeader(name)

    def _header(self, from_: str | None, id: str | None, lang: str | None = None) -> str:
        recent = self._server.settings.habits.isRecent
        declaration = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            if recent
            else "<?xml version='1.0' encoding='UTF-8'?>"
        )
        attributes = [("from", from_), ("id", id), ("xml:lang", lang), ("version", "1.0")]
        text = "".join(
            f' {name}="{escapeAttribute(value).decode()}"' for name, value in attributes if value
        )
        head = f'<stream:stream xmlns:stream="{NS_STREAMS}" xmlns="{NS_LINK}"{text}'
        return declaration + head + (">" if recent else " >")

    def _answerHeader(self, from_: str, lang: str | None = None) -> None:
        policy = TLSPolicy.DISABLED if self._secure else self._server.settings.linkTLS
        starttls = "<required/>" if policy is TLSPolicy.REQUIRED else ""
        if policy is not TLSPolicy.DISABLED:
            starttls = f'<starttls xmlns="{NS_TLS}">{starttls}</starttls>'
        features = f"<stream:features>{starttls}</stream:features>"
        header = self._header(from_, self.id, lang)
        if self._server.settings.habits.isRecent:
            self.write(header + features)
        else:
            self.write(header)
            self.write(features)

    def _refuseHeader(self, condition: str, from_: str | None, id: str | None) -> None:
        """
        COMPAT Openfire >= 4.8 tells no reason: there is no session yet to write it.
        """
        recent = self._server.settings.habits.isRecent
        self.write(self._header(from_ or (None if recent else "null"), id))
        if recent and id is None:
            self.drop()
        else:
            self.fail(condition)

    # The elements

    def _received(self, stream: StrictStream, element: Element) -> None:
        if self.state is State.CLOSED:
            return
        if stream is not self._stream:
            raise LinkFatal("something behind <starttls/>")
        name = element.name
        required = self._server.settings.linkTLS is TLSPolicy.REQUIRED
        if name == "starttls" and element.uri == NS_TLS:
            self._startTLS()
        elif required and not self._secure:
            self.fail("not-authorized")
        elif name == "handshake" and self.state is State.UNPROVEN:
            self._handshake(str(element))
        elif name == "route":
            self._server.management.route(self, element)
        elif name == "iq":
            self._server.management.iq(self, element)
        elif name == "compress" and element.uri == NS_COMPRESS:
            self.write(f'<failure xmlns="{NS_COMPRESS}"><setup-failed/></failure>')
        elif name == "error" and element.uri == NS_STREAMS:
            self.drop()
        else:
            raise LinkFatal(f"an element that has no place on a link: {name}")

    def _startTLS(self) -> None:
        settings = self._server.settings
        if settings.linkTLS is TLSPolicy.DISABLED or self._secure:
            self.fail("not-authorized")
            return
        self._stream = self._newStream()
        self._secure = True
        self.write(f'<proceed xmlns="{NS_TLS}"/>')
        self.transport.startTLS(settings.linkCertificate)  # type: ignore[union-attr]  # TCP

    def _handshake(self, answer: str) -> None:
        wanted = handshakeDigest(self.id, self._server.settings.secret)
        if not hmac.compare_digest(answer.strip().lower().encode(), wanted.encode()):
            self.log.warn("{link}: the secret is wrong", link=self.name)
            self.fail("not-authorized")
            return
        self.state = State.READY
        self.write("<handshake></handshake>")
        self.configure()
        self.log.info("{link}: ready", link=self.name)

    # What goes out

    def configure(self) -> None:
        """
        Tell the manager what to offer.
        """
        server = self._server
        domains = {server.domain: server.configuration, **server.domains}
        iqID = server.newID()
        self.write(configurationOf(server.configuration, iqID, server.offer, domains))

    def write(self, xml: str) -> None:
        """
        Send; after the end, to no effect.
        """
        if self.state is State.CLOSED:
            return
        content = xml.encode()
        self.transport.write(content)  # type: ignore[union-attr]  # connected
        if self._waits:
            self._queued += len(content)
            if self._queued > MAX_QUEUED_BYTES:
                self.log.warn("{link}: does not read", link=self.name)
                self.cut()

    def pauseProducing(self) -> None:
        """
        The manager does not read at once.
        """
        self._waits = True

    def resumeProducing(self) -> None:
        """
        All has gone out.
        """
        self._waits = False
        self._queued = 0

    def stopProducing(self) -> None:
        """
        The transport is gone.
        """

    def fail(self, condition: str) -> None:
        """
        End the link, with a reason.
        """
        # COMPAT Openfire <= 4.7 relies on the prefix of the header.
        self.write(streamError(condition, declared=self._server.settings.habits.isRecent))
        self.write(FOOTER.decode())
        self.drop()

    def drop(self) -> None:
        """
        End the link, without.
        """
        if self.state is State.CLOSED:
            return
        self._end()
        self.transport.unregisterProducer()  # type: ignore[union-attr]  # connected
        self.transport.loseConnection()  # type: ignore[union-attr]

    def cut(self) -> None:
        """
        Drop the connection as a broken cable does.
        """
        self._end()
        self.transport.abortConnection()  # type: ignore[union-attr]  # TCP

    def stopReading(self) -> None:
        """
        Be a black hole: for tests.
        """
        self.transport.pauseProducing()  # type: ignore[union-attr]  # TCP


class LinkFactory(Factory):
    """
    Makes links.
    """

    noisy = False

    def __init__(self, server: Server) -> None:
        self._server = server

    def buildProtocol(self, address: Any) -> Link | None:
        """
        See L{twisted.internet.interfaces.IProtocolFactory}.
        """
        server = self._server
        return Link(server) if len(server.connections) < server.settings.links else None
