# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client on slixmpp.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import slixmpp

from tests.acts.clients.player import Player, perform

STUCK_SECONDS = 0.5


class SlixPlayer(Player):
    """
    See L{Player}.
    """

    client: slixmpp.ClientXMPP

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
        client = self.client = slixmpp.ClientXMPP(jid, password, sasl_mech=mechanism)
        client.register_plugin("xep_0199")
        client.auto_authorize = None
        client.auto_subscribe = False
        client.ca_certs = Path(authority)
        client.enable_direct_tls = directTLS
        client.enable_starttls = not directTLS
        self.condition: str | None = None
        client.add_event_handler("session_start", self.sessionStarted)
        client.add_event_handler("failed_auth", self.authFailed)
        client.add_event_handler("stream_error", self.streamFailed)
        client.add_event_handler("disconnected", self.disconnected)
        client.add_event_handler("message", self.messageReceived)
        client.add_event_handler("presence", self.presenceReceived)
        self.prepare(client)
        client.connect(host, port)

    def prepare(self, client: slixmpp.ClientXMPP) -> None:
        """
        Called with each new client before it connects.
        """

    def sessionStarted(self, _: object) -> None:
        self.tell("online", jid=str(self.client.boundjid))

    def authFailed(self, stanza: Any) -> None:
        self.tell("refused", condition=stanza["condition"])
        self.client.disconnect()

    def streamFailed(self, error: Any) -> None:
        self.condition = error["condition"]

    def disconnected(self, _: object) -> None:
        self.tell("closed", condition=self.condition)

    def messageReceived(self, stanza: Any) -> None:
        if stanza["type"] != "error":
            self.tell("message", **{"from": str(stanza["from"]), "body": stanza["body"]})

    def presenceReceived(self, stanza: Any) -> None:
        kind = stanza.xml.get("type") or "available"
        self.tell("presence", **{"from": str(stanza["from"]), "type": kind})

    def later(self, coroutine: Any) -> None:
        """
        Run C{coroutine}; what it raises is reported.
        """
        task = asyncio.ensure_future(coroutine)
        task.add_done_callback(
            lambda done: done.exception() and self.tell("broken", text=repr(done.exception()))
        )

    def rosterIQ(self, type: str) -> Any:
        """
        Make an IQ with an empty roster query.
        """
        request = self.client.make_iq(ito=None, itype=type)
        request.enable("roster")
        return request

    def fetchRoster(self) -> None:
        async def fetch() -> None:
            # Not get_roster(), which gets nothing where its version is the newest.
            reply = await self.rosterIQ("get").send()
            self.tell("roster", items=sorted(str(jid) for jid in reply["roster"]["items"]))

        self.later(fetch())

    def addToRoster(self, jid: str) -> None:
        async def add() -> None:
            request = self.rosterIQ("set")
            request["roster"]["items"] = {slixmpp.JID(jid): {}}
            await request.send()
            self.tell("changed")

        self.later(add())

    def presence(self, to: str | None = None, type: str | None = None) -> None:
        self.client.send_presence(pto=to, ptype=type)

    def message(self, to: str, body: str) -> None:
        self.client.send_message(mto=to, mbody=body, mtype="chat")

    def ping(self, to: str) -> None:
        async def ping() -> None:
            await self.client["xep_0199"].send_ping(slixmpp.JID(to))
            self.tell("pong")

        self.later(ping())

    def close(self) -> None:
        self.client.disconnect()

    def stopReading(self) -> None:
        """
        Let the server's bytes lie.
        """
        self.client.transport.pause_reading()
        self.tell("changed")

    def readOn(self) -> None:
        """
        Read again.
        """
        self.client.transport.resume_reading()

    def watchSending(self) -> None:
        """
        Report when nothing has gone out for a while of what is to be sent.
        """

        async def watch() -> None:
            before, left = -1, 0
            while left != before or not left:
                await asyncio.sleep(STUCK_SECONDS)
                before, left = left, self.client.transport.get_write_buffer_size()
            self.tell("stuck", left=left)

        self.later(watch())


if __name__ == "__main__":
    perform(SlixPlayer)
