# Copyright the cmanager authors.
# See LICENSE for details.

"""
The session, in conversations.  The table of C{docs/session.rst} is played row by row.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import StanzaError
from cmanager.linkevents import Configuration, TLSPolicy
from cmanager.session import State
from cmanager.stanza import NS_STANZA_ERRORS, NS_STREAM_ERRORS, Stanza
from tests.play import Play

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "session.rst"

AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>YQ==</auth>"
SUCCESS = '<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>'
CHALLENGE = '<challenge xmlns="urn:ietf:params:xml:ns:xmpp-sasl">YQ==</challenge>'
FAILURE = '<failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><not-authorized/></failure>'
BIND = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
JID = "romeo@verona.example/balcony"
BOUND = (
    f'<iq type="result" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><jid>{JID}</jid>'
    "</bind></iq>"
)
SETUP = "C> HEADER\nC< <?xml…\nC< <stream:features>…\n"
LOGIN = f"C> {AUTH}\nS: create\nS< <auth …\n"
LOGGED_IN = f"{LOGIN}S> {SUCCESS}\nC< {SUCCESS}\nC: restart 262144\n= awaiting-restart\n"
RESTARTED = f"{SETUP}= binding\n"
BINDING = f"C> {BIND}\nS< <iq …\nS> {BOUND}\nC< {BOUND}\n= bound\n"
TO_BOUND = SETUP + LOGGED_IN + RESTARTED + BINDING
ERROR = f'C< <stream:error><%s xmlns="{NS_STREAM_ERRORS}"/>…</stream:stream>\n'


def streamError(condition: str) -> str:
    """
    Return the lines that end a stream with an error, after its header.
    """
    return f"{ERROR % condition}C: close\n= closing\n"


def policy(play: Play, starttls: TLSPolicy) -> None:
    """
    Let the server have another policy on TLS.
    """
    play.hub.onlyHost.configured(Configuration(starttls, None, True, True))


def inSituation(name: str) -> Play:
    """
    Return a play that has come as far as a row of the table wants.
    """
    state, _, detail = name.partition(", ")
    play = Play(secure=detail == "encrypted")
    if detail == "TLS required":
        policy(play, TLSPolicy.REQUIRED)
    if state == "waiting":
        play.pool.links[0].isReady = False
        return play("C> HEADER\nC< <?xml…\nC: pause\n= waiting")
    if state in ("negotiating", "login"):
        play(SETUP)
    if detail == "no link":
        play.pool.links[0].isReady = False
    if state == "login":
        play(LOGIN)
        if detail == "client's turn":
            play(f"S> {CHALLENGE}\nC< {CHALLENGE}")
        if detail == "aborted":
            play("C> <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
    if state in ("awaiting-restart", "binding"):
        play(SETUP + LOGGED_IN)
    if state == "binding":
        play(RESTARTED)
    if state in ("bound", "closing"):
        play(TO_BOUND)
    if state == "closing":
        play("! shutdown\nC< …\nC: close\n= closing")
    return play


def rows() -> list[list[str]]:
    """
    Return the table of wrong inputs.
    """
    text = DOCUMENT.read_text().split(":widths:")[1].split("\n\n")[1]
    lines = [line.strip() for line in text.splitlines()]
    return list(csv.reader(io.StringIO("\n".join(lines)), skipinitialspace=True))


class TableTests(SynchronousTestCase):
    """
    Each row of the table in C{docs/session.rst} holds.
    """

    def answerTo(self, situation: str, given: str) -> tuple[str, Play]:
        """
        Play one row and say what came of it, in the words of the table.
        """
        play = inSituation(situation)
        before = play.session.state
        del play.conversation[:]
        play._play(given if given.startswith("!") else f"C> {given}")
        said = play.conversation[1:]
        toClient = "".join(line[3:] for line in said if line.startswith("C<"))
        if before is not State.CLOSING and "C: close" in said:
            self.assertTrue(toClient.endswith("</stream:stream>"), toClient)
            found = re.search(rf'<([a-z-]+) xmlns="{NS_STREAM_ERRORS}"', toClient)
            if "xmpp-tls" in toClient:
                return "TLS failure", play
            return (f"stream error ``{found[1]}``" if found else "end"), play
        if any(line.startswith("S<") for line in said):
            return "up", play
        found = re.search(r'xmpp-sasl"><([a-z-]+)/>', toClient)
        if found:
            return f"SASL failure ``{found[1]}``", play
        found = re.search(rf'<([a-z-]+) xmlns="{NS_STANZA_ERRORS}"', toClient)
        if found:
            return (
                f"{'SM failure' if '<failed' in toClient else 'stanza error'} ``{found[1]}``",
                play,
            )
        return ("nothing" if not said else repr(said)), play

    def test_rows(self) -> None:
        """
        Whatever a client or a server does wrong has the answer the table gives.
        """
        wrong = []
        for situation, given, answer in rows():
            actual, play = self.answerTo(situation, given.strip("`"))
            if actual != answer:
                wrong.append(f"{situation}: {given}: {actual}, not {answer}")
            if "stream error" in answer or answer in ("end", "TLS failure"):
                self.assertIs(play.session.state, State.CLOSING)
            # Whatever happened, it ends once.
            play.stream.lose()
            self.assertEqual(play.hub.calls.count("sessionClosed"), 1)
            self.assertEqual(len(play.hub.table), 0)
            self.assertEqual(play.pool.links[0].load, 0)
        self.assertEqual(wrong, [])

    def test_coversAllStates(self) -> None:
        """
        The table has rows for every state but the last, in which nothing comes.
        """
        states = {row[0].partition(",")[0] for row in rows()} | {"closed"}
        self.assertEqual({state.value for state in State} - states, set())

    def test_closed(self) -> None:
        """
        After the transport is gone every input is harmless.
        """
        play = inSituation("bound")
        play("! transportLost\nS: close\n= closed")
        play(
            "C> <message/>\n! shutdown\n! idle idle\n! hostReady\n! hostUnavailable\n"
            "! serverLost\n! closeRequested\n! routeFailed item-not-found\nS> <message/>\n"
            "! linkRefused not-allowed\n! streamClosed\n! transportLost\n! audit\n= closed"
        )
        play.session.transportLost("again")
        self.assertEqual(play.hub.calls.count("sessionClosed"), 1)


class HeaderTests(SynchronousTestCase):
    """
    The client's header and ours.
    """

    def test_answered(self) -> None:
        """
        Our header carries the session's stream id, the domain and version 1.0.
        """
        Play()("""
        C> HEADER
        C< <?xml version="1.0" encoding="UTF-8"?><stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" from="verona.example" id="ID" xml:lang="en" version="1.0">
        C< <stream:features>…</stream:features>
        = negotiating
        """)

    def test_sameIDAfterRestart(self) -> None:
        """
        The stream id stays the same over all restarts: the server computes digests of
        XEP-0078 with it.
        """
        play = Play()(SETUP + LOGGED_IN)
        play(f'C> HEADER\nC< <?xml … id="{play.session.id}" …\nC< <stream:features>…')

    def test_language(self) -> None:
        """
        The client's language is echoed.
        """
        play = Play()
        play("""
        C> <stream:stream to='verona.example' xml:lang='de-CH' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>
        C< <?xml … xml:lang="de-CH" …
        C< <stream:features>…
        """)

    def test_notALanguage(self) -> None:
        """
        What is no language tag, or too long for one, is ignored.
        """
        for lang in ("x'y".replace("'", "&apos;"), "a" * 9, f"{'abcdefgh-' * 3}abcdefg-a", ""):
            Play()(f"""
            C> <stream:stream to='verona.example' xml:lang='{lang}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>
            C< <?xml … xml:lang="en" …
            C< <stream:features>…
            """)

    def test_longestLanguage(self) -> None:
        """
        A language tag of 35 characters is taken.
        """
        lang = "-".join(["abcdefgh"] * 4)[:35]
        self.assertEqual(len(lang), 35)
        play = Play()(SETUP.replace("HEADER", _header(lang=lang)))
        self.assertEqual(play.session.lang, lang)

    def test_to(self) -> None:
        """
        A client that names itself is answered with its bare address, prepared; one
        that is no address is not (RFC 6120 section 4.7.2).
        """
        Play()(
            f"C> {_header(sender='Romeo@Verona.example/x')}\n"
            'C< <?xml … to="romeo@verona.example" id=…\nC< <stream:features>…'
        )
        Play()(f'C> {_header(sender="@")}\nC< <?xml … from="verona.example" id=…\nC< …')

    def test_domainIsPrepared(self) -> None:
        """
        The domain is compared in its prepared form.
        """
        Play()(SETUP.replace("HEADER", _header(to="Verona.EXAMPLE")))

    def test_withoutTo(self) -> None:
        """
        Without a C{to} the only domain is meant.
        """
        Play()(SETUP.replace("HEADER", _header().replace("to='verona.example'", "")))

    def test_withoutToAndWithManyDomains(self) -> None:
        """
        Without a C{to}, where there are several domains: C{host-unknown}, in a header
        without C{from}.
        """
        play = Play()
        play.hub.hosts = {}
        play.hub.host = lambda domain: None  # type: ignore[method-assign, assignment] # a hub of many
        play(
            f"C> {_header()}\nC< <?xml … id=…><stream:error><host-unknown…</stream:stream>\nC: close"
        )
        self.assertNotIn("from=", play.conversation[1])

    def test_laterVersions(self) -> None:
        """
        A client that speaks a later version gets ours.
        """
        Play()("C> " + _header().replace("1.0", "2.7", 1) + '\nC< <?xml … version="1.0">\nC< …')

    def test_waits(self) -> None:
        """
        Features wait for a link and a configuration, and the client is not read meanwhile.
        """
        play = inSituation("waiting")
        self.assertEqual(play.hub.calls, ["awaitHost"])
        play("! hostReady\nC< <stream:features>…\nC: resume\n= negotiating")

    def test_waitsForConfiguration(self) -> None:
        """
        A link alone is not enough: nothing is guessed about what the server offers.
        """
        play = Play()
        play.hub.onlyHost.offer = None
        play("C> HEADER\nC< <?xml…\nC: pause\n= waiting")

    def test_errorBeforeHeader(self) -> None:
        """
        What is wrong before our header is said behind a header.
        """
        Play()("""
        C> <x/>
        C< <?xml …<stream:stream … from="verona.example" id="ID" xml:lang="en" version="1.0"><stream:error>…</stream:error></stream:stream>
        C: close
        = closing
        """)

    def test_domainStays(self) -> None:
        """
        A stream cannot change its domain at a restart.
        """
        play = Play()(SETUP + LOGGED_IN)
        other = type(play.hub.onlyHost)("mantua.example")
        play.hub.hosts["mantua.example"] = other
        play(f"C> {_header(to='mantua.example')}\nS: close\nC< <?xml …<host-unknown …\nC: close")

    def test_second(self) -> None:
        """
        A second header where none is due is C{bad-format}.
        """
        play = Play()(SETUP)
        play._restart()
        play(f"C> HEADER\n{streamError('bad-format')}")


def _header(*, to: str = "verona.example", lang: str = "", sender: str = "") -> str:
    extra = (f" xml:lang='{lang}'" if lang else "") + (f" from='{sender}'" if sender else "")
    return (
        f"<stream:stream version='1.0' to='{to}'{extra} xmlns='jabber:client'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    )


class FeatureTests(SynchronousTestCase):
    """
    What is offered, and when.
    """

    def features(self, play: Play) -> str:
        """
        Open a stream and return its features.
        """
        play._play("C> HEADER")
        return play.conversation[-1][3:]

    def test_open(self) -> None:
        """
        On a stream without TLS: STARTTLS, what shows no password, iq-auth and register.
        """
        self.assertEqual(
            self.features(Play()),
            '<stream:features><starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"></starttls>'
            '<mechanisms xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><mechanism>SCRAM-SHA-1</mechanism>'
            '</mechanisms><auth xmlns="http://jabber.org/features/iq-auth"/>'
            '<register xmlns="http://jabber.org/features/iq-register"/></stream:features>',
        )

    def test_secure(self) -> None:
        """
        With TLS: all mechanisms, strongest first, and no STARTTLS.
        """
        features = self.features(Play(secure=True))
        self.assertIn("<mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism>", features)
        self.assertNotIn("starttls", features)

    def test_required(self) -> None:
        """
        Where the server requires TLS, nothing else is offered without it.
        """
        play = Play()
        policy(play, TLSPolicy.REQUIRED)
        self.assertEqual(
            self.features(play),
            '<stream:features><starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"><required/>'
            "</starttls></stream:features>",
        )

    def test_listenerRequires(self) -> None:
        """
        A listener may be stricter than the server, even than one without TLS.
        """
        play = Play()
        policy(play, TLSPolicy.DISABLED)
        play.stream.requiresTLS = True
        self.assertIn("<required/>", self.features(play))

    def test_disabled(self) -> None:
        """
        A server without TLS for clients has none through us, if the listener agrees.
        """
        play = Play()
        policy(play, TLSPolicy.DISABLED)
        self.assertNotIn("starttls", self.features(play))

    def test_noCertificate(self) -> None:
        """
        Without a certificate there is no STARTTLS to offer.
        """
        play = Play()
        play.stream.canStartTLS = False
        self.assertNotIn("starttls", self.features(play))

    def test_onlyClearText(self) -> None:
        """
        Without any mechanism left there is no empty list of them.
        """
        play = Play()
        play.hub.onlyHost.configured(Configuration(TLSPolicy.OPTIONAL, ("PLAIN",)))
        features = self.features(play)
        self.assertNotIn("mechanisms", features)
        self.assertNotIn("iq-auth", features)

    def test_afterLogin(self) -> None:
        """
        After login: bind, and a session nobody needs.
        """
        play = Play()(SETUP + LOGGED_IN)
        self.assertEqual(
            self.features(play),
            '<stream:features><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/>'
            '<session xmlns="urn:ietf:params:xml:ns:xmpp-session"><optional/></session>'
            "</stream:features>",
        )

    def test_rosterVersioning(self) -> None:
        """
        Roster versioning is offered where the configuration says that the server has it.
        """
        play = Play()(SETUP + LOGGED_IN)
        play.hub.onlyHost.rosterVersioning = True
        self.assertIn('<ver xmlns="urn:xmpp:features:rosterver"/>', self.features(play))


class StartTLSTests(SynchronousTestCase):
    """
    STARTTLS is done here; the server sees nothing of it.
    """

    def test_proceeds(self) -> None:
        """
        C{<starttls/>} is answered with C{<proceed/>}; a new header follows, with other
        features.
        """
        play = Play()(SETUP)
        play("""
        C> <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
        C< <proceed xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>
        C: startTLS
        = awaiting-header
        ! secured
        """)
        play.stream.secure = True
        play("C> HEADER\nC< <?xml …\nC< <stream:features><mechanisms…\n= negotiating")

    def test_failureAfterwards(self) -> None:
        """
        Under TLS an error before our new header has a header of its own.
        """
        play = Play()(SETUP)
        play("""
        C> <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
        C< <proceed…
        C: startTLS
        ! idle login
        C< <?xml …<stream:stream …><stream:error><connection-timeout…
        C: close
        """)

    def test_refused(self) -> None:
        """
        Where it is not offered, TLS's own failure ends the stream (RFC 6120 section
        5.4.2.2).
        """
        play = Play()(SETUP)
        play.stream.canStartTLS = False
        play("""
        C> <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
        C< <failure xmlns="urn:ietf:params:xml:ns:xmpp-tls"/></stream:stream>
        C: close
        """)


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

    def test_relinked(self) -> None:
        """
        An answer that was lost with its link is answered here.
        """
        play = Play(links=2)(SETUP + LOGIN)
        play("""
        ! relinked 2
        S2: adopt
        C< <failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><temporary-auth-failure/></failure>
        """)

    def test_relinkedWhileAborting(self) -> None:
        """
        The same for an aborted login.
        """
        play = Play(links=2)(SETUP + LOGIN + "C> <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        play("! relinked 2\nS2: adopt\nC< <failure …><aborted/></failure>")

    def test_relinkedInBetween(self) -> None:
        """
        Nothing is said where nothing was under way.
        """
        play = Play(links=2)(SETUP + LOGIN + f"S> {FAILURE}\nC< {FAILURE}")
        play("! relinked 2\nS2: adopt\n= negotiating")

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
        play(
            "! relinked 2\nS2: adopt\nS2: close\n"
            "C< <stream:error><remote-connection-failed …\nC: close"
        )

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
        header = _header().replace("version='1.0'", "")
        play(f'C> {header}\nC< <?xml … id="ID" xml:lang="en">\n= negotiating')
        play(f"C> {self.IQ}\nS: create\nS< …")


class BindingTests(SynchronousTestCase):
    """
    Resource binding passes through, and comes first.
    """

    def test_bound(self) -> None:
        """
        The address in the result is remembered, and the hub told.
        """
        play = Play()(TO_BOUND)
        self.assertEqual(play.session.jid, JID)
        self.assertEqual(play.hub.calls[-1], "sessionBound")

    def test_refused(self) -> None:
        """
        After an error the client may try again.
        """
        play = inSituation("binding")
        play(f'C> {BIND}\nS< …\nS> <iq type="error" id="b"/>\nC< <iq type="error" id="b"/>')
        play("= binding\n" + BINDING)

    def test_withoutAddress(self) -> None:
        """
        A result without an address binds nobody.
        """
        inSituation("binding")(
            f'C> {BIND}\nS< …\nS> <iq type="result" id="b"/>\nC< <iq…\n= binding'
        )

    def test_badAddress(self) -> None:
        """
        Nor does one with an address that is none.
        """
        bad = BOUND.replace(JID, "a b&lt;@")
        inSituation("binding")(f"C> {BIND}\nS< …\nS> {bad}\nC< <iq…\n= binding")

    def test_pipelined(self) -> None:
        """
        What a client sends behind its bind in one go is passed on in order.
        """
        inSituation("binding")(f"""
        C> {BIND}<presence/><iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>
        S< <iq type="set" id="b">…
        S< <presence/>
        S< <iq type="get" id="r">…
        """)

    def test_otherTraffic(self) -> None:
        """
        What the server sends before the result is delivered.
        """
        inSituation("binding")(f"""
        C> {BIND}
        S< …
        S> <message/><iq type="result" id="z"/>
        C< <message/>
        C< <iq type="result" id="z"/>
        = binding
        """)

    def test_notTaken(self) -> None:
        """
        A bind that the server could not take is refused, and may be tried again.
        """
        play = inSituation("binding")(f"C> {BIND}\nS< …")
        play(f'! routeFailed bad-request {BIND}\nC< <iq id="b" type="error">…')
        play("C> <presence/>\nC< <stream:error><not-authorized…\nC: close")

    def test_otherNotTaken(self) -> None:
        """
        Another stanza that the server could not take leaves the bind alone.
        """
        play = inSituation("binding")(f"C> {BIND}\nS< …")
        play('! routeFailed bad-request <message id=\'m\'/>\nC< <message id="m" type="error">…')
        play("C> <presence/>\nS< <presence/>")

    def test_overflow(self) -> None:
        """
        A client that stops reading while it binds is closed like any other.
        """
        play = inSituation("binding")(f"C> {BIND}\nS< …\n! block\nS> <message/><message/>")
        play(f"""
        S> {BOUND}
        S: failed <message/>
        S: failed <message/>
        C< <stream:error><policy-violation…
        C: close
        """)


class UpwardTests(SynchronousTestCase):
    """
    What a bound client sends.
    """

    def test_unchanged(self) -> None:
        """
        A stanza that is in order goes up byte for byte.
        """
        play = Play()(TO_BOUND)
        play(
            'C> <message to="nurse@verona.example"><body>a</body></message>\n'
            'S< <message to="nurse@verona.example"><body>a</body></message>'
        )

    def test_prepared(self) -> None:
        """
        The receiver's address goes up in its prepared form.
        """
        Play()(TO_BOUND)(
            'C> <message to="Nurse@VERONA.example/X"/>\nS< <message to="nurse@verona.example/X"/>'
        )

    def test_from(self) -> None:
        """
        What a client says about itself is taken off.
        """
        Play()(TO_BOUND)(
            'C> <message from="pope@vatican.example" to="NURSE@verona.example"/>\n'
            'S< <message to="nurse@verona.example"/>'
        )

    def test_language(self) -> None:
        """
        Stanzas without a language get that of the stream; those with one keep theirs.
        """
        play = Play()(SETUP + LOGGED_IN + RESTARTED.replace("HEADER", _header(lang="it")))
        play(f"""
        C> {BIND}
        S< <iq xml:lang="it" type="set" id="b">…
        S> {BOUND}
        C< …
        C> <message/>
        S< <message xml:lang="it"/>
        C> <message xml:lang='la'/>
        S< <message xml:lang="la"/>
        C> <message to='NURSE@verona.example' from='x'/>
        S< <message xml:lang="it" to="nurse@verona.example"/>
        """)

    def test_malformedAnswer(self) -> None:
        """
        The answer to a malformed address does not carry it as a sender's.
        """
        Play()(TO_BOUND)(
            "C> <message id='1' to='nurse@'/>\n"
            'C< <message id="1" type="error"><error type="modify"><jid-malformed…'
        )

    def test_counted(self) -> None:
        """
        Stanzas and refusals are counted.
        """
        play = Play()(TO_BOUND + "C> <presence/>\nS< <presence/>\nC> <presence type='x'/>\nC< …")
        self.assertEqual(play.hub.metrics.value("stanzas_refused", "bad-request"), 1)
        self.assertGreater(play.hub.metrics.value("stanzas_up"), 1)


class DownwardTests(SynchronousTestCase):
    """
    What a bound client gets.
    """

    def test_delivered(self) -> None:
        """
        A stanza goes to the client byte for byte.
        """
        Play()(TO_BOUND)(
            'S> <message from="a@b"><body>x</body></message>\nC< <message from="a@b">…'
        )

    def test_streamError(self) -> None:
        """
        A stream error from the server ends the session: the client gets it with a
        footer, and no C{close} goes back.
        """
        error = f'<stream:error xmlns:stream="http://etherx.jabber.org/streams"><conflict xmlns="{NS_STREAM_ERRORS}"/></stream:error>'
        play = Play()(TO_BOUND)
        play(
            f"S> {error}\nS: forget\nC< {error}</stream:stream>\nC: close\n! transportLost\n= closed"
        )
        self.assertEqual(play.hub.metrics.value("streams_closed", "conflict"), 1)

    def test_streamErrorBeforeLogin(self) -> None:
        """
        Of a session that was not bound the server must be told (pitfall S-19).
        """
        play = inSituation("login, server's turn")
        play("S> <stream:error><nonsense/></stream:error>\nS: close\nC< <stream:error…\nC: close")
        self.assertEqual(play.hub.metrics.value("streams_closed", "undefined-condition"), 1)

    def test_unknownCondition(self) -> None:
        """
        A condition nobody knows is passed on, and counted as such.
        """
        play = Play()(TO_BOUND + "! closeRequested strange-thing\nS: forget\nC< …\nC: close")
        self.assertEqual(play.hub.metrics.value("streams_closed", "other"), 1)

    def test_closeRequested(self) -> None:
        """
        The server's C{close} ends the client; what is asked twice is done once.
        """
        play = Play()(TO_BOUND)
        play(
            "! closeRequested\nS: forget\nC< </stream:stream>\nC: close\n! closeRequested conflict"
        )
        play("! transportLost\n= closed")

    def test_otherElements(self) -> None:
        """
        Anything else from the server is dropped.
        """
        Play()(TO_BOUND)("S> <foo xmlns='urn:x'/>\n= bound")


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
        play.stream.close = lambda data: None  # type: ignore[method-assign] # a stream that is gone
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


class FilterTests(SynchronousTestCase):
    """
    A filter sees what a bound client sends and gets.
    """

    class Filter:
        """
        Refuses presence, drops iqs, marks messages.
        """

        def upstream(self, stanza: Stanza) -> Stanza | None:
            if stanza.name == "presence":
                raise StanzaError("not-allowed")
            return None if stanza.name == "iq" else stanza.withAttributes({"id": "seen"})

        downstream = upstream

    def test_up(self) -> None:
        """
        What a filter returns goes up; what it refuses is answered.
        """
        play = Play()
        play.hub.filters = self.Filter()
        play(TO_BOUND)
        play("""
        C> <message/>
        S< <message id="seen"/>
        C> <presence/>
        C< <presence type="error"><error type="cancel"><not-allowed…
        C> <iq type='get' id='1'><x xmlns='urn:x'/></iq>
        """)
        self.assertEqual(play.hub.metrics.value("stanzas_dropped", "filter"), 1)

    def test_down(self) -> None:
        """
        The same downwards; the error goes to the sender.
        """
        play = Play()
        play.hub.filters = self.Filter()
        play(TO_BOUND)
        play("""
        S> <message/>
        C< <message id="seen"/>
        S> <presence from="a@b"/>
        S< <presence to="a@b" type="error">…
        S> <presence type="error"/>
        S> <iq type="get" id="1"/>
        """)
        self.assertEqual(play.hub.metrics.value("stanzas_dropped", "filter"), 1)
