# Copyright the cmanager authors.
# See LICENSE for details.

"""
The few things the parts of the program ask of each other.  Layer 0; imports
nothing of the package at run time.

L{IClientStream} is all a session may ask of a transport, L{ILink} all it may ask
of a server link, L{ISessionHub} all it may ask of the rest.  L{IListener},
L{ILinkProtocol} and L{IStanzaFilter} are the seams for plugins; the built-in
listeners and link protocol are found through them like anybody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.application.service import IService

    from cmanager.clienttls import ClientTLS
    from cmanager.host import Host, IPool
    from cmanager.metrics import Metrics
    from cmanager.router import Router
    from cmanager.session import Session
    from cmanager.settings import ClientSettings, ListenerSettings, ServerSettings
    from cmanager.stanza import Stanza, StreamHeader
    from cmanager.table import Ghost, Table

# zope interfaces list no self.


class IClientStream(Interface):
    """
    One client's XML stream, whatever carries it.

    The stream frames bytes to stanzas and calls its session's C{streamOpened},
    C{stanzaReceived}, C{streamClosed}, C{streamFailed}, C{secured}, C{idle} and,
    exactly once and last, C{transportLost}.
    """

    secure: bool = Attribute("The bytes are encrypted on the client's leg.")
    peer: str = Attribute("The client's IP address as a literal, without a zone.")
    transportName: str = Attribute("C{tcp}, C{tls}, ...; for logs and metrics.")
    canStartTLS: bool = Attribute("STARTTLS may be offered on this stream.")
    requiresTLS: bool = Attribute(
        "The listener allows no login without encryption, whatever the server says."
    )

    def open(header: StreamHeader, features: bytes = b"") -> None:
        """
        Answer the client's header, and send C{features} with it where they are known
        already.
        """

    def write(element: bytes) -> None:
        """
        Send an element that is no stanza to be counted: features, SASL, an answer of
        ours.  It keeps its order with L{deliver}.

        @param element: As it stands in a stream over TCP: in C{jabber:client} unless it
            says otherwise, and with the prefix C{stream} for the namespace of streams.
        """

    def deliver(stanza: Stanza) -> bool:
        """
        Send a L{Stanza <cmanager.stanza.Stanza>} to the client.

        The stream keeps hold of it until the kernel has taken its bytes.  Where
        more than the configured bytes wait, it does not take this one: it calls
        its session's C{overflowed} with it instead, once.

        @return: L{True} if it was taken, to be sent or else to be handed out by
            L{takeUndelivered}; L{False} if not, and then it is the caller's, unless
            C{overflowed} was given it.
        """

    def takeUndelivered() -> list[Stanza]:
        """
        Hand out, oldest first, the stanzas that were taken by L{deliver} and that
        the kernel has not accepted, and forget them.  Called when the
        transport is lost, or when the client has to go.
        """

    def allow(limit: int) -> None:
        """
        Accept stanzas of at most C{limit} bytes from here on, without a restart: after
        a login by XEP-0078.
        """

    def restart(limit: int) -> None:
        """
        Expect a new stream header (RFC 6120 section 4.3.3), with stanzas of at
        most C{limit} bytes.  Bytes that were read behind what caused the restart are
        given up: a peer must not send any.
        """

    def startTLS(proceed: bytes) -> None:
        """
        Send C{proceed}, switch to TLS and expect a new header, then C{secured} is
        called.  Bytes behind C{<starttls/>} in the same read close the stream
        instead (CVE-2011-0411); the session need not care.
        """

    def close(element: bytes = b"", header: StreamHeader | None = None) -> None:
        """
        End the stream: C{header}, where none was sent, C{element}, mostly an error, and
        the footer.  Read on, for the peer's own footer only, for at most the grace time;
        then the transport is closed and the session's C{transportLost} called.  May be
        called again, to no effect.
        """

    def abort() -> None:
        """
        Drop the transport now.  C{transportLost} follows.
        """

    def tlsFacts() -> ClientTLS | None:
        """
        Return what there is to say of the client's TLS, once it is C{secure}.

        @return: L{None} where it is not, or where nothing is known of it: somebody else
            has decrypted it.
        """

    def pauseReading() -> None:
        """
        Stop reading from the client.  Counts nothing: idempotent.
        """

    def resumeReading() -> None:
        """
        Read again, unless the stream has a reason of its own not to
        (rate limit, login delay).  Events held back by L{pauseReading} come first,
        before this returns or in a later turn of the reactor.
        """

    def delayReading(seconds: float) -> None:
        """
        Read nothing for so many seconds: the penalty for a failed login.
        """


class ILink(Interface):
    """
    One authenticated stream to a server that sessions may use, as a session
    sees it.  All methods write in order; none waits.  It only counts who is pinned:
    who is, is unpinned once.

    A L{Ghost <cmanager.table.Ghost>} stands for a stream id that only the server
    knows: the router adopts it, returns what came for it, and closes it.
    """

    name: str = Attribute("The link's address, C{manager/link}.")
    isReady: bool = Attribute("The handshake is done and nothing has been lost.")
    load: int = Attribute("How many sessions are pinned to it.")

    def open(session: Session) -> None:
        """
        Pin C{session} and announce it: C{create} with the client's address.
        """

    def isCreating(session: Session) -> bool:
        """
        The server has not answered yet to the C{create} of C{session}.
        """

    def adopt(session: Session | Ghost) -> None:
        """
        Pin a session that was announced on another link, now lost.  Writes nothing.
        """

    def route(session: Session | Ghost, stanza: Stanza) -> None:
        """
        Send C{stanza} for C{session}.  Its C{data} must be in the serialisation
        profile (PROTOCOL section 4.5).
        """

    def fail(session: Session | Ghost, stanza: Stanza) -> None:
        """
        Return a message that cannot be delivered, so that the server can store it.
        Only before L{close}.
        """

    def close(session: Session | Ghost) -> None:
        """
        Tell the server that the session is over, and unpin it.
        """

    def forget(session: Session | Ghost) -> None:
        """
        Unpin a session that the server itself has ended.  Writes nothing.
        """


class ISessionHub(Interface):
    """
    What a session asks of the rest of the program: the router.
    """

    settings: ClientSettings = Attribute("Limits and time-outs.")
    metrics: Metrics = Attribute("Counters of the process.")
    table: Table = Attribute("Where the session is listed; it moves there itself.")

    def host(domain: str | None) -> Host | None:
        """
        Return the L{Host <cmanager.host.Host>} that serves C{domain}, a prepared
        domain or L{None} for the only one; L{None} if there is none.
        """

    def awaitHost(session: Session, host: Host) -> None:
        """
        Call C{session.hostReady()} once C{host} has a ready link and a
        configuration, or C{session.hostUnavailable()} after the configured wait.
        """

    def awaitAnswer(session: Session) -> None:
        """
        Call C{session.serverLost()} unless L{answered} is called in time.  No effect where
        that is so already.
        """

    def answered(session: Session) -> None:
        """
        The session has its answer, or waits for a link first.
        """

    def loginFailed(session: Session) -> float:
        """
        Count a failed login of that client's address.

        @return: Seconds to make that client wait before it is read again.
        """

    def loginSucceeded(session: Session) -> None:
        """
        Forget the failed logins of that client's address.
        """

    def sessionBound(session: Session) -> None:
        """
        The session has an address, C{session.jid}: give it its C{filters}.
        """

    def sessionClosed(session: Session) -> None:
        """
        Called once, when a session is over and its transport gone.
        """


class IListener(Interface):
    """
    Plugin: a way in for clients.

    @see: C{docs/plugins.rst}
    """

    name: str = Attribute("The C{type} of C{[[listener]]} that selects it.")

    def service(reactor: Any, listener: ListenerSettings, hub: Router) -> IService:
        """
        Make the service that listens.

        @param reactor: Clock and endpoints come from it.
        @param listener: L{cmanager.settings.ListenerSettings}.
        @param hub: The L{cmanager.router.Router}; C{hub.tls} is the certificate store,
            C{hub.limits} the per-address limits, C{hub.openSession(stream)} makes the
            session of a new stream.
        @return: An L{twisted.application.service.IService}.  Its C{startService} may
            raise or log; its C{privilegedStartService} binds.
        """


class ILinkProtocol(Interface):
    """
    Plugin: a protocol that carries sessions to a server.
    """

    name: str = Attribute("The C{protocol} of C{[[server]]} that selects it.")

    def pool(reactor: Any, server: ServerSettings, hub: Router) -> IPool:
        """
        Make the links to one server.

        @param server: L{cmanager.settings.ServerSettings}.
        @param hub: The L{cmanager.router.Router}, told of what the links receive.
        @return: An L{twisted.application.service.IService} with the attributes and
            methods of L{cmanager.pool.Pool}.
        """


class IStanzaFilter(Interface):
    """
    Plugin: looks at, changes or refuses stanzas.
    """

    name: str = Attribute("The C{type} of C{[[filter]]} that selects it.")

    def open(session: Session, options: Mapping[str, Any]) -> ISessionFilter | None:
        """
        Called once for each session, when it is bound.

        @param session: The L{Session <cmanager.session.Session>}: C{jid}, C{host},
            C{stream.peer} and C{stream.secure} may be read.
        @param options: The other keys of the C{[[filter]]} table, a mapping.
        @return: An L{ISessionFilter}, or L{None} if this session is of no interest.
        """


class ISessionFilter(Interface):
    """
    The filter of one session.  Both methods get a L{Stanza
    <cmanager.stanza.Stanza>} and return one (C{stanza.withAttributes}, or made anew),
    or L{None} to drop it; or raise L{StanzaError <cmanager.errors.StanzaError>}, which
    goes back to the sender.  Any other exception is logged, counted, and refuses the
    stanza with C{internal-server-error}.
    """

    def upstream(stanza: Stanza) -> Stanza | None:
        """
        A stanza from the client, before it goes up.
        """

    def downstream(stanza: Stanza) -> Stanza | None:
        """
        A stanza from the server, before the client gets it.
        """
