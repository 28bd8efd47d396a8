# Copyright the cmanager authors.
# See LICENSE for details.

"""
What stock clients do, with several workers: the main acts of each transport.

All acts can be played so: C{CMANAGER_WORKERS=3} in the environment does it, but for those
that say themselves how many workers they need.
"""

from __future__ import annotations

from typing import ClassVar

from tests.acts.case import ActCase, ProsodyCase
from tests.acts.test_clients import ClientActs
from tests.acts.test_links import LinkActs
from tests.acts.test_web import EveryWayActs, StropheActs, StropheBOSHActs


class Several:
    """
    Three workers, for an L{ActCase}.
    """

    settings: ClassVar[dict[str, str]] = {"workers": "3"}


class SlixmppTests(Several, ClientActs, ActCase):
    """
    TCP, and TLS.
    """

    program = "slix"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")


class StropheTests(Several, StropheActs, ActCase):
    """
    WebSocket.
    """


class StropheBOSHTests(Several, StropheBOSHActs, ActCase):
    """
    BOSH.
    """


class LinkTests(Several, LinkActs, ActCase):
    """
    Links break.
    """


class ProsodyTests(Several, EveryWayActs, ProsodyCase):
    """
    All of them, and Prosody.
    """
