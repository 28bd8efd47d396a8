# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.sessions}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.server.elements import address, build
from cmanager.server.sessions import ClientSession, Sessions


class SessionTests(SynchronousTestCase):
    """
    Sessions, found in every way.
    """

    def setUp(self) -> None:
        """
        Two resources of one account, and one who has not logged in.
        """
        self.sessions = Sessions()
        self.a, self.b, self.new = (ClientSession(id, "cm", "localhost") for id in "abn")
        for session in (self.a, self.b, self.new):
            self.sessions.add(session)
        for session, resource in ((self.a, "one"), (self.b, "two")):
            session.name = "romeo"
            self.sessions.bind(session, resource)

    def test_addresses(self) -> None:
        """
        The stream ID stands in for a resource.
        """
        self.assertEqual(self.a.jid, "romeo@localhost/one")
        self.assertEqual(self.a.bare, "romeo@localhost")
        self.assertEqual(self.new.jid, "localhost/n")

    def test_begun(self) -> None:
        """
        A login has begun with its first element, and remains so when it has failed.
        """
        self.assertEqual((self.new.hasBegun, self.a.hasBegun), (False, True))
        self.new.failures = 1
        self.assertTrue(self.new.hasBegun)

    def test_found(self) -> None:
        """
        By stream ID, by account, by address.
        """
        self.assertIs(self.sessions.get("cm", "a"), self.a)
        self.assertIsNone(self.sessions.get("other", "a"))
        self.assertEqual(self.sessions.of("romeo"), [self.a, self.b])
        self.assertEqual(self.sessions.of(None), [])
        self.assertIs(self.sessions.find(address("romeo@localhost/two")), self.b)
        self.assertIsNone(self.sessions.find(address("romeo@localhost/three")))
        self.assertIsNone(self.sessions.find(address("localhost")))

    def test_available(self) -> None:
        """
        Those with presence, highest priority first.
        """
        self.assertEqual(self.sessions.available("romeo"), [])
        self.a.presence = self.b.presence = build(None, "presence")
        self.b.priority = 1
        self.assertEqual(self.sessions.available("romeo"), [self.b, self.a])

    def test_removed(self) -> None:
        """
        Nothing is left of those that are gone.
        """
        for session in list(self.sessions):
            self.sessions.remove(session)
        self.assertEqual((len(self.sessions), self.sessions.bound), (0, {}))

    def test_ofManager(self) -> None:
        """
        By manager.
        """
        other = ClientSession("x", "other", "localhost")
        self.sessions.add(other)
        self.assertEqual(self.sessions.ofManager("other"), [other])
        self.assertEqual(len(self.sessions.ofManager("cm")), 3)
