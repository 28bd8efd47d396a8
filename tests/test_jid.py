# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.jid}.
"""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber import xmpp_stringprep

from cmanager import jid as module
from cmanager.errors import StanzaError
from cmanager.jid import (
    CACHED_ADDRESSES,
    KNOWN_ADDRESSES,
    KNOWN_CHARACTERS,
    MAX_PART_BYTES,
    known,
    prepare,
    prepareDomain,
)
from tests.properties import given, settings, st

_PARTS = st.text(
    "aB1-._ :\u00e9\u00c9\u00df\u05d0\u0627\uff0e\u3002\u2488\u00ad\U0001f600\x00",
    min_size=1,
    max_size=6,
)


def prepared(address: str) -> str | None:
    """
    Return the prepared address, or L{None} if it is malformed.
    """
    try:
        return prepare(address)
    except StanzaError as error:
        assert (error.condition, error.type) == ("jid-malformed", "modify")
        return None


class AddressTests(SynchronousTestCase):
    """
    L{prepare}
    """

    def test_good(self) -> None:
        """
        Addresses come back in their one form.
        """
        for address, expected in (
            ("verona.example", "verona.example"),
            ("Verona.EXAMPLE", "verona.example"),
            ("verona.example.", "verona.example"),
            ("Romeo@Verona.Example/Balcony", "romeo@verona.example/Balcony"),
            ("romeo@verona.example/a b/c@d", "romeo@verona.example/a b/c@d"),
            ("verona.example/r", "verona.example/r"),
            ("r!#$%()*+,-.;=?[\\]^_`{|}~@v", "r!#$%()*+,-.;=?[\\]^_`{|}~@v"),
            ("1.2.3.4", "1.2.3.4"),
            ("[::1]", "[::1]"),
            ("u@[2001:DB8:0::1]/x", "u@[2001:db8::1]/x"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("ROM\u00c9O@B\u00dccher.example/\u00d6", "rom\u00e9o@b\u00fccher.example/\u00d6"),
            ("stra\u00dfe@x", "strasse@x"),
            ("a\u00adb@x", "ab@x"),
            ("a@b\u3002c", "a@b.c"),
            ("\uff21@x/\uff21", "a@x/A"),
            ("a@x/e\u0301", "a@x/\u00e9"),
            ("\u05d0\u05d1@x", "\u05d0\u05d1@x"),
        ):
            self.assertEqual(prepared(address), expected, address)
            self.assertEqual(prepared(expected), expected)

    def test_malformed(self) -> None:
        """
        What cannot be prepared is malformed.
        """
        for address in (
            "",
            "@",
            "/",
            "@x",
            "x@",
            "x/",
            "a@b/",
            "a@/b",
            "a@b@c",
            " a@b",
            "a b@c",
            "a@b c",
            "a@b\n",
            "a\x7f@b",
            "a@b/\x07",
            "a@b/\x7f",
            'a"@b',
            "a&@b",
            "a'@b",
            "a:@b",
            "a<@b",
            "a>@b",
            "a_b",
            "-a",
            "a-",
            "a.-b",
            "a..b",
            ".a",
            ".",
            "a:1",
            "[::1",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%eth0]",
            "[x]",
            "\u00ad@x",
            "x/\u00ad",
            "a\u3000b@x",
            "a@x/\u2028",
            "a@x/\ue000",
            "\u05d0a@x",
            "\u05d01@x",
            "\ud800@x",
            "a@\u2488",
            "\u00e9-\u00e9@-\u00e9",
            "\uff20@x",
            "x/\U0001f600",
        ):
            self.assertIsNone(prepared(address), address)

    def test_lengths(self) -> None:
        """
        Each part has at most 1023 bytes of UTF-8.
        """
        n = MAX_PART_BYTES
        for form in ("{}@x", "x/{}", "{}", "{}@x/y", "{}/y", "y@{}", "y@{}/z"):
            self.assertIsNotNone(prepared(form.format("a" * n)))
            self.assertIsNone(prepared(form.format("a" * (n + 1))))
            self.assertIsNotNone(prepared(form.format("\u00e9" * (n // 2))))
            self.assertIsNone(prepared(form.format("\u00e9" * (n // 2 + 1))))
        self.assertIsNotNone(prepared("a." * (n // 2) + "a"))
        self.assertIsNone(prepared("a." * (n // 2) + "aa"))
        self.assertIsNone(prepared("\u00e9." * (n // 3) + "aa"))

    @settings(max_examples=500)
    @given(_PARTS, _PARTS, st.text("b.C\u3002\u2488\u00c9-", min_size=1, max_size=5))
    def test_reference(self, local: str, resource: str, domain: str) -> None:
        """
        Twisted's own slow preparation of the parts agrees.
        """
        expected: str | None
        try:
            parts = (
                xmpp_stringprep.nodeprep.prepare(local),
                xmpp_stringprep.nameprep.prepare(domain).removesuffix("."),
                xmpp_stringprep.resourceprep.prepare(resource),
            )
        except (UnicodeError, IndexError):
            expected = None
        else:
            expected = "{}@{}/{}".format(*parts) if all(parts) else None
        self.assertEqual(prepared(f"{local}@{domain}/{resource}"), expected)

    @settings(max_examples=300)
    @given(st.text(max_size=20))
    def test_idempotent(self, address: str) -> None:
        """
        A prepared address is prepared.
        """
        ours = prepared(address)
        if ours is not None:
            self.assertEqual(prepared(ours), ours)

    @settings(max_examples=300)
    @given(st.text(st.characters(max_codepoint=127), max_size=20))
    def test_fast(self, address: str) -> None:
        """
        The fast way for ASCII says what the slow one says.
        """
        try:
            slow: str | None = module._prepareSlowly(address)
        except StanzaError:
            slow = None
        self.assertEqual(prepared(address), slow)


class DomainTests(SynchronousTestCase):
    """
    L{prepareDomain}
    """

    def test_good(self) -> None:
        """
        A domain comes back in its one form.
        """
        for domain, expected in (
            ("Verona.Example", "verona.example"),
            ("verona.example.", "verona.example"),
            ("B\u00fccher.example", "b\u00fccher.example"),
            ("[::1]", "[::1]"),
            ("\u212a.", "k"),
            ("a" * 1023, "a" * 1023),
        ):
            self.assertEqual(prepareDomain(domain), expected)

    def test_malformed(self) -> None:
        """
        A domain is no address.
        """
        for domain in ("", "a@b", "a/b", "a b", "-a", "a" * 1024, "\u00e9" * 512):
            self.assertRaises(StanzaError, prepareDomain, domain)


class CostTests(SynchronousTestCase):
    """
    Addresses come from peers.
    """

    def test_cache(self) -> None:
        """
        A bounded number of addresses is remembered.
        """
        for number in range(CACHED_ADDRESSES + 1):
            prepare(f"\u00e9{number}@x")
        information = module._prepareSlowly.cache_info()
        self.assertEqual(information.maxsize, CACHED_ADDRESSES)
        self.assertEqual(information.currsize, CACHED_ADDRESSES)

    def test_known(self) -> None:
        """
        Of plain addresses, too, no long ones are, and malformed ones never.
        """
        module._known.clear()
        for number in range(KNOWN_ADDRESSES):
            self.assertEqual(prepare(f"U{number}@x"), f"u{number}@x")
        self.assertEqual(known("U1@x"), "u1@x")
        prepare("one-more@x")
        self.assertIsNone(known("U1@x"))
        for length in (KNOWN_CHARACTERS, KNOWN_CHARACTERS + 1):
            prepare("x" * length)
        prepared("-x")
        self.assertEqual(list(module._known), ["x" * KNOWN_CHARACTERS])

    def test_time(self) -> None:
        """
        A thousand of the longest malformed addresses take a second or two at most.
        """
        start = time.process_time()
        for number in range(1000):
            prepared(f"\u00e9{number}" + "\u00e9" * 900 + "@x/" + "\u00e9" * 500 + "\x07")
        self.assertLess(time.process_time() - start, 4.0)
