# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.certificates}.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from twisted.trial.unittest import TestCase

from cmanager.certificates import (
    MAX_FILE_BYTES,
    Certificate,
    Index,
    Unusable,
    candidates,
    fingerprint,
    keyFile,
    namesOf,
    normalised,
    read,
)
from tests.certificates import SRV_NAME, Authority, Identity, authority


class DirectoryTests(TestCase):
    """
    Which files of a directory are read.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def names(self) -> list[str]:
        """
        Return the candidates, relative to the directory.
        """
        return [str(path.relative_to(self.directory)) for path in candidates(self.directory)]

    def test_files(self) -> None:
        """
        Files named C{.pem} and C{.crt} are candidates, in order; keys, hidden files and
        others are not.
        """
        for name in ("b.pem", "a.crt", "a.key", "README", ".hidden.pem"):
            (self.directory / name).touch()
        self.assertEqual(self.names(), ["a.crt", "b.pem"])

    def test_subdirectories(self) -> None:
        """
        Of a subdirectory it is C{fullchain.pem}; one without has none.
        """
        (self.directory / "a.example").mkdir()
        (self.directory / "a.example" / "fullchain.pem").touch()
        (self.directory / "a.example" / "cert.pem").touch()
        (self.directory / "empty").mkdir()
        self.assertEqual(self.names(), ["a.example/fullchain.pem"])

    def test_certbot(self) -> None:
        """
        A directory as certbot fills it has one certificate.
        """
        for name in ("cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"):
            (self.directory / name).touch()
        self.assertEqual(self.names(), ["fullchain.pem"])

    def test_dangling(self) -> None:
        """
        A symbolic link that leads nowhere is a candidate: somebody meant it.
        """
        (self.directory / "a").mkdir()
        (self.directory / "a" / "fullchain.pem").symlink_to("nowhere.pem")
        self.assertEqual(self.names(), ["a/fullchain.pem"])

    def test_keyFile(self) -> None:
        """
        The key is beside its certificate, by the name that is usual there.
        """
        self.assertEqual(keyFile(Path("/x/a.crt")), Path("/x/a.key"))
        self.assertEqual(keyFile(Path("/x/a.example.pem")), Path("/x/a.example.key"))
        self.assertEqual(keyFile(Path("/x/a/fullchain.pem")), Path("/x/a/privkey.pem"))


class FingerprintTests(TestCase):
    """
    A fingerprint changes when a file does.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        (self.directory / "a.pem").write_bytes(b"1")

    def test_same(self) -> None:
        """
        It stays while nothing changes.
        """
        self.assertEqual(fingerprint(self.directory), fingerprint(self.directory))

    def test_changes(self) -> None:
        """
        A new file, a new key, other content of the same length, a removal: each changes it.
        """
        seen = [fingerprint(self.directory)]
        (self.directory / "b.pem").write_bytes(b"1")
        seen.append(fingerprint(self.directory))
        (self.directory / "a.key").write_bytes(b"1")
        seen.append(fingerprint(self.directory))
        os.utime(self.directory / "a.pem", ns=(1, 1))
        seen.append(fingerprint(self.directory))
        (self.directory / "b.pem").unlink()
        seen.append(fingerprint(self.directory))
        self.assertEqual(len(set(seen)), 5)

    def test_symbolicLink(self) -> None:
        """
        A link that leads elsewhere changes it, even to a file of equal size and time.
        """
        places = []
        for name in ("one", "two"):
            place = Path(self.mktemp())
            place.mkdir()
            (place / "x").write_bytes(b"1")
            os.utime(place / "x", ns=(1, 1))
            places.append(place.absolute())
        link = self.directory / "l.pem"
        link.symlink_to(places[0] / "x")
        before = fingerprint(self.directory)
        link.unlink()
        link.symlink_to(places[1] / "x")
        self.assertNotEqual(fingerprint(self.directory), before)

    def test_missing(self) -> None:
        """
        A directory that is not there has a fingerprint too; so have other files.
        """
        nowhere = Path("/nowhere/at/all")
        self.assertEqual(fingerprint(nowhere), ())
        before = fingerprint(nowhere, [self.directory / "ca"])
        (self.directory / "ca").touch()
        self.assertNotEqual(fingerprint(nowhere, [self.directory / "ca"]), before)


class ReadTests(TestCase):
    """
    Reading one certificate.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "a.pem"
        self.identity = authority().issue("a.example")

    def refused(self, *words: str) -> None:
        """
        Reading C{a.pem} fails, and the problem contains C{words}.
        """
        problem = str(self.assertRaises(Unusable, read, self.path))
        for word in words:
            self.assertIn(word, problem)
        self.assertNotIn("\n", problem)

    def test_oneFile(self) -> None:
        """
        Certificate, chain and key may be in one file.
        """
        found = read(self.identity.write(self.directory, "a"))
        assert found is not None
        self.assertEqual(found.leaf, self.identity.certificate)
        self.assertEqual(found.chain, (authority().certificate,))
        self.assertEqual(found.names, {"a.example"})
        self.assertEqual(found.expires, self.identity.certificate.not_valid_after_utc)

    def test_anyOrder(self) -> None:
        """
        The certificate is the one the key belongs to, wherever it stands.
        """
        self.path.write_bytes(self.identity.keyPEM + authority().pem + self.identity.certificatePEM)
        found = read(self.path)
        assert found is not None
        self.assertEqual(found.leaf, self.identity.certificate)

    def test_keyBeside(self) -> None:
        """
        The key may be in a file of its own.
        """
        self.path.write_bytes(self.identity.certificatePEM)
        (self.directory / "a.key").write_bytes(self.identity.keyPEM)
        self.assertIsNotNone(read(self.path))

    def test_keyOnly(self) -> None:
        """
        A file with nothing but a key is no certificate, and no problem.
        """
        self.path.write_bytes(self.identity.keyPEM)
        self.assertIsNone(read(self.path))

    def test_noKey(self) -> None:
        """
        A certificate without key is named together with the file that is missing.
        """
        self.path.write_bytes(self.identity.certificatePEM)
        self.refused("a.pem", "a.key")

    def test_otherKey(self) -> None:
        """
        A key that belongs to another certificate is refused.
        """
        other = authority().issue("b.example")
        self.path.write_bytes(self.identity.certificatePEM + other.keyPEM)
        self.refused("does not belong")

    def test_garbage(self) -> None:
        """
        A file that is not PEM is refused, as is one that is damaged.
        """
        self.path.write_bytes(b"hello")
        self.refused("no certificate")
        self.path.write_bytes(self.identity.certificatePEM[:200] + self.identity.keyPEM)
        self.refused("no certificate")

    def test_garbageKey(self) -> None:
        """
        A key file that is not PEM, or is damaged, is refused.
        """
        self.path.write_bytes(self.identity.certificatePEM)
        key = self.directory / "a.key"
        key.write_bytes(b"hello")
        self.refused("a.key", "no private key")
        key.write_bytes(b"-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n")
        self.refused("a.key", "cannot be read")

    def test_encrypted(self) -> None:
        """
        An encrypted key is refused with what to do.
        """
        self.path.write_bytes(
            self.identity.certificatePEM
            + self.identity.key.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
            )
        )
        self.refused("passphrase")

    def test_unreadable(self) -> None:
        """
        A file that cannot be opened is refused with the system's reason.
        """
        self.refused("cannot be read", "No such file")

    def test_large(self) -> None:
        """
        A file of the greatest size is read, one byte more is refused.
        """
        content = self.identity.chainPEM + self.identity.keyPEM
        self.path.write_bytes(content + b"\n" * (MAX_FILE_BYTES - len(content)))
        self.assertIsNotNone(read(self.path))
        self.path.write_bytes(content + b"\n" * (MAX_FILE_BYTES + 1 - len(content)))
        self.refused("larger")

    def test_nameless(self) -> None:
        """
        A certificate that stands for no domain is of no use.
        """
        authority().issue(addresses=["192.0.2.1"]).write(self.directory, "a")
        self.refused("no domain name")


class NameTests(TestCase):
    """
    The domains a certificate stands for.
    """

    def names(self, identity: Identity) -> set[str]:
        """
        Return them.
        """
        return set(namesOf(identity.certificate))

    def test_kinds(self) -> None:
        """
        dNSName, XmppAddr and SRVName for clients count.
        """
        identity = authority().issue(
            "A.example",
            "*.b.example",
            xmpp=["c.example"],
            srv=["_xmpp-client.d.example", "_xmpp-server.e.example"],
            addresses=["192.0.2.1"],
        )
        self.assertEqual(
            self.names(identity), {"a.example", "*.b.example", "c.example", "d.example"}
        )

    def test_commonName(self) -> None:
        """
        The common name counts only where nothing else does.
        """
        self.assertEqual(self.names(authority().issue(commonName="a.example")), {"a.example"})
        self.assertEqual(
            self.names(authority().issue("b.example", commonName="a.example")), {"b.example"}
        )

    def test_international(self) -> None:
        """
        Names in Unicode become A-labels.
        """
        identity = authority().issue(xmpp=["b\u00fccher.example"])
        self.assertEqual(self.names(identity), {"xn--bcher-kva.example"})

    def test_long(self) -> None:
        """
        DER strings with a long length are read.
        """
        name = ".".join(["a" * 60] * 3) + ".example"
        self.assertEqual(self.names(authority().issue(xmpp=[name])), {name})

    def test_broken(self) -> None:
        """
        Values that are no strings, or no text, are passed over.
        """
        broken = [b"\x05\x00", b"\x02\x01\x05", b"\x0c\x01\xff"]
        identity = authority().issue(
            "ok.example", extra=[x509.OtherName(SRV_NAME, value) for value in broken]
        )
        self.assertEqual(self.names(identity), {"ok.example"})

    def test_normalised(self) -> None:
        """
        Case and a final dot do not matter; what is no domain is L{None}.
        """
        self.assertEqual(normalised("A.Example."), "a.example")
        self.assertEqual(normalised("*.A.Example"), "*.a.example")
        for name in ("", "a..b", "a b", "-a.example", "x" * 64 + ".example", "\ud800"):
            self.assertIsNone(normalised(name), name)


class IndexTests(TestCase):
    """
    Which certificate stands for a name.
    """

    def index(self, **identities: Identity) -> Index:
        """
        Make an index of certificates in files of these names.
        """
        made = {}
        for name, identity in identities.items():
            path = Path("/x") / f"{name}.pem"
            made[path] = Certificate(
                path, identity.certificate, (), identity.key, namesOf(identity.certificate)
            )
        return Index(made)

    def found(self, index: Index, name: str) -> str | None:
        """
        Return the file that is found for C{name}.
        """
        certificate = index.find(name)
        return certificate.path.stem if certificate else None

    def test_exact(self) -> None:
        """
        An exact name goes before a wildcard, which stands for exactly one label.
        """
        index = self.index(
            wild=authority().issue("*.a.example"), exact=authority().issue("x.a.example")
        )
        self.assertEqual(self.found(index, "X.a.example."), "exact")
        self.assertEqual(self.found(index, "y.a.example"), "wild")
        self.assertIsNone(self.found(index, "y.x.a.example"))
        self.assertIsNone(self.found(index, "a.example"))

    def test_nothing(self) -> None:
        """
        Unknown names, no names and wildcards find nothing.
        """
        index = self.index(a=authority().issue("*.a.example"))
        for name in ("b.example", "", "example", "*.a.example", "\x00"):
            self.assertIsNone(index.find(name))

    def test_unicode(self) -> None:
        """
        A name is found in Unicode and in A-labels.
        """
        index = self.index(a=authority().issue("xn--bcher-kva.example"))
        self.assertEqual(self.found(index, "B\u00fccher.example"), "a")
        self.assertEqual(self.found(index, "xn--bcher-kva.example"), "a")

    def test_longest(self) -> None:
        """
        Of two for one name the one that expires last is taken, in whatever order.
        """
        short = authority().issue("a.example", validFor=timedelta(days=10))
        long = authority().issue("a.example", validFor=timedelta(days=20))
        self.assertEqual(self.found(self.index(a=short, b=long), "a.example"), "b")
        self.assertEqual(self.found(self.index(a=long, b=short), "a.example"), "a")

    def test_default(self) -> None:
        """
        The default is the first by path, or what is named so; of none it is L{None}.
        """
        one, two = authority().issue("b.example"), authority().issue("c.example")
        first = self.index(z=one, b=two).default
        assert first is not None
        self.assertEqual(first.path.stem, "b")
        named = self.index(a=one, default=two).default
        assert named is not None
        self.assertEqual(named.path.stem, "default")
        self.assertIsNone(Index({}).default)

    def test_defaultDirectory(self) -> None:
        """
        A subdirectory may be named C{default} as well.
        """
        identity = authority().issue("a.example")
        certificates = {
            path: Certificate(path, identity.certificate, (), identity.key, frozenset({"a"}))
            for path in (Path("/x/a.pem"), Path("/x/default/fullchain.pem"))
        }
        default = Index(certificates).default
        assert default is not None
        self.assertEqual(default.path.parent.name, "default")


class AuthorityTests(TestCase):
    """
    The certificates tests use are good.
    """

    def test_signed(self) -> None:
        """
        An issued certificate is signed by its authority.
        """
        made = Authority()
        made.issue("a.example").certificate.verify_directly_issued_by(made.certificate)
