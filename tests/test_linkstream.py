# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.linkstream}.
"""

from __future__ import annotations

import socket

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager.config import Security
from cmanager.diagnosis import Step
from cmanager.errors import LinkError
from cmanager.linkstream import CLOSE_SECONDS, LinkStream
from tests.linkdoubles import (
    ACCEPTED,
    HANDSHAKE,
    HEADER,
    NO_FEATURES,
    PROCEED,
    TLS_FEATURES,
    TLS_REQUIRED,
    LinkBench,
    Owner,
    Trusting,
)

STARTTLS = b'<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>'
FOOTER = b"</stream:stream>"
NO_ID = HEADER.replace(b' id="2b9f1c7e"', b"")
STARTTLS_SECURITY = {"security": Security.STARTTLS}


def streamError(condition: str) -> bytes:
    """
    Return a stream error and the footer.
    """
    return (
        b'<stream:error xmlns:stream="http://etherx.jabber.org/streams"><'
        + condition.encode()
        + b' xmlns="urn:ietf:params:xml:ns:xmpp-streams"/></stream:error>'
        + FOOTER
    )


class LinkStreamTestCase(SynchronousTestCase):
    """
    A stream to a server that a test plays.
    """

    def assertLost(self, bench: LinkBench, reason: str, advice: str | None = "") -> None:
        """
        The link has ended at once, for a reason that is told.
        """
        self.assertIs(bench.link.step, Step.LOST)
        self.assertFalse(bench.link.isReady)
        self.assertTrue(bench.transport.aborted)
        error = bench.error
        assert error is not None
        self.assertIn(reason, error.reason)
        if advice:
            self.assertIn(advice, error.advice or "")
        self.assertEqual(bench.clock.getDelayedCalls(), [])


class PlainTests(LinkStreamTestCase):
    """
    Set-up without TLS.
    """

    def test_steps(self) -> None:
        """
        Header, features, handshake; then the link is ready, once.
        """
        bench = LinkBench()
        self.assertEqual(bench.turn(), bench.link._writer.header())
        self.assertEqual(bench.send(HEADER), b"")
        self.assertEqual(bench.send(NO_FEATURES), HANDSHAKE)
        self.assertFalse(bench.link.isReady)
        self.assertEqual(bench.send(ACCEPTED), b"")
        self.assertTrue(bench.link.isReady)
        bench.send(ACCEPTED + NO_FEATURES)
        self.assertEqual(bench.owner.told, [("linkReady", bench.link)])

    def test_anySplit(self) -> None:
        """
        The server's writes may come in any pieces.
        """
        bench = LinkBench()
        for byte in HEADER + NO_FEATURES + ACCEPTED:
            bench.send(bytes([byte]))
        self.assertTrue(bench.link.isReady)

    def test_direct(self) -> None:
        """
        A link that is ready writes to its socket, if the transport is no more than that.
        """
        socks = socket.socketpair()
        for sock in socks:
            self.addCleanup(sock.close)
        for handle, isDirect in ((socks[0], True), (object(), False)):
            bench = LinkBench()
            bench.transport.getHandle = lambda handle=handle: handle  # type: ignore[attr-defined] # as of a reactor's
            bench.transport.startWriting = lambda: None  # type: ignore[attr-defined] # as of a reactor's
            bench.send(HEADER + NO_FEATURES)
            self.assertTrue(bench.transport.streaming)
            bench.send(ACCEPTED)
            self.assertEqual(not bench.transport.streaming, isDirect)

    def test_offeredTLS(self) -> None:
        """
        C{plain} takes no TLS that is merely offered.
        """
        bench = LinkBench()
        bench.turn()
        self.assertEqual(bench.send(HEADER + TLS_FEATURES), HANDSHAKE)

    def test_requiredTLS(self) -> None:
        """
        C{plain} cannot be where the server requires TLS.
        """
        bench = LinkBench()
        bench.send(HEADER + TLS_REQUIRED)
        self.assertLost(bench, "requires TLS", 'security = "starttls"')

    def test_acceptedTooEarly(self) -> None:
        """
        Being accepted before the handshake was sent means nothing.
        """
        bench = LinkBench()
        bench.send(HEADER + ACCEPTED)
        self.assertFalse(bench.link.isReady)


class StartTLSTests(LinkStreamTestCase):
    """
    Set-up with STARTTLS.
    """

    def proceeded(self) -> LinkBench:
        """
        Come as far as the start of TLS.
        """
        bench = LinkBench(**STARTTLS_SECURITY)
        bench.turn()
        self.assertEqual(bench.send(HEADER + TLS_FEATURES), STARTTLS)
        header = bench.send(PROCEED)
        self.assertEqual(header, bench.link._writer.header())
        self.assertIs(bench.transport.tls, bench.tls)
        return bench

    def test_interface(self) -> None:
        """
        The stream is told of TLS handshakes.
        """
        verifyObject(IHandshakeListener, LinkBench().link)

    def test_steps(self) -> None:
        """
        The same header goes out again, and the id, which is the same, is hashed.
        """
        for features in (TLS_FEATURES, TLS_REQUIRED, NO_FEATURES):
            bench = self.proceeded()
            bench.link.handshakeCompleted()
            self.assertTrue(bench.link.isEncrypted)
            again = HEADER.replace(b'from="cm/x"', b'from="example.org" xml:lang="en"')
            self.assertEqual(bench.send(again + features), HANDSHAKE)
            bench.send(ACCEPTED)
            self.assertTrue(bench.link.isReady)

    def test_early(self) -> None:
        """
        What a server routes before its second header, for it thinks of the link as open since
        the first, is taken, and the set-up goes on.
        """
        early = b"<route streamid='s'><a/></route>"
        for pieces in ((early, b" ", HEADER), (early + HEADER,)):
            bench = self.proceeded()
            bench.link.handshakeCompleted()
            for piece in pieces:
                bench.send(piece)
            self.assertEqual(bench.send(NO_FEATURES), HANDSHAKE)
            self.assertEqual(bench.hub.told, [("routed", bench.link, "s", b"<a/>")])

    def test_earlyUnverified(self) -> None:
        """
        It is not, where the certificate was not accepted.
        """
        bench = self.proceeded()
        bench.send(b"<route streamid='s'><a/></route>" + HEADER)
        self.assertLost(bench, "in clear")
        self.assertEqual(bench.hub.told, [])

    def test_notOffered(self) -> None:
        """
        Without the offer there is no link, and no handshake in clear.
        """
        bench = LinkBench(**STARTTLS_SECURITY)
        bench.turn()
        self.assertEqual(bench.send(HEADER + NO_FEATURES), b"")
        self.assertLost(bench, "does not offer STARTTLS", "5263")

    def test_failure(self) -> None:
        """
        A server that cannot start TLS ends the attempt, closed element or not.
        """
        for failure in (b"<failure xmlns='%s'>", b"<failure xmlns='%s'/></stream:stream>"):
            bench = LinkBench(**STARTTLS_SECURITY)
            bench.send(HEADER + TLS_FEATURES)
            bench.send(failure % b"urn:ietf:params:xml:ns:xmpp-tls")
            self.assertLost(bench, "cannot start TLS")

    def test_injection(self) -> None:
        """
        Nothing may stand in clear behind C{proceed}, complete or begun.
        """
        for behind in (b"<a", ACCEPTED, b"<route streamid='s'><a/></route>", b"<stream:features/>"):
            bench = LinkBench(**STARTTLS_SECURITY)
            bench.send(HEADER + TLS_FEATURES)
            bench.send(PROCEED + behind)
            self.assertLost(bench, "in clear behind the start of TLS", "tampering")
            self.assertEqual(bench.hub.told, [])

    def test_unverified(self) -> None:
        """
        No handshake is sent, and nothing taken, where the certificate was not accepted.
        """
        bench = self.proceeded()
        assert isinstance(bench.tls, Trusting)
        bench.tls.isVerified = False
        bench.link.handshakeCompleted()
        bench.send(HEADER + NO_FEATURES)
        self.assertLost(bench, "in clear")

    def test_unasked(self) -> None:
        """
        A C{proceed} that nobody asked for means nothing.
        """
        bench = LinkBench()
        bench.turn()
        self.assertEqual(bench.send(HEADER + PROCEED + NO_FEATURES), HANDSHAKE)
        self.assertIsNone(bench.transport.tls)

    def test_withoutID(self) -> None:
        """
        The second header needs an id too.
        """
        bench = self.proceeded()
        bench.link.handshakeCompleted()
        bench.send(NO_ID + NO_FEATURES)
        self.assertLost(bench, "has no id")

    def test_internalError(self) -> None:
        """
        The failure of Openfire 4.8.0 to 4.9.0 is recognised.
        """
        for words in (streamError("internal-server-error"), None):
            bench = self.proceeded()
            bench.link.handshakeCompleted()
            if words is None:
                bench.transport.lost()
                self.assertIn("4.8.0 to 4.9.0", str(bench.error))
            else:
                bench.send(HEADER + words)
                self.assertLost(bench, "internal-server-error", "4.8.0 to 4.9.0")


class DirectTLSTests(LinkStreamTestCase):
    """
    Set-up with TLS from the first byte.
    """

    def test_offerIgnored(self) -> None:
        """
        STARTTLS is offered once more there, and not taken.
        """
        bench = LinkBench(security=Security.TLS)
        bench.turn()
        bench.link.handshakeCompleted()
        self.assertEqual(bench.send(HEADER + TLS_REQUIRED), HANDSHAKE)
        bench.send(ACCEPTED)
        self.assertTrue(bench.link.isReady)

    def test_inClear(self) -> None:
        """
        A transport without TLS gets no handshake.
        """
        bench = LinkBench(security=Security.TLS)
        bench.turn()
        self.assertEqual(bench.send(HEADER + NO_FEATURES), b"")
        self.assertLost(bench, "in clear")


class RefusedTests(LinkStreamTestCase):
    """
    The server does not want the link, in the ways of its releases.
    """

    def test_headerWithoutID(self) -> None:
        """
        A header without an id is the end of the attempt, whatever follows.
        """
        for words in (NO_ID, NO_ID + NO_FEATURES):
            bench = LinkBench()
            bench.send(words)
            self.assertLost(bench, "has no id", "defaultSecret")

    def test_errorWithHeader(self) -> None:
        """
        Older servers tell why in the same write.
        """
        for condition, advice in (
            ("bad-format", "DNS label"),
            ("internal-server-error", "defaultSecret"),
            ("conflict", "manager.name"),
        ):
            bench = LinkBench()
            bench.send(NO_ID + streamError(condition))
            self.assertLost(bench, condition, advice)

    def test_invalidNamespace(self) -> None:
        """
        Another port of the server is recognised.
        """
        bench = LinkBench()
        bench.send(HEADER + streamError("invalid-namespace"))
        self.assertLost(bench, "invalid-namespace", "5262")

    def test_wrongSecret(self) -> None:
        """
        A wrong secret is told, or the server just closes: as a footer, or without one.
        """
        for words in (streamError("not-authorized"), FOOTER, None):
            bench = LinkBench()
            bench.send(HEADER + NO_FEATURES)
            if words is None:
                bench.transport.lost()
                self.assertIn("compare the secret", str(bench.error))
            else:
                bench.send(words)
                self.assertLost(bench, "", "compare the secret")

    def test_closedEarly(self) -> None:
        """
        A server that closes before its header or its features.
        """
        for words, awaited in ((b"", "header"), (HEADER, "features")):
            bench = LinkBench()
            if words:
                bench.send(words)
            bench.transport.lost()
            self.assertIn(awaited, str(bench.error))

    def test_notXMPP(self) -> None:
        """
        Something else listens there.
        """
        bench = LinkBench()
        bench.send(b"HTTP/1.1 400 Bad Request\r\n")
        self.assertLost(bench, "cannot be read", "5262")

    def test_tls(self) -> None:
        """
        TLS that fails, or a certificate that is not accepted.
        """
        bench = LinkBench(security=Security.TLS)
        bench.transport.lost(SSL.Error([("", "", "wrong version number")]))
        self.assertIn("wrong version number", str(bench.error))
        bench = LinkBench(security=Security.TLS)
        bench.tls.problem = "it has expired"
        bench.transport.lost(SSL.Error([("", "", "certificate verify failed")]))
        self.assertIn("it has expired", str(bench.error))


class EndTests(LinkStreamTestCase):
    """
    A ready link ends.
    """

    def test_streamError(self) -> None:
        """
        A stream error of the server ends the link at once.
        """
        bench = LinkBench().ready()
        bench.send(streamError("system-shutdown"))
        self.assertLost(bench, "shutting down (system-shutdown)")

    def test_footer(self) -> None:
        """
        The server's footer is answered with ours.
        """
        bench = LinkBench().ready()
        self.assertEqual(bench.send(FOOTER), FOOTER)
        self.assertTrue(bench.transport.disconnecting)
        self.assertFalse(bench.link.isReady)
        self.assertIn("closed the stream", str(bench.error))
        bench.transport.lost()
        self.assertEqual(bench.clock.getDelayedCalls(), [])

    def test_footerNotTaken(self) -> None:
        """
        A server that does not take our footer is cut.
        """
        bench = LinkBench().ready()
        bench.send(FOOTER)
        bench.clock.advance(CLOSE_SECONDS)
        self.assertTrue(bench.transport.aborted)

    def test_lost(self) -> None:
        """
        A connection that ends is a link that is lost, told once.
        """
        bench = LinkBench().ready()
        bench.transport.lost(ConnectionLost("reset"))
        self.assertIn("the connection broke", str(bench.error))
        bench.link.lose(LinkError("again"))
        self.assertEqual(bench.clock.getDelayedCalls(), [])

    def test_notWellFormed(self) -> None:
        """
        What was complete before the fault is taken, then the link ends.
        """
        bench = LinkBench().ready()
        bench.send(b'<route streamid="s"><a/></route><b></c>')
        self.assertEqual(bench.hub.names(), ["routed"])
        self.assertLost(bench, "not-well-formed")

    def test_piecesAfterEnd(self) -> None:
        """
        Nor what a transport still has, behind what cannot be read: one with TLS gives all of it.
        """
        bench = LinkBench().ready()
        bench.send(b"<a></b>")
        bench.link.dataReceived(b"<route streamid='s'><a/></route>")
        self.assertNotIn("routed", bench.hub.names())

    def test_nothingAfterEnd(self) -> None:
        """
        What stands behind the end of a stream is not looked at.
        """
        bench = LinkBench().ready()
        bench.send(streamError("reset").removesuffix(FOOTER) + b'<route streamid="s"><a/></route>')
        self.assertEqual(bench.hub.told, [])


class ShutdownTests(LinkStreamTestCase):
    """
    The pool ends a link.
    """

    def test_footers(self) -> None:
        """
        Our footer goes out at once, behind what waits; the server's ends the link.
        """
        bench = LinkBench().ready()
        bench.link._funnel.write(b"<last/>")
        done = bench.link.shutdown()
        self.assertEqual(bench.transport.take(), b"<last/>" + FOOTER)
        self.assertFalse(bench.link.isReady)
        self.assertNoResult(done)
        bench.link.dataReceived(FOOTER)
        self.assertTrue(bench.transport.disconnecting)
        bench.transport.lost()
        self.successResultOf(done)
        self.assertIsNone(bench.error)
        bench.clock.advance(0)
        self.assertEqual(bench.clock.getDelayedCalls(), [])

    def test_closed(self) -> None:
        """
        A server that just closes, or whose connection breaks, is as well.
        """
        for reason in (None, ConnectionLost()):
            bench = LinkBench().ready()
            bench.link._funnel.stanzas += 1
            done = bench.link.shutdown()
            bench.transport.lost(reason)
            self.successResultOf(done)
            self.assertIsNone(bench.error)
            self.assertEqual(bench.link.lostStanzas, 0 if reason is None else 1)

    def test_impatience(self) -> None:
        """
        A server that does not answer is waited for five seconds.
        """
        bench = LinkBench().ready()
        done = bench.link.shutdown()
        bench.clock.advance(CLOSE_SECONDS - 0.1)
        self.assertNoResult(done)
        bench.clock.advance(0.1)
        self.successResultOf(done)
        self.assertTrue(bench.transport.aborted)

    def test_early(self) -> None:
        """
        A link that is not ready is cut.
        """
        bench = LinkBench()
        self.successResultOf(bench.link.shutdown())
        self.assertTrue(bench.transport.aborted)
        self.assertIsNone(bench.error)

    def test_late(self) -> None:
        """
        A link that is lost has nothing to end.
        """
        bench = LinkBench().ready()
        bench.transport.lost()
        self.successResultOf(bench.link.shutdown())

    def test_twice(self) -> None:
        """
        Whoever asks is told.
        """
        bench = LinkBench().ready()
        one, other = bench.link.shutdown(), bench.link.shutdown()
        bench.transport.lost()
        self.successResultOf(one)
        self.successResultOf(other)

    def test_deaf(self) -> None:
        """
        What comes while the link closes is for nobody.
        """
        bench = LinkBench().ready()
        bench.link.shutdown()
        bench.send(b'<route streamid="s"><a/></route>')
        self.assertEqual(bench.hub.told, [])


class AbstractTests(SynchronousTestCase):
    """
    The stream alone is no link.
    """

    def test_hooks(self) -> None:
        """
        What a link must do beside cannot be left out.
        """
        self.assertRaises(TypeError, LinkStream, Owner(), Clock(), "cm", "x", "h", None)
