# Copyright the cmanager authors.
# See LICENSE for details.

"""
A link does not show by what way a client comes: the same conversation by each way is the
same bytes on the link.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from cmanager.stanza import FOOTER
from tests.acts.memory import Client, Stage, clientFor
from tests.bosh import BareBOSHWay, BOSHWay, SecureBOSHWay
from tests.hostile import DOMAIN, SEEDS
from tests.ways import (
    SecureWebSocketWay,
    TCPSocketWay,
    TCPWay,
    TLSSocketWay,
    TLSWay,
    WebSocketWay,
)

SAID = (
    b"<presence/>",
    b"<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
    b"<message xml:lang='it' to='juliet@%s' type=\"chat\"><body>'a' &amp; \"b\" &gt; c</body></message>"
    % DOMAIN,
    b"<message to='juliet@%s'><x:y xmlns:x='urn:x' x:a='1'/><z xmlns=''/></message>" % DOMAIN,
    b"<message to='juliet@%s'><stream:x/></message>" % DOMAIN,
    b"<message\n\tto = 'juliet@%s' ><body\t>\r\n<![CDATA[<&]]>\xf0\x9f\x8c\xb9</body ></message >"
    % DOMAIN,
    b"<message to='nobody@%s'/>" % DOMAIN,
    b"<iq id='2'/>",
    b"<enable xmlns='urn:xmpp:sm:3'/>",
    *SEEDS,
)


class LinkTests(SynchronousTestCase):
    """
    Romeo says the same by each way.
    """

    WAYS: ClassVar = (
        TLSWay,
        TCPSocketWay,
        TLSSocketWay,
        WebSocketWay,
        SecureWebSocketWay,
        BOSHWay,
        BareBOSHWay,
        SecureBOSHWay,
    )

    def said(self, makeWay: type[TCPWay], *, isRude: bool) -> tuple[bytes, list[bytes]]:
        """
        Have him say it.

        @param isRude: He goes without a word.
        @return: What went up the link, and what he was told.
        """
        stage = Stage(Path(self.mktemp()))
        self.addCleanup(stage.stop)
        juliet = Client(stage).login("juliet")
        juliet.say(b"<presence/>")
        stage.record = bytearray()
        romeo = clientFor(stage, makeWay)
        romeo.login()  # of SCRAM half would be chance
        names = {romeo.id: "R", juliet.id: "J"}
        jid = romeo.way.got.partition(b"<jid>")[2].partition(b"</jid>")[0]
        names[jid.partition(b"@")[0].decode()] = "romeo"
        heard = [romeo.say(one) for one in SAID]
        juliet.say(b"<message to='%s' id='m'><body>Ay me!</body></message>" % jid)
        heard.append(romeo.take())
        if not isRude:
            romeo.say(FOOTER)
        romeo.drop()
        (link,) = stage.links
        texts = [bytes(stage.record), *heard]
        for name, text in (names | {link.name: "LINK"}).items():
            texts = [one.replace(name.encode(), text.encode()) for one in texts]
        return texts[0], texts[1:]

    def test_same(self) -> None:
        """
        TLS, WebSocket and BOSH, in TLS or not, are as TCP, in both directions; so they are
        when he leaves without a word.
        """
        for isRude in (False, True):
            expected = self.said(TCPWay, isRude=isRude)
            self.assertIn(b"Wherefore", expected[0])
            self.assertIn(b"Ay me!", expected[1][-1])
            for makeWay in self.WAYS:
                self.assertEqual(self.said(makeWay, isRude=isRude), expected, makeWay.name)
