# Copyright the cmanager authors.
# See LICENSE for details.

"""
One domain we serve: what it offers to clients, and the links behind it.
Layer 2; opens no link and sees no client.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen
from twisted.logger import Logger

from cmanager.configuration import PLUS, Configuration, TLSOffer, TLSPolicy

if TYPE_CHECKING:
    from cmanager.clienttls import ClientTLS
    from cmanager.interfaces import ILink
    from cmanager.settings import ServerSettings

EXTERNAL = "EXTERNAL"

STRENGTH = (
    EXTERNAL,
    "SCRAM-SHA-512",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "GSSAPI",
    "DIGEST-MD5",
    "CRAM-MD5",
    "OAUTHBEARER",
    "X-OAUTH2",
    "PLAIN",
    "LOGIN",
    "JIVE-SHAREDSECRET",
    "ANONYMOUS",
)
"""
Mechanisms, strongest first: clients without a taste of their own take the first.
C{-PLUS} goes right before the same without.  The server's order is that of a Java
C{HashSet}.
"""

CLEAR_TEXT = frozenset({"OAUTHBEARER", "X-OAUTH2", "PLAIN", "LOGIN", "JIVE-SHAREDSECRET"})
"""
Mechanisms that show a secret to whoever reads the stream.
"""


class IPool(Protocol):
    """
    What is asked of the links to one server; L{cmanager.pool.Pool} is one.  A service
    besides.
    """

    @property
    def settings(self) -> ServerSettings:
        """
        The server's table of the configuration.
        """

    @property
    def domains(self) -> Iterable[str]:
        """
        The domains that server serves.
        """

    @property
    def links(self) -> Iterable[ILink]:
        """
        Its links, ready or not.
        """

    @property
    def isReady(self) -> bool:
        """
        One of them is ready.
        """

    def pick(self) -> ILink | None:
        """
        Return the least loaded ready link.
        """

    def setServiceParent(self, parent: Any) -> None:
        """
        See L{IService <twisted.application.service.IService>}.
        """


def _strength(mechanism: str) -> tuple[int, str, bool]:
    plain = mechanism.removesuffix(PLUS)
    # Mechanisms unheard of stand behind those that protect the password.
    known = STRENGTH.index(plain) if plain in STRENGTH else STRENGTH.index("GSSAPI")
    return known, plain, plain == mechanism


def _needsTLSFacts(mechanism: str) -> bool:
    return mechanism == EXTERNAL or mechanism.endswith(PLUS)


@frozen
class Offer:
    """
    What clients of a domain may be offered.

    @ivar mechanisms: SASL mechanisms on an encrypted stream, strongest first.
    @ivar openMechanisms: Those on a stream that is not.
    @ivar tls: What there is besides for a client whose TLS can be described to the
        server; L{None}: nothing, nobody need ask.
    """

    starttls: TLSPolicy = TLSPolicy.OPTIONAL
    mechanisms: tuple[str, ...] = ()
    openMechanisms: tuple[str, ...] = ()
    auth: bool = False
    register: bool = False
    tls: TLSOffer | None = None

    @classmethod
    def fromConfiguration(cls, configuration: Configuration, before: Offer | None) -> Offer:
        """
        Filter what a server announced for the domain (PROTOCOL section 6).

        C{EXTERNAL} and channel binding cannot work where TLS ends before the server,
        unless it asks to be told of that TLS.

        @param before: The offer until now: a configuration without mechanisms leaves
            those in force.
        """
        if configuration.mechanisms is None:
            mechanisms = before.mechanisms if before is not None else ()
        else:
            found = {m for m in configuration.mechanisms if not _needsTLSFacts(m)}
            mechanisms = tuple(sorted(found, key=_strength))
        return cls(
            starttls=configuration.starttls,
            mechanisms=mechanisms,
            openMechanisms=tuple(m for m in mechanisms if m not in CLEAR_TEXT),
            auth=configuration.auth,
            register=configuration.register,
            tls=configuration.tls,
        )

    def bindingTypes(self, tls: ClientTLS | None) -> tuple[str, ...]:
        """
        Return the types of channel binding for which the server is sent data.

        @param tls: That of the client's stream, where it is known.
        """
        if tls is None or self.tls is None:
            return ()
        return tls.limitedTo(self.tls.usable).bindingTypes

    def mechanismsFor(self, tls: ClientTLS | None) -> tuple[str, ...]:
        """
        Return the mechanisms on an encrypted stream, strongest first.

        @param tls: See L{bindingTypes}.
        """
        if tls is None or self.tls is None:
            return self.mechanisms
        isBound, permitsExternal = bool(self.bindingTypes(tls)), tls.permitsExternal
        more = {
            mechanism
            for mechanism in self.tls.mechanisms
            if (isBound and mechanism.endswith(PLUS)) or (permitsExternal and mechanism == EXTERNAL)
        }
        return tuple(sorted({*self.mechanisms, *more}, key=_strength))


class Host:
    """
    One domain, and the servers that serve it.

    @ivar domain: Prepared.
    @ivar offer: L{None} until a server has said what it offers.
    @ivar rosterVersioning: Advertise XEP-0237.
    @ivar waitForLink: Seconds a client waits for its features while nothing is ready.
    @ivar linksLostGrace: Seconds sessions wait for a link once the last is lost.
    @ivar auditAfter: Seconds of silence after which the server is asked about a session;
        0 for never.
    """

    log = Logger()

    def __init__(
        self,
        domain: str,
        *,
        rosterVersioning: bool = False,
        waitForLink: float = 10.0,
        linksLostGrace: float = 0.0,
        auditAfter: float = 600.0,
    ) -> None:
        self.domain = domain
        self.pools: list[IPool] = []
        self.offer: Offer | None = None
        self.rosterVersioning = rosterVersioning
        self.waitForLink = waitForLink
        self.linksLostGrace = linksLostGrace
        self.auditAfter = auditAfter
        self._warned = False

    @property
    def isReady(self) -> bool:
        """
        There is a link to use, and it is known what to offer.
        """
        return self.offer is not None and any(pool.isReady for pool in self.pools)

    def configured(self, configuration: Configuration) -> None:
        """
        A server has said what clients may be offered; the last word counts.
        """
        configuration = configuration.forDomain(self.domain)
        self.offer = Offer.fromConfiguration(configuration, self.offer)
        plus = sorted(m for m in configuration.mechanisms or () if m.endswith(PLUS))
        if plus and configuration.tls is None and not self._warned:
            self._warned = True
            # Pitfall S-14.
            self.log.warn(
                "{domain}: the server offers {mechanisms}, which cannot work behind us, and "
                "which makes it refuse SCRAM from clients that know channel binding; "
                "take it out of the server's property sasl.mechs",
                domain=self.domain,
                mechanisms=", ".join(plus),
            )

    def pick(self) -> ILink | None:
        """
        Return the least loaded ready link, or L{None}.
        """
        links = [link for pool in self.pools if (link := pool.pick()) is not None]
        return min(links, key=lambda link: link.load, default=None)
