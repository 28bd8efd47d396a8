# Copyright the cmanager authors.
# See LICENSE for details.

"""
The side of a session that faces the server, in conversations.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from cmanager.multiplex import MAX_UPWARD_BYTES
from cmanager.stanza import Stanza
from tests.doubles import FakeLink
from tests.play import Play
from tests.scenes import TO_BOUND, inSituation


class GivingBackTests(SynchronousTestCase):
    """
    Nothing that was meant for a client is lost without the server's knowledge.
    """

    QUEUE = '! block\nS> <message id="1"/><iq type="get" id="2" from="a@b/c"/>'

    def test_overflow(self) -> None:
        """
        A client that does not read is closed: unavailable presence, its messages in
        order, errors for requests; C{close} when its transport is gone.
        """
        play = Play()(TO_BOUND + "C> <presence/>\nS< <presence/>\n" + self.QUEUE)
        play("""
        S> <message id="3"/>
        S< <presence type="unavailable"/>
        S: failed <message id="1"/>
        S< <iq id="2" to="a@b/c" type="error"><error type="cancel"><service-unavailable …
        S: failed <message id="3"/>
        C< <stream:error><policy-violation…</stream:stream>
        C: close
        = closing
        S> <message id="4"/>
        S: failed <message id="4"/>
        ! transportLost
        S: close
        = closed
        """)
        self.assertEqual(play.hub.metrics.value("messages_returned"), 3)
        self.assertEqual(play.hub.metrics.value("iqs_bounced"), 1)

    def test_transportLost(self) -> None:
        """
        The same for what the kernel has not taken when the transport is lost.
        """
        play = Play()(TO_BOUND + "C> <presence/>\nS< <presence/>\n" + self.QUEUE)
        play("""
        ! transportLost
        S< <presence type="unavailable"/>
        S: failed <message id="1"/>
        S< <iq id="2" …
        S: close
        = closed
        """)
        self.assertEqual(play.hub.metrics.value("streams_closed", "transport"), 1)

    def test_unavailable(self) -> None:
        """
        A client that was not available is not made unavailable; directed presence
        does not count.
        """
        play = Play()(TO_BOUND)
        play(
            "C> <presence to='a@b'/>\nS< …\nC> <presence/>\nS< …\nC> <presence type='unavailable'/>\nS< …"
        )
        play("! shutdown\nC< <stream:error><system-shutdown…\nC: close\n! transportLost\nS: close")

    def test_orderlyEnd(self) -> None:
        """
        A client that ends its stream while stanzas wait may still get them; what it
        did not get goes back when the transport is gone.
        """
        play = Play()(TO_BOUND + self.QUEUE)
        play("C> </stream:stream>\nC< </stream:stream>\nC: close\n= closing")
        play('! transportLost\nS: failed <message id="1"/>\nS< <iq id="2"…\nS: close\n= closed')

    def test_errorsAreDropped(self) -> None:
        """
        Errors, results and presence are never answered.
        """
        play = Play()(TO_BOUND + "! shutdown\nC< …\nC: close")
        play(
            'S> <message type="error"/><iq type="result" id="1"/><presence/><iq type="error" id="2"/>'
        )
        self.assertEqual(play.hub.metrics.value("stanzas_dropped", "undeliverable"), 4)

    def test_tooLarge(self) -> None:
        """
        A message too large to be stored goes back as an error: the server would end the
        link over it.
        """
        body = "x" * MAX_UPWARD_BYTES
        play = Play()(TO_BOUND + "! shutdown\nC< …\nC: close")
        play(
            f'S> <message id="1" from="a@b"><body>{body}</body></message>\n'
            'S< <message id="1" to="a@b" type="error"><error type="cancel"><service-unavailable …'
        )
        self.assertEqual(play.hub.metrics.value("messages_returned"), 0)

    def test_sessionGone(self) -> None:
        """
        Where the server has no session any more there is nobody to give back to.
        """
        play = Play()(TO_BOUND + self.QUEUE)
        play("! routeFailed item-not-found\nS: forget\nC< <stream:error><reset…\nC: close")
        play("! transportLost\n= closed")
        self.assertEqual(play.hub.metrics.value("stanzas_dropped", "no-link"), 2)

    def test_goneWhileClosing(self) -> None:
        """
        A session that the server ends while it closes is not closed again.
        """
        play = Play()(TO_BOUND + "! shutdown\nC< …\nC: close")
        play("! routeFailed item-not-found\nS: forget\n! transportLost\n= closed")

    def test_closeWhileClosing(self) -> None:
        """
        The same where the server says so itself.
        """
        play = Play()(TO_BOUND + "! shutdown\nC< …\nC: close")
        play("! closeRequested\nS: forget\n! transportLost\n= closed")

    def test_refusedByTheStream(self) -> None:
        """
        A stream that does not take a stanza, and says nothing, is taken for full.
        """
        play = Play()(TO_BOUND)
        play.stream.isClosed = True
        play.stream.close = lambda *_: None  # type: ignore[method-assign] # a stream that is gone
        play("S> <message/>\nS: failed <message/>\n= closing")

    def test_overflowWhileClosing(self) -> None:
        """
        An overflow that comes too late returns the stanza.
        """
        play = Play()(TO_BOUND + "! shutdown\nC< …\nC: close")
        stanza = Stanza("message", "jabber:client", {}, b"<message/>")
        play.session.overflowed(stanza)
        self.assertEqual(play.conversation[-1], "S: failed <message/>")


class LinkTests(SynchronousTestCase):
    """
    A link is lost.
    """

    def test_another(self) -> None:
        """
        A session moves to another link of its server, and goes on.
        """
        play = Play(links=2)(TO_BOUND)
        play("! relinked 2\nS2: adopt\nC> <presence/>\nS2< <presence/>\n= bound")

    def test_grace(self) -> None:
        """
        A session without a link is not read.  Once there is one, it asks first whether
        it still exists; the answer does not reach the client.
        """
        play = Play(links=2)(TO_BOUND)
        play('! linkLost\nC: pause\n! relinked 2\nS2: adopt\nS2< <iq type="get" id="cm-…')

    def test_doubtful(self) -> None:
        """
        Nor is it read where the server may have ended it meanwhile, until that has answered;
        while it has yet to log in, its next step will tell.
        """
        play = Play(links=2)(TO_BOUND)
        play.session.relinked(play.pool.links[1], isDoubtful=True)
        self.assertEqual(play.conversation[-3:-1], ["C: pause", "S2: adopt"])
        self.assertIn('<ping xmlns="urn:xmpp:ping"/>', play.conversation[-1])
        early = inSituation("awaiting-restart")
        early.pool.links[0].sessions.clear()
        early.session.relinked(early.pool.links[0], isDoubtful=True)
        self.assertFalse(early.stream.isPaused)

    def test_shutdownWithoutLink(self) -> None:
        """
        A session without a link ends without one.
        """
        play = Play()(TO_BOUND + "! linkLost\nC: pause")
        play(
            "! serverLost\nC< <stream:error><remote-connection-failed…\nC: close\n! transportLost\n= closed"
        )

    def test_stanzaWithoutLink(self) -> None:
        """
        A stanza that comes all the same is refused rather than lost.
        """
        play = Play()(TO_BOUND + "! linkLost\nC: pause")
        play('C> <message id=\'1\'/>\nC< <message id="1" type="error">…<remote-server-timeout …')

    def test_closing(self) -> None:
        """
        A session that is about to end moves, too: it may have something to give back.
        """
        play = Play(links=2)(TO_BOUND + "! shutdown\nC< …\nC: close")
        play("! relinked 2\nS2: adopt\nS> <message/>\nS2: failed <message/>")
        play("! transportLost\nS2: close\n= closed")

    def test_lostWhileClosing(self) -> None:
        """
        With no link left a session that is about to end just ends.
        """
        play = Play()(TO_BOUND + "! shutdown\nC< …\nC: close")
        play("! linkLost\n! transportLost\n= closed")

    def test_refused(self) -> None:
        """
        A session that the server would not create is not closed there.
        """
        play = inSituation("login, server's turn")
        play("! linkRefused not-allowed\nS: forget\nC< …\nC: close\n! transportLost\n= closed")

    def test_refusedAfterwards(self) -> None:
        """
        What the server returns for want of a session says nothing while the answer to
        C{create}, which takes another link, is to come.
        """
        play = inSituation("login, server's turn")
        assert isinstance(play.session.link, FakeLink)
        play.session.link.creating.add(play.session.id)
        play("! routeFailed item-not-found\n= negotiating")
        play("! linkRefused not-allowed\nS: forget\nC< <stream:error><policy-violation…\nC: close")


class AuditTests(SynchronousTestCase):
    """
    The server is asked whether a session still exists.
    """

    def ask(self, play: Play) -> str:
        """
        Have the session ask; return the id of the question.
        """
        del play.conversation[:]
        play.session.audit()
        found = re.fullmatch(
            'S2?< <iq type="get" id="(cm-[0-9a-f]{16})" to="verona.example">'
            '<ping xmlns="urn:xmpp:ping"/></iq>',
            play.conversation[-1],
        )
        assert found is not None, play.conversation
        return found[1]

    def test_swallowed(self) -> None:
        """
        The answer does not reach the client; any other with another id does.
        """
        play = Play()(TO_BOUND)
        iqID = self.ask(play)
        play(f'S> <iq type="result" id="{iqID}"/>\nS> <iq type="result" id="x"/>\nC< <iq…')
        self.assertEqual(self.ask(play), iqID)
        self.assertEqual(play.hub.metrics.value("audits"), 2)

    def test_onlyBound(self) -> None:
        """
        Only a bound session with a link asks.
        """
        play = inSituation("binding")
        play.session.audit()
        play = Play()(TO_BOUND + "! linkLost\nC: pause")
        play("! audit")

    def test_unguessable(self) -> None:
        """
        Each session has an id of its own, so that nobody can have an iq swallowed.
        """
        self.assertNotEqual(self.ask(Play()(TO_BOUND)), self.ask(Play()(TO_BOUND)))

    def test_afterGrace(self) -> None:
        """
        After a grace the client is read again with the answer, or with an error that
        shows that the session is there.
        """
        for answered in ("result", "error"):
            play = Play(links=2)(TO_BOUND + "! linkLost\nC: pause")
            play.session.relinked(play.pool.links[1])
            self.assertTrue(play.stream.isPaused)
            iqID = self.ask(play)
            if answered == "result":
                play(f'S> <iq type="result" id="{iqID}"/>\nC: resume')
            else:
                play(f"! routeFailed bad-request <iq type='get' id='{iqID}'/>\nC: resume")

    def test_lostAgain(self) -> None:
        """
        A question that is lost with its link is asked again.
        """
        play = Play(links=2)(TO_BOUND + "! linkLost\nC: pause")
        play.session.relinked(play.pool.links[1])
        play.pool.links[1].sessions.clear()
        play.session.relinked(play.pool.links[0])
        self.assertIn('<ping xmlns="urn:xmpp:ping"/>', play.conversation[-1])
        self.assertTrue(play.stream.isPaused)

    def test_answerLost(self) -> None:
        """
        So it is where another link is lost, for the answer may have been in that.
        """
        play = Play(links=2)(TO_BOUND + "! answerLost\n! linkLost\nC: pause")
        asked = '! relinked 2\nS2: adopt\nS2< <iq type="get" id="cm-…\n'
        play(asked + '! answerLost\nS2< <iq type="get" id="cm-…')
        play(f'S> <iq type="result" id="{play.session._auditID}"/>\nC: resume\n! answerLost')


class HoldingTests(SynchronousTestCase):
    """
    A client is read when nothing speaks against it.
    """

    def test_reasons(self) -> None:
        """
        The client is read again when the last reason is gone.
        """
        play = Play()(TO_BOUND)
        session = play.session
        session.hold(1)
        session.hold(2)
        session.release(1)
        self.assertTrue(play.stream.isPaused)
        session.release(1)
        session.release(2)
        self.assertFalse(play.stream.isPaused)

    def test_ended(self) -> None:
        """
        A session that has ended leaves its stream alone.
        """
        play = Play()(TO_BOUND + "! shutdown\nC< …\nC: close")
        play.session.hold(1)
        play.session.release(1)
        self.assertNotIn("C: pause", play.conversation)
