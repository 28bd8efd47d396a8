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

from zope.interface import Attribute, Interface

# zope interfaces list no self.
# ruff: noqa: N805, N803


class IClientStream(Interface):
    """
    One client's XML stream, whatever carries it.

    The stream frames bytes to stanzas and calls its session's C{streamOpened},
    C{stanzaReceived}, C{streamClosed}, C{streamFailed}, C{secured}, C{idle} and,
    exactly once and last, C{transportLost}.
    """

    secure = Attribute("L{bool}: the bytes are encrypted on the client's leg.")
    peer = Attribute("L{str}: the client's IP address as a literal, without a zone.")
    transportName = Attribute("L{str}: C{tcp}, C{tls}, ...; for logs and metrics.")
    canStartTLS = Attribute("L{bool}: STARTTLS may be offered on this stream.")

    def write(data):
        """
        Send bytes that belong to no stanza: headers, features, SASL.  They keep
        their order with L{deliver}.
        """

    def deliver(stanza):
        """
        Send a L{Stanza <cmanager.stanza.Stanza>} to the client.

        The stream keeps hold of it until the kernel has taken its bytes.  Where
        more than the configured bytes wait, it does not take this one: it calls
        its session's C{overflowed} instead, once.

        @return: L{True} if it was taken, to be sent or else to be handed out by
            L{takeUndelivered}; L{False} if not, and then it is the caller's.
        """

    def takeUndelivered():
        """
        Hand out, oldest first, the stanzas that were taken by L{deliver} and that
        the kernel has not accepted, and forget them.  Called when the
        transport is lost, or when the client has to go.
        """

    def restart(limit):
        """
        Expect a new stream header (RFC 6120 section 4.3.3), with stanzas of at
        most C{limit} bytes.  Bytes that were read behind what caused the restart are
        given up: a peer must not send any.
        """

    def startTLS(proceed):
        """
        Send C{proceed}, switch to TLS and expect a new header, then C{secured} is
        called.  Bytes behind C{<starttls/>} in the same read close the stream
        instead (CVE-2011-0411); the session need not care.
        """

    def close(data):
        """
        Send the last bytes C{data}, error and footer; read on, for the peer's own
        footer only, for at most the grace time; then the transport is closed and
        the session's C{transportLost} called.  May be called again, to no effect.
        """

    def abort():
        """
        Drop the transport now.  C{transportLost} follows.
        """

    def pauseReading():
        """
        Stop reading from the client.  Counts nothing: idempotent.
        """

    def resumeReading():
        """
        Read again, unless the stream has a reason of its own not to
        (rate limit, login delay).  Events held back by L{pauseReading} come first,
        before this returns or in a later turn of the reactor.
        """

    def delayReading(seconds):
        """
        Read nothing for so many seconds: the penalty for a failed login.
        """


class ILink(Interface):
    """
    One authenticated stream to a server that sessions may use, as a session
    sees it.  All methods write in order; none waits.
    """

    name = Attribute("L{str}: the link's address, C{manager/link}.")
    isReady = Attribute("L{bool}: the handshake is done and nothing has been lost.")
    load = Attribute("L{int}: how many sessions are pinned to it.")

    def open(session):
        """
        Pin C{session} and announce it: C{create} with the client's address.
        """

    def adopt(session):
        """
        Pin a session that was announced on another link, now lost.
        """

    def route(session, stanza):
        """
        Send C{stanza} for C{session}.  Its C{data} must be in the serialisation
        profile (PROTOCOL section 4.5).
        """

    def fail(session, stanza):
        """
        Return a message that cannot be delivered, so that the server can store it.
        Only before L{close}.
        """

    def close(session):
        """
        Tell the server that the session is over, and unpin it.
        """

    def forget(session):
        """
        Unpin a session that the server itself has ended.
        """


class ISessionHub(Interface):
    """
    What a session asks of the rest of the program: the router.
    """

    settings = Attribute("L{cmanager.config.ClientSettings}: limits and time-outs.")
    metrics = Attribute("L{cmanager.metrics.Metrics}.")

    def host(domain):
        """
        Return the L{Host <cmanager.router.Host>} that serves C{domain}, a prepared
        domain or L{None} for the only one; L{None} if there is none.
        """

    def awaitHost(session, host):
        """
        Call C{session.hostReady()} once C{host} has a ready link and a
        configuration, or C{session.hostUnavailable()} after the configured wait.
        """

    def loginFailed(session):
        """
        Count a failed login of that client's address.

        @return: Seconds to make that client wait before it is read again.
        """

    def loginSucceeded(session):
        """
        Forget the failed logins of that client's address.
        """

    def sessionBound(session):
        """
        The session has an address: C{session.jid}.
        """

    def sessionClosed(session):
        """
        Called once, when a session is over and its transport gone.
        """


class IListener(Interface):
    """
    Plugin: a way in for clients.

    @see: C{docs/plugins.rst}
    """

    name = Attribute("L{str}: the C{type} of C{[[listener]]} that selects it.")

    def service(reactor, listener, hub):
        """
        Make the service that listens.

        @param reactor: Clock and endpoints come from it.
        @param listener: L{cmanager.config.ListenerSettings}.
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

    name = Attribute("L{str}: the C{protocol} of C{[[server]]} that selects it.")

    def pool(reactor, server, hub):
        """
        Make the links to one server.

        @param server: L{cmanager.config.ServerSettings}.
        @param hub: The L{cmanager.router.Router}, told of what the links receive.
        @return: An L{twisted.application.service.IService} with the attributes and
            methods of L{cmanager.pool.Pool}.
        """


class IStanzaFilter(Interface):
    """
    Plugin: looks at, changes or refuses stanzas.
    """

    name = Attribute("L{str}: the C{type} of C{[[filter]]} that selects it.")

    def open(session, options):
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

    def upstream(stanza):
        """
        A stanza from the client, before it goes up.
        """

    def downstream(stanza):
        """
        A stanza from the server, before the client gets it.
        """
