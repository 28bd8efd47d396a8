# Copyright the cmanager authors.
# See LICENSE for details.

"""
Stock clients of the web do what those on TCP do, by WebSocket.
"""

from __future__ import annotations

from tests.acts.case import ActCase, ProsodyCase
from tests.acts.test_clients import ClientActs, TogetherActs
from tests.acts.webstage import WebStage


class StropheActs(ClientActs):
    """
    Strophe.js by WebSocket.
    """

    program = "strophe"
    mechanisms = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")
    stageType = WebStage


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


class XMPPjsTests(XMPPjsActs, ActCase):
    """
    C{@xmpp/client}, and the embedded server.
    """


class ProsodyStropheTests(StropheActs, ProsodyCase):
    """
    Strophe.js by WebSocket, and Prosody.
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
    stageType = WebStage


class EveryWayTests(EveryWayActs, ActCase):
    """
    With the embedded server.
    """


class ProsodyEveryWayTests(EveryWayActs, ProsodyCase):
    """
    With Prosody.
    """
