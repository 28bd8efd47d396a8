# Copyright the cmanager authors.
# See LICENSE for details.

"""
A directory like C{/etc/cmanager}, for tests that read a whole configuration, and the log
of what runs with it.
"""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cmanager.config import LogFormat
from cmanager.logs import LogWriter
from tests.certificates import authority

DOMAIN = "montague.example"
SECRET = "s3cret-of-montague"


class Site:
    """
    Certificates, a secret and a configuration, in a directory of their own.

    @param directory: Made here; must not exist.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(os.path.abspath(directory))
        self.certificates = self.directory / "certificates"
        self.certificates.mkdir(parents=True)
        authority().issue(DOMAIN).write(self.certificates, DOMAIN)
        secret = self.directory / "secret"
        secret.write_text(SECRET + "\n")
        secret.chmod(0o600)
        self.path = self.directory / "cmanager.toml"
        self.write()

    def write(
        self,
        more: str = "",
        *,
        endpoint: str = "tcp:0:interface=127.0.0.1",
        manager: str = "workers = 1",
    ) -> Path:
        """
        Write the configuration, with C{more} behind it, and return its path.  The
        server is one that nobody listens for.

        @param manager: What stands in the table of that name.
        """
        self.path.write_text(
            f'[manager]\n{manager}\n[tls]\ncertificates = "certificates"\n'
            f'[[listener]]\ntype = "tcp"\nendpoint = "{endpoint}"\n'
            f'[[server]]\ndomains = ["{DOMAIN}"]\naddress = "127.0.0.1:1"\n'
            'secret-file = "secret"\nsecurity = "plain"\n' + more
        )
        return self.path


class SiteCase(SynchronousTestCase):
    """
    A site, and what is written to the log.

    @ivar writer: Of the log.
    """

    def setUp(self) -> None:
        """
        Make them; keep the signals.
        """
        self.site = Site(self.mktemp())
        self._out = io.StringIO()
        self.writer = LogWriter(self._out, LogFormat.TEXT)
        globalLogPublisher.addObserver(self.writer)
        self.addCleanup(globalLogPublisher.removeObserver, self.writer)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def lines(self) -> list[str]:
        """
        Return what was written, from the level on, and forget it.
        """
        text = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return [" ".join(line.split()[1:]) for line in text.splitlines()]
