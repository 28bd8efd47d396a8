# Copyright the cmanager authors.
# See LICENSE for details.

"""
Several workers behind one port: what one of them does, or does not live through, is no
business of the others.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from typing import ClassVar

from twisted.internet.task import deferLater

from cmanager.server.service import Server
from tests.acts.actor import PATIENCE_SECONDS, Role
from tests.acts.backends import EmbeddedBackend
from tests.acts.case import JULIET, ActCase
from tests.acts.stage import DOMAIN

WORKERS = 3
CLIENTS = 9
LOOK_SECONDS = 0.05


class WorkersCase(ActCase):
    """
    A front of three workers, with some clients each.
    """

    settings: ClassVar[dict[str, str]] = {"workers": str(WORKERS)}

    async def setUp(self) -> None:
        """
        Let the clients log in.
        """
        # Sockets have short names only.
        self.temporary = tempfile.mkdtemp(prefix="cmanager-act-")
        self.addCleanup(shutil.rmtree, self.temporary)
        self.environment = {"TMPDIR": self.temporary}
        await super().setUp()
        self.actor = self.stage.actor("slix")
        self.roles: dict[str, Role] = {}
        jids = [f"romeo@{DOMAIN}/{number}" for number in range(CLIENTS)]
        await self.login({jid: self.actor.role(jid) for jid in jids})

    @property
    def server(self) -> Server:
        """
        The server behind.
        """
        assert isinstance(self.stage.backend, EmbeddedBackend)
        assert self.stage.backend.server is not None
        return self.stage.backend.server

    def slots(self) -> dict[str, int]:
        """
        Return whose clients are there, as the server knows it.
        """
        return {
            session.jid: int(session.manager.rpartition("-")[2]) for session in self.server.sessions
        }

    def of(self, slot: int) -> dict[str, Role]:
        """
        Return the clients of a worker.
        """
        return {jid: self.roles[jid] for jid, found in self.slots().items() if found == slot}

    async def login(self, roles: dict[str, Role]) -> None:
        """
        Have clients log in.
        """
        for jid, role in roles.items():
            self.stage.connect(role, jid)
        for jid, role in roles.items():
            await role.expect("online", jid=jid)
        self.roles |= roles

    async def talk(self, roles: dict[str, Role]) -> None:
        """
        Have each client write to the next.
        """
        jids = list(roles)
        for one, other in zip(jids, [*jids[1:], jids[0]], strict=True):
            roles[one].order("message", to=other, body=f"from {one}")
        for one, other in zip(jids, [*jids[1:], jids[0]], strict=True):
            await roles[other].expect("message", body=f"from {one}", **{"from": one})

    async def untilGone(self, *pids: int) -> None:
        """
        Wait until processes are no more.
        """
        for _ in range(int(PATIENCE_SECONDS / LOOK_SECONDS)):
            if not any(isThere(pid) for pid in pids):
                return
            await deferLater(self.stage.reactor, LOOK_SECONDS)
        raise AssertionError(f"some of {pids} are still there: {self.front.output[-4000:]}")

    def change(self, old: str, new: str) -> None:
        """
        Change the configuration, and send SIGHUP.
        """
        path = self.stage.directory / "cmanager.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        self.front.signal("HUP")


def isThere(pid: int) -> bool:
    """
    Tell whether there is a process.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TogetherTests(WorkersCase):
    """
    They share the work.
    """

    async def test_spread(self) -> None:
        """
        None takes all clients, unless the others are very busy, and they talk to each other.
        """
        self.assertGreater(len(set(self.slots().values())), 1)
        await self.talk(self.roles)

    async def test_stop(self) -> None:
        """
        SIGTERM: everybody is told, and no process stays.
        """
        pids = self.front.pids().values()
        self.front.signal("TERM")
        for role in self.roles.values():
            await role.expect("closed", condition="system-shutdown")
        self.assertEqual(await self.front.ended, 0)
        self.assertEqual([pid for pid in pids if isThere(pid)], [])
        self.assertEqual(len(self.server.sessions), 0)

    async def test_interrupted(self) -> None:
        """
        So it is with Ctrl-C, which all of them get.
        """
        for pid in self.front.pids().values():
            os.kill(pid, signal.SIGINT)
        self.front.signal("INT")
        for role in self.roles.values():
            await role.expect("closed", condition="system-shutdown")
        self.assertEqual(await self.front.ended, 0)


class TwistedTogetherTests(TogetherTests):
    """
    The same over Twisted's own transports.
    """

    settings: ClassVar[dict[str, str]] = {
        **WorkersCase.settings,
        "listener": 'transport = "twisted"',
    }


class DeathTests(WorkersCase):
    """
    One of them dies.
    """

    async def test_worker(self) -> None:
        """
        Killed, a worker takes its own clients with it, and nobody else's.  The server has
        no ghosts.  It comes back, and so do they.
        """
        slot, *_ = self.slots().values()
        lost = self.of(slot)
        others = {jid: role for jid, role in self.roles.items() if jid not in lost}
        os.kill(self.front.pids()[slot], signal.SIGKILL)
        for role in lost.values():
            await role.expect("closed", condition=None)
        await self.talk(others)
        await self.front.until(f"^worker {slot} was ended by SIGKILL, with {len(lost)} clients")
        self.assertEqual(set(self.slots()), set(others))
        await self.front.until(f"^worker {slot} takes clients", times=2)
        await self.login(lost)
        await self.talk(self.roles)
        for role in others.values():
            self.assertEqual(role.take("closed"), [])

    async def test_supervisor(self) -> None:
        """
        Killed, the supervisor leaves no worker behind: they have their clients leave, and end.
        """
        pids = self.front.pids().values()
        front, self.stage.front = self.front, None
        front.signal("KILL")
        for role in self.roles.values():
            await role.expect("closed", condition="system-shutdown")
        await self.untilGone(*pids)
        self.assertEqual(len(self.server.sessions), 0)
        self.assertEqual(os.listdir(self.temporary), [])

    async def test_cannotStart(self) -> None:
        """
        One that cannot start again says why, and is tried again.
        """
        certificates = self.stage.directory / "certificates"
        aside = certificates.rename(certificates.with_name("aside"))
        os.kill(self.front.pids()[0], signal.SIGKILL)
        said = await self.front.until("^worker 0 says: cmanager: ")
        self.assertIn(str(certificates), said["message"])
        await self.front.until("^worker 0 ended with status 1")
        aside.rename(certificates)
        await self.front.until("^worker 0 takes clients", times=2)


class ReloadTests(WorkersCase):
    """
    SIGHUP.
    """

    async def test_live(self) -> None:
        """
        What changes without a restart changes in all, and nobody is lost.
        """
        self.change("[log]", "[limits]\nsessions = 10\n\n[log]")
        await self.front.until("^configuration read again; changed: limits", times=WORKERS + 1)
        await self.talk(self.roles)
        juliet = self.stage.actor("slix")
        await self.login({JULIET: juliet})
        late = self.stage.actor("slix")
        self.stage.connect(late, f"juliet@{DOMAIN}/late")
        await late.expect("closed", condition="resource-constraint")
        for role in self.roles.values():
            self.assertEqual(role.take("closed"), [])

    async def test_roll(self) -> None:
        """
        Where workers have to be replaced, that goes one after the other: each client is told
        to leave once, and those who come meanwhile are taken.
        """
        pids = set(self.front.pids().values())
        first = dict(self.roles)
        self.change("links = 2", "links = 1")
        juliet = self.stage.actor("slix")
        for number in range(1, WORKERS + 1):
            await self.front.until("is in the place of worker", times=number)
            jid = f"juliet@{DOMAIN}/{number}"
            await self.login({jid: juliet.role(jid)})
        for role in first.values():
            await role.expect("closed", condition="system-shutdown")
        await self.front.until("^all workers run with the new configuration")
        self.assertEqual([pid for pid in pids if isThere(pid)], [])
        self.assertEqual(len(list(self.server.managers.links())), WORKERS)
        self.assertTrue(set(self.slots().values()) <= {3, 0, 1})

    async def test_certificate(self) -> None:
        """
        With a certificate that is no good each keeps the one before, and takes over what
        changes without a restart; nobody is replaced.
        """
        (self.stage.directory / "certificates" / f"{DOMAIN}.pem").write_text("x")
        self.change("links = 2", "links = 1\n[limits]\nsessions = 10\n")
        await self.front.until("^worker 0 stays as it is.*holds no certificate")
        await self.front.until("^certificate not taken", times=WORKERS)
        await self.front.until(
            "^configuration read again; changed: limits.sessions$", times=WORKERS + 1
        )
        await self.talk(self.roles)
        await self.login({JULIET: self.stage.actor("slix")})
        self.assertEqual(len(self.front.pids()), WORKERS)

    async def test_broken(self) -> None:
        """
        A configuration that is no good changes nothing.
        """
        self.change("links = 2", "links = 0")
        await self.front.until("^configuration not taken over")
        await self.talk(self.roles)
        self.assertEqual(len(self.front.pids()), WORKERS)
