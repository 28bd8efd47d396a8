# Copyright the cmanager authors.
# See LICENSE for details.

"""
Behind the proxies of others: the server learns where clients are, and nothing is cut.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.acts.backends import EmbeddedBackend
from tests.acts.case import JULIET, ROMEO, ActCase
from tests.acts.proxies import (
    HAProxyHTTPStage,
    HAProxyStage,
    HAProxyTLSStage,
    NginxBOSHStage,
    NginxStage,
)
from tests.acts.stage import DOMAIN
from tests.acts.test_clients import ClientActs

SILENCE_SECONDS = 92.0
NURSE = f"juliet@{DOMAIN}/nurse"


class AddressActs:
    """
    Clients by a proxy, at home elsewhere; mixed into an L{ActCase}.

    @cvar ways: Programs, and by which transport each comes: C{"tls"} is TCP with TLS at
        once.
    """

    ways: tuple[tuple[str, str], ...] = (
        ("strophe", "websocket"),
        ("strophe", "bosh"),
        ("xmppjs", "websocket"),
    )

    async def test_addresses(self) -> None:
        """
        The server learns where they are, whatever they say, and they reach each other.
        """
        backend = self.stage.backend
        assert isinstance(backend, EmbeddedBackend) and backend.server is not None
        clients = []
        for number, (program, transport) in enumerate(self.ways):
            self.stage.transport = transport
            address = f"romeo@{DOMAIN}/{number}"
            isTLS = transport == "tls"
            clients.append(await self.stage.online(program, address, directTLS=isTLS))
        self.assertEqual(
            [session.peer for session in backend.server.sessions],
            [self.stage.source] * len(self.ways),
        )
        for number, receiver in enumerate(clients):
            clients[number - 1].order("message", to=f"romeo@{DOMAIN}/{number}", body="Soft!")
            await receiver.expect("message", body="Soft!")


class NginxAddressTests(AddressActs, ActCase):
    """
    nginx, which ends TLS.
    """

    stageType = NginxStage


class HAProxyAddressTests(AddressActs, ActCase):
    """
    HAProxy, which passes TLS through, and begins with the PROXY protocol.
    """

    stageType = HAProxyStage
    ways = (("wok", "tcp"), ("wok", "tls"), *AddressActs.ways)


class HAProxyTLSAddressTests(AddressActs, ActCase):
    """
    HAProxy, which ends TLS and says so in the PROXY protocol.
    """

    stageType = HAProxyTLSStage


class HAProxyHTTPAddressTests(AddressActs, ActCase):
    """
    HAProxy, which ends TLS and reads HTTP.
    """

    stageType = HAProxyHTTPStage


class NginxTests(ClientActs, ActCase):
    """
    All that clients do by WebSocket works through nginx.
    """

    program = "strophe"
    mechanisms = ("SCRAM-SHA-256",)
    stageType = NginxStage


class NginxBOSHTests(NginxTests):
    """
    All that they do by BOSH does, too.
    """

    stageType = NginxBOSHStage


class ImpatientNginxStage(NginxStage):
    """
    nginx with the time-out it has by itself: a minute.
    """

    changes = {"    proxy_read_timeout 90s;\n": ""}


class SilenceTests(ActCase):
    """
    People who say nothing for long.
    """

    stageType = ImpatientNginxStage

    async def test_silence(self) -> None:
        """
        A WebSocket through nginx stays, also where neither side says anything for longer
        than nginx would wait; a BOSH session does.
        """
        romeo = await self.stage.online("strophe", ROMEO)
        juliet = await self.stage.online("xmppjs", JULIET)
        self.stage.transport = "bosh"
        nurse = await self.stage.online("strophe", NURSE)
        await deferLater(reactor, SILENCE_SECONDS)
        ring = ((romeo, juliet, JULIET), (juliet, nurse, NURSE), (nurse, romeo, ROMEO))
        for one, other, address in ring:
            one.order("message", to=address, body="I have forgot why I did call thee back")
            await other.expect("message")
        for actor in (romeo, juliet, nurse):
            self.assertEqual(actor.events, [])
