# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.diagnosis}.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cmanager import diagnosis
from cmanager.diagnosis import Step
from cmanager.errors import LinkError, StreamError


class DiagnosisTestCase(SynchronousTestCase):
    """
    An operator reads what happened and what to do.
    """

    def assertTells(self, found: LinkError, reason: str, advice: str | None) -> None:
        """
        Look for words in reason and advice.
        """
        self.assertIn(reason, found.reason)
        if advice is None:
            self.assertIsNone(found.advice)
        else:
            self.assertIn(advice, found.advice or "")


class ConnectTests(DiagnosisTestCase):
    """
    The connection could not be made.
    """

    def test_reasons(self) -> None:
        """
        Each common reason has its own words and advice.
        """
        for failure, reason, advice in (
            (error.ConnectionRefusedError(), "h:5262 refuses", "xmpp.multiplex.socket.active"),
            (error.ConnectionRefusedError(), "h:5262 refuses", "module connection_manager"),
            (error.DNSLookupError("h"), "h cannot be resolved", "DNS"),
            (error.UnknownHostError(), "h cannot be resolved", "DNS"),
            (error.TimeoutError(), "does not answer", "firewalls"),
            (error.TCPTimedOutError(), "does not answer", "firewalls"),
            (CancelledError(), "does not answer", "firewalls"),
            (error.NoRouteError(), "no route to h:5262", "network"),
            (OSError("odd"), "cannot be reached: odd", "5262"),
            (OSError(), "cannot be reached: OSError", "5262"),
        ):
            found = diagnosis.connectFailed(Failure(failure), "h", 5262)
            self.assertTells(found, reason, advice)

    def test_literal(self) -> None:
        """
        An IPv6 address is written so that its port can be seen.
        """
        found = diagnosis.connectFailed(Failure(error.ConnectionRefusedError()), "::1", 5262)
        self.assertTells(found, "[::1]:5262", "")


class EndedTests(DiagnosisTestCase):
    """
    The connection ended, with no word of the server.
    """

    def test_steps(self) -> None:
        """
        What it meant depends on what was awaited.
        """
        for step, reason, advice in (
            (Step.HEADER, "instead of sending the server's stream header", "5262"),
            (Step.FEATURES, "instead of sending the server's stream features", "defaultSecret"),
            (Step.PROCEED, "instead of sending the start of TLS", "5263"),
            (Step.TLS, "upon TLS", "4.8.0 to 4.9.0"),
            (Step.HANDSHAKE, "upon the handshake", "compare the secret"),
            (Step.READY, "the server closed the connection", None),
        ):
            self.assertTells(diagnosis.ended(step, Failure(error.ConnectionDone())), reason, advice)

    def test_broken(self) -> None:
        """
        A ready link that breaks is not the server's wish.
        """
        found = diagnosis.ended(Step.READY, Failure(error.ConnectionLost("reset by peer")))
        self.assertTells(found, "the connection broke", None)

    def test_tls(self) -> None:
        """
        TLS tells in words what it stumbled over.
        """
        reason = [("SSL routines", "", "wrong version number")]
        found = diagnosis.ended(Step.HEADER, Failure(SSL.Error(reason)))
        self.assertTells(found, "TLS with the server failed: wrong version number", "TLS 1.2")
        found = diagnosis.ended(Step.TLS, Failure(SSL.Error([])))
        self.assertTells(found, "no reason given", "TLS 1.2")
        found = diagnosis.ended(Step.TLS, Failure(SSL.SysCallError(-1, "Unexpected EOF")))
        self.assertTells(found, "Unexpected EOF", "TLS 1.2")

    def test_certificate(self) -> None:
        """
        A certificate for another name asks for other advice than one that is not trusted.
        """
        found = diagnosis.certificateRefused("it has expired", isForOther=False)
        self.assertTells(found, "it has expired", "server.ca")
        found = diagnosis.certificateRefused("it is not for h", isForOther=True)
        self.assertTells(found, "it is not for h", "certificate-name")


class RefusedTests(DiagnosisTestCase):
    """
    The server sent a stream error.
    """

    def test_conditions(self) -> None:
        """
        A condition is explained where it is known, and always named.
        """
        for step, condition, reason, advice in (
            (Step.HANDSHAKE, "not-authorized", "refuses this link", "compare the secret"),
            (Step.FEATURES, "not-authorized", "refuses this link", "starttls"),
            (Step.FEATURES, "invalid-namespace", "something else", "5262"),
            (Step.FEATURES, "bad-format", "name of this manager", "DNS label"),
            (Step.FEATURES, "conflict", "cluster", "manager.name"),
            (Step.FEATURES, "internal-server-error", "failed internally", "defaultSecret"),
            (Step.TLS, "internal-server-error", "failed internally", "4.8.0 to 4.9.0"),
            (Step.READY, "internal-server-error", "failed internally", None),
            (Step.READY, "system-shutdown", "shutting down", None),
            (Step.READY, "connection-timeout", "heard nothing", "heartbeat"),
            (Step.READY, "policy-violation", "refuses something", "client.stanza-bytes"),
            (Step.READY, "undefined-condition", "ended the link", None),
        ):
            found = diagnosis.refused(step, condition, None)
            self.assertTells(found, reason, advice)
            self.assertIn(f"({condition})", found.reason)

    def test_text(self) -> None:
        """
        The server's words are quoted, on one line and not at any length.
        """
        found = diagnosis.refused(Step.READY, "reset", "line\n" + "x" * 1000)
        self.assertIn("reset: 'line\\nxxx", found.reason)
        self.assertLess(len(found.reason), 300)


class OtherTests(DiagnosisTestCase):
    """
    What this end finds out itself.
    """

    def test_late(self) -> None:
        """
        What took too long is named.
        """
        self.assertTells(diagnosis.late(Step.HEADER, 30), "stream header after 30 s", "5262")
        self.assertTells(diagnosis.late(Step.HANDSHAKE, 30), "the handshake after 30 s", "log")

    def test_unintelligible(self) -> None:
        """
        What cannot be read at first is likely another port; later it is the server's fault.
        """
        problem = StreamError("not-well-formed", reason="mismatched tag")
        found = diagnosis.unintelligible(Step.HEADER, problem)
        self.assertTells(found, "not-well-formed: mismatched tag", "5262")
        self.assertTells(diagnosis.unintelligible(Step.READY, problem), "not-well-formed", None)
        found = diagnosis.unintelligible(Step.READY, StreamError("policy-violation"))
        self.assertTells(found, "policy-violation", "server.stanza-bytes")

    def test_silence(self) -> None:
        """
        Silence, a stalled server and a full backlog have their numbers.
        """
        self.assertTells(diagnosis.silent(90), "for 90 s", "every 30 s")
        self.assertTells(diagnosis.stalled(60), "for 60 s", "load")
        self.assertTells(diagnosis.swamped(64), "more than 64 bytes", "load")
