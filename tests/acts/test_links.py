# Copyright the cmanager authors.
# See LICENSE for details.

"""
What clients notice when links break and servers come and go.
"""

from __future__ import annotations

from twisted.internet.defer import gatherResults

from tests.acts.actor import Actor
from tests.acts.case import JULIET, ROMEO, ActCase, ProsodyCase
from tests.acts.stage import DOMAIN, LINK_READY
from tests.acts.webstage import BOSHStage, WebStage

MESSAGES = 1000


class LinkActs:
    """
    Links break; mixed into an L{ActCase}.
    """

    program = "slix"

    async def couple(self) -> tuple[Actor, Actor]:
        """
        Return Romeo and Juliet.
        """
        return (
            await self.stage.online(self.program, ROMEO),
            await self.stage.online(self.program, JULIET),
        )

    async def test_oneLost(self) -> None:
        """
        With one link of two gone no session ends, what is sent from then on arrives in order,
        and the link comes back.
        """
        romeo, juliet = await self.couple()
        # The server changes the link of a session when there is one more, and its order with it.
        self.stage.relay.deaf = True
        await gatherResults([self.stage.relay.cut(1), self.stage.front.until(r"is lost")])
        for actor, other in ((romeo, JULIET), (juliet, ROMEO)):
            actor.order("burst", to=other, count=MESSAGES)
        for actor in (romeo, juliet):
            got = await gatherResults([actor.expect("message") for _ in range(MESSAGES)])
            self.assertEqual([event["body"] for event in got], [str(n) for n in range(MESSAGES)])
        self.stage.relay.heal()
        await self.stage.front.until(LINK_READY, times=self.stage.links + 1)
        for actor in (romeo, juliet):
            self.assertEqual(actor.take("closed"), [])

    async def test_allLost(self) -> None:
        """
        With all links gone sessions end, as the server has ended them; who comes back
        is served as soon as there is a link again.
        """
        romeo, juliet = await self.couple()
        self.stage.relay.cut()
        for actor in (romeo, juliet):
            await actor.expect("closed", condition="remote-connection-failed")
        for actor, jid in ((romeo, ROMEO), (juliet, JULIET)):
            self.stage.connect(actor, jid)
        for actor, jid in ((romeo, ROMEO), (juliet, JULIET)):
            await actor.expect("online", jid=jid)
            actor.order("ping", to=DOMAIN)
            await actor.expect("pong")

    async def test_serverRestarts(self) -> None:
        """
        A server that is started again is found again.
        """
        romeo = await self.stage.online(self.program, ROMEO)
        await self.stage.backend.halt()
        await romeo.expect("closed")
        await self.stage.backend.start()
        await self.stage.front.until(LINK_READY, times=2 * self.stage.links)
        self.stage.connect(romeo, ROMEO)
        await romeo.expect("online", jid=ROMEO)

    async def test_programEnds(self) -> None:
        """
        A program that is told to stop tells its clients C{system-shutdown}.
        """
        romeo, juliet = await self.couple()
        self.stage.front.signal("TERM")
        for actor in (romeo, juliet):
            await actor.expect("closed", condition="system-shutdown")
        self.assertEqual(await self.stage.front.ended, 0)


class LinkTests(LinkActs, ActCase):
    """
    With the embedded server.
    """


class ProsodyLinkTests(LinkActs, ProsodyCase):
    """
    With Prosody.
    """


class WebSocketLinkTests(LinkActs, ActCase):
    """
    By WebSocket.
    """

    program = "strophe"
    stageType = WebStage


class BOSHLinkTests(LinkActs, ActCase):
    """
    By BOSH.
    """

    program = "strophe"
    stageType = BOSHStage
