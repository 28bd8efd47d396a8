# Copyright the cmanager authors.
# See LICENSE for details.

"""
Somebody between a client and the front, with a certificate that the client trusts.
"""

from __future__ import annotations

import re
from typing import Any

from OpenSSL.crypto import X509, PKey
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS

from tests.acts.stage import DOMAIN, TLS_PORT, Half, loopback
from tests.certificates import Authority

PLUS = re.compile(rb"<mechanism>SCRAM-[0-9A-Z-]*-PLUS</mechanism>")
FEATURES = b"</stream:features>"


class TLSHalf(Half):
    """
    One end of a connection in TLS, which ends in both directions at once.
    """

    def end(self) -> None:
        """
        See L{Half}.
        """
        self.transport.unregisterProducer()
        self.transport.loseConnection()


class Stripping(TLSHalf):
    """
    The half towards the front, which takes what binds a login off the first features.
    """

    _begun = b""
    _isOver = False

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Half}.
        """
        self._begun += data
        if self._isOver or FEATURES in self._begun:
            self._isOver, data, self._begun = True, self._begun, b""
            super().dataReceived(PLUS.sub(b"", data))


class Between(Factory):
    """
    Takes TLS connections for L{DOMAIN} and carries what is in them to the front, in TLS.

    @ivar host: Its address; the port is that of the front.
    @ivar carried: Bytes, decrypted.
    @ivar strips: It hides that the server can bind logins.
    """

    noisy = False

    def __init__(self, reactor: Any, front: str, issuer: Authority) -> None:
        """
        @param front: The address of that.
        @param issuer: Of its certificate.
        """
        self.host = loopback()
        self.carried = 0
        self.strips = False
        self._reactor = reactor
        self._front = front
        identity = issuer.issue(DOMAIN)
        # Without a protocol Twisted breaks on clients that name one.
        self._own = CertificateOptions(
            privateKey=PKey.from_cryptography_key(identity.key),
            certificate=X509.from_cryptography(identity.certificate),
            acceptableProtocols=[b"xmpp-client"],
        )
        self._trusted = Certificate.loadPEM(issuer.pem)
        self._port: IListeningPort | None = None

    async def listen(self) -> None:
        """
        Begin.
        """
        self._port = await SSL4ServerEndpoint(
            self._reactor, TLS_PORT, self._own, interface=self.host
        ).listen(self)

    async def stop(self) -> None:
        """
        Take no more.
        """
        if self._port is not None:
            await self._port.stopListening()

    def buildProtocol(self, addr: IAddress | None) -> TLSHalf:
        """
        See L{Factory}.
        """
        near = TLSHalf(self._count)
        kind = Stripping if self.strips else TLSHalf
        far = Factory.forProtocol(lambda: kind(self._count))
        far.noisy = False

        def joined(half: Any) -> None:
            near.join(half)
            half.join(near)

        tls = optionsForClientTLS(DOMAIN, trustRoot=self._trusted)
        endpoint = wrapClientTLS(tls, TCP4ClientEndpoint(self._reactor, self._front, TLS_PORT))
        endpoint.connect(far).addCallbacks(joined, lambda _: near.transport.abortConnection())
        return near

    def _count(self, size: int) -> None:
        self.carried += size
