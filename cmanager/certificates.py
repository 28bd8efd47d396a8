# Copyright the cmanager authors.
# See LICENSE for details.

"""
A directory of certificates, and which of them stands for a name.  Layer 1;
reads files when asked to, knows no TLS connection and no reactor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import idna
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

MAX_FILE_BYTES = 1048576

_XMPP_ADDRESS = "1.3.6.1.5.5.7.8.5"
_SRV_NAME = "1.3.6.1.5.5.7.8.7"
_SRV_SERVICE = "_xmpp-client."
_UTF8_STRING = b"\x0c"
_IA5_STRING = b"\x16"
_SUFFIXES = (".pem", ".crt")
# What certbot puts beside fullchain.pem: parts of it, or its key.
_CERTBOT_PARTS = frozenset({"cert.pem", "chain.pem", "privkey.pem"})
_KEY = re.compile(rb"-----BEGIN ((?:[A-Z]+ )*PRIVATE KEY)-----.*?-----END \1-----\r?\n?", re.DOTALL)

Fingerprint = tuple[tuple[str, str, int, int, int], ...]


class Unusable(Exception):
    """
    A file cannot serve as a certificate; the text says why, and names the file.
    """


@frozen(eq=False)
class Certificate:
    """
    A certificate that is ready to be used.

    @ivar path: The file it was read from.
    @ivar names: Domains it stands for: A-labels in lower case, perhaps with C{*.} in
        front.
    @ivar chain: The certificates of its issuers, as they stood in the file.
    """

    path: Path
    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes
    names: frozenset[str]

    @property
    def expires(self) -> datetime:
        """
        When it does, in UTC.
        """
        return self.leaf.not_valid_after_utc


def candidates(directory: Path) -> Iterator[Path]:
    """
    Yield the files of C{directory} that should hold a certificate, sorted.

    @raise OSError: The directory cannot be read.
    """
    entries = sorted(directory.iterdir())
    certbot = any(entry.name == "fullchain.pem" for entry in entries)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            chain = entry / "fullchain.pem"
            if os.path.lexists(chain):
                yield chain
        elif entry.suffix in _SUFFIXES and not (certbot and entry.name in _CERTBOT_PARTS):
            yield entry


def keyFile(path: Path) -> Path:
    """
    Return where the key of the certificate in C{path} is, if not in C{path} itself.
    """
    return path.with_name("privkey.pem" if path.name == "fullchain.pem" else path.stem + ".key")


def fingerprint(directory: Path, others: Iterable[Path] = ()) -> Fingerprint:
    """
    Return something that changes whenever a file that L{read} would look at does, be it
    that a symbolic link leads elsewhere.
    """
    try:
        files = [file for path in candidates(directory) for file in (path, keyFile(path))]
    except OSError:
        files = []
    seen = []
    for file in [*files, *others]:
        try:
            status = file.stat()
        except OSError:
            seen.append((str(file), "", 0, 0, 0))
            continue
        seen.append(
            (
                str(file),
                os.path.realpath(file),
                status.st_mtime_ns,
                status.st_size,
                status.st_ino,
            )
        )
    return tuple(seen)


def read(path: Path) -> Certificate | None:
    """
    Read a certificate with its chain and its key.

    @return: L{None} for a file that holds a key and nothing else: some other's key.
    @raise Unusable: What is wrong.
    """
    content = _content(path)
    try:
        certificates = x509.load_pem_x509_certificates(_KEY.sub(b"", content))
    except ValueError:
        if _KEY.search(content) and b"CERTIFICATE" not in content:
            return None
        raise Unusable(f"{path}: holds no certificate in PEM") from None
    place, found = path, _KEY.search(content)
    if found is None:
        place = keyFile(path)
        if not os.path.lexists(place):
            raise Unusable(f"{path}: no key in it, and no {place.name} beside it")
        found = _KEY.search(_content(place))
    if found is None:
        raise Unusable(f"{place}: holds no private key in PEM")
    key = _key(place, found.group())
    own = _public(key.public_key())
    leaf = next((c for c in certificates if _public(c.public_key()) == own), None)
    if leaf is None:
        raise Unusable(f"{place}: the key does not belong to the certificate in {path}")
    names = namesOf(leaf)
    if not names:
        raise Unusable(f"{path}: the certificate carries no domain name")
    chain = tuple(c for c in certificates if c is not leaf)
    return Certificate(path, leaf, chain, key, names)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Unusable(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise Unusable(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return content


def _key(path: Path, pem: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        raise Unusable(f"{path}: the key is encrypted; store it without a passphrase") from None
    except ValueError:
        raise Unusable(f"{path}: holds a private key that cannot be read") from None


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # a union of eight classes
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def namesOf(certificate: x509.Certificate) -> frozenset[str]:
    """
    Return the domains C{certificate} stands for: its dNSName, XmppAddr and SRVName
    (C{_xmpp-client}) entries (RFC 6120 section 13.7.1.2), or else its common name.
    """
    try:
        alternatives = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except (x509.ExtensionNotFound, ValueError):
        alternatives = None
    found: set[str | None] = set()
    for entry in alternatives or ():
        if isinstance(entry, x509.DNSName):
            found.add(normalised(entry.value))
        elif isinstance(entry, x509.OtherName):
            text = _derText(entry.value)
            if entry.type_id.dotted_string == _XMPP_ADDRESS:
                found.add(normalised(text))
            elif entry.type_id.dotted_string == _SRV_NAME and text.startswith(_SRV_SERVICE):
                found.add(normalised(text.removeprefix(_SRV_SERVICE)))
    if not found - {None}:
        for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
            found.add(normalised(str(attribute.value)))
    return frozenset(name for name in found if name is not None)


def _derText(der: bytes) -> str:
    """
    Return the text of a DER string, C{""} for anything else.
    """
    # The parser has checked lengths; a long one stands in so many more bytes.
    if der[:1] not in (_UTF8_STRING, _IA5_STRING):
        return ""
    start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    return der[start:].decode("utf-8", "replace")


def normalised(name: str) -> str | None:
    """
    Return a domain in A-labels and lower case, without a final dot; L{None} if it is
    no domain.
    """
    prefix = "*." if name.startswith("*.") else ""
    try:
        encoded = idna.encode(name.removeprefix("*.").rstrip("."), uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return None
    return prefix + encoded.lower()


class Index:
    """
    Finds the certificate for a name.

    An exact name goes before a wildcard, which stands for one label.  Where several
    carry the same, the one that expires last is taken.  For no name, or one that
    nobody carries, it is the first by path, a file or directory named C{default}
    before all others.
    """

    def __init__(self, certificates: Mapping[Path, Certificate]) -> None:
        self.certificates = dict(certificates)
        self._names: dict[str, Certificate] = {}
        for certificate in self.certificates.values():
            for name in certificate.names:
                other = self._names.get(name)
                if other is None or other.expires < certificate.expires:
                    self._names[name] = certificate
        self.default = min(self.certificates.values(), key=_defaultOrder, default=None)

    def find(self, name: str) -> Certificate | None:
        """
        Return the certificate that stands for C{name}.
        """
        if name.startswith("*"):
            return None
        # As clients mostly write it.
        exact = self._names.get(name)
        if exact is not None:
            return exact
        domain = normalised(name)
        if domain is None:
            return None
        exact = self._names.get(domain)
        if exact is not None:
            return exact
        return self._names.get("*." + domain.partition(".")[2])


def _defaultOrder(certificate: Certificate) -> tuple[bool, str]:
    path = certificate.path
    name = path.parent.name if path.name == "fullchain.pem" else path.stem
    return (name != "default", str(path))
