# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client notices no difference between Prosody and Prosody behind the front, but for
those that C{differences.txt} names.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.acts.actor import Actor, Event
from tests.acts.backends import ProsodyBackend
from tests.acts.case import ProsodyCase, bare
from tests.acts.script import Script, Transcript
from tests.acts.stage import CLIENT_PORT, DOMAIN, PASSWORD
from tests.prosody import LOOPBACK

TABLE = Path(__file__).with_name("differences.txt")

Difference = tuple[str, str, str]
"""
Scene, what was said, and what was heard, with C{-} or C{+} before it.
"""


def differences(direct: Transcript, through: Transcript) -> Counter[Difference]:
    """
    Return what was not heard in both.
    """
    found: Counter[Difference] = Counter()
    for scene, exchanges in direct.items():
        for (said, one), (also, other) in zip(exchanges, through[scene], strict=True):
            assert said == also
            found.update(
                (scene, said, line) for line in difflib.ndiff(one, other) if line[0] in "-+"
            )
    return found


def expected(table: str) -> Counter[Difference]:
    """
    Read the table of those that are to be.
    """
    found: Counter[Difference] = Counter()
    scene = said = reason = ""
    for line in table.splitlines():
        if line.startswith("# "):
            reason = line
        elif not line:
            reason = ""
        elif line[0] in "-+":
            assert reason, line
            found[scene, said, line] += 1
        else:
            scene, said = line.split(" ", 1)
    return found


def listed(found: Counter[Difference]) -> str:
    """
    Write differences as they stand in the table.
    """
    return "".join(f"{scene} {said}\n{line}\n" for scene, said, line in found.elements())


# Prosody alone would read its clients slowly; behind the front that is up to the front.
FAST = 'limits = { c2s = { rate = "10mb/s" } }\n'


class SameTests(ProsodyCase):
    """
    The same script, played to Prosody itself and through the front.
    """

    hosts = f'Component "rooms.{DOMAIN}" "muc"\n'
    options = "allow_registration = true\n" + FAST
    maxDiff = None
    settings: ClassVar[dict[str, str]] = {"server": "roster-versioning = true"}

    async def test_same(self) -> None:
        """
        What is heard differs by what the table names, and by nothing else; and all that
        the table names is so.
        """
        other = ProsodyBackend(self.hosts, self.options)
        self.addCleanup(other.remove)
        await other.start()
        direct, through = await gatherResults(
            [
                Deferred.fromCoroutine(Script(self.stage.reactor, host, port).play())
                for host, port in (
                    (LOOPBACK, other.prosody.clientPort),
                    (self.stage.host, CLIENT_PORT),
                )
            ]
        )
        found, wanted = differences(direct, through), expected(TABLE.read_text())
        self.assertEqual(listed(found - wanted), "", "this has no reason in the table")
        self.assertEqual(listed(wanted - found), "", "this is in the table, but not so")


class LibraryTests(ProsodyCase):
    """
    The same, as clients see it that are not ours.
    """

    options = FAST

    def accounts(self, program: str) -> tuple[str, str]:
        """
        Return two that no other program has.
        """
        return f"romeo.{program}", f"juliet.{program}"

    async def play(self, program: str, connect: Callable[[Actor, str, str], None]) -> list[Event]:
        """
        Let two clients do what clients do.

        @param connect: Have a client log in with an address and a password.
        @return: What they reported.
        """
        romeo, juliet = self.stage.actor(program), self.stage.actor(program)
        first, second = (f"{name}@{DOMAIN}/balcony" for name in self.accounts(program))
        connect(romeo, first, "wrong")
        await romeo.expect("refused")
        await romeo.expect("closed")
        for actor, jid in ((romeo, first), (juliet, second)):
            connect(actor, jid, PASSWORD)
            await actor.expect("online")
            actor.order("fetchRoster")
            await actor.expect("roster")
            actor.order("presence")
            await self.settled(actor)
        romeo.order("addToRoster", jid=bare(second))
        await romeo.expect("changed")
        for one, mine, other, theirs in (
            (romeo, first, juliet, second),
            (juliet, second, romeo, first),
        ):
            one.order("presence", to=bare(theirs), type="subscribe")
            await other.expect("presence", type="subscribe")
            other.order("presence", to=bare(mine), type="subscribed")
            await one.expect("presence", type="subscribed")
            await self.settled(one, other)
        romeo.order("burst", to=second, count=50, size=2000)
        romeo.order("message", to=f"nobody@{DOMAIN}", body="?")
        await self.settled(romeo, juliet)
        juliet.order("close")
        await juliet.expect("closed")
        await romeo.expect("presence", **{"from": second, "type": "unavailable"})
        romeo.order("burst", to=bare(second), count=5)
        await self.settled(romeo)
        connect(juliet, second, PASSWORD)
        await juliet.expect("online")
        juliet.order("presence")
        juliet.order("fetchRoster")
        await juliet.expect("roster")
        await self.settled(juliet, romeo)
        juliet.order("close")
        await juliet.expect("closed")
        await romeo.expect("presence", **{"from": second, "type": "unavailable"})
        romeo.order("close")
        await romeo.expect("closed")
        return [*romeo.history, *juliet.history]

    async def settled(self, *actors: Actor) -> None:
        """
        Wait until clients have got all that there is for them.
        """
        for actor in actors:
            actor.order("ping", to=DOMAIN)
            await actor.expect("pong")

    async def test_same(self) -> None:
        """
        slixmpp, aioxmpp and wokkel report the same with the front as without it, in the
        same order.
        """
        other = ProsodyBackend(options=self.options)
        self.addCleanup(other.remove)
        await other.start()
        for program in ("slix", "aio", "wok"):
            for name in self.accounts(program):
                for prosody in (self.prosody, other.prosody):
                    await deferToThread(prosody.addUser, f"{name}@{DOMAIN}", PASSWORD)
            direct, through = await gatherResults(
                [
                    Deferred.fromCoroutine(self.play(program, connect))
                    for connect in (
                        lambda actor, jid, password: self.connectDirectly(
                            actor, jid, other.prosody, password=password
                        ),
                        lambda actor, jid, password: self.stage.connect(
                            actor, jid, password=password
                        ),
                    )
                ]
            )
            self.assertEqual(through, direct)
            self.assertGreater(len(direct), 80)


class TableTests(SynchronousTestCase):
    """
    How transcripts are compared.
    """

    direct: Transcript = {"a": [("<x/>", ["romeo <y/>", "romeo <z/>"])], "b": [("<x/>", [])]}
    through: Transcript = {"a": [("<x/>", ["romeo <z/>"])], "b": [("<x/>", ["juliet <y/>"])]}
    table = "# because\na <x/>\n- romeo <y/>\nb <x/>\n+ juliet <y/>\n"

    def test_found(self) -> None:
        """
        What was heard here and not there is a difference, scene by scene.
        """
        self.assertEqual(differences(self.direct, self.through), expected(self.table))
        self.assertEqual(differences(self.direct, self.direct), Counter())

    def test_order(self) -> None:
        """
        So is another order.
        """
        turned: Transcript = {**self.direct, "a": [("<x/>", ["romeo <z/>", "romeo <y/>"])]}
        self.assertNotEqual(differences(self.direct, turned), Counter())

    def test_reason(self) -> None:
        """
        Nothing may stand in the table without a reason.
        """
        self.assertRaises(AssertionError, expected, "a <x/>\n- romeo <y/>\n")
        self.assertRaises(AssertionError, expected, f"{self.table}\na <x/>\n- romeo <z/>\n")
