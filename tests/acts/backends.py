# Copyright the cmanager authors.
# See LICENSE for details.

"""
The servers that stand behind in the acts.
"""

from __future__ import annotations

from twisted.internet.threads import deferToThread

from tests.acts.stage import DOMAIN, PASSWORD, SECRET, Backend
from tests.certificates import authority
from tests.prosody import LOOPBACK, Prosody

ACCOUNTS = ("romeo", "juliet")

OPTIONS = f"""
connection_manager_secret = "{SECRET}"
connection_manager_starttls = "required"
authentication = "internal_plain"
connection_manager_grace = 0
connection_manager_trusted_secure = true
"""


class ProsodyBackend(Backend):
    """
    Prosody with our module.
    """

    security = "starttls"

    def __init__(self) -> None:
        self.prosody = Prosody(f'VirtualHost "{DOMAIN}"\n', OPTIONS)
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
