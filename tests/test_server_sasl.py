# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.sasl}.
"""

from __future__ import annotations

from scramp import ScramClient
from twisted.trial.unittest import SynchronousTestCase

from cmanager.server.accounts import KEY_KINDS, Store
from cmanager.server.sasl import (
    MAX_NAME_BYTES,
    MECHANISMS,
    Challenge,
    Exchange,
    SASLFailure,
    Success,
    decoded,
    encoded,
    exchanges,
    prepared,
)


class SASLTestCase(SynchronousTestCase):
    """
    An account to log in to.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.store = Store()
        self.store.setAccount("romeo", "r0meo")
        self.begin = exchanges(self.store, "localhost")

    def assertFails(self, condition: str, exchange: Exchange, content: bytes) -> None:
        """
        Assert that the step fails so.
        """
        failure = self.assertRaises(SASLFailure, exchange.step, content)
        self.assertEqual(failure.condition, condition)


class TextTests(SASLTestCase):
    """
    The text of SASL elements.
    """

    def test_decoded(self) -> None:
        """
        Base64, or C{=} for something empty.
        """
        self.assertEqual((decoded("YQ=="), decoded("="), decoded("")), (b"a", b"", b""))
        for text in ("YQ", "Y Q==", "é"):
            failure = self.assertRaises(SASLFailure, decoded, text)
            self.assertEqual(failure.condition, "incorrect-encoding")

    def test_encoded(self) -> None:
        """
        And back.
        """
        self.assertEqual((encoded(b"a"), encoded(b""), encoded(None)), ("YQ==", "=", ""))

    def test_prepared(self) -> None:
        """
        User names are prepared, and have from 1 to 1023 bytes.
        """
        self.assertEqual(prepared("RoMeo"), "romeo")
        self.assertEqual(len(prepared("x" * MAX_NAME_BYTES)), MAX_NAME_BYTES)
        for name in ("", "x" * (MAX_NAME_BYTES + 1), "a@b", "a b"):
            self.assertRaises(SASLFailure, prepared, name)

    def test_mechanisms(self) -> None:
        """
        There is an exchange for each mechanism.
        """
        self.assertEqual(set(self.begin), set(MECHANISMS))


class PlainTests(SASLTestCase):
    """
    PLAIN.
    """

    def test_success(self) -> None:
        """
        The right password; the name is prepared; an identity may be given if it is the
        account's.
        """
        for content in (
            b"\0romeo\0r0meo",
            b"\0RoMeo\0r0meo",
            b"romeo\0romeo\0r0meo",
            b"romeo@localhost\0romeo\0r0meo",
        ):
            self.assertEqual(self.begin["PLAIN"]().step(content), Success("romeo"))

    def test_failures(self) -> None:
        """
        Each fault has its condition.
        """
        for content, condition in (
            (b"\0romeo\0wrong", "not-authorized"),
            (b"\0nobody\0r0meo", "not-authorized"),
            (b"\0\0r0meo", "not-authorized"),
            (b"romeo\0r0meo", "malformed-request"),
            (b"\0romeo\0r0meo\0", "malformed-request"),
            (b"\0romeo\0\xff", "malformed-request"),
            (b"juliet\0romeo\0r0meo", "invalid-authzid"),
        ):
            self.assertFails(condition, self.begin["PLAIN"](), content)


class ScramTests(SASLTestCase):
    """
    SCRAM, with scramp's client at the other end.
    """

    def converse(self, kind: str, name: str, password: str) -> Success:
        """
        Log in; the client checks the server's signature.
        """
        client = ScramClient([kind], name, password)
        server = self.begin[kind]()
        challenge = server.step(client.get_client_first().encode())
        assert isinstance(challenge, Challenge)
        client.set_server_first(challenge.content.decode())
        success = server.step(client.get_client_final().encode())
        assert isinstance(success, Success)
        assert success.content is not None
        client.set_server_final(success.content.decode())
        return success

    def test_success(self) -> None:
        """
        Each side proves that it knows the password; the name is prepared.
        """
        for kind in KEY_KINDS:
            for name in ("romeo", "RoMeo"):
                success = self.converse(kind, name, "r0meo")
                self.assertEqual((success.name, success.anonymous), ("romeo", False))

    def test_wrong(self) -> None:
        """
        A wrong password or name fails.
        """
        for kind in KEY_KINDS:
            for name, password in (("romeo", "wrong"), ("nobody", "r0meo"), ("a@b", "r0meo")):
                self.assertRaises(SASLFailure, self.converse, kind, name, password)

    def test_nonsense(self) -> None:
        """
        So does what is no SCRAM.
        """
        for content in (b"", b"nonsense", b"n,,n=romeo", b"p=tls-unique,,n=romeo,r=x"):
            self.assertFails("not-authorized", self.begin["SCRAM-SHA-1"](), content)
        self.assertFails("malformed-request", self.begin["SCRAM-SHA-1"](), b"\xff")

    def test_nonsenseLater(self) -> None:
        """
        Also where the proof should be.
        """
        server = self.begin["SCRAM-SHA-256"]()
        server.step(b"n,,n=romeo,r=abc")
        self.assertFails("not-authorized", server, b"nonsense")


class AnonymousTests(SASLTestCase):
    """
    ANONYMOUS.
    """

    def test_names(self) -> None:
        """
        Each gets a name of its own.
        """
        steps = [self.begin["ANONYMOUS"]().step(b"") for _ in range(2)]
        names = {step.name for step in steps if isinstance(step, Success) and step.anonymous}
        self.assertEqual(len(names), 2)
