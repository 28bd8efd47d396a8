# Copyright the cmanager authors.
# See LICENSE for details.

"""
What happens before a client is bound, in conversations.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.linkevents import Configuration, TLSPolicy
from tests.play import Play
from tests.scenes import (
    BIND,
    BINDING,
    BINDING_DATA,
    BOUND,
    CERTIFICATE,
    JID,
    LOGGED_IN,
    SETUP,
    TO_BOUND,
    described,
    header,
    inSituation,
    policy,
    streamError,
)


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
        play = Play()(SETUP.replace("HEADER", header(lang=lang)))
        self.assertEqual(play.session.lang, lang)

    def test_to(self) -> None:
        """
        A client that names itself is answered with its bare address, prepared; one
        that is no address is not (RFC 6120 section 4.7.2).
        """
        Play()(
            f"C> {header(sender='Romeo@Verona.example/x')}\n"
            'C< <?xml … to="romeo@verona.example" id=…\nC< <stream:features>…'
        )
        Play()(f'C> {header(sender="@")}\nC< <?xml … from="verona.example" id=…\nC< …')

    def test_domainIsPrepared(self) -> None:
        """
        The domain is compared in its prepared form.
        """
        Play()(SETUP.replace("HEADER", header(to="Verona.EXAMPLE")))

    def test_withoutTo(self) -> None:
        """
        Without a C{to} the only domain is meant.
        """
        Play()(SETUP.replace("HEADER", header().replace("to='verona.example'", "")))

    def test_withoutToAndWithManyDomains(self) -> None:
        """
        Without a C{to}, where there are several domains: C{host-unknown}, in a header
        without C{from}.
        """
        play = Play()
        play.hub.hosts = {}
        play.hub.host = lambda domain: None  # type: ignore[method-assign, assignment] # a hub of many
        play(
            f"C> {header()}\nC< <?xml … id=…><stream:error><host-unknown…</stream:stream>\nC: close"
        )
        self.assertNotIn("from=", play.conversation[1])

    def test_laterVersions(self) -> None:
        """
        A client that speaks a later version gets ours.
        """
        Play()("C> " + header().replace("1.0", "2.7", 1) + '\nC< <?xml … version="1.0">\nC< …')

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
        play(f"C> {header(to='mantua.example')}\nS: close\nC< <?xml …<host-unknown …\nC: close")

    def test_second(self) -> None:
        """
        A second header where none is due is C{bad-format}.
        """
        play = Play()(SETUP)
        play._restart()
        play(f"C> HEADER\n{streamError('bad-format')}")


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

    def test_channelBinding(self) -> None:
        """
        A server that is told of the client's TLS: its mechanisms with channel binding
        come first, and the types there are data of are listed, once there is TLS.
        """
        features = self.features(described(BINDING_DATA))
        self.assertIn(
            "<mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>SCRAM-SHA-1</mechanism>"
            "<mechanism>PLAIN</mechanism></mechanisms>"
            '<sasl-channel-binding xmlns="urn:xmpp:sasl-cb:0">'
            '<channel-binding type="tls-exporter"/></sasl-channel-binding>',
            features,
        )
        play = described(BINDING_DATA)
        play.stream.secure = False
        features = self.features(play)
        self.assertNotIn("PLUS", features)
        self.assertNotIn("channel-binding", features)

    def test_external(self) -> None:
        """
        EXTERNAL is for clients with a certificate.
        """
        features = self.features(described(CERTIFICATE))
        self.assertIn("<mechanism>EXTERNAL</mechanism><mechanism>SCRAM-SHA-1</mechanism>", features)
        self.assertNotIn("channel-binding", features)

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

    def test_answerLost(self) -> None:
        """
        A client whose address may have been lost with a link does not wait for it.
        """
        play = inSituation("binding")("! answerLost\n= binding")
        play(f"C> {BIND}\nS< <iq …\n! answerLost\n" + streamError("remote-connection-failed"))

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
