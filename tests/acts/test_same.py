# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client notices no difference between Prosody and Prosody behind the front, but for
those that C{differences.txt} names.
"""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path
from typing import ClassVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase

from tests.acts.backends import ProsodyBackend
from tests.acts.case import ProsodyCase
from tests.acts.script import Script, Transcript
from tests.acts.stage import CLIENT_PORT, DOMAIN
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


class SameTests(ProsodyCase):
    """
    The same script, played to Prosody itself and through the front.
    """

    hosts = f'Component "rooms.{DOMAIN}" "muc"\n'
    options = """
        allow_registration = true
        limits = { c2s = { rate = "10mb/s" } }
    """
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
