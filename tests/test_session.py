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
from cmanager.session import State
from cmanager.stanza import NS_STANZA_ERRORS, NS_STREAM_ERRORS, Stanza
from tests.play import Play
from tests.properties import given, settings, st
from tests.scenes import (
    AUTH,
    BIND,
    BOUND,
    CHALLENGE,
    FAILURE,
    LOGGED_IN,
    RESTARTED,
    SETUP,
    SUCCESS,
    TO_BOUND,
    header,
    inSituation,
)

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "session.rst"


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

    def answerTo(self, situation: str, played: str) -> tuple[str, Play]:
        """
        Play one row and say what came of it, in the words of the table.
        """
        play = inSituation(situation)
        before = play.session.state
        del play.conversation[:]
        play._play(played if played.startswith("!") else f"C> {played}")
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
        for situation, played, answer in rows():
            actual, play = self.answerTo(situation, played.strip("`"))
            if actual != answer:
                wrong.append(f"{situation}: {played}: {actual}, not {answer}")
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
        play = Play()(SETUP + LOGGED_IN + RESTARTED.replace("HEADER", header(lang="it")))
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

    def test_endedWhileBinding(self) -> None:
        """
        The same after the login: the server closes it by itself only once it is bound.
        """
        for ending in ("! closeRequested", "S> <stream:error><conflict/></stream:error>"):
            play = inSituation("binding")
            play(f"{ending}\nS: close\nC< …\nC: close\n! transportLost\n= closed")

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


class AnyOrderTests(SynchronousTestCase):
    """
    Whatever happens, in whatever order.
    """

    INPUTS = (
        "C> HEADER",
        f"C> {AUTH}",
        "C> <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "C> <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "C> <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "C> <iq type='set' id='a'><query xmlns='jabber:iq:auth'/></iq>",
        f"C> {BIND}",
        "C> <presence/>",
        "C> <message to='x@y'/>",
        "C> <foo/>",
        "C> </stream:stream>",
        f"S> {CHALLENGE}",
        f"S> {FAILURE}",
        f"S> {SUCCESS}",
        f"S> {BOUND}",
        "S> <iq type='result' id='a'/>",
        "S> <message/>",
        "S> <iq type='get' id='1'/>",
        "S> <stream:error/>",
        "! block",
        "! hostReady",
        "! hostUnavailable",
        "! linkLost",
        "! answerLost",
        "! relinked 1",
        "! relinked 2",
        "! serverLost",
        "! audit",
        "! linkRefused not-allowed",
        "! closeRequested",
        "! routeFailed item-not-found",
        f"! routeFailed bad-request {AUTH}",
        f"! routeFailed bad-request {BIND}",
        "! idle login",
        "! idle idle",
        "! shutdown",
        "! transportLost",
    )
    LIVES = (
        [],
        ["C> HEADER", f"C> {AUTH}"],
        ["C> HEADER", f"C> {AUTH}", f"S> {SUCCESS}", "C> HEADER"],
        ["C> HEADER", f"C> {AUTH}", f"S> {SUCCESS}", "C> HEADER", f"C> {BIND}", f"S> {BOUND}"],
    )

    @settings(max_examples=600)
    @given(st.sampled_from(LIVES), st.lists(st.sampled_from(INPUTS), max_size=25), st.booleans())
    def test_anything(self, life: list[str], inputs: list[str], isReady: bool) -> None:
        """
        No order of inputs breaks a contract or raises; the session ends once, is told
        to the server as often as it was announced, and leaves nothing behind.
        """
        play = Play(links=2)
        play.pool.links[0].isReady = isReady
        for line in [*life, *inputs]:
            self.play(play, line)
        play.stream.lose()
        said = play.conversation
        self.assertIs(play.session.state, State.CLOSED)
        self.assertEqual(play.hub.calls.count("sessionClosed"), 1)
        self.assertEqual(len(play.hub.table), 0)
        self.assertIs(play.session.link, None)
        self.assertEqual(sum(link.load for link in play.pool.links), 0)
        self.assertLessEqual(sum(line.endswith(": create") for line in said), 1)
        self.assertLessEqual(said.count("C: close"), 1)

    def play(self, play: Play, line: str) -> None:
        """
        Play one input, unless a stream or a router would not give it.
        """
        session = play.session
        if session.state is State.CLOSED:
            return
        if line.startswith("C>") and (play.stream.isPaused or play.stream.isClosed):
            return
        if line.startswith("S>") and session.link is None:
            return
        if line == "! linkLost" and session.link is None:
            return
        if line.startswith("! relinked"):
            link = play.pool.links[int(line[-1]) - 1]
            isAnnounced = "S: create" in play.conversation or "S2: create" in play.conversation
            if session.link is link or not isAnnounced:
                return
            if session.link is None and session.state is not State.BOUND:
                return
            if session.link is not None:
                session.link.sessions.clear()
        if line == "C> HEADER":
            play._restart()
        play._play(line)
