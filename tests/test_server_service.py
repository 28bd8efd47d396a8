# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.service}.
"""

from __future__ import annotations

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element

from cmanager.errors import ConfigError
from cmanager.server.service import Server, ServerOptions
from tests.serverdoubles import Client, Peer, ServerTestCase, told


class OptionTests(SynchronousTestCase):
    """
    The options.
    """

    def test_secret(self) -> None:
        """
        The secret is not shown.
        """
        self.assertNotIn("s3cret", repr(ServerOptions(secret="s3cret")))

    def test_habits(self) -> None:
        """
        Habits are given by name.
        """
        self.assertEqual(ServerOptions(habits="openfire-4.2").habits.value, "openfire-4.2")  # type: ignore[arg-type] # converted
        self.assertRaises(ValueError, ServerOptions, habits="other")


class ListeningTests(SynchronousTestCase):
    """
    The service.
    """

    def setUp(self) -> None:
        """
        Make one on a reactor in memory.
        """
        self.reactor = MemoryReactorClock()
        self.server = Server(self.reactor, ServerOptions(secret="x"))

    def test_start(self) -> None:
        """
        It listens once, on the loopback interface unless told otherwise, with its own
        factory.
        """
        self.server.privilegedStartService()
        self.server.startService()
        ((port, factory, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, factory, interface), (5262, self.server.factory, "127.0.0.1"))
        self.assertIsNotNone(self.server.port)
        self.successResultOf(self.server.stopService())
        self.assertIsNone(self.server.port)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_taken(self) -> None:
        """
        A port that is taken is told.
        """

        def listenTCP(*args: object, **named: object) -> None:
            raise CannotListenError("127.0.0.1", 5262, OSError(98, "in use"))

        self.reactor.listenTCP = listenTCP
        error = self.assertRaises(ConfigError, self.server.privilegedStartService)
        self.assertIn("Couldn't listen on 127.0.0.1:5262", str(error))

    def test_waits(self) -> None:
        """
        A stop waits until the port is closed.
        """
        self.server.startService()
        closing = self.server.port.stopListening()  # type: ignore[union-attr] # listening

        class Port:
            def stopListening(self) -> object:
                return closing

        self.server.port = Port()  # type: ignore[assignment] # a double
        self.assertIsNotNone(self.server.stopService())

    def test_nowhere(self) -> None:
        """
        Without an endpoint it does not listen; a stop without a start does no harm.
        """
        server = Server(self.reactor, ServerOptions(endpoint=None))
        server.privilegedStartService()
        self.assertEqual(self.reactor.tcpServers, [])
        self.successResultOf(server.stopService())


class LinkTests(ServerTestCase):
    """
    Links come, stay alive and go.
    """

    def start(self) -> None:
        """
        Start the service.
        """
        self.server.startService()
        self.addCleanup(lambda: self.server.running and self.server.stopService())

    def test_heartbeat(self) -> None:
        """
        A space goes out each 30 s on each link that has said who it is.
        """
        self.start()
        unknown = Peer(self.server, proven=False)
        opened = Peer(self.server, "cm/three", proven=False)
        opened.open()
        for peer in (self.peer, opened):
            peer.pump()
            peer.raw = b""
        self.clock.advance(30)
        for peer in (self.peer, opened, unknown):
            peer.pump()
        self.assertEqual([p.raw for p in (self.peer, opened, unknown)], [b" ", b" ", b""])

    def test_idle(self) -> None:
        """
        A link that is silent for 300 s ends with C{connection-timeout}; a second less
        and a space keep it.
        """
        self.start()
        silent = Peer(self.server, "cm/two")
        nameless = Peer(self.server, proven=False)
        self.clock.pump([30] * 9)
        self.peer.send(" ")
        self.assertFalse(silent.transport.disconnecting)
        self.clock.advance(30)
        self.assertEqual(
            [p.transport.disconnecting for p in (self.peer, silent, nameless)], [False, True, True]
        )
        self.assertEqual(silent.take()[0].firstChildElement().name, "connection-timeout")

    def test_lastLost(self) -> None:
        """
        Sessions outlive one link of several, but not the last.
        """
        other = Peer(self.server, "cm/two")
        elsewhere = Peer(self.server, "else/one")
        Client([elsewhere], "e1")
        juliet = self.client("juliet")
        self.peer.lose()
        self.assertEqual(len(self.server.sessions), 2)
        juliet.peers = [other]
        other.clients[juliet.id] = juliet
        juliet.send("<presence/>")
        self.assertEqual(len(juliet.take()), 1)
        other.lose()
        self.assertEqual([s.id for s in self.server.sessions], ["e1"])

    def test_grace(self) -> None:
        """
        With a grace they outlive the last link for so long; one that comes meanwhile
        keeps them.
        """
        self.serve(grace=10.0)
        self.client("juliet")
        self.peer.lose()
        self.clock.advance(9)
        self.assertEqual(len(self.server.sessions), 1)
        back = Peer(self.server, "cm/two")
        back.lose()
        Peer(self.server, "cm/three")
        self.clock.advance(1)
        self.assertEqual(len(self.server.sessions), 1)

    def test_graceOver(self) -> None:
        """
        After the grace they are gone.
        """
        self.serve(grace=10.0)
        self.client("juliet")
        self.peer.lose()
        self.clock.advance(10)
        self.assertEqual(len(self.server.sessions), 0)

    def test_graceAtStop(self) -> None:
        """
        A stop leaves no timer behind.
        """
        self.serve(grace=10.0)
        self.start()
        self.peer.lose()
        self.successResultOf(self.server.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ghosts(self) -> None:
        """
        Without an end to the grace they stay as ghosts.
        """
        self.serve(grace=None)
        self.client("juliet")
        self.peer.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.server.sessions), 1)

    def test_shutdown(self) -> None:
        """
        A stop tells every link C{system-shutdown}; old releases rely on the header's
        prefix.
        """
        for habits, declared in (("openfire-4.7", False), ("openfire-4.8", True)):
            self.serve(habits=habits)
            self.start()
            self.client("juliet")
            self.peer.raw = b""
            self.successResultOf(self.server.stopService())
            self.assertEqual(self.peer.take()[-1].firstChildElement().name, "system-shutdown")
            self.assertEqual(b"<stream:error xmlns:stream" in self.peer.raw, declared)
            self.assertTrue(self.peer.ended)
            self.assertEqual(len(self.server.sessions), 0)


class EndTests(ServerTestCase):
    """
    How the end of a session is told, by habits.
    """

    def told(
        self, habits: str, error: str | None, *, bound: bool, silent: bool = False
    ) -> list[str]:
        """
        End a session and return what the manager got: C{error} routed, C{close}, and
        what stood in it.
        """
        self.serve(habits=habits)
        if bound:
            client = self.client("romeo")
            self.assertEqual(self.server.kick("romeo@localhost", error, silent=silent), 1)
        else:
            client = Client([self.peer], "s1")
            (session,) = self.server.sessions
            self.server.end(session, error)
        self.assertEqual(len(self.server.sessions), 0)
        words = [f"routed {e.firstChildElement().name}" for e in client.take()]
        for iq in self.peer.take():
            words += [child.name for child in iq.session.elements()]
            words += [
                e.firstChildElement().name for e in iq.session.elements() if e.name == "error"
            ]
        return words

    def test_bound(self) -> None:
        """
        4.2 and we announce the end of a bound session, with the error before; the others
        send the error at most.
        """
        for habits in ("openfire-4.2", "own"):
            self.assertEqual(
                self.told(habits, "conflict", bound=True), ["routed conflict", "close"]
            )
            self.assertEqual(self.told(habits, None, bound=True), ["close"])
        for habits in ("openfire-4.7", "openfire-4.8"):
            self.assertEqual(self.told(habits, "conflict", bound=True), ["routed conflict"])
            self.assertEqual(self.told(habits, None, bound=True), [])

    def test_unbound(self) -> None:
        """
        All announce the end of one that has not bound; 4.8 puts the error inside.
        """
        for habits in ("openfire-4.2", "own"):
            self.assertEqual(
                self.told(habits, "conflict", bound=False), ["routed conflict", "close"]
            )
        self.assertEqual(self.told("openfire-4.7", "conflict", bound=False), ["close"])
        self.assertEqual(
            self.told("openfire-4.8", "conflict", bound=False), ["close", "error", "conflict"]
        )
        self.assertEqual(self.told("openfire-4.8", None, bound=False), ["close"])

    def test_silent(self) -> None:
        """
        A silent end is told to nobody.
        """
        self.assertEqual(self.told("openfire-4.2", "conflict", bound=True, silent=True), [])

    def test_noLink(self) -> None:
        """
        Without a link there is nobody to tell.
        """
        Client([self.peer], "s1")
        (session,) = self.server.sessions
        session.manager = "gone"
        self.server.sessions.add(session)
        self.assertFalse(self.server.send(session, Element((None, "presence"))))
        self.assertFalse(self.server.send(session, None))
        self.server.end(session)
        self.server.forget(session)


class AdministrationTests(ServerTestCase):
    """
    The knobs of tests.
    """

    def test_kick(self) -> None:
        """
        A bare address is all its sessions, a full one is one.
        """
        for resource in ("a", "b", "c"):
            self.client("romeo", resource)
        self.assertEqual(self.server.kick("romeo@localhost/b", "conflict"), 1)
        self.assertEqual(self.server.kick("romeo@localhost"), 2)
        self.assertEqual(self.server.kick("romeo@localhost"), 0)

    def test_friends(self) -> None:
        """
        Friends see each other; what they have called each other stays.
        """
        for name in ("Juliet", "My love"):
            self.server.befriend("romeo", "juliet")
            (item,) = self.server.store.contacts("romeo")
            self.assertEqual(
                (item.entity.full(), item.name, item.subscriptionTo, item.subscriptionFrom),
                ("juliet@localhost", name, True, True),
            )
            item.name = "My love"
            self.server.store.putContact("romeo", item)

    def test_removeAccount(self) -> None:
        """
        The sessions of an account that is removed end.
        """
        romeo = self.client("romeo")
        self.server.removeAccount("romeo")
        self.assertEqual(told(romeo.take())[0][0], "error")
        self.assertEqual(len(self.server.sessions), 0)

    def test_names(self) -> None:
        """
        Account names are prepared.
        """
        self.server.addAccount("Mercutio", "x")
        self.assertTrue(self.server.store.hasAccount("mercutio"))
