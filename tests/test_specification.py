# Copyright the cmanager authors.
# See LICENSE for details.

"""
C{docs/connection-manager-protocol.rst}: its schemas hold for its examples, and for what is
written on links.
"""

from __future__ import annotations

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from cmanager.clienttls import ClientCertificate, ClientTLS
from cmanager.linkevents import Configuration, TLSPolicy
from cmanager.multiplex import ClientHeader, LinkWriter
from cmanager.server.configuration import Offer, configurationOf
from tests.specification import LINK, examples, faults, schemas

NAMESPACES = {
    "jabber:connectionmanager",
    "http://jabber.org/protocol/connectionmanager",
    "http://jabber.org/protocol/connectionmanager#errors",
    "urn:cmanager:stream:0",
    "urn:cmanager:tls:0",
}


class SchemaTests(SynchronousTestCase):
    """
    The schemas.
    """

    def test_namespaces(self) -> None:
        """
        Each namespace has one.
        """
        self.assertEqual(set(schemas()), NAMESPACES)

    def test_examples(self) -> None:
        """
        All examples are as they say.
        """
        found = list(examples())
        self.assertGreater(len(found), 12)
        for example in found:
            self.assertEqual(faults(example), [], example)

    def test_faults(self) -> None:
        """
        What is not as it should be is found, at any depth.
        """
        management = "http://jabber.org/protocol/connectionmanager"
        for wrong in (
            "<handshake>not a digest</handshake>",
            "<route streamid='1'/>",
            "<route><message/></route>",
            f"<iq><session xmlns='{management}'><close/></session></iq>",
            f"<iq><session xmlns='{management}' id='1'><dance/></session></iq>",
            f"<iq><session xmlns='{management}' id='1'><create><tls xmlns='urn:cmanager:tls:0'>"
            "<channel-binding>AAAA</channel-binding></tls></create></session></iq>",
            f"<iq><configuration xmlns='{management}'><stream xmlns='urn:cmanager:stream:0'>"
            "<domain/></stream></configuration></iq>",
        ):
            self.assertNotEqual(faults(LINK % wrong), [], wrong)


class WritingTests(SynchronousTestCase):
    """
    What we write.
    """

    def test_manager(self) -> None:
        """
        What is told of a client, with all there is to tell.
        """
        writer = LinkWriter("cm1", "link-1", "example.org")
        certificate = ClientCertificate(sha256(b"DER").hexdigest(), b"DER", problem="it's old")
        tls = ClientTLS(
            "TLSv1.3",
            "TLS_AES_256_GCM_SHA384",
            "example.org",
            "xmpp-client",
            (("tls-exporter", bytes(32)), ("tls-server-end-point", bytes(48))),
            certificate,
        )
        for written in (
            writer.handshake("2b9f1c7e", "s3cret"),
            writer.create("s", "1", "192.0.2.7", tls=tls, stream=ClientHeader("a.example", "it")),
            writer.create("s", "1", "", tls=ClientTLS()),
            writer.close("s", "2"),
        ):
            self.assertEqual(faults(LINK % written.decode()), [], written)

    def test_server(self) -> None:
        """
        What the embedded server announces.
        """
        offered = Configuration(TLSPolicy.REQUIRED, ("SCRAM-SHA-256", "PLAIN"), True, True, True)
        written = configurationOf(offered, "1", Offer(), {"example.net": offered})
        self.assertEqual(faults(LINK % written), [])
