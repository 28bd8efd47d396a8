# Copyright the cmanager authors.
# See LICENSE for details.

"""
The servers that stand behind in the acts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThread

from cmanager.linkevents import TLSPolicy
from cmanager.server.accounts import Store
from cmanager.server.service import Server, ServerOptions
from tests.acts.stage import DOMAIN, PASSWORD, SECRET, Backend
from tests.certificates import authority
from tests.prosody import LOOPBACK, Prosody

ACCOUNTS = ("romeo", "juliet")

OPTIONS = f"""
connection_manager_secret = "{SECRET}"
connection_manager_starttls = "required"
authentication = "internal_plain"
connection_manager_grace = 0
"""


class EmbeddedBackend(Backend):
    """
    The embedded server, in the process of the test.

    @ivar server: It, while it runs.
    """

    security = "starttls"

    def __init__(self, reactor: Any, directory: Path, habits: str) -> None:
        identity = authority().issue(DOMAIN)
        certificate = PrivateCertificate.loadPEM(identity.certificatePEM + identity.keyPEM)
        self.announcesKicks = habits == "openfire-4.2"
        self.server: Server | None = None
        self._reactor = reactor
        self._accounts = str(directory / "accounts.sqlite")
        self._options = ServerOptions(
            domain=DOMAIN,
            secret=SECRET,
            endpoint=f"tcp:0:interface={LOOPBACK}",
            habits=habits,
            linkTLS=TLSPolicy.REQUIRED,
            linkCertificate=certificate.options(),
        )

    async def start(self) -> None:
        server = self.server = Server(self._reactor, self._options, Store(self._accounts))
        for account in ACCOUNTS:
            if not server.store.hasAccount(account):
                server.addAccount(account, PASSWORD)
        server.startService()

    def address(self) -> tuple[str, int]:
        if self.server is None or self.server.port is None:
            return LOOPBACK, 1  # where nothing listens
        return LOOPBACK, self.server.port.getHost().port

    async def kick(self, jid: str) -> None:
        assert self.server is not None
        assert self.server.kick(jid) == 1

    async def halt(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            await maybeDeferred(server.stopService)
            server.store.close()


class ProsodyBackend(Backend):
    """
    Prosody with our module.

    @ivar prosody: It.
    """

    security = "starttls"
    announcesKicks = True

    def __init__(self, hosts: str = "", options: str = "") -> None:
        """
        @param hosts: What follows the virtual host: settings of it, components.
        @param options: Global settings.
        """
        self.prosody = Prosody(f'VirtualHost "{DOMAIN}"\n{hosts}', OPTIONS + options)
        identity = authority().issue(DOMAIN)
        self.prosody.addCertificate(DOMAIN, identity.certificatePEM, identity.keyPEM)
        self._new = True

    async def start(self) -> None:
        await deferToThread(self.prosody.start)
        for account in ACCOUNTS if self._new else ():
            await deferToThread(self.prosody.addUser, f"{account}@{DOMAIN}", PASSWORD)
        self._new = False

    def address(self) -> tuple[str, int]:
        return LOOPBACK, self.prosody.linkPort

    async def kick(self, jid: str) -> None:
        await deferToThread(self.prosody.shell, f'c2s:close("{jid}")')

    async def halt(self) -> None:
        await deferToThread(self.prosody.halt)

    async def remove(self) -> None:
        """
        Stop for good.
        """
        await deferToThread(self.prosody.stop)
