# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.discovery}.
"""

from __future__ import annotations

import json

import attrs
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from cmanager.discovery import (
    DIRECT_TLS,
    STARTTLS,
    asciiName,
    hostMeta,
    hostMetaJSON,
    portOf,
    ports,
    publicURLs,
    readHostMeta,
    readHostMetaJSON,
    records,
    zone,
)
from cmanager.errors import ConfigError
from cmanager.settings import (
    ListenerSettings,
    PublicSettings,
    ServerSettings,
    Settings,
    TLSSettings,
)
from tests.properties import given, st

URLS = ("wss://xmpp.montague.example/ws?a=1&b='", "https://xmpp.montague.example/http-bind")
XRD = "http://docs.oasis-open.org/ns/xri/xrd-1.0"


def site(
    *listeners: tuple[str, str],
    domains: tuple[str, ...] = ("montague.example",),
    public: PublicSettings | None = None,
) -> Settings:
    """
    Make settings with these listeners: types and endpoints.
    """
    return Settings(
        tls=TLSSettings("x"),
        listeners=tuple(ListenerSettings(*listener) for listener in listeners),
        servers=(ServerSettings(domains),),
        public=PublicSettings("xmpp.montague.example") if public is None else public,
    )


USUAL = (("tcp", "tcp:5222"), ("tls", "tcp:5223"))


class NameTests(SynchronousTestCase):
    """
    Domains as they stand in the DNS.
    """

    def test_names(self) -> None:
        """
        A-labels, in lower case, without a final dot; addresses are no names.
        """
        for name, expected in (
            ("montague.example", "montague.example"),
            ("Montague.Example.", "montague.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("☃.example", "xn--n3h.example"),
            ("localhost", "localhost"),
            ("", None),
            ("a..b", None),
            ("192.0.2.1", None),
            ("::1", None),
            ("[2001:db8::1]", None),
            ("-a.example", None),
            ("a b.example", None),
            ("a;.example", None),
            ("a\n.example", None),
            (".example", None),
            ("a." * 126 + "a", "a." * 126 + "a"),
            ("a." * 126 + "aa", None),
            ("a" * 63 + ".example", "a" * 63 + ".example"),
            ("a" * 64 + ".example", None),
        ):
            self.assertEqual(asciiName(name), expected, name)


class PortTests(SynchronousTestCase):
    """
    The ports the world sees.
    """

    def test_endpoints(self) -> None:
        """
        The port of an endpoint for the world is told from its string.
        """
        for endpoint, expected in (
            ("tcp:5222", 5222),
            ("tcp6:5222", 5222),
            ("tcp:port=5222:interface=192.0.2.1", 5222),
            ("tcp:5222:backlog=4096", 5222),
            ("haproxy:tcp:5222", 5222),
            (r"tcp6:5222:interface=\:\:", 5222),
            (r"tcp6:5222:interface=\:\:1\:2", 5222),
            ("tcp:0", None),
            ("tcp:5222:interface=127.0.0.1", None),
            ("tcp:5222:backlog=9:interface=127.0.0.1", None),
            ("tcp:5222:interface=localhost:backlog=9", None),
            (r"tcp6:5222:interface=\:\:1", None),
            (r"tcp6:5222:interface=\:\:1:backlog=9", None),
            ("unix:/run/cm.sock", None),
            ("unix:tcp:5222", None),
            ("systemd:domain=INET:index=0", None),
        ):
            self.assertEqual(portOf(endpoint), expected, endpoint)

    def test_services(self) -> None:
        """
        Each type of listener stands for its services; others stand for none.
        """
        for kind, starttls, direct in (
            ("tcp", (1,), ()),
            ("tls", (), (1,)),
            ("any", (1,), (1,)),
            ("https", (), ()),
            ("http", (), ()),
            ("mine", (), ()),
        ):
            settings = site((kind, "tcp:1"))
            self.assertEqual(ports(settings, STARTTLS), starttls)
            self.assertEqual(ports(settings, DIRECT_TLS), direct)

    def test_order(self) -> None:
        """
        The order is that of the listeners, but what tells protocols apart comes last; a
        port is there once.
        """
        settings = site(
            ("any", "tcp:443"),
            ("any", "tcp6:443"),
            ("tls", "tcp:5223"),
            ("tls", "tcp6:5223"),
            ("tls", "tcp:80"),
            ("tls", "unix:x"),
        )
        self.assertEqual(ports(settings, DIRECT_TLS), (5223, 80, 443))
        self.assertEqual(ports(settings, STARTTLS), (443,))

    def test_named(self) -> None:
        """
        Ports in the configuration take the place of the listeners' own.
        """
        public = PublicSettings("h.example", (443, 80), (5223,))
        settings = site(("tcp", "unix:x"), ("tls", "tcp:15223"), public=public)
        self.assertEqual(ports(settings, STARTTLS), (443, 80))
        self.assertEqual(ports(settings, DIRECT_TLS), (5223,))


class ZoneTests(SynchronousTestCase):
    """
    The records to publish.
    """

    def test_usual(self) -> None:
        """
        A line for each service, which leads to the host.
        """
        self.assertEqual(
            zone(site(*USUAL)),
            "; xmpp.montague.example must have an A or AAAA record, and must be no CNAME.\n"
            "_xmpp-client._tcp.montague.example. 3600 IN SRV 0 5 5222 xmpp.montague.example.\n"
            "_xmpps-client._tcp.montague.example. 3600 IN SRV 0 5 5223 xmpp.montague.example.\n",
        )

    def test_priorities(self) -> None:
        """
        Further ports of a service have higher numbers: they are tried later.
        """
        found = [
            (record.service, record.priority, record.port)
            for record in records(site(*USUAL, ("any", "tcp:443")))
        ]
        self.assertEqual(
            found,
            [
                (STARTTLS, 0, 5222),
                (STARTTLS, 10, 443),
                (DIRECT_TLS, 0, 5223),
                (DIRECT_TLS, 10, 443),
            ],
        )

    def test_domains(self) -> None:
        """
        Each domain has its records, in A-labels; one that is an address has none.
        """
        settings = site(
            ("tcp", "tcp:5222"),
            domains=("a.example", "bücher.example", "[::1]"),
            public=PublicSettings("Bücher.example."),
        )
        self.assertEqual(
            [(record.domain, record.target) for record in records(settings)],
            [
                ("a.example", "xn--bcher-kva.example"),
                ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ],
        )

    def test_none(self) -> None:
        """
        A comment says why a service has no records.
        """
        lines = zone(site(("tcp", "unix:/run/x"), ("tcp", "tcp:1:interface=127.0.0.1")))
        self.assertIn(
            "; No _xmpp-client._tcp records: which port leads to unix:/run/x"
            " tcp:1:interface=127.0.0.1 cannot be told: set public.starttls-ports.\n",
            lines,
        )
        self.assertIn("; No _xmpps-client._tcp records: no listener offers that.\n", lines)

    def test_browsers(self) -> None:
        """
        Where there are URLs, comments say what must be found at which address.
        """
        lines = zone(site(("https", "tcp:443"), domains=("a.example", "bücher.example")))
        self.assertIn(";   https://a.example/.well-known/host-meta\n", lines)
        self.assertIn(";   https://xn--bcher-kva.example/.well-known/host-meta.json\n", lines)
        self.assertTrue(
            lines.endswith(
                "; They name: wss://xmpp.montague.example/ws"
                " https://xmpp.montague.example/http-bind\n"
            )
        )

    def test_noHost(self) -> None:
        """
        Without a host, or with one that is no name, nothing can be published.
        """
        for public, problem in (
            (PublicSettings(), "public.host: is missing; it is what the records lead to"),
            (PublicSettings("a..b"), 'public.host = "a..b": must be a name in the DNS'),
        ):
            for function in (records, zone):
                error = self.assertRaises(ConfigError, function, site(*USUAL, public=public))
                self.assertEqual(error.problems, (problem,))


class URLTests(SynchronousTestCase):
    """
    Where browsers connect.
    """

    def test_derived(self) -> None:
        """
        The first listener that serves HTTP in TLS to the world gives port and scheme.
        """
        for listeners, at in (
            ([("https", "tcp:443")], "xmpp.montague.example"),
            ([("any", "tcp:443")], "xmpp.montague.example"),
            ([("https", "unix:x"), ("https", "tcp:5281")], "xmpp.montague.example:5281"),
        ):
            self.assertEqual(
                publicURLs(site(*USUAL, *listeners)),
                (f"wss://{at}/ws", f"https://{at}/http-bind"),
            )

    def test_paths(self) -> None:
        """
        Each is at the path that the first listener has for it.
        """
        settings = site()
        listeners = (
            ListenerSettings("https", "tcp:443", websocket="", bosh="/b"),
            ListenerSettings("any", "tcp:444", websocket="/w/", bosh="/c"),
        )
        self.assertEqual(
            publicURLs(attrs.evolve(settings, listeners=listeners)),
            ("wss://xmpp.montague.example:444/w/", "https://xmpp.montague.example/b"),
        )
        self.assertEqual(
            publicURLs(attrs.evolve(settings, listeners=listeners[:1])),
            ("https://xmpp.montague.example/b",),
        )

    def test_none(self) -> None:
        """
        Without such a listener, or without a host, there are none.
        """
        self.assertEqual(publicURLs(site(*USUAL)), ())
        self.assertEqual(publicURLs(site(("http", "tcp:80"))), ())
        self.assertEqual(publicURLs(site(("https", "unix:x"))), ())
        self.assertEqual(publicURLs(site(("https", "tcp:443"), public=PublicSettings())), ())

    def test_named(self) -> None:
        """
        URLs in the configuration go before derived ones, each for itself, and need neither
        listener nor host.
        """
        public = PublicSettings(websocket="wss://a.example/", bosh="https://b.example/")
        found = publicURLs(site(*USUAL, public=public))
        self.assertEqual(found, ("wss://a.example/", "https://b.example/"))
        public = PublicSettings("h.example", websocket="wss://a.example/")
        found = publicURLs(site(("https", "tcp:443"), public=public))
        self.assertEqual(found, ("wss://a.example/", "https://h.example/http-bind"))


class DocumentTests(SynchronousTestCase):
    """
    What browsers read.
    """

    def test_xml(self) -> None:
        """
        The document is XRD, with a link for each URL.
        """
        document = etree.fromstring(hostMeta(URLS))
        self.assertEqual(document.tag, f"{{{XRD}}}XRD")
        self.assertEqual(
            [(link.tag, link.get("rel"), link.get("href")) for link in document],
            [
                (f"{{{XRD}}}Link", "urn:xmpp:alt-connections:websocket", URLS[0]),
                (f"{{{XRD}}}Link", "urn:xmpp:alt-connections:xbosh", URLS[1]),
            ],
        )

    def test_json(self) -> None:
        """
        The other one is JRD.
        """
        self.assertEqual(
            json.loads(hostMetaJSON(URLS)),
            {
                "links": [
                    {"rel": "urn:xmpp:alt-connections:websocket", "href": URLS[0]},
                    {"rel": "urn:xmpp:alt-connections:xbosh", "href": URLS[1]},
                ]
            },
        )

    def test_read(self) -> None:
        """
        What is written is read, with TLS and without, and so is an empty list.
        """
        for urls in (URLS, ("ws://a/", "http://a/"), ()):
            self.assertEqual(readHostMeta(hostMeta(urls)), urls)
            self.assertEqual(readHostMetaJSON(hostMetaJSON(urls)), urls)

    def test_others(self) -> None:
        """
        Links of other relations, elements of other kinds, and links that lack something
        are passed over.
        """
        links = (
            '<Link rel="lrdd" href="https://a/"/><Subject>x</Subject>'
            '<Link rel="urn:xmpp:alt-connections:websocket"/><Link/>'
            '<Link rel="urn:xmpp:alt-connections:websocket" href=""/>'
            '<a:Link xmlns:a="b" rel="urn:xmpp:alt-connections:xbosh" href="https://b/"/>'
            '<x><Link rel="urn:xmpp:alt-connections:xbosh" href="https://c/"/></x>'
        )
        self.assertEqual(readHostMeta(f'<XRD xmlns="{XRD}">{links}</XRD>'.encode()), ())
        document = {
            "subject": 1,
            "links": [
                {"rel": "lrdd", "href": "https://a/"},
                {"rel": "urn:xmpp:alt-connections:xbosh", "href": 1},
                {"rel": "urn:xmpp:alt-connections:xbosh"},
                {"rel": ["x"], "href": "https://a/"},
                {},
            ],
        }
        self.assertEqual(readHostMetaJSON(json.dumps(document).encode()), ())
        self.assertEqual(readHostMetaJSON(b"{}"), ())

    def test_malformed(self) -> None:
        """
        What cannot be read says why; a document type is not read.
        """
        for body, why in (
            (b"", "not XML"),
            (f'<XRD xmlns="{XRD}">'.encode(), "not XML"),
            (b"<html/>", "not an XRD document"),
            (b"<XRD/>", "not an XRD document"),
            (b'<!DOCTYPE XRD [<!ENTITY a "b">]><XRD/>', "document type"),
            (b"\xff", "not XML"),
        ):
            self.assertIn(why, str(self.assertRaises(ValueError, readHostMeta, body)))
        for body, why in (
            (b"", "not JSON"),
            (b"\xff", "not JSON"),
            (b"[" * 60000, "not JSON"),
            (b"[]", "not a list of links"),
            (b"1", "not a list of links"),
            (b'{"links": {}}', "not a list of links"),
            (b'{"links": [1]}', "not a list of links"),
        ):
            self.assertIn(why, str(self.assertRaises(ValueError, readHostMetaJSON, body)))

    @given(st.binary() | st.text().map(str.encode))
    def test_anything(self, body: bytes) -> None:
        """
        Anything is URLs, or a L{ValueError}.
        """
        for read in (readHostMeta, readHostMetaJSON):
            try:
                found = read(body)
            except ValueError:
                continue
            self.assertIsInstance(found, tuple)
