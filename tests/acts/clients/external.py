# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client on slixmpp that has a certificate.
"""

from __future__ import annotations

from typing import Any

import slixmpp

from tests.acts.clients.player import perform
from tests.acts.clients.slix import SlixPlayer


class ExternalPlayer(SlixPlayer):
    """
    See L{SlixPlayer}.
    """

    certificate: str | None = None

    def connect(self, *, certificate: str | None = None, **how: Any) -> None:  # type: ignore[override]
        """
        @param certificate: File with certificate and key, PEM.
        """
        self.certificate = certificate
        super().connect(**how)

    def prepare(self, client: slixmpp.ClientXMPP) -> None:
        client.certfile = client.keyfile = self.certificate
        client.add_event_handler("no_auth", self.nothingOffered)

    def nothingOffered(self, _: object) -> None:
        self.tell("refused", condition=None)


if __name__ == "__main__":
    perform(ExternalPlayer)
