# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.bosh}: the suite of all ways in, over HTTP connections in memory, and
what there is in no other way.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from lxml import etree
from twisted.logger import capturedLogs, formatEvent

from cmanager.body import Body
from cmanager.bosh import BOSHStream
from cmanager.errors import StreamError
from cmanager.settings import BOSHSettings, LimitSettings, ListenerSettings
from cmanager.stanza import NS_STREAMS, StreamHeader, streamErrorText
from tests import suite
from tests.bosh import BOSHWay, SecureBOSHWay, SilentExchange
from tests.suite import HEADER, OPENED, Origin, StreamCase
from tests.test_outbox import message

LOST = ("transportLost", None)
ERROR = streamErrorText(StreamError("reset"))


class BOSHCase(StreamCase):
    """
    A stream of BOSH, and a client that has said its header: that is in the request which
    makes the stream.
    """

    makeWay = BOSHWay
    way: BOSHWay

    def connect(self, peer: Any = None, **settings: Any) -> None:
        """
        Connect a client, with these settings.
        """
        self.hub.settings = evolve(self.hub.settings, **settings)
        self.way = self.makeWay()
        listener = ListenerSettings("http", "tcp:0", starttls=self.starttls)
        self.way.visit(Origin(self.clock, listener, self.hub), peer)
        before = len(self.hub.sessions)
        self.isLost = False
        self.arrive(self.way.said(HEADER))
        if len(self.hub.sessions) > before:
            self.session = self.hub.sessions[-1]
            self.stream = self.session.stream
            self.way.anticipate(self.stream)
        self.sent()

    def arrive(self, *reads: bytes) -> None:
        """
        Let bytes come over a connection.
        """
        for data in reads:
            self.way.arrive(data)

    def sent(self) -> bytes:
        """
        Return what the client was told since the last call.
        """
        return self.way.told(self.turn)

    def turn(self) -> None:
        """
        Let all come to its end that does so at once.
        """
        self.clock.advance(0)

    def fill(self) -> None:
        """
        Let the client take nothing any more: it is away.
        """
        self.way.lose()

    def lose(self) -> None:
        """
        Let it be away for too long.
        """
        self.isLost = True
        self.way.lose()
        self.pass_(self.hub.bosh.settings.inactivity + 1)

    @property
    def seen(self) -> list[tuple[str, Any]]:
        """
        The inputs of the session: of its header none before it is said, and none of the end of
        its transport where that comes of another end.
        """
        return [
            one
            for one in self.session.seen
            if not (one[0] == "opened" and self.way.isAhead) and (self.isLost or one != LOST)
        ]

    @property
    def isRead(self) -> bool:
        """
        Requests are taken.
        """
        return not self.stream._intake.isPaused

    @property
    def isOver(self) -> bool:
        """
        The client was told of the end.
        """
        self.sent()
        return self.way.isEnded

    @property
    def isCut(self) -> bool:
        """
        There is no stream any more.
        """
        self.turn()
        return LOST in self.session.seen


class ConnectTests(BOSHCase, suite.ConnectTests):
    """
    A client comes.
    """

    def refused(self, condition: bytes) -> None:
        """
        See that it was told so.
        """
        self.assertTrue(self.way.isEnded)
        self.assertIn(b"<stream:error><" + condition, self.way.got)


class SecureConnectTests(ConnectTests):
    """
    In TLS.
    """

    makeWay = SecureBOSHWay


class ReadTests(BOSHCase, suite.ReadTests):
    """
    What is in requests.
    """


class SecureReadTests(ReadTests):
    """
    In TLS.
    """

    makeWay = SecureBOSHWay


class PauseTests(BOSHCase, suite.PauseTests):
    """
    Requests wait.
    """

    def test_rate(self) -> None:
        """
        A client that sends more than it may is slowed down by its requests, whatever
        connections they come by, and loses nothing.
        """
        self.hub.limits.settings = evolve(LimitSettings(), bytesPerSecond=1024, bytesBurst=4096)
        self.connect(unauthenticatedStanzaBytes=20000)
        self.hub.limits.settings = LimitSettings()
        first = len(BOSHWay().said(HEADER).partition(b"\r\n\r\n")[2])
        self.receive(HEADER)
        self.arrive(self.way.exactly(1, 4096 - first))
        self.assertTrue(self.isRead)
        self.arrive(self.way.exactly(2, 1024))
        self.assertFalse(self.isRead)
        self.receive(message(3).data)
        self.assertEqual(self.session.stanzas(), ["1", "2"])
        self.clock.advance(1)
        self.assertEqual(self.session.stanzas(), ["1", "2", "3"])


class WriteTests(BOSHCase, suite.WriteTests):
    """
    What goes to the client.
    """


class SecureWriteTests(WriteTests):
    """
    In TLS.
    """

    makeWay = SecureBOSHWay


class EndTests(BOSHCase, suite.EndTests):
    """
    The one way a stream ends.
    """


class LoginTests(BOSHCase, suite.LoginTests):
    """
    The time for the login.
    """


class AloneCase(StreamCase):
    """
    A stream alone, whose requests a test makes.
    """

    first: dict[str, Any] = {"ver": (1, 11), "hold": 1, "to": "a.example"}
    stream: Any = None

    def connect(self, peer: Any = None, **settings: Any) -> None:
        """
        Make a stream of a client whose first request waits, in place of the one of before.
        """
        if self.stream is not None:
            self.stream.abort()
            self.turn()
        self.hub.settings = evolve(self.hub.settings, **settings)
        listener = ListenerSettings("http", "tcp:0")
        body = Body(rid=1, **self.first)
        origin: Any = Origin(self.clock, listener, self.hub)
        self.stream = BOSHStream(origin, body, "192.0.2.1", secure=False)
        self.session = self.hub.sessions[-1]
        self.rid = 0
        self.exchange = self.ask(**self.first)

    def ask(self, rid: int = 0, **body: Any) -> SilentExchange:
        """
        Let the next request come, or one with a rid.
        """
        self.rid = rid or self.rid + 1
        exchange = SilentExchange()
        self.stream.request(exchange, Body(rid=self.rid, sid=self.stream.sid, **body))
        return exchange

    def turn(self) -> None:
        """
        Let this turn end.
        """
        self.clock.advance(0)

    @property
    def isOver(self) -> bool:
        """
        Nothing of the stream is left.
        """
        isOver = LOST in self.session.seen
        if isOver:
            self.assertEqual(len(self.hub.bosh), 0)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertEqual(len(self.hub.wheel), 0)
            self.assertEqual(self.hub.limits.connections(self.stream.peer), 0)
            self.assertEqual(self.session.seen[-1], LOST)
        return isOver


class OpenTests(AloneCase):
    """
    The answer to the first request, and to a restart.
    """

    HEADER = StreamHeader(id="abc", from_="a.example", to="romeo@a.example", lang="it")
    FEATURES = b"<stream:features><x xmlns='urn:x'/></stream:features>"

    def test_features(self) -> None:
        """
        They are in the answer, with what a header says over TCP: for clients that log in as in
        XEP-0078, the stream id too.
        """
        self.stream.open(self.HEADER, self.FEATURES)
        self.assertEqual(self.exchange.answers, [])
        self.turn()
        told = self.exchange.told
        self.assertEqual(told.get("from"), "a.example")
        self.assertEqual(told.get("to"), "romeo@a.example")
        self.assertEqual(told.get("authid"), "abc")
        self.assertEqual(told.get("{http://www.w3.org/XML/1998/namespace}lang"), "it")
        self.assertEqual(told.get("{urn:xmpp:xbosh}version"), "1.0")
        self.assertEqual(told.get("{urn:xmpp:xbosh}restartlogic"), "true")
        self.assertEqual(told.get("sid"), self.stream.sid)
        self.assertEqual(told[0].tag, f"{{{NS_STREAMS}}}features")

    def test_sid(self) -> None:
        """
        The sid is not the stream id (pitfall C-33).
        """
        self.stream.open(self.HEADER, self.FEATURES)
        self.turn()
        self.assertNotEqual(self.exchange.told.get("sid"), self.exchange.told.get("authid"))

    def test_later(self) -> None:
        """
        Where there are no features yet the client waits for them, with the header.
        """
        self.stream.open(self.HEADER)
        self.pass_(5)
        self.assertEqual(self.exchange.answers, [])
        self.stream.write(self.FEATURES)
        self.turn()
        self.assertEqual(self.exchange.told.get("from"), "a.example")
        self.assertEqual(len(self.exchange.told), 1)

    def test_restart(self) -> None:
        """
        A restart is answered likewise.
        """
        self.stream.open(self.HEADER, self.FEATURES)
        self.turn()
        self.session.reactions["opened"] = lambda: self.stream.open(self.HEADER, self.FEATURES)
        exchange = self.ask(isRestart=True)
        self.assertEqual(len(exchange.told), 1)
        self.assertEqual(exchange.told.get("from"), "a.example")
        self.assertEqual(exchange.told.get("sid"), None)

    def test_contentType(self) -> None:
        """
        Answers are of the type that the client wants.
        """
        self.stream.write(b"<a/>")
        self.turn()
        self.assertEqual(self.exchange.answers[0][1], "text/xml; charset=utf-8")
        self.first = {"content": "text/plain; charset=utf-8"}
        self.connect()
        self.stream.write(b"<a/>")
        self.turn()
        self.assertEqual(self.exchange.answers[0][1], "text/plain; charset=utf-8")


class RequestTests(AloneCase):
    """
    What requests say to the session.
    """

    def test_first(self) -> None:
        """
        What is in the first comes behind the header.
        """
        self.first = {"to": "a.example", "children": (message(1),), "isTerminate": True}
        self.connect()
        self.assertEqual(
            self.session.seen, [("opened", "a.example"), ("stanza", "1"), ("closed", None), LOST]
        )

    def test_restartHoldsNothing(self) -> None:
        """
        What is in a restart is no part of the new stream (XEP-0206 section 6).  It holds for
        where the client does not say it again.
        """
        self.ask(isRestart=True, children=(message(1),))
        self.assertEqual(self.session.seen, [("opened", "a.example")] * 2)

    def test_brokenRestart(self) -> None:
        """
        That it is no good XML counts all the same.
        """
        self.ask(isRestart=True, error=StreamError("not-well-formed"))
        self.assertEqual(self.session.seen[-1], ("failed", "not-well-formed"))

    def test_order(self) -> None:
        """
        One that overtakes another waits for it (pitfall C-35), and one that comes again is not
        processed again (C-34).
        """
        self.stream.write(b"<a/>")
        self.turn()
        self.ask(3, children=(message(2),))
        self.assertEqual(self.session.stanzas(), [])
        self.ask(2, children=(message(1),))
        self.assertEqual(self.session.stanzas(), ["1", "2"])
        self.ask(3, children=(message(2),))
        self.assertEqual(self.session.stanzas(), ["1", "2"])

    def test_deaf(self) -> None:
        """
        Behind an error nothing is processed; the session has the last word.
        """
        self.ask(error=StreamError("restricted-xml"))
        exchange = self.ask(children=(message(1),))
        self.assertEqual(self.session.stanzas(), [])
        self.stream.close(ERROR)
        self.turn()
        self.assertEqual(exchange.told.get("type"), "terminate")
        self.assertTrue(self.isOver)

    def test_restartGivesUp(self) -> None:
        """
        What stands behind that which brings a restart about is given up, an error included.
        """
        self.session.reactions["message"] = lambda: self.stream.restart(20000)
        self.ask(children=(message(1), message(2)), error=StreamError("not-well-formed"))
        self.assertEqual(self.session.seen[1:], [("stanza", "1")])
        self.assertEqual(self.stream.limit, 20000)

    def test_fails(self) -> None:
        """
        A mistake of ours costs the session, and is told to the log alone.
        """

        def fail() -> None:
            raise ValueError("a secret")

        ended: list[Any] = []
        self.session.end = ended.append  # type: ignore[attr-defined]  # as that of a real one
        self.session.reactions["message"] = fail
        exchange = self.ask(children=(message(1),))
        self.assertEqual([error.condition for error in ended], ["internal-server-error"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.stream.close(ERROR)
        self.turn()
        self.assertNotIn(b"secret", exchange.answers[0][2] if exchange.answers else b"")
        self.assertTrue(self.isOver)

    def test_startTLS(self) -> None:
        """
        There is no STARTTLS, and nothing of TLS to describe: each connection has its own.
        """
        self.assertFalse(self.stream.canStartTLS)
        self.stream.startTLS(b"<proceed/>")
        self.turn()
        self.assertEqual(self.exchange.answers, [])
        self.assertIsNone(self.stream.tlsFacts())


class HeldTests(AloneCase):
    """
    Requests are held until there is something to say.
    """

    def test_together(self) -> None:
        """
        What is said in one turn goes out together.
        """
        for number in range(3):
            self.stream.deliver(message(number))
        self.assertEqual(self.exchange.answers, [])
        self.turn()
        self.assertEqual(len(self.exchange.told), 3)

    def test_atOnce(self) -> None:
        """
        What a request brings about goes out at once, in the request that was held.
        """
        self.session.reactions["message"] = lambda: self.stream.write(b"<a/>")
        exchange = self.ask(children=(message(1),))
        self.assertEqual([child.tag for child in self.exchange.told], ["{jabber:client}a"])
        self.assertEqual(exchange.answers, [])

    def test_wait(self) -> None:
        """
        Not for longer than the client was told, whenever it came between two ticks, and not much
        less either.
        """
        for offset in (0.0, 0.01, 0.5, 0.99):
            self.clock.advance(offset)
            self.first = {"wait": 20, "hold": 1}
            self.connect()
            began = self.clock.seconds()
            while not self.exchange.answers:
                self.clock.advance(0.01)
                if int(self.clock.seconds()) > int(self.clock.seconds() - 0.01):
                    self.hub.wheel.tick()
            held = self.clock.seconds() - began
            self.assertLessEqual(held, 20)
            self.assertGreater(held, 18.9)

    def test_next(self) -> None:
        """
        The next request takes the place of the one before, and is held for as long.
        """
        self.pass_(30)
        exchange = self.ask()
        self.assertEqual(self.exchange.told.get("sid"), self.stream.sid)
        self.pass_(self.hub.bosh.settings.wait - 2)
        self.assertEqual(exchange.answers, [])
        self.pass_(1)
        self.assertEqual(exchange.told.attrib, {})

    def test_shorter(self) -> None:
        """
        The timer goes off in time, also where it was set for later before.
        """
        self.stream.write(b"<a/>")
        self.turn()
        exchange = self.ask(pause=200)
        self.assertEqual(exchange.told.attrib, {})
        self.ask()
        self.stream.write(b"<a/>")
        self.turn()
        self.pass_(self.hub.bosh.settings.inactivity - 1)
        self.assertFalse(self.isOver)
        self.pass_(1)
        self.assertTrue(self.isOver)

    def test_paused(self) -> None:
        """
        What the session does not want to have is not answered: that is how slowly it goes.
        """
        self.stream.pauseReading()
        exchanges = [self.ask(children=(message(number),)) for number in (1,)]
        self.pass_(200)
        self.assertEqual(self.session.stanzas(), [])
        self.assertEqual(exchanges[0].answers, [])
        self.stream.resumeReading()
        self.assertEqual(self.session.stanzas(), ["1"])
        self.turn()
        self.pass_(1)
        self.assertEqual(len(exchanges[0].answers), 1)

    def test_pausedCrowd(self) -> None:
        """
        A client cannot pile up requests meanwhile.
        """
        self.stream.pauseReading()
        self.ask()
        exchange = self.ask()
        self.assertEqual(exchange.told.get("condition"), "policy-violation")
        self.assertTrue(self.isOver)


class UndeliveredTests(AloneCase):
    """
    What the client did not get.
    """

    def undelivered(self) -> list[str]:
        """
        Let the client be silent, and return what is given back.
        """
        self.pass_(self.hub.bosh.settings.inactivity + self.hub.bosh.settings.wait)
        self.assertTrue(self.isOver)
        return [stanza.attributes["id"].lstrip("0") for stanza in self.session.undelivered]

    def deliver(self, *numbers: int) -> None:
        """
        Deliver stanzas, in one turn.
        """
        for number in numbers:
            self.assertTrue(self.stream.deliver(message(number)))
        self.turn()

    def test_notFetched(self) -> None:
        """
        What it has not fetched comes back, behind what it may have missed.
        """
        self.deliver(1)
        self.deliver(2)
        self.assertEqual(self.undelivered(), ["1", "2"])

    def test_received(self) -> None:
        """
        Not what it is known to have, by its next request over the same connection.
        """
        self.deliver(1)
        self.stream.received(self.exchange)
        self.deliver(2)
        self.assertEqual(self.undelivered(), ["2"])

    def test_acknowledged(self) -> None:
        """
        Nor what it says it has.
        """
        self.first = {"ack": 1, "ver": (1, 11), "hold": 1}
        self.connect()
        self.deliver(1)
        exchange = self.ask()
        self.deliver(2)
        self.assertEqual(len(exchange.told), 1)
        self.assertEqual(self.undelivered(), ["2"])

    def test_lost(self) -> None:
        """
        A request that is lost before it is answered holds nothing.
        """
        self.stream.lost(self.exchange)
        self.deliver(1)
        self.assertEqual(self.exchange.answers, [])
        self.assertEqual(self.undelivered(), ["1"])

    def test_leaves(self) -> None:
        """
        Who leaves in order has got what was sent before, if it was not lost.
        """
        for isLost in (False, True):
            self.connect()
            self.deliver(1)
            if isLost:
                self.stream.lost(self.exchange)
            self.session.reactions["closed"] = self.stream.close
            exchange = self.ask(isTerminate=True)
            self.assertEqual(exchange.told.get("type"), "terminate")
            self.assertTrue(self.isOver)
            self.assertEqual(len(self.session.undelivered), isLost)

    def test_afterwards(self) -> None:
        """
        Once all is over nothing more can be lost, or received.
        """
        self.ask(isTerminate=True)
        self.assertTrue(self.isOver)
        self.stream.lost(self.exchange)
        self.stream.received(self.exchange)
        self.stream.close()
        self.stream.abort()
        self.stream._loginTimedOut()
        self.assertEqual(self.stream.takeUndelivered(), [])
        self.assertFalse(self.stream.deliver(message(1)))
        self.stream.write(b"<a/>")
        self.stream.resumeProducing()
        self.assertTrue(self.isOver)


class CloseTests(AloneCase):
    """
    We end it.
    """

    def test_told(self) -> None:
        """
        A client that has a request here is told at once, behind all that waits; there is
        nothing to wait for after that.
        """
        self.stream.deliver(message(1))
        self.stream.close(ERROR, OPENED)
        self.stream.close(ERROR)
        self.assertEqual(self.exchange.answers, [])
        self.assertFalse(self.isOver)
        self.turn()
        told = self.exchange.told
        self.assertEqual(told.get("type"), "terminate")
        self.assertEqual(told.get("condition"), "remote-stream-error")
        self.assertEqual([etree.QName(child).localname for child in told], ["message", "error"])
        self.assertTrue(self.isOver)
        self.assertEqual(self.session.undelivered, [])

    def test_conditions(self) -> None:
        """
        The condition is that of BOSH where there is one, and the stream's own is there, too.
        """
        for condition, expected in (
            ("system-shutdown", "system-shutdown"),
            ("host-unknown", "host-unknown"),
            ("conflict", "remote-stream-error"),
        ):
            self.connect()
            self.stream.close(streamErrorText(StreamError(condition)))
            self.turn()
            self.assertEqual(self.exchange.told.get("condition"), expected)
            self.assertEqual(etree.QName(self.exchange.told[0][0]).localname, condition)

    def test_noError(self) -> None:
        """
        Without an error there is no condition.
        """
        self.stream.close()
        self.turn()
        self.assertEqual(dict(self.exchange.told.attrib), {"type": "terminate"})

    def test_oldClient(self) -> None:
        """
        A client from before version 1.6 goes by the status of HTTP.
        """
        self.first = {"hold": 1}
        self.connect()
        self.stream.close(streamErrorText(StreamError("policy-violation")))
        self.turn()
        self.assertEqual(self.exchange.answers, [(403, "text/xml; charset=utf-8", b"")])

    def away(self) -> None:
        """
        Leave the client without a request here.
        """
        self.stream.write(b"<a/>")
        self.turn()
        self.assertEqual(len(self.exchange.answers), 1)

    def test_toldLater(self) -> None:
        """
        One that has none is told when it comes, if that is within the grace time; its request
        is not processed.
        """
        self.away()
        self.stream.deliver(message(1))
        self.stream.close(ERROR)
        self.pass_(4)
        exchange = self.ask(children=(message(2),))
        self.assertEqual(exchange.told.get("type"), "terminate")
        self.assertEqual(len(exchange.told), 2)
        self.assertTrue(self.isOver)
        self.assertEqual(self.session.stanzas(), [])

    def test_grace(self) -> None:
        """
        When the grace time is over it is no longer waited for, and what it has not got comes
        back.
        """
        self.away()
        self.stream.deliver(message(1))
        self.stream.close(ERROR)
        self.pass_(4)
        self.assertFalse(self.isOver)
        self.pass_(1)
        self.assertTrue(self.isOver)
        self.assertEqual(len(self.session.undelivered), 1)

    def test_pending(self) -> None:
        """
        Where the kernel has not taken all of the last answer the grace time is for that.  What
        is in an answer that is lost comes back.
        """
        for isLost in (False, True):
            self.connect()
            self.exchange.isPending = True
            self.stream.deliver(message(1))
            self.stream.close(ERROR)
            self.pass_(4)
            self.assertEqual(len(self.exchange.answers), 1)
            self.assertFalse(self.isOver)
            if isLost:
                self.stream.lost(self.exchange)
            else:
                self.pass_(1)
            self.assertTrue(self.isOver)
            self.assertEqual(len(self.session.undelivered), isLost)

    def test_missed(self) -> None:
        """
        A client that may have missed something before that has the grace time to come for it.
        """
        self.stream.deliver(message(1))
        self.turn()
        self.ask()
        self.stream.close(ERROR)
        self.turn()
        self.assertFalse(self.isOver)
        again = self.ask(1)
        self.assertEqual(again.answers, self.exchange.answers)
        self.pass_(5)
        self.assertTrue(self.isOver)
        self.assertEqual(self.session.undelivered, [])

    def test_behind(self) -> None:
        """
        An answer may let the next request in, on the same connection, before it is all over.
        """
        follower = SilentExchange()

        class Follower(SilentExchange):
            def answer(inner, status: int, type_: str, data: bytes) -> None:
                super().answer(status, type_, data)
                self.stream.request(follower, Body(rid=2, sid="x"))

        self.connect()
        self.stream.lost(self.exchange)
        exchange = Follower()
        self.stream.request(exchange, Body(rid=1, sid="x"))
        self.stream.close(ERROR)
        self.turn()
        self.assertEqual(exchange.told.get("type"), "terminate")
        self.assertEqual(follower.told.get("type"), "terminate")
        self.assertTrue(self.isOver)

    def test_paused(self) -> None:
        """
        What comes with the client's end comes before it, however long that is held up; meanwhile
        nothing is answered.
        """
        self.connect(loginTimeout=3600.0)
        self.session.reactions["message"] = self.stream.pauseReading
        self.session.reactions["closed"] = self.stream.close
        exchange = self.ask(children=(message(1), message(2)), isTerminate=True)
        self.pass_(200)
        self.assertEqual(exchange.answers, [])
        self.session.reactions.pop("message")
        self.stream.resumeReading()
        self.turn()
        self.assertEqual(self.session.seen[1:3], [("stanza", "1"), ("stanza", "2")])
        self.assertEqual(exchange.told.get("type"), "terminate")
        self.assertTrue(self.isOver)

    def test_endsWhilePaused(self) -> None:
        """
        Unless we end it first.
        """
        self.session.reactions["message"] = self.stream.pauseReading
        exchange = self.ask(children=(message(1), message(2)), isTerminate=True)
        self.stream.close(ERROR)
        self.turn()
        self.assertEqual(exchange.told.get("type"), "terminate")
        self.assertTrue(self.isOver)
        self.assertEqual(self.session.stanzas(), ["1"])


class AbortTests(AloneCase):
    """
    We end it at once.
    """

    def test_abort(self) -> None:
        """
        All that is here is told, and nothing is waited for; the session hears of it in the
        next turn, once.
        """
        self.stream.abort()
        self.stream.abort()
        self.assertFalse(self.isOver)
        self.turn()
        self.assertEqual(self.exchange.told.get("type"), "terminate")
        self.assertTrue(self.isOver)

    def test_whileClosing(self) -> None:
        """
        So it is with one that waits for its client; that cannot take its time either.
        """
        for isPending in (False, True):
            self.connect()
            self.exchange.isPending = isPending
            if not isPending:
                self.stream.lost(self.exchange)
            self.stream.deliver(message(1))
            self.stream.close(ERROR)
            self.turn()
            self.assertFalse(self.isOver)
            self.stream.abort()
            self.turn()
            self.assertTrue(self.isOver)
            self.assertEqual(len(self.session.undelivered), not isPending)

    def test_doesNotRead(self) -> None:
        """
        Who makes us answer more than may wait for it is cut off; it is told why, if it has a
        request here.
        """
        for isHere in (True, False):
            for size, isTooMuch in ((16384, False), (16385, True)):
                self.connect(queueBytes=16384)
                if not isHere:
                    self.stream.lost(self.exchange)
                self.stream.write(b"<a/>")
                self.stream.write(b"<b>%b</b>" % (b"x" * (size - len(b"<a/><b></b>"))))
                self.turn()
                self.assertEqual(self.isOver, isTooMuch)
                if isHere:
                    condition = "policy-violation" if isTooMuch else None
                    self.assertEqual(self.exchange.told.get("condition"), condition)


class BreachTests(AloneCase):
    """
    The client breaks a rule of BOSH, or does not come back.
    """

    def test_broken(self) -> None:
        """
        It is told, and the operator too, without the sid; that was the end.
        """
        self.stream.deliver(message(1))
        with capturedLogs() as logs:
            exchange = self.ask(1000)
        for told in (exchange.told, self.exchange.told):
            self.assertEqual(told.get("condition"), "item-not-found")
        self.assertTrue(self.isOver)
        self.assertEqual(len(self.session.undelivered), 1)
        (event,) = [e for e in logs if e["log_namespace"] == "cmanager.bosh.BOSHStream"]
        text = formatEvent(event)
        self.assertEqual(
            text, "BOSH with 192.0.2.1 failed: item-not-found: a rid is outside of the window"
        )
        self.assertNotIn(self.stream.sid, text)

    def test_silent(self) -> None:
        """
        Whoever has no request here for long is gone.
        """
        self.stream.write(b"<a/>")
        self.turn()
        self.pass_(self.hub.bosh.settings.inactivity - 1)
        self.assertFalse(self.isOver)
        self.pass_(1)
        self.assertTrue(self.isOver)

    def test_idle(self) -> None:
        """
        Nobody is idle: who comes back is here, for however long it has nothing to say.
        """
        self.connect(idleTimeout=30.0, loginTimeout=3600.0)
        exchange = self.exchange
        for _ in range(10):
            exchange = self.ask()
            self.pass_(40)
        self.assertEqual(exchange.answers, [])
        self.assertEqual(self.session.seen, [("opened", "a.example")])

    def test_newSettings(self) -> None:
        """
        What is changed in the configuration holds for who comes next.
        """
        self.hub.bosh.settings = BOSHSettings(inactivity=30, polling=0)
        for seconds in (10, 30):
            self.stream.write(b"<a/>")
            self.turn()
            self.assertEqual(self.exchange.told.get("inactivity"), str(seconds))
            self.pass_(seconds - 1)
            self.assertFalse(self.isOver)
            self.pass_(1)
            self.assertTrue(self.isOver)
            self.connect()


class EntryTests(AloneCase):
    """
    A client is let in, or not.
    """

    def test_full(self) -> None:
        """
        Who is turned away is not counted.
        """
        self.ask(isTerminate=True)
        self.hub.refusal = StreamError("resource-constraint")
        with self.assertRaises(StreamError):
            self.connect()
        self.assertEqual(self.hub.limits.connections(self.stream.peer), 0)
        self.assertEqual(len(self.hub.bosh), 0)

    def test_sids(self) -> None:
        """
        Whoever has a session can be found by its sid, until its end.
        """
        first, self.stream = self.stream, None
        self.connect()
        for stream in (first, self.stream):
            self.assertIs(self.hub.bosh.find(stream.sid), stream)
        self.ask(isTerminate=True)
        self.assertIsNone(self.hub.bosh.find(self.stream.sid))
        self.assertIs(self.hub.bosh.find(first.sid), first)
