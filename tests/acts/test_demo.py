# Copyright the cmanager authors.
# See LICENSE for details.

"""
What C{make demo} shows and keeps.
"""

from __future__ import annotations

import socket
import stat

from twisted.internet import reactor

from tests.acts.actor import Actor
from tests.acts.case import bare
from tests.acts.demonstration import LOOPBACK, SCREEN_ENDS, DemoCase
from tests.acts.stage import STOP_SECONDS, FrontProcess

ROMEO = "romeo@localhost/orchard"
JULIET = "juliet@localhost/balcony"


class DemoTests(DemoCase):
    """
    The demonstration.
    """

    async def online(self, jid: str, *, directTLS: bool = False) -> Actor:
        """
        Log in, trusting the certificate that was made.
        """
        actor = Actor(reactor, "slix")
        self.addCleanup(actor.leave)
        actor.order(
            "connect",
            jid=jid,
            password=jid.partition("@")[0],
            host=LOOPBACK,
            port=self.ports[directTLS],
            directTLS=directTLS,
            authority=str(self.home / "certificates" / "localhost.pem"),
            mechanism=None,
        )
        await actor.expect("online", jid=jid)
        return actor

    async def interrupt(self, front: FrontProcess) -> None:
        """
        Press Ctrl-C.
        """
        front.signal("INT")
        front.ended.addTimeout(STOP_SECONDS, reactor)
        self.assertEqual(await front.ended, 0, front.output)

    async def test_screen(self) -> None:
        """
        It says all that is needed to try it, in one screen, and ends with status 0
        while clients are there.
        """
        front = self.begin()
        await front.until(SCREEN_ENDS)
        tcp, tls, http, https = self.ports
        for words in (
            r"Domain +localhost",
            rf"Chat page +(http://localhost:{http}/ |none, for want of Strophe)",
            rf"Ports +{tcp} \(STARTTLS\) and {tls} \(TLS from the first byte\),\n"
            rf" +{http} \(HTTP\) and {https} \(HTTPS\) for browsers\n",
            r"romeo@localhost, password romeo",
            r"juliet@localhost, password juliet",
            rf"Data +{self.home}\n",
            r"Stop +Ctrl-C",
            rf"echo Hello \| go-sendxmpp -n -u romeo@localhost -p romeo -j localhost:{tcp} ",
        ):
            self.assertRegex(front.output, words)
        # The log begins below it or around it, hence a few lines more than it has.
        self.assertLessEqual(front.output.count("\n"), 48, front.output)
        self.assertEqual(stat.S_IMODE((self.home / "server.sqlite").stat().st_mode), 0o600)
        romeo = await self.online(ROMEO)
        juliet = await self.online(JULIET, directTLS=True)
        romeo.order("message", to=JULIET, body="By a name I know not how to tell thee")
        await juliet.expect("message", **{"from": ROMEO})
        await self.interrupt(front)
        for actor in (romeo, juliet):
            await actor.expect("closed", condition="system-shutdown")
        self.assertNotIn("Traceback", front.output)

    async def test_kept(self) -> None:
        """
        A second start has the rosters and the messages of the first, and its
        certificate.
        """
        front = self.begin()
        await front.until(SCREEN_ENDS)
        romeo = await self.online(ROMEO)
        romeo.order("addToRoster", jid="nurse@localhost")
        await romeo.expect("changed")
        romeo.order("message", to=bare(JULIET), body="I have night's cloak")
        romeo.order("ping", to="localhost")
        await romeo.expect("pong")
        certificate = (self.home / "certificates" / "localhost.pem").read_bytes()
        await self.interrupt(front)

        second = self.begin()
        await second.until(SCREEN_ENDS)
        self.assertEqual((self.home / "certificates" / "localhost.pem").read_bytes(), certificate)
        romeo, juliet = await self.online(ROMEO), await self.online(JULIET)
        romeo.order("fetchRoster")
        await romeo.expect("roster", items=["juliet@localhost", "nurse@localhost"])
        juliet.order("presence")
        await juliet.expect("message", **{"from": ROMEO, "body": "I have night's cloak"})

    async def test_portTaken(self) -> None:
        """
        A port that somebody else has, any of the four, is one line that says what to
        do, and exit status 1.
        """
        for port in self.ports:
            other = socket.create_server((LOOPBACK, port))
            front = self.begin()
            status = await front.ended
            other.close()
            self.assertEqual(status, 1, front.output)
            self.assertEqual(front.output.count("\n"), 1, front.output)
            self.assertRegex(front.output, rf"^cmanager: port {port} cannot be used: .*Stop what")

    async def test_portsMisspelt(self) -> None:
        """
        So are ports that are none.
        """
        self.ports = self.ports[:1]
        front = self.begin()
        self.assertEqual(await front.ended, 1)
        self.assertRegex(front.output, r"^cmanager: --demo-ports [0-9]+: four ports[^\n]*\n\Z")
