# Copyright the cmanager authors.
# See LICENSE for details.

"""
Clients of an endpoint that ends TLS itself.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tests.acts.case import ActCase
from tests.acts.stage import DOMAIN, Stage
from tests.acts.test_clients import TogetherActs

PORT = 5224


class SSLStage(Stage):
    """
    One that clients enter there.
    """

    transport = "own"

    def _write(self) -> None:
        pem = f"certificates/{DOMAIN}.pem"
        endpoint = f"ssl:{PORT}:interface={self.host}:privateKey={pem}"
        self.listeners = (
            f'[[listener]]\ntype = "tcp"\nendpoint = "{endpoint}"\ntransport = "{self.transport}"\n'
        )
        super()._write()

    def way(self, program: str, directTLS: bool) -> dict[str, Any]:
        """
        Return where the clients of a program connect.
        """
        return {"host": self.host, "port": PORT, "directTLS": True}


class StockStage(SSLStage):
    """
    The same with Twisted's transports.
    """

    transport = "twisted"


class SSLTests(TogetherActs, ActCase):
    """
    Over our transports.
    """

    stageType = SSLStage
    settings: ClassVar[dict[str, str]] = {"workers": "1"}


class StockSSLTests(SSLTests):
    """
    Over Twisted's.
    """

    stageType = StockStage
