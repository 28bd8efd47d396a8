# Copyright the cmanager authors.
# See LICENSE for details.

"""
Headers, features and answers of our own, as values.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.clienttls import TLS_EXPORTER, TLS_UNIQUE, ClientTLS
from cmanager.configuration import Configuration, TLSOffer, TLSPolicy
from cmanager.errors import LocalError, StreamError
from cmanager.host import Host
from cmanager.negotiation import (
    STREAM_CONDITIONS,
    bindFeatures,
    boundAddress,
    legacyAddress,
    loginFeatures,
    managementFailed,
    needsTLS,
    offersTLS,
    payload,
    readHeader,
    saslFailure,
    tlsFor,
)
from cmanager.stanza import NS_CLIENT, NS_STREAMS, Stanza, Tag
from tests.doubles import FakeClientStream

CLIENT = {"": NS_CLIENT, "stream": NS_STREAMS}


def tag(**attributes: str) -> Tag:
    """
    Return a header with attributes.
    """
    given = {"version": "1.0"} | {
        key.rstrip("_").replace("__", ":"): v for key, v in attributes.items()
    }
    return Tag("stream", NS_STREAMS, "stream", given, CLIENT)


def host(policy: TLSPolicy = TLSPolicy.OPTIONAL) -> Host:
    """
    Return a configured host.
    """
    made = Host("verona.example")
    made.configured(Configuration(policy, ("PLAIN", "SCRAM-SHA-1"), True, True))
    return made


def iq(data: bytes) -> Stanza:
    """
    Return an iq of these bytes.
    """
    return Stanza("iq", NS_CLIENT, {}, data)


class HeaderTests(SynchronousTestCase):
    """
    L{readHeader}.
    """

    def test_read(self) -> None:
        """
        Domain and sender are prepared, the language is kept.
        """
        read = readHeader(
            tag(to="Verona.Example", from_="Romeo@Verona.Example/x", xml__lang="it"),
            preXMPP10=False,
        )
        self.assertEqual(
            (read.domain, read.sender, read.lang, read.isModern),
            ("verona.example", "romeo@verona.example", "it", True),
        )

    def test_nothing(self) -> None:
        """
        All but the version may be left out.
        """
        read = readHeader(tag(), preXMPP10=False)
        self.assertEqual((read.domain, read.sender, read.lang), (None, None, None))

    def test_sender(self) -> None:
        """
        A sender that is no address is nobody.
        """
        self.assertIs(readHeader(tag(from_="@"), preXMPP10=False).sender, None)

    def test_condition(self) -> None:
        """
        Each fault has its condition.
        """
        for bad, condition in (
            (Tag("stream", "urn:x", None, {}, CLIENT), "invalid-namespace"),
            (Tag("features", NS_STREAMS, None, {}, CLIENT), "invalid-namespace"),
            (Tag("stream", NS_STREAMS, None, {"version": "1.0"}, {}), "invalid-namespace"),
            (tag(version="0.9"), "unsupported-version"),
            (tag(version="1"), "unsupported-version"),
            (tag(to="a b"), "host-unknown"),
            (tag(to=""), "host-unknown"),
            (tag(to="romeo@verona.example"), "host-unknown"),
        ):
            error = self.assertRaises(StreamError, readHeader, bad, preXMPP10=False)
            self.assertEqual(error.condition, condition)
            self.assertIn(condition, STREAM_CONDITIONS)

    def test_preXMPP10(self) -> None:
        """
        A missing version is accepted only where that is configured, a low one never.
        """
        missing = Tag("stream", NS_STREAMS, None, {}, CLIENT)
        self.assertFalse(readHeader(missing, preXMPP10=True).isModern)
        self.assertTrue(readHeader(tag(), preXMPP10=True).isModern)
        self.assertRaises(StreamError, readHeader, missing, preXMPP10=False)
        self.assertRaises(StreamError, readHeader, tag(version="0.9"), preXMPP10=True)

    def test_language(self) -> None:
        """
        35 characters are a language, 36 are not.
        """
        longest = "abcdefgh-" * 3 + "abcdefgh"
        self.assertEqual(readHeader(tag(xml__lang=longest), preXMPP10=False).lang, longest)
        longer = "abcdefgh-" * 3 + "abcdefg-a"
        self.assertIs(readHeader(tag(xml__lang=longer), preXMPP10=False).lang, None)


class FeatureTests(SynchronousTestCase):
    """
    What is offered.
    """

    def test_noConfiguration(self) -> None:
        """
        Nothing is offered for a host that is not configured: nobody may ask.
        """
        bare = Host("verona.example")
        self.assertFalse(offersTLS(bare, canStartTLS=True, requiresTLS=False))
        self.assertTrue(offersTLS(bare, canStartTLS=True, requiresTLS=True))
        self.assertFalse(needsTLS(bare, requiresTLS=False))
        self.assertRaises(
            LocalError, loginFeatures, bare, secure=True, canStartTLS=False, requiresTLS=False
        )

    def test_policies(self) -> None:
        """
        The stricter of the server's policy and the listener's counts.
        """
        for policy, listener, offered, needed in (
            (TLSPolicy.DISABLED, False, False, False),
            (TLSPolicy.DISABLED, True, True, True),
            (TLSPolicy.OPTIONAL, False, True, False),
            (TLSPolicy.OPTIONAL, True, True, True),
            (TLSPolicy.REQUIRED, False, True, True),
            (TLSPolicy.REQUIRED, True, True, True),
        ):
            self.assertEqual(
                (
                    offersTLS(host(policy), canStartTLS=True, requiresTLS=listener),
                    needsTLS(host(policy), requiresTLS=listener),
                ),
                (offered, needed),
            )

    def test_nothingWithoutTLS(self) -> None:
        """
        Where TLS is needed and cannot be had, nothing is offered.
        """
        self.assertEqual(
            loginFeatures(host(), secure=False, canStartTLS=False, requiresTLS=True),
            b"<stream:features></stream:features>",
        )

    def test_secure(self) -> None:
        """
        On an encrypted stream the strongest mechanism is first and all are there.
        """
        features = loginFeatures(host(), secure=True, canStartTLS=False, requiresTLS=True)
        self.assertIn(b"SCRAM-SHA-1</mechanism><mechanism>PLAIN<", features)
        self.assertIn(b"iq-auth", features)
        self.assertIn(b"iq-register", features)

    def test_channelBinding(self) -> None:
        """
        Types of channel binding are listed on an encrypted stream only, those alone that
        there are data of.
        """
        made = Host("verona.example")
        offer = TLSOffer(("SCRAM-SHA-1-PLUS",), (TLS_UNIQUE, TLS_EXPORTER, "x"))
        made.configured(Configuration(mechanisms=("SCRAM-SHA-1",), tls=offer))
        tls = ClientTLS(bindings=((TLS_EXPORTER, b"1"), (TLS_UNIQUE, b"2")))
        for given, expected in (
            (tls, b'<channel-binding type="tls-exporter"/><channel-binding type="tls-unique"/>'),
            (tls.limitedTo((TLS_UNIQUE,)), b'<channel-binding type="tls-unique"/>'),
        ):
            features = loginFeatures(
                made, secure=True, canStartTLS=False, requiresTLS=False, tls=given
            )
            listed = b'<sasl-channel-binding xmlns="urn:xmpp:sasl-cb:0">%s</sasl-channel-binding>'
            self.assertIn(listed % expected, features)
            self.assertIn(b"SCRAM-SHA-1-PLUS", features)
            features = loginFeatures(
                made, secure=False, canStartTLS=False, requiresTLS=False, tls=given
            )
            self.assertNotIn(b"channel-binding", features)
            self.assertNotIn(b"PLUS", features)

    def test_tlsFor(self) -> None:
        """
        A stream is asked about its TLS where that makes a difference.
        """
        made, stream = host(), FakeClientStream(secure=True)
        stream.facts = ClientTLS("TLSv1.3")
        self.assertIs(tlsFor(made, stream), None)
        self.assertIs(tlsFor(Host("mantua.example"), stream), None)
        made.configured(Configuration(tls=TLSOffer()))
        self.assertIs(tlsFor(made, stream), stream.facts)
        stream.secure = False
        self.assertIs(tlsFor(made, stream), None)

    def test_noMechanisms(self) -> None:
        """
        An empty list of mechanisms is left out, as is what the server does not allow.
        """
        bare = Host("verona.example")
        bare.configured(Configuration(TLSPolicy.DISABLED, ("PLAIN",)))
        features = loginFeatures(bare, secure=False, canStartTLS=True, requiresTLS=False)
        self.assertEqual(features, b"<stream:features></stream:features>")

    def test_bind(self) -> None:
        """
        After login: bind, session, and roster versioning by choice.
        """
        self.assertNotIn(b"rosterver", bindFeatures(host()))
        versioned = Host("verona.example", rosterVersioning=True)
        self.assertIn(b'<ver xmlns="urn:xmpp:features:rosterver"/>', bindFeatures(versioned))


class AnswerTests(SynchronousTestCase):
    """
    What is answered without the server, and what is read from stanzas.
    """

    def test_failures(self) -> None:
        """
        Failures carry their namespace and condition.
        """
        self.assertEqual(
            saslFailure("aborted"),
            b'<failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><aborted/></failure>',
        )
        self.assertIn(b"<unexpected-request xmlns=", managementFailed("unexpected-request"))

    def test_payload(self) -> None:
        """
        The first child is found whatever prefix it has.
        """
        for data, expected in (
            (b'<iq id="1"><query xmlns="jabber:iq:auth"/></iq>', ("jabber:iq:auth", "query")),
            (b'<iq><a:query xmlns:a="urn:x" xmlns="urn:y"/></iq>', ("urn:x", "query")),
            (b"<iq> <query/></iq>", (NS_CLIENT, "query")),
            (b'<iq id="1"/>', None),
            (b"<iq></iq>", None),
            (b"<iq/>", None),
        ):
            self.assertEqual(payload(iq(data)), expected)

    def test_boundAddress(self) -> None:
        """
        The address of a binding is unescaped and prepared; without one there is none.
        """
        for data, expected in (
            (b"<jid>Romeo@Verona.example/a&amp;b</jid>", "romeo@verona.example/a&b"),
            (b"<jid>romeo@verona.example/a&apos;b</jid>", "romeo@verona.example/a'b"),
            (b"<jid>romeo@verona.example/&lt;&gt;&quot;</jid>", 'romeo@verona.example/<>"'),
            (b"<jid>romeo@verona.example/&amp;lt;</jid>", "romeo@verona.example/&lt;"),
            (b"<jid>@</jid>", None),
            (b"<x/>", None),
        ):
            self.assertEqual(boundAddress(iq(b"<iq>" + data + b"</iq>")), expected)

    def test_legacyAddress(self) -> None:
        """
        User name and resource of XEP-0078 make an address; without either there is none.
        """
        for inside, expected in (
            (b"<username>Romeo</username><resource>x</resource>", "romeo@verona.example/x"),
            (b"<username>romeo</username>", None),
            (b"<username>a b</username><resource>x</resource>", None),
        ):
            data = b'<iq><query xmlns="jabber:iq:auth">' + inside + b"</query></iq>"
            self.assertEqual(legacyAddress(iq(data), "verona.example"), expected)
        self.assertIs(legacyAddress(iq(b"<iq/>"), "verona.example"), None)
