# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.websocket}: the suite of all ways in, over WebSocket with and without
TLS, and what there is in no other way.
"""

from __future__ import annotations

from tests import suite
from tests.ways import SecureWebSocketWay, WebSocketWay


class ConnectTests(suite.ConnectTests):
    """
    A client comes over WebSocket.
    """

    makeWay = WebSocketWay


class ReadTests(suite.ReadTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class PauseTests(suite.PauseTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class WriteTests(suite.WriteTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class CloseTests(suite.CloseTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class TimeTests(suite.TimeTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class SocketTests(suite.SocketTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class SecureConnectTests(suite.ConnectTests):
    """
    A client comes over WebSocket in TLS.
    """

    makeWay = SecureWebSocketWay


class SecureReadTests(suite.ReadTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecurePauseTests(suite.PauseTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecureWriteTests(suite.WriteTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecureCloseTests(suite.CloseTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecureTimeTests(suite.TimeTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecureSocketTests(suite.SocketTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay
