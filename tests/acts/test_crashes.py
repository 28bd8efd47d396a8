# Copyright the cmanager authors.
# See LICENSE for details.

"""
What becomes of everybody when one half dies: no ghosts stay with Prosody, and no client
waits for a server that is gone.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.threads import deferToThread

from tests.acts.actor import Actor
from tests.acts.case import JULIET, ROMEO, ProsodyCase, bare
from tests.acts.script import HEADER
from tests.acts.stage import CLIENT_PORT, DOMAIN, LINK_READY
from tests.acts.wire import dial


class CrashCase(ProsodyCase):
    """
    An act in which somebody dies.
    """

    program = "slix"

    async def online(self, jid: str) -> Actor:
        """
        Log in, and be available.
        """
        actor = await self.stage.online(self.program, jid)
        actor.order("presence")
        await self.settled(actor)
        return actor

    async def settled(self, *actors: Actor) -> None:
        """
        Wait until clients have got all that there is for them.
        """
        for actor in actors:
            actor.order("ping", to=DOMAIN)
            await actor.expect("pong")

    async def logged(self, words: str) -> None:
        """
        Wait until Prosody has said something.
        """
        await deferToThread(self.prosody.waitForLog, lambda line: words in line)

    async def sessions(self) -> str:
        """
        Return what Prosody knows of its clients.
        """
        return await deferToThread(self.prosody.shell, "c2s:show()")

    async def couple(self) -> tuple[Actor, Actor]:
        """
        Return Romeo, who comes through the front, and Juliet, who comes to Prosody itself
        and sees his presence.
        """
        romeo = await self.online(ROMEO)
        juliet = self.stage.actor(self.program)
        self.connectDirectly(juliet, JULIET, self.prosody)
        await juliet.expect("online", jid=JULIET)
        juliet.order("presence")
        juliet.order("presence", to=bare(ROMEO), type="subscribe")
        await romeo.expect("presence", type="subscribe")
        romeo.order("presence", to=bare(JULIET), type="subscribed")
        await juliet.expect("presence", **{"from": ROMEO, "type": "available"})
        return romeo, juliet

    async def killFront(self) -> None:
        """
        Let the program die.
        """
        front, self.stage.front = self.front, None
        front.kill()
        await front.ended

    async def arrive(self, actor: Actor, count: int) -> None:
        """
        Let Romeo come and find so many messages, each once, in order.
        """
        self.stage.connect(actor, ROMEO)
        await actor.expect("online", jid=ROMEO)
        actor.order("presence")
        for number in range(count):
            await actor.expect("message", body=str(number))
        await self.settled(actor)
        self.assertEqual(actor.take("message"), [])


class FrontTests(CrashCase):
    """
    The front dies.
    """

    options = "connection_manager_grace = 1\n"

    async def test_forGood(self) -> None:
        """
        When it does not come back, its clients are gone after the grace, for Prosody and for
        others, and what is written to them from then on waits for them.
        """
        romeo, juliet = await self.couple()
        await self.killFront()
        await romeo.expect("closed", condition=None)
        await self.logged("its 1 sessions wait 1s for a new one")
        await juliet.expect("presence", **{"from": ROMEO, "type": "unavailable"})
        self.assertNotIn(ROMEO, await self.sessions())
        self.assertIn("1 c2s sessions", await self.sessions())
        juliet.order("burst", to=ROMEO, count=20)
        await self.settled(juliet)
        await self.stage.startFront().until(LINK_READY, times=2)
        await self.arrive(romeo, 20)


class NamedFrontTests(CrashCase):
    """
    The front dies, and one with its name takes its place.
    """

    options = "connection_manager_grace = 600\nconnection_manager_probe_timeout = 600\n"
    # One link, so that the server has got all back before it hears of the next login.
    settings: ClassVar[dict[str, str]] = {"manager": 'name = "cm-7f3k2q"', "links": "1"}

    async def test_inTime(self) -> None:
        """
        Prosody asks the new one for the clients of the old one and learns that they are gone:
        no ghost waits for the end of the grace.  What was written to them meanwhile waits.
        """
        romeo, juliet = await self.couple()
        await self.killFront()
        await romeo.expect("closed", condition=None)
        await self.logged("All links of")
        juliet.order("burst", to=ROMEO, count=20)
        await self.settled(juliet)
        self.assertIn(ROMEO, await self.sessions())
        self.stage.startFront()
        await juliet.expect("presence", **{"from": ROMEO, "type": "unavailable"})
        self.assertNotIn(ROMEO, await self.sessions())
        await self.arrive(romeo, 20)


class ProsodyTests(CrashCase):
    """
    Prosody dies.
    """

    settings: ClassVar[dict[str, str]] = {"server": "wait-for-link = 60"}

    async def test_restarted(self) -> None:
        """
        Clients are told at once that their server is gone; who comes while it is away is
        served as soon as it is there again, and finds what waited for it.
        """
        romeo = await self.online(ROMEO)
        romeo.order("burst", to=bare(JULIET), count=20)
        await self.settled(romeo)
        await deferToThread(self.prosody.kill)
        await romeo.expect("closed", condition="remote-connection-failed")
        early = await dial(self.stage.reactor, self.stage.host, CLIENT_PORT)
        self.addCleanup(early.close)
        early.send(HEADER)
        await early.take("stream")
        self.stage.connect(romeo, ROMEO)
        juliet = self.stage.actor(self.program)
        self.stage.connect(juliet, JULIET)
        await self.stage.backend.start()
        await early.take("features")
        self.assertFalse(early.isOver)
        await romeo.expect("online", jid=ROMEO)
        await juliet.expect("online", jid=JULIET)
        await self.settled(romeo)
        juliet.order("presence")
        for number in range(20):
            await juliet.expect("message", body=str(number))


class PatientTests(CrashCase):
    """
    Prosody dies, and clients are to wait for it.
    """

    settings: ClassVar[dict[str, str]] = {"server": "links-lost-grace = 600"}

    async def test_reset(self) -> None:
        """
        A server that is there in time, but has forgotten everybody, is found out: clients are
        told to begin anew.
        """
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        await deferToThread(self.prosody.kill)
        await self.front.until("is lost", times=2)
        self.assertEqual(romeo.take("closed") + juliet.take("closed"), [])
        await self.stage.backend.start()
        for actor, jid in ((romeo, ROMEO), (juliet, JULIET)):
            await actor.expect("closed", condition="reset")
            self.stage.connect(actor, jid)
            await actor.expect("online", jid=jid)
            await self.settled(actor)
