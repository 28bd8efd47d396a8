# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client on slixmpp that makes use of what a large server offers.

Its happenings beyond those of L{tests.acts.clients.player}:

  - C{registered}: the server has made the account.
  - C{pushed}: C{items}, subscriptions by bare JID, of a roster push.
  - C{entered}: C{nick}; all that comes with entering a room has come.
  - C{occupant}: C{from}, C{type} of presence in a room.
  - C{said}: C{from}, C{body} in a room.
  - C{carbon}: C{way} (C{sent} or C{received}), C{from}, C{to}, C{body}.
  - C{archive}: C{pages}, each a list of bodies.
  - C{published}, and then C{avatar} at contacts: C{from}, C{id}.
  - C{picture}: C{id}, of the bytes that came; C{size} of them.
  - C{blocked}, C{unblocked}: C{items}, bare JIDs, of a push.
  - C{bounced}: C{from}, C{condition} of a message that came back.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import slixmpp
from slixmpp.exceptions import IqError

from tests.acts.clients.player import perform
from tests.acts.clients.slix import SlixPlayer

PLUGINS = (
    "xep_0030",
    "xep_0045",
    "xep_0059",
    "xep_0077",
    "xep_0084",
    "xep_0115",
    "xep_0191",
    "xep_0203",
    "xep_0280",
    "xep_0313",
)


class RichPlayer(SlixPlayer):
    """
    See L{SlixPlayer}.
    """

    registers = False

    def prepare(self, client: slixmpp.ClientXMPP) -> None:
        for name in PLUGINS:
            client.register_plugin(name)
        client["xep_0077"].create_account = self.registers
        client.add_event_handler("register", self.register)
        client.add_event_handler("groupchat_presence", self.occupantSeen)
        client.add_event_handler("message_error", self.messageBounced)
        client.add_event_handler("roster_update", self.rosterPushed)
        client.add_event_handler("carbon_sent", lambda copy: self.copied("sent", copy))
        client.add_event_handler("carbon_received", lambda copy: self.copied("received", copy))
        client.add_event_handler("avatar_metadata_publish", self.avatarPublished)
        for way, payload in (("blocked", "block"), ("unblocked", "unblock")):
            client.add_event_handler(
                way,
                lambda iq, way=way, payload=payload: self.tell(
                    way, items=sorted(str(item["jid"]) for item in iq[payload])
                ),
            )

    # Accounts.

    def registerFirst(self) -> None:
        """
        With the next login, make the account.
        """
        self.registers = True

    async def register(self, _: object) -> None:
        """
        Called with the form that the server wants filled in.
        """
        request = self.client.make_iq_set()
        request["register"]["username"] = self.client.boundjid.user
        request["register"]["password"] = self.client.password
        try:
            await request.send()
        except IqError as error:
            self.tell("refused", condition=error.condition)
        else:
            self.tell("registered")

    # Messages.

    def messageReceived(self, stanza: Any) -> None:
        kind = stanza["type"]
        if kind == "groupchat" and stanza["body"]:
            self.tell("said", **{"from": str(stanza["from"]), "body": stanza["body"]})
        elif stanza["body"]:
            super().messageReceived(stanza)

    def messageBounced(self, stanza: Any) -> None:
        """
        Called with a message that came back.
        """
        self.tell(
            "bounced", **{"from": str(stanza["from"]), "condition": stanza["error"]["condition"]}
        )

    def copied(self, way: str, copy: Any) -> None:
        """
        Report a carbon copy.
        """
        message = copy[f"carbon_{way}"]
        self.tell(
            "carbon",
            way=way,
            body=message["body"],
            to=str(message["to"]),
            **{"from": str(message["from"])},
        )

    def enableCarbons(self) -> None:
        """
        Ask for copies.
        """
        self.later(self.done(self.client["xep_0280"].enable()))

    def fetchArchive(self, size: int, limit: int) -> None:
        """
        Read one's archive from its beginning, C{size} messages at a time.

        @param limit: Of pages.
        """

        async def fetch() -> None:
            pages: list[list[str]] = []
            request = self.client["xep_0313"].retrieve(iterator=True, rsm={"max": size})
            async for page in request:
                forwarded = [m["mam_result"]["forwarded"]["stanza"] for m in page["mam"]["results"]]
                pages.append([message["body"] for message in forwarded])
                if len(pages) == limit:
                    break
            self.tell("archive", pages=pages)

        self.later(fetch())

    # Rooms.

    def enter(self, room: str, nick: str) -> None:
        """
        Enter a room.
        """

        async def enter() -> None:
            await self.client["xep_0045"].join_muc_wait(slixmpp.JID(room), nick, maxstanzas=0)
            self.tell("entered", nick=nick)

        self.later(enter())

    def say(self, room: str, body: str) -> None:
        """
        Speak in a room.
        """
        self.client.send_message(mto=room, mbody=body, mtype="groupchat")

    def occupantSeen(self, presence: Any) -> None:
        """
        Called with presence in a room, of which the library reports but some otherwise.
        """
        kind = presence.xml.get("type") or "available"
        self.tell("occupant", **{"from": str(presence["from"]), "type": kind})

    # The roster.

    def rosterPushed(self, iq: Any) -> None:
        """
        Called with pushes, and with what the library itself fetches.
        """
        if iq["type"] == "set":
            items = iq["roster"]["items"].items()
            self.tell("pushed", items={str(jid): item["subscription"] for jid, item in items})

    # Avatars.

    def publishAvatar(self, seed: int, size: int) -> None:
        """
        Publish a picture of so many bytes.
        """
        data = random.Random(seed).randbytes(size)

        async def publish() -> None:
            plugin = self.client["xep_0084"]
            await plugin.publish_avatar(data)
            name = plugin.generate_id(data)
            await plugin.publish_avatar_metadata(
                {"id": name, "type": "image/png", "bytes": len(data)}
            )
            self.tell("published", id=name)

        self.later(publish())

    def avatarPublished(self, message: Any) -> None:
        """
        Called when a contact has a new picture.
        """
        for one in message.xml.iter("{urn:xmpp:avatar:metadata}info"):
            self.tell("avatar", **{"from": str(message["from"]), "id": one.get("id")})

    def fetchAvatar(self, jid: str, id: str) -> None:
        """
        Fetch a contact's picture.
        """

        async def fetch() -> None:
            reply = await self.client["xep_0084"].retrieve_avatar(slixmpp.JID(jid), id)
            [item] = reply["pubsub"]["items"]
            data = item["avatar_data"]["value"]
            self.tell("picture", id=hashlib.sha1(data).hexdigest(), size=len(data))

        self.later(fetch())

    # Blocking.

    def fetchBlocked(self) -> None:
        """
        Ask whom one has blocked, and for pushes of what becomes of that.
        """
        self.later(self.done(self.client["xep_0191"].get_blocked()))

    def block(self, jid: str) -> None:
        """
        Have nothing to do with somebody.
        """
        self.later(self.done(self.client["xep_0191"].block(slixmpp.JID(jid))))

    def unblock(self, jid: str) -> None:
        """
        Have to do with somebody again.
        """
        self.later(self.done(self.client["xep_0191"].unblock(slixmpp.JID(jid))))

    async def done(self, request: Any) -> None:
        """
        Report that a request was granted.
        """
        await request
        self.tell("changed")


if __name__ == "__main__":
    perform(RichPlayer)
