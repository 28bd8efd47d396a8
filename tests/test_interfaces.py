# Copyright the cmanager authors.
# See LICENSE for details.

"""
The interfaces, and that what we build provides them.
"""

from __future__ import annotations

import inspect

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.interface import InterfaceClass, Method
from zope.interface.verify import verifyClass

from cmanager import interfaces
from cmanager.link import Link
from cmanager.pool import Openfire
from cmanager.router import Router
from cmanager.session import Session
from cmanager.tcp import TCPListener, TCPStream, TLSListener

INPUTS = [
    "streamOpened",
    "stanzaReceived",
    "streamClosed",
    "streamFailed",
    "secured",
    "idle",
    "overflowed",
    "transportLost",
]


def ours() -> list[InterfaceClass]:
    """
    Return the interfaces of this program.
    """
    return [
        value
        for value in vars(interfaces).values()
        if isinstance(value, InterfaceClass) and value is not Interface
    ]


class InterfaceTests(SynchronousTestCase):
    """
    The interfaces say what is asked, and the classes answer.
    """

    def test_implemented(self) -> None:
        """
        Each class has the methods of its interface, with its arguments.
        """
        for interface, implementation in (
            (interfaces.IClientStream, TCPStream),
            (interfaces.ILink, Link),
            (interfaces.ISessionHub, Router),
            (interfaces.IListener, TCPListener),
            (interfaces.IListener, TLSListener),
            (interfaces.ILinkProtocol, Openfire),
        ):
            self.assertTrue(verifyClass(interface, implementation))

    def test_documented(self) -> None:
        """
        Each interface, method and attribute says what it is for.
        """
        silent = [
            f"{interface.__name__}.{name}"
            for interface in ours()
            for name, description in interface.namesAndDescriptions()
            if not description.getDoc().strip()
        ]
        self.assertEqual(silent, [])
        self.assertTrue(all(interface.getDoc() for interface in ours()))

    def test_sessionInputs(self) -> None:
        """
        A session has the inputs that streams are told of.
        """
        for name in INPUTS:
            self.assertTrue(inspect.isfunction(getattr(Session, name)), name)
            self.assertIn(name, str(interfaces.IClientStream.getDoc()) + _methods())

    def test_all(self) -> None:
        """
        There are seven of them: a new one is a new seam, and wants a test here.
        """
        self.assertEqual(
            sorted(interface.__name__ for interface in ours()),
            [
                "IClientStream",
                "ILink",
                "ILinkProtocol",
                "IListener",
                "ISessionFilter",
                "ISessionHub",
                "IStanzaFilter",
            ],
        )


def _methods() -> str:
    return "".join(
        description.getDoc()
        for _, description in interfaces.IClientStream.namesAndDescriptions()
        if isinstance(description, Method)
    )
