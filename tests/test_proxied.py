# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.proxied}.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase

from cmanager.proxied import (
    MAX_HOPS,
    MAX_QUOTED_COMMAS,
    Client,
    Networks,
    forwarded,
    forwardedFor,
    forwardedProto,
    isNetwork,
    literal,
)
from tests.properties import given, st

ROMEO = "203.0.113.7"
EDGE = "10.0.0.2"
INNER = "10.0.0.1"
TRUSTED = Networks(["10.0.0.0/8", "2001:db8:aaaa::/48"])


class NetworksTests(SynchronousTestCase):
    """
    Whose word is taken.
    """

    def test_edges(self) -> None:
        """
        A network holds its first and its last address, and not those beside them.
        """
        for text, inside, outside in (
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("192.0.2.4/30", ["192.0.2.4", "192.0.2.7"], ["192.0.2.3", "192.0.2.8"]),
            ("192.0.2.1", ["192.0.2.1"], ["192.0.2.0", "192.0.2.2"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "::1"]),
            ("2001:db8::/33", ["2001:db8::", "2001:db8:7fff::1"], ["2001:db8:8000::"]),
            ("::1", ["::1", "0:0::0:1"], ["::2", "0.0.0.1", "::"]),
            ("::/0", ["::", "2001:db8::1"], ["192.0.2.1", "::ffff:192.0.2.1"]),
        ):
            networks = Networks([text])
            for address in inside:
                self.assertIn(address, networks)
            for address in outside:
                self.assertNotIn(address, networks)

    def test_mapped(self) -> None:
        """
        An IPv4 address mapped into IPv6 is the IPv4 address, in the list and in what is
        asked for.
        """
        self.assertIn("::ffff:10.1.2.3", Networks(["10.0.0.0/8"]))
        self.assertIn("::FFFF:a01:203", Networks(["10.0.0.0/8"]))
        self.assertIn("10.1.2.3", Networks(["::ffff:10.0.0.0/104"]))
        self.assertNotIn("11.1.2.3", Networks(["::ffff:10.0.0.0/104"]))
        self.assertIn("192.0.2.1", Networks(["::ffff:192.0.2.1"]))

    def test_several(self) -> None:
        """
        One of many is enough.
        """
        networks = Networks(["192.0.2.1", "10.0.0.0/8", "10.64.0.0/16", "2001:db8::/32"])
        for address in ("192.0.2.1", "10.1.1.1", "10.64.0.1", "2001:db8::"):
            self.assertIn(address, networks)
        self.assertNotIn("192.0.2.2", networks)

    def test_zone(self) -> None:
        """
        A peer's zone is not part of its address.
        """
        self.assertIn("fe80::1%eth0", Networks(["fe80::/64"]))

    def test_nothing(self) -> None:
        """
        What is no address is nowhere.
        """
        networks = Networks(["0.0.0.0/0", "::/0"])
        for text in ("", "x", "10.0.0", "10.0.0.01", "10.0.0.1/32", "1" * 5000, "[::1]", "unix"):
            self.assertNotIn(text, networks)

    def test_unix(self) -> None:
        """
        The peer of a Unix socket has no address; it is trusted where that is said.
        """
        self.assertNotIn(None, Networks(["0.0.0.0/0"]))
        networks = Networks(["unix"])
        self.assertIn(None, networks)
        self.assertNotIn("192.0.2.1", networks)

    def test_truth(self) -> None:
        """
        A list that trusts nobody is false.
        """
        self.assertFalse(Networks())
        for text in ("unix", "::1", "10.0.0.0/8"):
            self.assertTrue(Networks([text]))

    def test_bad(self) -> None:
        """
        Bits behind the prefix, netmasks, names and zones are refused, and told by name.
        """
        for text in (
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/0.255.255.255",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/٨",
            "proxy.example",
            "fe80::1%eth0",
            "fe80::%1/64",
            "unix/8",
            "::ffff:10.0.0.1/104",
        ):
            self.assertFalse(isNetwork(text), text)
            error = self.assertRaises(ValueError, Networks, ["10.0.0.0/8", text])
            self.assertIn(text, str(error))
        self.assertTrue(isNetwork("unix"))
        self.assertTrue(isNetwork("10.0.0.0/8"))

    @given(
        st.ip_addresses(),
        st.lists(st.tuples(st.ip_addresses(), st.integers(0, 32)), max_size=5),
        st.data(),
    )
    def test_asTheLibrary(
        self, address: object, drawn: list[tuple[object, int]], data: st.DataObject
    ) -> None:
        """
        Membership is what L{ipaddress} says of the networks one by one.
        """
        networks = [ip_network(f"{base}/{length}", strict=False) for base, length in drawn]
        networks = [n for n in networks if n.version == 4 or n.prefixlen]
        asked = ip_address(str(address))
        if networks and data.draw(st.booleans()):
            asked = data.draw(st.sampled_from(networks))[-1]
        if getattr(asked, "ipv4_mapped", None) is None:
            expected = any(asked in network for network in networks)
            self.assertEqual(str(asked) in Networks(map(str, networks)), expected)


class LiteralTests(SynchronousTestCase):
    """
    Addresses have one form.
    """

    def test_form(self) -> None:
        """
        IPv6 is compressed and in lower case, mapped IPv4 is IPv4, and nothing else is an
        address.
        """
        for text, expected in (
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::", "::"),
            ("fe80::1%eth0", None),
            ("192.0.2.256", None),
            ("", None),
            ("192.0.2.1 ", None),
        ):
            self.assertEqual(literal(text), expected)

    def test_length(self) -> None:
        """
        The longest form of an address is taken; what is longer is not looked at.
        """
        longest = "0000:0000:0000:0000:0000:ffff:192.168.100.228"
        self.assertEqual((len(longest), literal(longest)), (45, "192.168.100.228"))
        self.assertIsNone(literal("0" + longest))


class Case(SynchronousTestCase):
    """
    With a request as it comes from the nearest proxy.
    """

    def client(self, *headers: tuple[str, str], peer: str | None = INNER) -> Client:
        """
        Return who made a request with these headers.
        """
        raw = [(name.encode(), value.encode()) for name, value in headers]
        found = forwarded(iter(raw), peer, TRUSTED)
        self.assertEqual(forwardedFor(raw, peer, TRUSTED), found.address)
        self.assertEqual(forwardedProto(raw, peer, TRUSTED), found.proto)
        return found

    def address(self, *headers: tuple[str, str], peer: str | None = INNER) -> str | None:
        """
        Return only where that is.
        """
        return self.client(*headers, peer=peer).address


class ForwardedForTests(Case):
    """
    C{X-Forwarded-For}.
    """

    def test_walk(self) -> None:
        """
        The client is the first one from the right that is not trusted; where all are, the
        one on the left.
        """
        for value, expected in (
            (ROMEO, ROMEO),
            (f"{ROMEO}, {EDGE}", ROMEO),
            (f"{EDGE}, {ROMEO}", ROMEO),
            (f"192.0.2.99, {ROMEO}, {EDGE}", ROMEO),
            (f"{EDGE}, 10.9.9.9", EDGE),
            (f" ,, {ROMEO} ,\t, {EDGE},", ROMEO),
            ("2001:db8::7, 2001:db8:aaaa::1", "2001:db8::7"),
            ("::ffff:203.0.113.7, ::ffff:10.0.0.2", ROMEO),
        ):
            self.assertEqual(self.address(("X-Forwarded-For", value)), expected, value)

    def test_forms(self) -> None:
        """
        An address may have a port, and IPv6 brackets.
        """
        for value, expected in (
            (f"{ROMEO}:4711", ROMEO),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("2001:DB8::7", "2001:db8::7"),
            (f"[::ffff:{ROMEO}]:1", ROMEO),
            (f"{ROMEO}:_port", ROMEO),
        ):
            self.assertEqual(self.address(("X-Forwarded-For", value)), expected, value)

    def test_malformed(self) -> None:
        """
        What names nobody, or cannot be read, leaves the last one that is known.
        """
        for value in (
            "",
            ",",
            "unknown",
            "_hidden",
            "romeo.example",
            "203.0.113.256",
            "203.0.113.07",
            "203.0.113.7:",
            "203.0.113.7:1:2",
            "[203.0.113.7]",
            "[2001:db8::7",
            "2001:db8::7]",
            "[2001:db8::7]4711",
            "[fe80::1%eth0]",
            "fe80::1%eth0",
            '"203.0.113.7"',
            "203.0.113.7 203.0.113.8",
            "٣.0.113.7",
            "x" * 10000,
            ":" * 10000,
            "\0",
        ):
            self.assertEqual(self.address(("X-Forwarded-For", value)), INNER, value)
            both = f"{ROMEO}, {value}, {EDGE}"
            if value.strip(","):
                self.assertEqual(self.address(("X-Forwarded-For", both)), EDGE, value)

    def test_lines(self) -> None:
        """
        Several headers are one list, whatever the case of their names.
        """
        found = self.address(("x-forwarded-for", f"1.1.1.1, {ROMEO}"), ("X-FORWARDED-FOR", EDGE))
        self.assertEqual(found, ROMEO)

    def test_notTrusted(self) -> None:
        """
        Of a peer that is not trusted nothing is believed.
        """
        headers = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Proto", "https")]
        self.assertEqual(self.client(*headers, peer=ROMEO), Client(ROMEO, None))
        headers = [("Forwarded", "for=1.1.1.1;proto=https")]
        self.assertEqual(self.client(*headers, peer=ROMEO), Client(ROMEO, None))
        self.assertEqual(self.client(*headers, peer=None), Client(None, None))

    def test_unix(self) -> None:
        """
        A proxy at a Unix socket is believed where that is said; if it does not say, there
        is no address.
        """
        headers = [(b"X-Forwarded-For", ROMEO.encode())]
        networks = Networks(["unix"])
        self.assertEqual(forwardedFor(headers, None, networks), ROMEO)
        self.assertIsNone(forwardedFor([], None, networks))

    def test_hops(self) -> None:
        """
        So many proxies in a row are walked through, and no more.
        """
        chain = [ROMEO] + [f"10.0.1.{i}" for i in range(MAX_HOPS)]
        self.assertEqual(self.address(("X-Forwarded-For", ",".join(chain))), "10.0.1.0")
        del chain[1]
        self.assertEqual(self.address(("X-Forwarded-For", ",".join(chain))), ROMEO)

    def test_none(self) -> None:
        """
        Without headers it is the peer.
        """
        self.assertEqual(self.client(("Host", "a.example")), Client(INNER, None))


class ForwardedTests(Case):
    """
    C{Forwarded}, RFC 7239.
    """

    def test_forms(self) -> None:
        """
        Tokens and quoted strings, in any order and case, with what else there may be.
        """
        for value, expected in (
            (f"for={ROMEO}", ROMEO),
            (f'For="{ROMEO}"', ROMEO),
            (f'for="{ROMEO}:47011"', ROMEO),
            (f"for={ROMEO}:47011", ROMEO),
            (f'FOR="{ROMEO}:_x-1"', ROMEO),
            ('for="[2001:db8::7]"', "2001:db8::7"),
            ('for="[2001:DB8::7]:4711"', "2001:db8::7"),
            ("for=[2001:db8::7]:4711", "2001:db8::7"),
            (r'for="\2\03.0.113.7"', ROMEO),
            (f"by=_me;proto=https;for={ROMEO};host=a.example", ROMEO),
            (f"for={ROMEO}; proto=https;", ROMEO),
            (f";;for={ROMEO}", ROMEO),
            (f'for={ROMEO};ext="a,b;for=1.1.1.1,c"', ROMEO),
            (f"for=1.1.1.1, for={ROMEO},for={EDGE}", ROMEO),
            (f"for={ROMEO}, , for={EDGE} ,", ROMEO),
            (f'for={ROMEO};x=",", for={EDGE};x=",,"', ROMEO),
            (f"for={EDGE}", EDGE),
        ):
            self.assertEqual(self.address(("Forwarded", value)), expected, value)

    def test_malformed(self) -> None:
        """
        What names nobody, or cannot be read, leaves the last one that is known.
        """
        for value in (
            "for=unknown",
            "for=_hidden",
            'for="_SEVKISEK"',
            "proto=https",
            "for=",
            "for",
            "=x",
            f"for = {ROMEO}",
            f'for="{ROMEO}',
            f'for={ROMEO}"',
            f'for="{ROMEO}"x',
            f"for={ROMEO} by=x",
            f"for={ROMEO};for={ROMEO}",
            "for=1;for=1",
            f"for={ROMEO};FOR=1.1.1.1",
            f"for={ROMEO};proto=https;proto=http",
            "for=2001:db8::g",
            "for=romeo.example",
            'for="\\',
            'for=""',
            f"f\u00f6r={ROMEO}",
            f"for(={ROMEO}",
            '"',
            '"' * 5000,
            ";" * 5000 + "x",
            "for=" + "x" * 10000,
        ):
            self.assertEqual(self.address(("Forwarded", value)), INNER, value)
            both = f"for={ROMEO}, {value}, for={EDGE}"
            self.assertEqual(self.address(("Forwarded", both)), EDGE, value)

    def test_nothing(self) -> None:
        """
        An empty header says nothing.
        """
        for value in ("", ",", " ; ,;"):
            self.assertEqual(self.address(("Forwarded", value)), INNER)

    def test_openQuote(self) -> None:
        """
        What a client has sent cannot swallow what a proxy has written behind it.
        """
        for sent in (
            'for="1.1.1.1',
            'x="',
            'for=1.1.1.1;x="\\',
            'for=1.1.1.1;x="a, for=2.2.2.2, y="',
            "for=1.1.1.1;",
            '"',
        ):
            for written in (f"for={ROMEO}", f'for="{ROMEO}:1";proto=https', f'x="a,b";for={ROMEO}'):
                self.assertEqual(self.address(("Forwarded", f"{sent}, {written}")), ROMEO, sent)

    def test_commas(self) -> None:
        """
        So many commas are looked for in one element, and no more.
        """
        for commas, expected in ((MAX_QUOTED_COMMAS, ROMEO), (MAX_QUOTED_COMMAS + 1, INNER)):
            value = f'for=1.1.1.1, for={ROMEO};x="' + "," * commas + '"'
            self.assertEqual(self.address(("Forwarded", value)), expected)

    def test_hops(self) -> None:
        """
        So many proxies in a row are walked through, and no more.
        """
        chain = [f"for={ROMEO}"] + [f"for=10.0.1.{i}" for i in range(MAX_HOPS)]
        self.assertEqual(self.address(("Forwarded", ",".join(chain))), "10.0.1.0")
        del chain[1]
        self.assertEqual(self.address(("Forwarded", ",".join(chain))), ROMEO)

    def test_both(self) -> None:
        """
        Beside an C{X-Forwarded-} header, C{Forwarded} is not looked at: as a rule a client
        has made it up.
        """
        made = ("Forwarded", "for=1.1.1.1;proto=https")
        self.assertEqual(self.client(made, ("X-Forwarded-For", ROMEO)), Client(ROMEO, None))
        found = self.client(("X-Forwarded-Proto", "http"), made)
        self.assertEqual(found, Client(INNER, "http"))
        self.assertEqual(self.client(made, ("X-Forwarded-For", "")), Client("1.1.1.1", "https"))


class ProtoTests(Case):
    """
    Whether the client came in TLS.
    """

    def proto(self, *values: str, addresses: str = ROMEO) -> str | None:
        """
        Return what C{X-Forwarded-Proto} says.
        """
        headers = [("X-Forwarded-Proto", value) for value in values]
        return self.client(*headers, ("X-Forwarded-For", addresses)).proto

    def test_one(self) -> None:
        """
        One word is for the client, however many addresses there are.
        """
        self.assertEqual(self.proto("https"), "https")
        self.assertEqual(self.proto("HTTP"), "http")
        self.assertEqual(self.proto("https", addresses=f"{ROMEO}, {EDGE}"), "https")
        self.assertEqual(self.client(("X-Forwarded-Proto", "https")), Client(INNER, "https"))

    def test_several(self) -> None:
        """
        As many words as addresses go together one by one; a client that sends some of its
        own changes nothing.
        """
        chain = f"1.1.1.1, {ROMEO}, {EDGE}"
        self.assertEqual(self.proto("http, https, http", addresses=chain), "https")
        self.assertEqual(self.proto("https", "http", "https", addresses=chain), "http")

    def test_unclear(self) -> None:
        """
        Several words that cannot be told apart say nothing, unless they are the same.
        """
        self.assertIsNone(self.proto("https, http"))
        self.assertEqual(self.proto("https, HTTPS"), "https")
        self.assertIsNone(self.proto("https, http", addresses=f"1.1.1.1, {ROMEO}, {EDGE}"))

    def test_malformed(self) -> None:
        """
        What is no word says nothing.
        """
        for value in ("", "ht tps", "https\0", "https" * 4, "\u017fhttp"):
            self.assertIsNone(self.proto(value), value)
            self.assertIsNone(self.client(("Forwarded", f"for={ROMEO};proto={value};")).proto)
        for value in ("https;", '"https"'):
            self.assertIsNone(self.proto(value), value)

    def test_forwarded(self) -> None:
        """
        In C{Forwarded} it is the word beside the client's address, even where that is
        hidden.
        """
        for value, expected in (
            (f"for={ROMEO};proto=https", "https"),
            (f'proto="HTTPS";for={ROMEO}', "https"),
            (f"for={ROMEO};proto=https, for={EDGE};proto=http", "https"),
            (f"for={ROMEO}, for={EDGE};proto=https", None),
            (f"for=1.1.1.1;proto=https, for={ROMEO};proto=http", "http"),
            ("for=_hidden;proto=https", "https"),
            ("proto=https", "https"),
            ("proto=https, x", None),
        ):
            self.assertEqual(self.client(("Forwarded", value)).proto, expected, value)

    def test_secure(self) -> None:
        """
        C{https} and C{wss} are secure; saying nothing is not.
        """
        for proto, secure in (("https", True), ("wss", True), ("http", False), (None, False)):
            self.assertEqual(Client(ROMEO, proto).secure, secure)


class PropertyTests(SynchronousTestCase):
    """
    Headers hold anything.
    """

    names = st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"])
    texts = st.lists(
        st.sampled_from(
            [b" ", *b'for= proto= 10.0.0.3 1.1.1.1 ::1 https unknown , ; " \\ = [ ]:1 \xff'.split()]
        )
    ).map(b"".join)

    @given(st.lists(st.tuples(names, texts | st.binary()), max_size=4), st.booleans())
    def test_anything(self, headers: list[tuple[bytes, bytes]], isTrusted: bool) -> None:
        """
        There is always an address, in its one form, and never an exception.
        """
        peer = INNER if isTrusted else ROMEO
        client = forwarded(headers, peer, TRUSTED)
        assert client.address is not None
        self.assertEqual(client.address, literal(client.address))
        if not isTrusted:
            self.assertEqual(client, Client(peer))

    @given(texts, st.ip_addresses().map(str))
    def test_append(self, sent: bytes, address: str) -> None:
        """
        Whatever a client sends, what a trusted proxy writes behind it counts.
        """
        real = literal(address)
        if address not in TRUSTED:
            value = sent + b", for=" + (f'"[{address}]"' if ":" in address else address).encode()
            self.assertEqual(forwardedFor([(b"Forwarded", value)], INNER, TRUSTED), real)
            value = sent + b", " + address.encode()
            self.assertEqual(forwardedFor([(b"X-Forwarded-For", value)], INNER, TRUSTED), real)
