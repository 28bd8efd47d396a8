# Copyright the cmanager authors.
# See LICENSE for details.

"""
The two configurations in C{etc/prosody}, as they stand: Prosody with the one, the
program with the other, and a client.
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.acts.actor import Actor
from tests.acts.stage import FrontProcess, loopback
from tests.certificates import authority
from tests.prosody import HERE, Prosody

PAIR = HERE / "etc" / "prosody"
DOMAIN = "example.org"
SECRET = "put-a-long-random-secret-here"
ROMEO = f"romeo@{DOMAIN}/orchard"
PORTS = (5222, 5223)


class PairTests(TestCase):
    """
    The pair.
    """

    timeout = 180

    async def setUp(self) -> None:
        """
        Start both; only where files and ports are is changed.
        """
        self.address = loopback()
        self.directory = Path(self.mktemp()).absolute()
        (self.directory / "certificates").mkdir(parents=True)
        authority().issue(DOMAIN).write(self.directory / "certificates", DOMAIN)
        (self.directory / "authority.pem").write_bytes(authority().pem)
        secret = self.directory / "secret"
        secret.touch(0o600)
        secret.write_text(SECRET)

        self.prosody = Prosody()
        self.addCleanup(deferToThread, self.prosody.stop)
        self.prosody.adopt((PAIR / "prosody.cfg.lua").read_text())
        await deferToThread(self.prosody.start)
        await deferToThread(self.prosody.addUser, f"romeo@{DOMAIN}", "secret")

        text = (PAIR / "cmanager-prosody.toml").read_text()
        for old, new in {
            "/etc/cmanager/": f"{self.directory}/",
            "127.0.0.1:5262": f"127.0.0.1:{self.prosody.linkPort}",
            **{f"tcp:{port}": f"tcp:{port}:interface={self.address}" for port in PORTS},
        }.items():
            self.assertIn(old, text)
            text = text.replace(old, new)
        (self.directory / "cmanager.toml").write_text(text)
        self.front = FrontProcess(
            reactor,
            ["-n", "--pidfile=", "cmanager", "--config", "cmanager.toml"],
            str(self.directory),
        )
        self.addCleanup(self.front.stop)
        await self.front.until("is ready", times=2)

    async def test_login(self) -> None:
        """
        A client logs in by both ports, and is seen by Prosody as it comes.
        """
        for port in PORTS:
            actor = Actor(reactor, "slix")
            self.addCleanup(actor.leave)
            actor.order(
                "connect",
                jid=ROMEO,
                password="secret",
                host=self.address,
                port=port,
                directTLS=port == PORTS[1],
                authority=str(self.directory / "authority.pem"),
                mechanism=None,
            )
            await actor.expect("online", jid=ROMEO)
            actor.order("ping", to=DOMAIN)
            await actor.expect("pong")
            shown = await deferToThread(self.prosody.shell, 'c2s:show(nil, "jid ip secure")')
            self.assertRegex(shown, rf"{ROMEO} *\| 127\.[.0-9]+ *\| TLSv1\.3")
            actor.order("close")
            await actor.expect("closed", condition=None)
