# Copyright the cmanager authors.
# See LICENSE for details.

"""
Stock clients whose logins depend on their own TLS: channel binding by mellium
(C{tls-exporter}, C{tls-unique}) and by aiosasl (C{tls-server-end-point}), certificates by
slixmpp.  A front that lies and somebody in the middle are found out.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA384
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from cmanager.server import inbound
from cmanager.server.clienttls import ClientTLS
from cmanager.server.sasl import Exchange, Step
from tests.acts.actor import CLIENTS, HERE, Actor
from tests.acts.between import Between
from tests.acts.case import JULIET, ROMEO, ActCase, ProsodyCase, bare
from tests.acts.lying import PLUGIN
from tests.acts.stage import DOMAIN, TLS_PORT, Backend, Stage
from tests.certificates import Authority, authority
from tests.programs import find, findMellium

LYING_PORT = 5224
PLAIN = "SCRAM-SHA-256 n"
MISSED = "SCRAM-SHA-256 y"
EXPORTER = "SCRAM-SHA-256-PLUS p=tls-exporter"
END_POINT = "SCRAM-SHA-256-PLUS p=tls-server-end-point"
UNIQUE = "SCRAM-SHA-256-PLUS p=tls-unique"

BOUND = (("mellium", EXPORTER), ("bound", END_POINT))
"""
Clients, and how they log in where they may.
"""

LOGIN = "login by "
WITNESS = """
local base64 = require "util.encodings".base64;
module:hook("stanza/urn:ietf:params:xml:ns:xmpp-sasl:auth", function (event)
    local mechanism, flag = event.stanza.attr.mechanism, "";
    if mechanism:find("SCRAM", 1, true) then
        flag = base64.decode(event.stanza:get_text()):match("^[^,]*");
    end
    module:log("info", "login by %s %s", mechanism, flag);
end, 100);
"""


@cache
def issuer() -> Authority:
    """
    Return an authority whose certificates aiosasl understands.  They are not hashed with
    SHA-256, as most are, so that both ends have to look.
    """
    return Authority("RSA Authority", generate_private_key(65537, 2048), SHA384())


class BindingStage(Stage):
    """
    Has a listener that lies, too.

    @ivar detour: Where clients are sent instead, host and port.
    """

    listeners = (
        f'[[listener]]\ntype = "lying"\nendpoint = "tcp:{LYING_PORT}:interface={{address}}"\n'
    )
    detour: tuple[str, int] | None = None

    def __init__(self, reactor: Any, directory: Path, backend: Backend, **settings: str) -> None:
        super().__init__(reactor, directory, backend, **settings)
        plugins = directory / "path" / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "act.py").write_text(PLUGIN)
        self.environment["PYTHONPATH"] = f"{HERE}{os.pathsep}{directory / 'path'}"

    def issuer(self) -> Authority:
        """
        See L{Stage}.
        """
        return issuer()

    def way(self, program: str, directTLS: bool) -> dict[str, Any]:
        """
        See L{Stage}.
        """
        if self.detour is None:
            return super().way(program, directTLS)
        host, port = self.detour
        return {"host": host, "port": port, "directTLS": True}


class WitnessActs:
    """
    Acts with a witness at the server's side; mixed into an L{ActCase} with a method
    C{proof}, which tells how the next client has tried to log in, as the server saw it: the
    mechanism, and the flag of SCRAM for channel binding.
    """

    stageType = BindingStage

    async def login(self, program: str, jid: str, proof: str, **how: Any) -> tuple[Actor, str]:
        """
        Log in, in one way and no other.

        @return: The client, and its address.
        """
        actor = self.stage.actor(program)
        self.stage.connect(actor, jid, **how)
        bound = (await actor.expect("online"))["jid"]
        # mellium leaves the resource to the server.
        self.assertEqual(bound, bound if program == "mellium" else jid)
        self.assertEqual(bare(bound), bare(jid))
        self.assertEqual(await self.proof(), proof)
        return actor, bound

    async def refused(self, program: str, proof: str, condition: str, **how: Any) -> None:
        """
        Try to log in, and be refused.
        """
        actor = self.stage.actor(program)
        self.stage.connect(actor, ROMEO, **how)
        self.assertEqual((await actor.expect("refused"))["condition"], condition)
        self.assertEqual(await self.proof(), proof)
        await actor.expect("closed")
        self.assertEqual(actor.take("online"), [])

    async def converse(self, romeo: Actor, address: str) -> None:
        """
        Send a message each way, and leave.
        """
        juliet = await self.stage.online("slix", JULIET, mechanism="SCRAM-SHA-256")
        await self.proof()
        romeo.order("message", to=JULIET, body="It is my lady")
        await juliet.expect("message", **{"from": address, "body": "It is my lady"})
        juliet.order("message", to=address, body="What's Montague?")
        await romeo.expect("message", **{"from": JULIET, "body": "What's Montague?"})
        for actor in (romeo, juliet):
            actor.order("close")
            await actor.expect("closed", condition=None)


class BindingActs(WitnessActs):
    """
    Channel binding.

    @cvar mismatch: Why logins fail that are bound to something else.
    """

    mismatch: str

    async def between(self) -> Between:
        """
        Put somebody in the middle.
        """
        between = Between(reactor, self.stage.host, issuer())
        self.addCleanup(between.stop)
        await between.listen()
        self.stage.detour = (between.host, TLS_PORT)
        return between

    async def test_bound(self) -> None:
        """
        A client logs in with the type of channel binding it knows, and uses the session.
        """
        for program, proof in BOUND:
            for directTLS in (True, False):
                romeo = await self.login(program, ROMEO, proof, directTLS=directTLS)
                await self.converse(*romeo)

    async def test_unique(self) -> None:
        """
        With TLS 1.2 there is the type for that.
        """
        romeo = await self.login("mellium", ROMEO, UNIQUE, newest="1.2")
        await self.converse(*romeo)

    async def test_wrongPassword(self) -> None:
        """
        A binding that is right is not enough.
        """
        for program, proof in BOUND:
            await self.refused(program, proof, "not-authorized", password="wrong")

    async def test_lie(self) -> None:
        """
        Where the front tells the server of another connection, bound logins fail; others,
        which do not ask, do not.
        """
        self.stage.detour = (self.stage.host, LYING_PORT)
        for program, proof in BOUND:
            await self.refused(program, proof, self.mismatch)
        await self.refused("mellium", UNIQUE, self.mismatch, newest="1.2")
        await self.login("slix", ROMEO, PLAIN, mechanism="SCRAM-SHA-256")

    async def test_between(self) -> None:
        """
        Who is between client and front, with a certificate that the client trusts, is found
        out by bound logins, and learns all from others.
        """
        between = await self.between()
        for program, proof in BOUND:
            await self.refused(program, proof, self.mismatch)
        before = between.carried
        await self.login("slix", ROMEO, PLAIN, mechanism="SCRAM-SHA-256")
        self.assertGreater(between.carried, before)

    async def test_stripped(self) -> None:
        """
        Who is in between, and hides that logins can be bound, is found out by a client
        that says what it has not seen.
        """
        between = await self.between()
        between.strips = True
        await self.refused("bound", MISSED, self.mismatch)


class ExternalActs(WitnessActs):
    """
    Certificates of clients.
    """

    settings: ClassVar[dict[str, str]] = {
        "tls": 'client-certificates = "request"\nclient-ca = "{authority}"'
    }

    def certificate(self, issuer: Authority, jid: str) -> str:
        """
        Return a file with a certificate for a bare address, and its key.
        """
        name = f"client-{len(list(self.stage.directory.glob('client-*')))}"
        return str(issuer.issue(xmpp=[jid]).write(self.stage.directory, name))

    async def test_certificate(self) -> None:
        """
        A client logs in by its certificate, and uses the session.
        """
        certificate = self.certificate(authority(), f"romeo@{DOMAIN}")
        for directTLS in (True, False):
            romeo = await self.login(
                "external",
                ROMEO,
                "EXTERNAL",
                directTLS=directTLS,
                mechanism="EXTERNAL",
                certificate=certificate,
            )
            await self.converse(*romeo)

    async def test_unknown(self) -> None:
        """
        The certificate of somebody who has no account logs nobody in.
        """
        certificate = self.certificate(authority(), f"tybalt@{DOMAIN}")
        await self.refused(
            "external",
            "EXTERNAL",
            "not-authorized",
            directTLS=True,
            mechanism="EXTERNAL",
            certificate=certificate,
        )

    async def test_unverified(self) -> None:
        """
        With a certificate that nobody vouches for a client is not offered to log in by it,
        nor with none; its password is good all the same.
        """
        stranger = self.certificate(Authority("Tybalt"), f"romeo@{DOMAIN}")
        for certificate in (stranger, None):
            actor = self.stage.actor("external")
            self.stage.connect(
                actor, ROMEO, directTLS=True, mechanism="EXTERNAL", certificate=certificate
            )
            await actor.expect("refused", condition=None)
            await actor.expect("closed")
        romeo = await self.login(
            "external",
            ROMEO,
            PLAIN,
            directTLS=True,
            mechanism="SCRAM-SHA-256",
            certificate=stranger,
        )
        await self.converse(*romeo)


class Watched:
    """
    An L{Exchange} whose beginning is noted.
    """

    def __init__(self, exchange: Exchange, note: Callable[[bytes], None]) -> None:
        self._exchange = exchange
        self._note: Callable[[bytes], None] | None = note

    def step(self, content: bytes) -> Step:
        """
        See L{Exchange}.
        """
        if self._note is not None:
            self._note(content)
            self._note = None
        return self._exchange.step(content)


class EmbeddedCase(ActCase):
    """
    With the embedded server.
    """

    habits = "own"
    mismatch = "not-authorized"

    def makeBackend(self, directory: Path) -> Backend:
        """
        See L{ActCase}.
        """
        self.proofs: list[str] = []
        make = inbound.exchanges

        def watch(mechanism: str, begin: Callable[[ClientTLS], Exchange]) -> Any:
            def note(content: bytes) -> None:
                flag = content.decode().partition(",")[0] if "SCRAM" in mechanism else ""
                self.proofs.append(f"{mechanism} {flag}".rstrip())

            return lambda tls: Watched(begin(tls), note)

        self.patch(
            inbound,
            "exchanges",
            lambda *how: {name: watch(name, begin) for name, begin in make(*how).items()},
        )
        return super().makeBackend(directory)

    async def proof(self) -> str:
        """
        See L{WitnessActs}.
        """
        return self.proofs.pop(0)


class WitnessedProsodyCase(ProsodyCase):
    """
    With Prosody.
    """

    mismatch = "malformed-request"
    hosts = 'connection_manager_external = true\nmodules_enabled = { "witness" }\n'
    options = "connection_manager_trusted_secure = false\n"

    def makeBackend(self, directory: Path) -> Backend:
        """
        See L{ActCase}.
        """
        backend = super().makeBackend(directory)
        self.prosody.addModule("witness", WITNESS)
        self.seen = 0
        return backend

    async def proof(self) -> str:
        """
        See L{WitnessActs}.
        """
        found: list[str] = []

        def isNext(line: str) -> bool:
            if LOGIN in line:
                found.append(line.partition(LOGIN)[2].strip())
            return len(found) > self.seen

        await deferToThread(self.prosody.waitForLog, isNext)
        self.seen += 1
        return found[-1]


class EmbeddedBindingTests(BindingActs, EmbeddedCase):
    """
    Channel binding with the embedded server.
    """


class ProsodyBindingTests(BindingActs, WitnessedProsodyCase):
    """
    Channel binding with Prosody.
    """


class EmbeddedExternalTests(ExternalActs, EmbeddedCase):
    """
    Certificates with the embedded server.
    """


class ProsodyExternalTests(ExternalActs, WitnessedProsodyCase):
    """
    Certificates with Prosody.
    """


class SourceTests(SynchronousTestCase):
    """
    The client in Go.
    """

    def test_source(self) -> None:
        """
        C{gofmt} and C{go vet} find nothing.
        """
        findMellium()
        for command in (["gofmt", "-l", "."], ["go", "vet", "."]):
            program = find(command[0], "golang-go")
            done = subprocess.run(
                [program, *command[1:]],
                cwd=CLIENTS / "mellium",
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "GOTOOLCHAIN": "local"},
            )
            self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)


class UnboundTests(WitnessActs, EmbeddedCase):
    """
    A server that cannot bind logins: with the habits of Openfire.
    """

    habits = "openfire-4.8"

    async def test_unbound(self) -> None:
        """
        Clients that could bind their logins log in without, and each says what it knows.
        """
        for program, proof in (("mellium", PLAIN), ("bound", MISSED)):
            for directTLS in (True, False):
                romeo = await self.login(program, ROMEO, proof, directTLS=directTLS)
                await self.converse(*romeo)
