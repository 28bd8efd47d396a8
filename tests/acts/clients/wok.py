# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client on wokkel and C{twisted.words}, which know the mechanism PLAIN only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.python.failure import Failure
from twisted.words.protocols.jabber import error, xmlstream
from twisted.words.protocols.jabber.client import XMPPAuthenticator
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.sasl import SASLAuthError
from twisted.words.xish.domish import Element
from wokkel.generic import DeferredXmlStreamFactory
from wokkel.subprotocols import StreamManager
from wokkel.xmppim import (
    MessageProtocol,
    PresenceProtocol,
    RosterClientProtocol,
    RosterItem,
)

from tests.acts.clients.player import Company, Player


class Messages(MessageProtocol):  # type: ignore[misc]
    """
    Reports messages.
    """

    def __init__(self, player: Player) -> None:
        super().__init__()
        self.player = player

    def onMessage(self, message: Any) -> None:
        if message.getAttribute("type") != "error" and message.body is not None:
            self.player.tell("message", **{"from": message["from"], "body": str(message.body)})


class Presences(PresenceProtocol):  # type: ignore[misc]
    """
    Reports presence.
    """

    def __init__(self, player: Player) -> None:
        super().__init__()
        self.player = player

    def report(self, presence: Any) -> None:
        kind = presence.stanzaType or "available"
        self.player.tell("presence", **{"from": presence.sender.full(), "type": kind})

    availableReceived = unavailableReceived = report
    subscribeReceived = subscribedReceived = report
    unsubscribeReceived = unsubscribedReceived = report


class WokPlayer(Player):
    """
    See L{Player}.
    """

    def connect(
        self,
        jid: str,
        password: str,
        host: str,
        port: int,
        directTLS: bool,
        authority: str,
        mechanism: str | None,
        source: str | None = None,
    ) -> None:
        assert mechanism in (None, "PLAIN")
        account = JID(jid)
        trust = ssl.trustRootFromCertificates(
            [ssl.Certificate.loadPEM(Path(authority).read_bytes())]
        )
        options = ssl.optionsForClientTLS(account.host, trustRoot=trust)
        authenticator = XMPPAuthenticator(account, password, configurationForTLS=options)
        factory = DeferredXmlStreamFactory(authenticator)
        factory.addBootstrap(xmlstream.STREAM_CONNECTED_EVENT, self.streamConnected)
        factory.addBootstrap(xmlstream.STREAM_ERROR_EVENT, self.streamFailed)
        factory.addBootstrap(xmlstream.STREAM_END_EVENT, self.streamEnded)
        self.condition: str | None = None
        self.roster = RosterClientProtocol()
        self.presences = Presences(self)
        self.manager = StreamManager(factory)
        for protocol in (self.roster, self.presences, Messages(self)):
            protocol.setHandlerParent(self.manager)
        factory.deferred.addCallbacks(
            lambda _: self.tell("online", jid=authenticator.jid.full()), self.loginFailed
        )
        self.directTLS = directTLS
        endpoint = HostnameEndpoint(reactor, host, port, bindAddress=source)
        if directTLS:
            endpoint = wrapClientTLS(options, endpoint)
        endpoint.connect(factory).addErrback(
            lambda failure: self.tell("broken", text=failure.getTraceback())
        )

    def streamConnected(self, stream: Any) -> None:
        self.stream = stream
        if self.directTLS:
            for initializer in stream.initializers:
                if isinstance(initializer, xmlstream.TLSInitiatingInitializer):
                    initializer.wanted = initializer.required = False

    def streamFailed(self, failure: Failure) -> None:
        if failure.check(error.StreamError):
            self.condition = failure.value.condition

    def streamEnded(self, _: object) -> None:
        self.tell("closed", condition=self.condition)

    def loginFailed(self, failure: Failure) -> None:
        if failure.check(SASLAuthError):
            self.tell("refused", condition=failure.value.condition)
            self.close()
        elif failure.check(error.StreamError):
            self.condition = failure.value.condition
        else:
            self.tell("broken", text=failure.getTraceback())

    def broken(self, failure: Failure) -> None:
        """
        Report that a request failed.
        """
        self.tell("broken", text=failure.getTraceback())

    def fetchRoster(self) -> None:
        self.roster.getRoster().addCallbacks(
            lambda roster: self.tell("roster", items=sorted(jid.full() for jid in roster)),
            self.broken,
        )

    def addToRoster(self, jid: str) -> None:
        self.roster.setItem(RosterItem(JID(jid))).addCallbacks(
            lambda _: self.tell("changed"), self.broken
        )

    def presence(self, to: str | None = None, type: str | None = None) -> None:
        stanza = Element((None, "presence"))
        for name, value in (("to", to), ("type", type)):
            if value is not None:
                stanza[name] = value
        self.stream.send(stanza)

    def message(self, to: str, body: str) -> None:
        stanza = Element((None, "message"))
        stanza["to"] = to
        stanza["type"] = "chat"
        stanza.addElement("body", content=body)
        self.stream.send(stanza)

    def ping(self, to: str) -> None:
        request = xmlstream.IQ(self.stream, "get")
        request.addElement(("urn:xmpp:ping", "ping"))
        request.send(to).addCallbacks(lambda _: self.tell("pong"), self.broken)

    def close(self) -> None:
        self.stream.sendFooter()


def main() -> None:
    """
    Run until standard input ends.
    """
    Company(WokPlayer).listen(reactor.callFromThread, reactor.stop)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
