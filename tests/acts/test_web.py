# Copyright the cmanager authors.
# See LICENSE for details.

"""
Stock clients of the web do what those on TCP do, by WebSocket and by BOSH.
"""

from __future__ import annotations

from tests.acts.case import ActCase, ProsodyCase
from tests.acts.test_clients import ClientActs, TogetherActs
from tests.acts.webstage import BOSHStage, WebStage


class StropheActs(ClientActs):
    """
    Strophe.js by WebSocket.
    """

    program = "strophe"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")
    stageType = WebStage


class StropheBOSHActs(StropheActs):
    """
    Strophe.js by BOSH.
    """

    stageType = BOSHStage


class XMPPjsActs(ClientActs):
    """
    C{@xmpp/client}.
    """

    program = "xmppjs"
    mechanisms = ("PLAIN", "SCRAM-SHA-1")
    stageType = WebStage


class StropheTests(StropheActs, ActCase):
    """
    Strophe.js by WebSocket, and the embedded server.
    """


class StropheBOSHTests(StropheBOSHActs, ActCase):
    """
    Strophe.js by BOSH, and the embedded server.
    """


class XMPPjsTests(XMPPjsActs, ActCase):
    """
    C{@xmpp/client}, and the embedded server.
    """


class ProsodyStropheTests(StropheActs, ProsodyCase):
    """
    Strophe.js by WebSocket, and Prosody.
    """


class ProsodyStropheBOSHTests(StropheBOSHActs, ProsodyCase):
    """
    Strophe.js by BOSH, and Prosody.
    """


class ProsodyXMPPjsTests(XMPPjsActs, ProsodyCase):
    """
    C{@xmpp/client}, and Prosody.
    """


class EveryWayActs(TogetherActs):
    """
    A client on each transport.
    """

    programs = ("slix", "strophe", "xmppjs")
    stageType = BOSHStage


class EveryWayTests(EveryWayActs, ActCase):
    """
    With the embedded server.
    """


class ProsodyEveryWayTests(EveryWayActs, ProsodyCase):
    """
    With Prosody.
    """
