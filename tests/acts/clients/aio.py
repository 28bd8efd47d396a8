# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client on aioxmpp.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiosasl
import aioxmpp
import aioxmpp.connector
import aioxmpp.dispatcher
import aioxmpp.errors
import aioxmpp.ping
import aioxmpp.roster
import aioxmpp.security_layer
from cryptography.x509 import DNSName, SubjectAlternativeName
from OpenSSL.crypto import X509

from tests.acts.clients.player import Player, perform


class Credentials(aioxmpp.security_layer.PasswordSASLProvider):  # type: ignore[misc]
    """
    One password, tried once, with one mechanism if there is one to choose.
    """

    def __init__(self, password: str, mechanism: str | None) -> None:
        async def provide(_: aioxmpp.JID, attempt: int) -> str:
            return password

        super().__init__(provide, max_auth_attempts=1)
        self.mechanism = mechanism

    def _find_supported(self, features: Any, classes: Any) -> Any:
        offered = features[aioxmpp.security_layer.SASLMechanisms].get_mechanism_list()
        wanted = [name for name in offered if self.mechanism in (None, name)]
        for candidate in classes:
            token = candidate.any_supported(wanted)
            if token is not None:
                return candidate, token
        return None, None


class Verifier(aioxmpp.security_layer.CertificateVerifier):  # type: ignore[misc]
    """
    Checks the chain and the name.  The library's own verifier asks pyOpenSSL for
    extensions, which it no longer knows.
    """

    def verify_callback(
        self, connection: Any, certificate: X509, errno: int, depth: int, holds: int
    ) -> bool:
        if not holds or depth:
            return bool(holds)
        names = certificate.to_cryptography().extensions.get_extension_for_class(
            SubjectAlternativeName
        )
        return connection.get_servername().decode() in names.value.get_values_for_type(DNSName)

    async def pre_handshake(self, domain: str, host: str, port: int, metadata: Any) -> None:
        pass

    async def post_handshake(self, transport: Any) -> None:
        pass


class AioPlayer(Player):
    """
    See L{Player}.
    """

    client: aioxmpp.Client
    tasks: set[asyncio.Task[Any]]

    def connect(
        self,
        jid: str,
        password: str,
        host: str,
        port: int,
        directTLS: bool,
        authority: str,
        mechanism: str | None,
    ) -> None:
        self.tasks = set()
        self.condition: str | None = None

        def context() -> Any:
            made = aioxmpp.security_layer.default_ssl_context()
            made.load_verify_locations(authority)
            return made

        security = aioxmpp.security_layer.SecurityLayer(
            context,
            Verifier,
            True,
            self.credentials(password, mechanism),
        )
        connector = (
            aioxmpp.connector.XMPPOverTLSConnector()
            if directTLS
            else aioxmpp.connector.STARTTLSConnector()
        )
        client = self.client = aioxmpp.Client(
            aioxmpp.JID.fromstr(jid),
            security,
            override_peer=[(host, port, connector)],
            max_initial_attempts=1,
        )
        client.on_stream_established.connect(self.established)
        client.on_stream_suspended.connect(self.suspended)
        client.on_failure.connect(self.failed)
        client.on_stopped.connect(self.stopped)
        messages = client.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
        for kind in (aioxmpp.MessageType.CHAT, aioxmpp.MessageType.NORMAL):
            messages.register_callback(kind, None, self.messageReceived)
        presences = client.summon(aioxmpp.dispatcher.SimplePresenceDispatcher)
        for kind in aioxmpp.PresenceType:
            if kind is not aioxmpp.PresenceType.ERROR:
                presences.register_callback(kind, None, self.presenceReceived)
        client.start()

    def credentials(
        self, password: str, mechanism: str | None
    ) -> tuple[aioxmpp.security_layer.SASLProvider, ...]:
        """
        Return what logs in, the best first.
        """
        return (Credentials(password, mechanism),)

    def established(self) -> None:
        self.tell("online", jid=str(self.client.local_jid))

    def suspended(self, reason: BaseException | None) -> None:
        if isinstance(reason, aioxmpp.errors.StreamError):
            self.condition = reason.condition.value[1]
        # It would connect again by itself.
        self.client.stop()

    def failed(self, error: BaseException) -> None:
        if isinstance(error, aiosasl.SASLError):
            self.tell("refused", condition=error.opaque_error)
        elif not isinstance(error, aioxmpp.errors.StreamError):
            self.tell("broken", text=repr(error))
        self.stopped()

    def stopped(self) -> None:
        self.tell("closed", condition=self.condition)

    def messageReceived(self, message: aioxmpp.Message) -> None:
        self.tell("message", **{"from": str(message.from_), "body": message.body.any()})

    def presenceReceived(self, presence: aioxmpp.Presence) -> None:
        kind = presence.type_.value or "available"
        self.tell("presence", **{"from": str(presence.from_), "type": kind})

    def later(self, coroutine: Any) -> None:
        """
        Run C{coroutine}; what it raises is reported.
        """
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(
            lambda done: done.exception() and self.tell("broken", text=repr(done.exception()))
        )

    def request(self, type: aioxmpp.IQType, payload: Any, to: str | None = None) -> Any:
        """
        Send an IQ; the result is awaited.
        """
        address = aioxmpp.JID.fromstr(to) if to else None
        return self.client.send(aioxmpp.IQ(type_=type, payload=payload, to=address))

    def fetchRoster(self) -> None:
        async def fetch() -> None:
            reply = await self.request(aioxmpp.IQType.GET, aioxmpp.roster.xso.Query())
            self.tell("roster", items=sorted(str(item.jid) for item in reply.items))

        self.later(fetch())

    def addToRoster(self, jid: str) -> None:
        async def add() -> None:
            item = aioxmpp.roster.xso.Item(aioxmpp.JID.fromstr(jid))
            query = aioxmpp.roster.xso.Query()
            query.items.append(item)
            await self.request(aioxmpp.IQType.SET, query)
            self.tell("changed")

        self.later(add())

    def presence(self, to: str | None = None, type: str | None = None) -> None:
        stanza = aioxmpp.Presence(type_=aioxmpp.PresenceType(type))
        if to:
            stanza.to = aioxmpp.JID.fromstr(to)
        self.client.enqueue(stanza)

    def message(self, to: str, body: str) -> None:
        stanza = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=aioxmpp.JID.fromstr(to))
        stanza.body[None] = body
        self.client.enqueue(stanza)

    def ping(self, to: str) -> None:
        async def ping() -> None:
            await self.request(aioxmpp.IQType.GET, aioxmpp.ping.xso.Ping(), to)
            self.tell("pong")

        self.later(ping())

    def close(self) -> None:
        self.client.stop()


if __name__ == "__main__":
    perform(AioPlayer)
