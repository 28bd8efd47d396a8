# Copyright the cmanager authors.
# See LICENSE for details.

"""
TLS towards clients: contexts made from the certificates at hand, picked by
name, renewed while running.  Layer 4; knows no stream.

RFC 9325: TLS 1.2 or later, forward secrecy, authenticated encryption, no
compression, no renegotiation, resumption by tickets.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from cmanager.binding import requestCertificate
from cmanager.certificates import Certificate, Index, Unusable, candidates, fingerprint, read
from cmanager.errors import ConfigError
from cmanager.records import NoCommonProtocol, reasonOf
from cmanager.settings import ClientCertificates, Preset, TLSSettings

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol

XMPP_CLIENT = b"xmpp-client"
"""
The ALPN name of direct TLS (XEP-0368).
"""

_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """
    Makes the server's side of TLS connections.

    @param name: The domain whose certificate to show to a client that sends no
        server name: the C{to} of its stream.  A server name the certificates know
        goes before it.
    @param alpn: Application protocols, ours first choice first.  A client that offers
        others only is refused; one that offers none is not.  Without any, what the
        client offers is ignored.
    """

    def __init__(self, store: CertificateStore, name: str | None, alpn: tuple[bytes, ...]) -> None:
        self._store = store
        self._name = name
        self._alpn = alpn

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol | None) -> SSL.Connection:
        """
        See L{IOpenSSLServerConnectionCreator}.  C{protocol} is not looked at.
        """
        return self.connection(None)

    def connection(self, sock: socket.socket | None) -> SSL.Connection:
        """
        Make a connection that reads and writes C{sock}; without one, buffers in memory.
        """
        connection = SSL.Connection(self._store.contextFor(self._name, self._alpn), sock)
        if self._store.clientCA:
            requestCertificate(connection)
        return connection


class CertificateStore(Service):
    """
    The certificates of all domains, and the contexts made from them.

    As a service it looks for changed files.  A connection keeps the context it
    began with.

    @param clock: Times the looking.
    @param now: The calendar, for expiry.
    """

    log = Logger()

    def __init__(
        self,
        settings: TLSSettings,
        clock: IReactorTime,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._now = now
        self._index = Index({})
        self._contexts: dict[tuple[Path, tuple[bytes, ...]], SSL.Context] = {}
        # Few: one for each kind of listener.
        self._families: set[tuple[bytes, ...]] = {()}
        self._fingerprint = self._look()
        self._warned: dict[bytes, datetime] = {}
        self._polling = LoopingCall(self.check)
        self._polling.clock = clock

    @property
    def isEmpty(self) -> bool:
        """
        There is no certificate: TLS must not be offered.
        """
        return not self._index.certificates

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """
        Those in use.
        """
        return tuple(self._index.certificates.values())

    @property
    def clientCA(self) -> str | None:
        """
        The file of the authorities for clients' certificates; L{None}: none are asked for.
        """
        settings = self._settings
        isAsking = settings.clientCertificates is ClientCertificates.REQUEST
        return settings.clientCa if isAsking else None

    def startService(self) -> None:
        """
        Look for changed files from now on.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self._polling.start(self._settings.checkInterval, now=False).addErrback(
            lambda failure: self.log.failure("certificates are no longer looked at", failure)
        )
        self.warnOfExpiry()

    def stopService(self) -> None:
        """
        Look no more.
        """
        if self._polling.running:
            self._polling.stop()
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's

    def load(self) -> None:
        """
        Read all certificates, for the first time.

        @raise ConfigError: Whatever is wrong with any of them.
        """
        certificates, problems = self._read({})
        if not problems:
            self._take(certificates, problems)
        if problems:
            raise ConfigError(problems)

    def reload(self, settings: TLSSettings | None = None) -> tuple[str, ...]:
        """
        Read all certificates again.  What cannot be used is logged, and the
        certificate that was read from the same file stays in force.

        @param settings: From now on.  Only C{certificates}, C{checkInterval} and
            C{expiryWarningDays} can change.
        @return: What is wrong.
        """
        if settings is not None:
            interval = self._settings.checkInterval
            self._settings = settings
            if self._polling.running and settings.checkInterval != interval:
                self._polling.stop()
                self._polling.start(settings.checkInterval, now=False)
        self._fingerprint = self._look()
        certificates, problems = self._read(self._index.certificates)
        if certificates:
            self._take(certificates, problems)
        for problem in problems:
            self.log.error("certificate not taken: {problem}", problem=problem)
        self.log.info("{count} certificates in use", count=len(self._index.certificates))
        self.warnOfExpiry()
        return tuple(problems)

    def check(self) -> None:
        """
        Reload if a file has changed; warn of those that expire.
        """
        if self._look() != self._fingerprint:
            self.reload()
        else:
            self.warnOfExpiry()

    def warnOfExpiry(self) -> None:
        """
        Write a line for each certificate that has expired or soon will, once a day.
        """
        now = self._now()
        soon = now + timedelta(days=self._settings.expiryWarningDays)
        warned = {}
        for certificate in self.certificates:
            key = certificate.leaf.signature
            last = self._warned.get(key)
            if certificate.expires > soon:
                continue
            if last is not None and now - last < timedelta(days=1):
                warned[key] = last
                continue
            warned[key] = now
            if certificate.expires <= now:
                self.log.error(
                    "the certificate {path} for {names} EXPIRED on {expires}: renew it now,"
                    " clients refuse it",
                    path=certificate.path,
                    names=", ".join(sorted(certificate.names)),
                    expires=f"{certificate.expires:%Y-%m-%d %H:%M} UTC",
                )
            else:
                self.log.warn(
                    "the certificate {path} for {names} expires on {expires}: renew it",
                    path=certificate.path,
                    names=", ".join(sorted(certificate.names)),
                    expires=f"{certificate.expires:%Y-%m-%d %H:%M} UTC",
                )
        self._warned = warned

    def creator(self, name: str | None = None, alpn: tuple[bytes, ...] = ()) -> ServerTLS:
        """
        Return what makes connections, for one stream or for many.  See L{ServerTLS}.
        """
        self._families.add(alpn)
        return ServerTLS(self, name, alpn)

    def contextFor(self, name: str | None, alpn: tuple[bytes, ...] = ()) -> SSL.Context:
        """
        Return the context with the certificate for C{name}, the default where none
        stands for it.

        @raise ConfigError: There is no certificate at all.
        """
        certificate = (self._index.find(name) if name else None) or self._index.default
        if certificate is None:
            raise ConfigError([f"{self._settings.certificates}: holds no certificate"])
        return self._context(certificate, alpn)

    def _look(self) -> object:
        settings = self._settings
        others = [Path(settings.clientCa)] if settings.clientCa else []
        return (settings.certificates, fingerprint(Path(settings.certificates), others))

    def _read(self, running: dict[Path, Certificate]) -> tuple[dict[Path, Certificate], list[str]]:
        """
        Read the directory.  For a file that cannot be used the certificate in C{running}
        stands in.
        """
        directory = self._settings.certificates
        found: dict[Path, Certificate] = {}
        problems: list[str] = []
        try:
            files = list(candidates(Path(directory)))
        except OSError as error:
            return dict(running), [f"{directory}: cannot be read: {error.strerror}"]
        for path in files:
            try:
                certificate = read(path)
            except Unusable as error:
                problems.append(str(error))
                certificate = running.get(path)
            if certificate is not None:
                found[path] = certificate
        if not found and not problems:
            problems.append(
                f"{directory}: holds no certificate: put NAME.pem with certificate and key there"
            )
        return found, problems

    def _take(self, certificates: dict[Path, Certificate], problems: list[str]) -> None:
        """
        Put C{certificates} in force, unless no context can be made with one of them.
        """
        index, contexts = self._index, self._contexts
        usable: dict[Path, Certificate] = {}
        self._contexts = {}
        for path, certificate in certificates.items():
            try:
                for alpn in self._families:
                    self._context(certificate, alpn)
            except (SSL.Error, ValueError) as error:
                problems.append(f"{path}: not usable for TLS: {reasonOf(error)}")
                if path in index.certificates:
                    usable[path] = index.certificates[path]
                continue
            except OSError as error:
                problems.append(f"{self._settings.clientCa}: cannot be read: {error.strerror}")
                self._index, self._contexts = index, contexts
                return
            usable[path] = certificate
        self._index = Index(usable)

    def _context(self, certificate: Certificate, alpn: tuple[bytes, ...]) -> SSL.Context:
        key = (certificate.path, alpn)
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = self._makeContext(certificate, alpn)
        return context

    def _makeContext(self, certificate: Certificate, alpn: tuple[bytes, ...]) -> SSL.Context:
        settings = self._settings
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        modern = settings.preset is Preset.MODERN
        context.set_min_proto_version(SSL.TLS1_3_VERSION if modern else SSL.TLS1_2_VERSION)
        context.set_cipher_list(_CIPHERS)
        context.set_options(_OPTIONS)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        # Tickets only: a cache would grow with the clients.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_session_id(b"cmanager")
        context.use_certificate(certificate.leaf)
        for issuer in certificate.chain:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(certificate.key)  # type: ignore[arg-type]  # it refuses others
        context.check_privatekey()
        clientCA = self.clientCA
        if clientCA:
            with open(clientCA, "rb"):
                pass  # OpenSSL does not say why it cannot read a file.
            context.load_verify_locations(clientCA)
            context.load_client_ca(clientCA.encode())
            # A resumed connection would bring a certificate along that nobody has checked.
            context.set_options(SSL.OP_NO_TICKET)

        def serverName(connection: SSL.Connection) -> None:
            # Names the client made up must not end up anywhere.
            name = connection.get_servername()
            chosen = self._index.find(name.decode("ascii", "replace")) if name else None
            if chosen is not None:
                connection.set_context(self._context(chosen, alpn))

        context.set_tlsext_servername_callback(serverName)
        if alpn:
            context.set_alpn_select_callback(lambda _, offered: _select(alpn, offered))
        return context


def _select(alpn: tuple[bytes, ...], offered: list[bytes]) -> bytes:
    for name in alpn:
        if name in offered:
            return name
    raise NoCommonProtocol
