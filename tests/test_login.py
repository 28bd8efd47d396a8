# Copyright the cmanager authors.
# See LICENSE for details.

"""
How a client logs in, in conversations.
"""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from cmanager.linkevents import Configuration, TLSPolicy
from cmanager.login import Login
from cmanager.prelude import Prelude
from cmanager.session import Session
from tests.play import Play
from tests.scenes import (
    AUTH,
    BIND,
    BINDING_DATA,
    BOUND,
    CHALLENGE,
    FAILURE,
    JID,
    LOGGED_IN,
    LOGIN,
    RESTARTED,
    SETUP,
    SUCCESS,
    TO_BOUND,
    described,
    header,
    inSituation,
    streamError,
)

LOST = streamError("remote-connection-failed")


class LoginTests(SynchronousTestCase):
    """
    SASL passes through, and is watched.
    """

    def test_success(self) -> None:
        """
        The first C{<auth/>} announces the session; success restarts the stream with the
        larger limit.
        """
        play = Play()(SETUP)
        play(f"""
        C> {AUTH}
        S: create
        S< <auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="SCRAM-SHA-1">YQ==</auth>
        S> {CHALLENGE}
        C< {CHALLENGE}
        C> <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Yg==</response>
        S< <response xmlns="urn:ietf:params:xml:ns:xmpp-sasl">Yg==</response>
        S> {SUCCESS}
        C< {SUCCESS}
        C: restart 262144
        = awaiting-restart
        """)
        self.assertEqual(play.hub.calls, ["loginSucceeded"])
        self.assertEqual(play.hub.metrics.value("logins"), 1)

    def test_free(self) -> None:
        """
        Of a login that is over, or given up, nothing waits for the garbage collector.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        bound, lost = Play()(TO_BOUND), Play()(SETUP + LOGIN)
        lost.stream.lose()
        left = [made for made in gc.get_objects() if isinstance(made, Prelude | Login)]
        self.assertEqual(left, [])
        bound("= bound")
        lost("= closed")

    def test_plus(self) -> None:
        """
        A login with channel binding goes up like any other.
        """
        play = described(BINDING_DATA)(SETUP)
        play("""
        C> <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1-PLUS'>cA==</auth>
        S: create
        S< <auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="SCRAM-SHA-1-PLUS">cA==</auth>
        """)

    def test_plusWithdrawn(self) -> None:
        """
        What counts is what the server offers when the client logs in.
        """
        play = described(BINDING_DATA)(SETUP)
        play.hub.onlyHost.configured(Configuration(mechanisms=("SCRAM-SHA-1",)))
        play("""
        C> <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1-PLUS'>cA==</auth>
        C< <failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><invalid-mechanism/></failure>
        """)

    def test_nothingBefore(self) -> None:
        """
        The server hears nothing of a client that only connects.
        """
        play = Play()(SETUP)
        play("! transportLost\n= closed")

    def test_failure(self) -> None:
        """
        A failure is forwarded, and what the hub says is waited.
        """
        play = Play()(SETUP + LOGIN)
        play.hub.delay = 2.0
        play(f"S> {FAILURE}\nC< {FAILURE}\nC: delay 2\n= negotiating")
        self.assertEqual(play.hub.metrics.value("login_failures"), 1)
        play(f"C> {AUTH}\nS< <auth …")

    def test_lastAttempt(self) -> None:
        """
        C{client.login-attempts} failures end the stream; one fewer does not.
        """
        play = Play(loginAttempts=2)(SETUP + LOGIN)
        play(f"S> {FAILURE}\nC< {FAILURE}\n= negotiating\nC> {AUTH}\nS< <auth …")
        play(
            f"S> {FAILURE}\nC< {FAILURE}\nS: close\n"
            "C< <stream:error><policy-violation …</stream:stream>\nC: close"
        )

    def test_ownFailuresCount(self) -> None:
        """
        Failures of our own count as well.
        """
        play = Play(loginAttempts=1)(SETUP)
        play("""
        C> <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
        C< <failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><aborted/></failure>
        C< <stream:error><policy-violation …</stream:stream>
        C: close
        """)

    def test_abortChallenge(self) -> None:
        """
        An abort is answered here: the server does not know it.
        """
        play = inSituation("login, client's turn")
        play(f"""
        C> <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
        C< <failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><aborted/></failure>
        C> {AUTH}
        S< <auth …
        """)

    def test_abortTooEarly(self) -> None:
        """
        An abort while the server has yet to answer takes the place of that answer.
        """
        for answer in (CHALLENGE, FAILURE):
            inSituation("login, aborted")(f"""
            S> {answer}
            C< <failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><aborted/></failure>
            = negotiating
            """)

    def test_abortTooLate(self) -> None:
        """
        An abort that crosses a success ends the session: both sides cannot be right.
        """
        inSituation("login, aborted")(
            f"S> {SUCCESS}\nS: close\nC< <stream:error><reset …\nC: close"
        )

    def test_unexpectedAnswer(self) -> None:
        """
        What the server says of a login that nobody has begun is dropped.
        """
        play = Play()(SETUP + LOGIN + f"S> {FAILURE}\nC< {FAILURE}\nS> {SUCCESS}\n= negotiating")
        self.assertEqual(play.hub.metrics.value("stanzas_dropped", "no-login"), 1)

    def test_unknownAnswer(self) -> None:
        """
        What no release of the server says is dropped.
        """
        play = inSituation("login, server's turn")
        play('S> <x xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>\n= negotiating')
        self.assertEqual(play.hub.metrics.value("stanzas_dropped", "unknown"), 1)

    def test_lateAnswer(self) -> None:
        """
        SASL after the login has no effect.
        """
        play = Play()(TO_BOUND + f"S> {SUCCESS}\n= bound")
        self.assertEqual(play.hub.metrics.value("stanzas_dropped", "undeliverable"), 1)

    def test_answerLost(self) -> None:
        """
        A client whose answer may have been lost with a link, whether its own or another, does
        not wait for it.
        """
        aborted = "C> <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
        for script in (LOGIN, LOGIN + aborted):
            play = Play(links=2)(SETUP + script)
            play(f"! relinked 2\nS2: adopt\nS2: close\n{LOST}")
            play(f"S> {SUCCESS}\n! answerLost\n= closing")
            Play()(SETUP + script)(f"! answerLost\nS: close\n{LOST}")

    def test_answerLostInBetween(self) -> None:
        """
        Nothing is said where nothing was under way, and to a client that has been told of its
        success nothing else.
        """
        for script in (
            "",
            LOGIN + f"S> {FAILURE}\nC< {FAILURE}\n",
            LOGIN + f"S> {CHALLENGE}\nC< {CHALLENGE}",
        ):
            Play()(SETUP + script)("! answerLost\n= negotiating")
        play = Play(links=3)(SETUP + LOGGED_IN)
        play("! relinked 2\nS2: adopt\n! answerLost\n= awaiting-restart")
        play(RESTARTED + f"! relinked 3\nS3: adopt\n! answerLost\nC> {BIND}\nS3< <iq …")
        play(f"= binding\nS> {BOUND}\nC< {BOUND}\n! answerLost\n= bound")

    def test_linkLostMeanwhile(self) -> None:
        """
        The link may break over the very announcement of the session.
        """
        play = Play()(SETUP)
        link = play.pool.links[0]
        announce = link.open

        def breaking(session: Session) -> None:
            announce(session)
            link.isReady = False
            link.sessions.clear()
            session.linkLost()

        link.open = breaking  # type: ignore[method-assign] # for once
        play(f"C> {AUTH}\nS: create\n{streamError('remote-connection-failed')}")

    def test_leastLoadedLink(self) -> None:
        """
        The session is pinned to the link with the fewest sessions.
        """
        play = Play(links=2)
        play.pool.links[0].sessions["other"] = object()
        play(SETUP + f"C> {AUTH}\nS2: create\nS2< <auth …")

    def test_messageBeforeLogin(self) -> None:
        """
        A message for a client that has not logged in goes back.
        """
        play = Play()(SETUP + LOGIN)
        play('S> <message from="a@b"/>\nS: failed <message from="a@b"/>')


class LegacyTests(SynchronousTestCase):
    """
    XEP-0078 and XEP-0077, where the server offers them.
    """

    IQ = (
        "<iq type='set' id='a'><query xmlns='jabber:iq:auth'><username>Romeo</username>"
        "<resource>balcony</resource><digest>x</digest></query></iq>"
    )

    def test_login(self) -> None:
        """
        A result logs in and binds at once, with the larger limit and without a restart.
        """
        play = Play()(SETUP)
        play(f"""
        C> {self.IQ}
        S: create
        S< <iq type="set" id="a">…
        S> <iq type="result" id="a"/>
        C< <iq type="result" id="a"/>
        C: allow 262144
        = bound
        """)
        self.assertEqual(play.session.jid, JID)
        self.assertEqual(play.hub.calls, ["loginSucceeded", "sessionBound"])

    def test_withoutAddress(self) -> None:
        """
        A login that names no resource is the server's to judge; the address is unknown.
        """
        play = Play()(SETUP)
        play("""
        C> <iq type='set' id='a'><query xmlns='jabber:iq:auth'/></iq>
        S: create
        S< …
        S> <iq type="result" id="a"/>
        C< …
        C: allow 262144
        = bound
        """)
        self.assertIs(play.session.jid, None)

    def test_failure(self) -> None:
        """
        An error is a failed login.
        """
        play = Play()(SETUP + f"C> {self.IQ}\nS: create\nS< …")
        play('S> <iq type="error" id="a"/>\nC< <iq type="error" id="a"/>\n= negotiating')
        self.assertEqual(play.hub.calls, ["loginFailed"])

    def test_otherAnswers(self) -> None:
        """
        Answers to other questions change nothing.
        """
        play = Play()(SETUP + f"C> {self.IQ}\nS: create\nS< …")
        play('S> <iq type="result" id="z"/>\nC< <iq type="result" id="z"/>\n= negotiating')

    def test_one(self) -> None:
        """
        One login at a time, XEP-0078 included.
        """
        play = Play()(SETUP + f"C> {self.IQ}\nS: create\nS< …")
        play("C> <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>\nS: close\nC< …\nC: close")

    def test_interrupted(self) -> None:
        """
        A login whose link is lost ends the stream: the client may have been let in.
        """
        play = Play(links=2)(SETUP + f"C> {self.IQ}\nS: create\nS< …")
        play(f"! relinked 2\nS2: adopt\nS2: close\n{LOST}")

    def test_register(self) -> None:
        """
        Registration is passed on, and does not log in.
        """
        play = Play()(SETUP)
        play("""
        C> <iq type='set' id='r'><query xmlns='jabber:iq:register'/></iq>
        S: create
        S< <iq type="set" id="r">…
        S> <iq type="result" id="r"/>
        C< <iq type="result" id="r"/>
        = negotiating
        """)

    def test_notOffered(self) -> None:
        """
        Neither is passed on where the server does not offer it.
        """
        play = Play()
        play.hub.onlyHost.configured(Configuration(TLSPolicy.OPTIONAL, None, False, False))
        play(SETUP)
        play(f"C> {self.IQ}\nC< <stream:error><not-authorized …\nC: close")

    def test_preXMPP10(self) -> None:
        """
        With C{client.pre-xmpp10} a stream without a version gets no version and no
        features, and logs in by XEP-0078.
        """
        play = Play(preXmpp10=True)
        old = header().replace("version='1.0'", "")
        play(f'C> {old}\nC< <?xml … id="ID" xml:lang="en">\n= negotiating')
        play(f"C> {self.IQ}\nS: create\nS< …")
