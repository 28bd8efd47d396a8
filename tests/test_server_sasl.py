# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.sasl}.
"""

from __future__ import annotations

from scramp import ScramClient
from twisted.trial.unittest import SynchronousTestCase

from cmanager.server.accounts import KEY_KINDS, Store
from cmanager.server.clienttls import ClientTLS
from cmanager.server.sasl import (
    BOUND_MECHANISMS,
    MAX_NAME_BYTES,
    MECHANISMS,
    PLUS,
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
        self.assertEqual(set(self.begin), {*MECHANISMS, *BOUND_MECHANISMS})


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
            self.assertEqual(self.begin["PLAIN"](ClientTLS()).step(content), Success("romeo"))

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
            self.assertFails(condition, self.begin["PLAIN"](ClientTLS()), content)


class ScramTestCase(SASLTestCase):
    """
    SCRAM, with scramp's client at the other end.
    """

    def converse(
        self,
        kind: str,
        name: str,
        password: str,
        theirs: ClientTLS | None = None,
        ours: ClientTLS | None = None,
        flag: str | None = None,
    ) -> Success:
        """
        Log in; the client checks the server's signature.

        @param theirs: The TLS as the client sees it.
        @param ours: As the manager has described it.
        @param flag: What the client says of channel binding, if something else.
        """
        binding = next(iter(theirs.bindings.items())) if theirs is not None else None
        client = ScramClient([kind], name, password, binding and ("tls-unique", binding[1]))
        if binding is not None:
            # The client refuses tls-exporter, although it is handed the data.
            client.cb.name.cb_name = binding[0]
        server = self.begin[kind](ours or ClientTLS())
        first = client.get_client_first()
        if flag is not None:
            first = flag + first[first.index(",") :]
        challenge = server.step(first.encode())
        assert isinstance(challenge, Challenge)
        client.set_server_first(challenge.content.decode())
        success = server.step(client.get_client_final().encode())
        assert isinstance(success, Success)
        assert success.content is not None
        client.set_server_final(success.content.decode())
        return success


class ScramTests(ScramTestCase):
    """
    SCRAM without channel binding.
    """

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

    def test_escapedName(self) -> None:
        """
        Commas and equals signs in names are written otherwise.
        """
        self.store.setAccount("a,=2cb", "x")
        self.assertEqual(self.converse("SCRAM-SHA-1", "a,=2cb", "x").name, "a,=2cb")
        server = self.begin["SCRAM-SHA-1"](ClientTLS())
        self.assertFails("not-authorized", server, b"n,,n=a=2cb,r=x")

    def test_nonces(self) -> None:
        """
        The server's nonce is another one each time.
        """
        first = b"n,,n=romeo,r=abc"
        steps = [self.begin["SCRAM-SHA-1"](ClientTLS()).step(first) for _ in range(2)]
        nonces = {step.content.split(b",")[0] for step in steps if isinstance(step, Challenge)}
        self.assertEqual(len(nonces), 2)
        for nonce in nonces:
            self.assertEqual((nonce[:5], len(nonce)), (b"r=abc", 5 + 24))

    def test_nonsense(self) -> None:
        """
        So does what is no SCRAM.
        """
        for content in (
            b"",
            b"nonsense",
            b"n,,n=romeo",
            b"n,,n=,r=x",
            b"n,,n=romeo,r=",
            b"n,,n=romeo,r=\xc3\xa9",
            b"n,,m=x,n=romeo,r=x",
            b"n,a=juliet,n=romeo,r=x",
            b"N,,n=romeo,r=x",
            b"p=,,n=romeo,r=x",
            b"p=tls-unique,,n=romeo,r=x",
        ):
            server = self.begin["SCRAM-SHA-1"](ClientTLS())
            self.assertFails("not-authorized", server, content)
        server = self.begin["SCRAM-SHA-1"](ClientTLS())
        self.assertFails("malformed-request", server, b"\xff")

    def test_extensions(self) -> None:
        """
        Extensions that need not be understood are passed over.
        """
        server = self.begin["SCRAM-SHA-1"](ClientTLS())
        self.assertIsInstance(server.step(b"n,,n=romeo,r=x,z=y"), Challenge)

    def test_nonsenseLater(self) -> None:
        """
        Also where the proof should be.
        """
        for end, condition in (
            (b"", "not-authorized"),
            (b"nonsense", "not-authorized"),
            (b"c=biws,r=%s", "not-authorized"),
            (b"c=biws,r=%s,p=YQ", "incorrect-encoding"),
            (b"c=biws,r=%s,p=YQ==", "not-authorized"),
            (b"c=biws,r=%s,p=" + encoded(bytes(32)).encode(), "not-authorized"),
            (b"c=biws,r=%s,p=" + encoded(bytes(33)).encode(), "not-authorized"),
            (b"c=biws,r=%sx,p=" + encoded(bytes(32)).encode(), "not-authorized"),
            (b"c=eSws,r=%s,p=" + encoded(bytes(32)).encode(), "not-authorized"),
        ):
            server = self.begin["SCRAM-SHA-256"](ClientTLS())
            challenge = server.step(b"n,,n=romeo,r=abc")
            assert isinstance(challenge, Challenge)
            nonce = challenge.content.split(b",")[0][2:]
            self.assertFails(condition, server, end.replace(b"%s", nonce))


class BindingTests(ScramTestCase):
    """
    SCRAM with channel binding.
    """

    tls = ClientTLS(bindings={"tls-exporter": b"abc", "tls-unique": b"xyz"})

    def test_bound(self) -> None:
        """
        With the data of any type that was described.
        """
        for kind in KEY_KINDS:
            for name, binding in self.tls.bindings.items():
                theirs = ClientTLS(bindings={name: binding})
                success = self.converse(kind + PLUS, "romeo", "r0meo", theirs, self.tls)
                self.assertEqual(success.name, "romeo")

    def test_wrongPassword(self) -> None:
        """
        It is no substitute for the password.
        """
        self.assertRaises(
            SASLFailure, self.converse, "SCRAM-SHA-1-PLUS", "romeo", "x", self.tls, self.tls
        )

    def test_otherData(self) -> None:
        """
        Other data, that of another type, types that were not described, and a
        description that is not there fail.
        """
        for theirs, ours in (
            ({"tls-unique": b"xyZ"}, self.tls),
            ({"tls-unique": b"xyz0"}, self.tls),
            ({"tls-unique": b"abc"}, self.tls),
            ({"tls-server-end-point": b"xyz"}, self.tls),
            ({"tls-unique": b"xyz"}, ClientTLS()),
        ):
            for kind in KEY_KINDS:
                failure = self.assertRaises(
                    SASLFailure,
                    self.converse,
                    kind + PLUS,
                    "romeo",
                    "r0meo",
                    ClientTLS(bindings=theirs),
                    ours,
                )
                self.assertEqual(failure.condition, "not-authorized")

    def test_downgrade(self) -> None:
        """
        A client that believes we cannot bind has been lied to, if we can; one that
        cannot itself may go without.
        """
        for kind in KEY_KINDS:
            failure = self.assertRaises(
                SASLFailure, self.converse, kind, "romeo", "r0meo", self.tls, self.tls
            )
            self.assertEqual(failure.condition, "not-authorized")
            self.assertEqual(self.converse(kind, "romeo", "r0meo", self.tls).name, "romeo")
            self.assertEqual(self.converse(kind, "romeo", "r0meo", None, self.tls).name, "romeo")

    def test_changedFlag(self) -> None:
        """
        The flag cannot be changed on the way.
        """
        for flag, ours in (("n", self.tls), ("n", None), ("p=tls-unique", self.tls)):
            self.assertRaises(
                SASLFailure, self.converse, "SCRAM-SHA-1", "romeo", "r0meo", self.tls, ours, flag
            )

    def test_unboundPlus(self) -> None:
        """
        A mechanism that binds needs binding, and the others have none.
        """
        for flag in ("n", "y"):
            self.assertRaises(
                SASLFailure,
                self.converse,
                "SCRAM-SHA-1-PLUS",
                "romeo",
                "r0meo",
                self.tls,
                self.tls,
                flag,
            )


class ExternalTests(SASLTestCase):
    """
    EXTERNAL, by the addresses in a certificate.
    """

    def step(self, addresses: tuple[str, ...], content: bytes = b"") -> str:
        """
        Log in and return the name, or the condition in brackets.
        """
        try:
            step = self.begin["EXTERNAL"](ClientTLS(addresses=addresses)).step(content)
        except SASLFailure as failure:
            return f"({failure.condition})"
        assert isinstance(step, Success)
        return step.name

    def test_one(self) -> None:
        """
        Whose address is in the certificate is who that is, whether he says so or not.
        """
        for addresses in (
            ("romeo@localhost",),
            ("RoMeo@LocalHost", "romeo@localhost"),
            ("romeo@elsewhere", "localhost", "@", "juliet@localhost/x", "romeo@localhost"),
        ):
            for content in (b"", b"romeo@localhost", b"Romeo@localhost"):
                self.assertEqual(self.step(addresses, content), "romeo")

    def test_several(self) -> None:
        """
        With several to choose from one has to say which.
        """
        self.store.setAccount("juliet", "x")
        addresses = ("romeo@localhost", "juliet@localhost")
        self.assertEqual(self.step(addresses), "(not-authorized)")
        for name in ("romeo", "juliet"):
            self.assertEqual(self.step(addresses, f"{name}@localhost".encode()), name)

    def test_refused(self) -> None:
        """
        Nobody else can log in.
        """
        for addresses, content in (
            ((), b""),
            ((), b"romeo@localhost"),
            (("nobody@localhost",), b""),
            (("nobody@localhost",), b"nobody@localhost"),
            (("nobody@localhost",), b"romeo@localhost"),
            (("romeo@elsewhere",), b""),
            (("romeo@elsewhere",), b"romeo@elsewhere"),
            (("localhost",), b"localhost"),
            (("romeo@localhost",), b"romeo"),
            (("romeo@localhost",), b"@"),
            (("romeo@localhost",), b"romeo@localhost/x"),
        ):
            self.assertEqual(self.step(addresses, content), "(not-authorized)")
        self.assertEqual(self.step(("romeo@localhost",), b"\xff"), "(malformed-request)")


class AnonymousTests(SASLTestCase):
    """
    ANONYMOUS.
    """

    def test_names(self) -> None:
        """
        Each gets a name of its own.
        """
        steps = [self.begin["ANONYMOUS"](ClientTLS()).step(b"") for _ in range(2)]
        names = {step.name for step in steps if isinstance(step, Success) and step.anonymous}
        self.assertEqual(len(names), 2)
