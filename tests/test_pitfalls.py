# Copyright the cmanager authors.
# See LICENSE for details.

"""
Pitfalls of the Java Connection Manager that no module's own tests are about.
"""

from __future__ import annotations

import configparser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.linkdoubles import ACCEPTED, HANDSHAKE, HEADER, LinkBench
from tests.play import Play
from tests.suite import HEADER as CLIENT_HEADER
from tests.suite import StreamCase

UNIT = Path(__file__).parent.parent / "contrib" / "cmanager.service"

COMPRESSION = (
    b'<stream:features><compression xmlns="http://jabber.org/features/compress">'
    b"<method>zlib</method></compression></stream:features>"
)


class ScannerTests(StreamCase):
    """
    C-22: two clients shared one XML parser.
    """

    def test_apart(self) -> None:
        """
        Whatever two clients send in turns, and in whatever pieces, each is read alone.
        """
        first, firstSession = self.stream, self.session
        self.connect()
        second, secondSession = self.stream, self.session
        for a, b in zip(
            (CLIENT_HEADER, b"<message id='1'><bo", b"dy>x</body></message>", b"</stream:stream>"),
            (CLIENT_HEADER[:20], CLIENT_HEADER[20:], b"<iq id", b"='2'/><mess"),
            strict=True,
        ):
            first.dataReceived(a)
            second.dataReceived(b)
        self.assertEqual(
            firstSession.seen, [("opened", "a.example"), ("stanza", "1"), ("closed", None)]
        )
        self.assertEqual(secondSession.seen, [("opened", "a.example"), ("stanza", "2")])


class CompressionTests(SynchronousTestCase):
    """
    C-24: compression of links failed without TLS.
    """

    def test_link(self) -> None:
        """
        A server's offer of compression is passed over, and the link comes up.
        """
        bench = LinkBench()
        bench.turn()
        self.assertEqual(bench.send(HEADER + COMPRESSION), HANDSHAKE)
        bench.send(ACCEPTED)
        self.assertTrue(bench.link.isReady)


class FlashTests(SynchronousTestCase):
    """
    Flash clients are no longer served; they get what any other stranger gets.
    """

    REFUSED = (
        'C< <?xml…<invalid-namespace xmlns="urn:ietf:params:xml:ns:xmpp-streams"/>…\nC: close\n'
    )

    def test_policy(self) -> None:
        """
        A request for a policy is no stream header.
        """
        Play()("C> <policy-file-request/>\n" + self.REFUSED)

    def test_stream(self) -> None:
        """
        Nor is Flash's own.
        """
        Play()(
            "C> <flash:stream xmlns:flash='http://www.jabber.com/streams/flash'"
            " xmlns='jabber:client' to='verona.example' version='1.0'>\n" + self.REFUSED
        )


class UnitTests(SynchronousTestCase):
    """
    C-40: the service script noted the wrong process, and relied on where it was
    started.
    """

    def setUp(self) -> None:
        unit = configparser.RawConfigParser(strict=False)
        unit.optionxform = str  # type: ignore[assignment,method-assign]  # its documented use
        unit.read_string(UNIT.read_text())
        self.service = unit["Service"]

    def test_noPIDFile(self) -> None:
        """
        The process that systemd starts is the program; it leaves no pid file, and its
        paths are absolute.
        """
        command = self.service["ExecStart"].split()
        self.assertEqual(self.service["Type"], "simple")
        self.assertNotIn("PIDFile", self.service)
        self.assertTrue({"--nodaemon", "--pidfile="} <= set(command))
        self.assertTrue(command[0].startswith("/"))
        self.assertTrue(command[command.index("--config") + 1].startswith("/"))

    def test_signals(self) -> None:
        """
        A reload is SIGHUP, a stop has more time than the drain takes, and what cannot
        work is refused before the start.
        """
        self.assertEqual(self.service["ExecReload"], "/bin/kill -HUP $MAINPID")
        self.assertGreaterEqual(int(self.service["TimeoutStopSec"]), 5)
        self.assertIn("--check", self.service["ExecStartPre"])
