# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.configuration}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.clienttls import NS_CLIENT_TLS
from cmanager.configuration import (
    MAX_DOMAINS,
    MAX_NAME_CHARACTERS,
    MAX_NAMES,
    NS_CLIENT_STREAM,
    Configuration,
    TLSOffer,
    TLSPolicy,
    configurationOf,
)
from cmanager.stanza import NS_MULTIPLEX, NS_SASL, NS_TLS, Stanza

MECHANISMS = f'<mechanisms xmlns="{NS_SASL}">%s</mechanisms>'
TLS = (
    f'<tls xmlns="{NS_CLIENT_TLS}"><mechanism>SCRAM-SHA-1-PLUS</mechanism>'
    '<mechanism>EXTERNAL</mechanism><channel-binding type="tls-exporter"/>'
    '<channel-binding type="tls-unique"/></tls>'
)


def read(content: str) -> Configuration:
    """
    Read a configuration.
    """
    data = f'<configuration xmlns="{NS_MULTIPLEX}">{content}</configuration>'.encode()
    return configurationOf(Stanza("configuration", NS_MULTIPLEX, {}, data).element())


def mechanisms(*names: str) -> str:
    """
    Return a list of mechanisms.
    """
    return MECHANISMS % "".join(f"<mechanism>{name}</mechanism>" for name in names)


def stream(*domains: str) -> str:
    """
    Return what holds for single domains, by a C{domain} element for each.
    """
    return f'<stream xmlns="{NS_CLIENT_STREAM}">{"".join(domains)}</stream>'


class BaseTests(SynchronousTestCase):
    """
    What holds for all domains.
    """

    def test_full(self) -> None:
        """
        Everything that was ever sent is understood, in the order given.
        """
        found = read(
            f'<starttls xmlns="{NS_TLS}"><required/></starttls><mechanisms xmlns="{NS_SASL}">'
            "<mechanism>PLAIN</mechanism><mechanism> SCRAM-SHA-1 </mechanism></mechanisms>"
            '<compression xmlns="http://jabber.org/features/compress"><method>zlib</method>'
            '</compression><auth xmlns="http://jabber.org/features/iq-auth"/>'
            '<register xmlns="http://jabber.org/features/iq-register"/>'
        )
        expected = Configuration(TLSPolicy.REQUIRED, ("PLAIN", "SCRAM-SHA-1"), True, True, True)
        self.assertEqual(found, expected)

    def test_empty(self) -> None:
        """
        What is absent is not offered; of mechanisms nothing is said.
        """
        self.assertEqual(read(""), Configuration())

    def test_starttls(self) -> None:
        """
        C{starttls} without C{required} is optional.
        """
        self.assertIs(read(f'<starttls xmlns="{NS_TLS}"/>').starttls, TLSPolicy.OPTIONAL)

    def test_mechanisms(self) -> None:
        """
        An empty list is a list; an empty name is none.
        """
        self.assertEqual(read(mechanisms()).mechanisms, ())
        self.assertEqual(read(mechanisms("")).mechanisms, ())

    def test_unknown(self) -> None:
        """
        Children that are not known are ignored, whatever they are called.
        """
        self.assertEqual(read('<x xmlns="urn:x"/><tls xmlns="urn:x"/><stream/>'), Configuration())
        self.assertEqual(read(f'{TLS}<tls xmlns="urn:x"/>').tls, read(TLS).tls)

    def test_bounds(self) -> None:
        """
        Of a list so many names are read, and names of so many characters.
        """
        names = [f"X-{n}" for n in range(MAX_NAMES + 1)]
        self.assertEqual(read(mechanisms(*names[:-1])).mechanisms, tuple(names[:-1]))
        self.assertEqual(read(mechanisms(*names)).mechanisms, tuple(names[:-1]))
        longest = "X" * MAX_NAME_CHARACTERS
        self.assertEqual(read(mechanisms(longest, longest + "X")).mechanisms, (longest,))


class TLSTests(SynchronousTestCase):
    """
    The announcement of C{urn:cmanager:tls:0}.
    """

    def test_read(self) -> None:
        """
        Mechanisms and types are read in their order.
        """
        expected = TLSOffer(("SCRAM-SHA-1-PLUS", "EXTERNAL"), ("tls-exporter", "tls-unique"))
        self.assertEqual(read(TLS).tls, expected)

    def test_empty(self) -> None:
        """
        An empty announcement is one; no announcement is none.
        """
        self.assertEqual(read(f'<tls xmlns="{NS_CLIENT_TLS}"/>').tls, TLSOffer())
        self.assertIs(read("").tls, None)

    def test_usable(self) -> None:
        """
        Types of channel binding are of use where a mechanism asks for them.
        """
        types = ("tls-exporter",)
        self.assertEqual(TLSOffer(("EXTERNAL",), types).usable, ())
        self.assertEqual(TLSOffer(("EXTERNAL", "SCRAM-SHA-1-PLUS"), types).usable, types)

    def test_bounds(self) -> None:
        """
        So many mechanisms and so many types are read; a type without a name is none.
        """
        for count in (MAX_NAMES, MAX_NAMES + 1):
            written = "".join(
                f'<mechanism>X-{n}</mechanism><channel-binding type="x-{n}"/>' for n in range(count)
            )
            found = read(f'<tls xmlns="{NS_CLIENT_TLS}"><channel-binding/>{written}</tls>').tls
            assert found is not None
            self.assertEqual(len(found.mechanisms), MAX_NAMES)
            self.assertEqual(len(found.bindings), MAX_NAMES)


class DomainTests(SynchronousTestCase):
    """
    The announcement of C{urn:cmanager:stream:0}.
    """

    def test_domains(self) -> None:
        """
        A domain that is named has what is said there and nothing else; for the others
        it is what is said for all.
        """
        found = read(
            f'<starttls xmlns="{NS_TLS}"/>{mechanisms("PLAIN")}'
            + stream(f'<domain name="Mantua.Example">{mechanisms("ANONYMOUS")}{TLS}</domain>')
        )
        self.assertTrue(found.knowsStreams)
        mantua = found.forDomain("mantua.example")
        self.assertEqual(mantua, Configuration(mechanisms=("ANONYMOUS",), tls=read(TLS).tls))
        self.assertIs(found.forDomain("verona.example"), found)
        self.assertEqual(found.mechanisms, ("PLAIN",))
        self.assertIs(found.tls, None)

    def test_none(self) -> None:
        """
        The extension may be announced without any domain.
        """
        self.assertTrue(read(stream()).knowsStreams)
        self.assertFalse(read("").knowsStreams)

    def test_unreadable(self) -> None:
        """
        What is no domain is passed over, with what is said of it.
        """
        found = read(stream("<domain/>", '<domain name="a b"/>', '<domain name="mantua.example"/>'))
        self.assertEqual(list(found.domains), ["mantua.example"])

    def test_lastWord(self) -> None:
        """
        A domain that is named twice has what is said last.
        """
        found = read(
            stream(
                f'<domain name="mantua.example">{mechanisms("PLAIN")}</domain>',
                '<domain name="mantua.example"/>',
            )
        )
        self.assertEqual(found.domains, {"mantua.example": Configuration()})

    def test_bound(self) -> None:
        """
        So many domains are read, more are not.
        """
        for count in (MAX_DOMAINS, MAX_DOMAINS + 1):
            domains = (f'<domain name="d{n}.example"/>' for n in range(count))
            self.assertEqual(len(read(stream(*domains)).domains), MAX_DOMAINS)
