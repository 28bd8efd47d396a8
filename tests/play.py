# Copyright the cmanager authors.
# See LICENSE for details.

"""
Whole conversations as scripts.  After mitmproxy's Playbook.

A script has one line for each thing that happens, in order::

    C> <presence/>            the client sends
    S> <message/>             the server sends, inside a route
    ! idle login              an input of the session, with arguments
    = bound                   the state must be this by now
    C< <stream:error>...      the client gets
    C: close                  the client's stream is asked to
    S< <presence/>            the server gets, inside a route
    S: create                 a link is asked to (S2: the second link)

Lines that go in (C{C>}, C{S>}, C{!}) are played; all that the session does in between
must be in the script, too.  An ellipsis stands for anything, C{ID} for the stream id.
A failure shows the whole conversation as a diff.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from typing import Any

from cmanager.errors import StreamError
from cmanager.framing import Scanner
from cmanager.session import Session
from cmanager.stanza import Closed, Opened, Stanza
from tests.doubles import DOMAIN, FakeClientStream, FakeHub, FakePool

HEADER = (
    f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client'"
    " xmlns:stream='http://etherx.jabber.org/streams'>"
)
LINK_HEADER = HEADER.replace("jabber:client", "jabber:connectionmanager")


class Play:
    """
    A session between its doubles.

    @param links: How many the server has.
    """

    def __init__(self, *, secure: bool = False, links: int = 1, **settings: Any) -> None:
        self.conversation: list[str] = []
        self.pool = FakePool(self.conversation, links)
        self.hub = FakeHub(self.pool, **settings)
        self.stream = FakeClientStream(self.conversation, secure=secure)
        self.stream.onRestart = self._restart
        self.session = Session(self.stream, self.hub)
        self.stream.session = self.session
        self.hub.table.add(self.session)
        self._restart()
        self._link = Scanner(1, 1 << 20, strict=False)
        self._link.feed(LINK_HEADER.encode())

    def _restart(self) -> None:
        self._scanner = Scanner(1, self.hub.settings.stanzaBytes)

    def __call__(self, script: str) -> Play:
        """
        Play a script, after what was played before.

        @raise AssertionError: The session said something else.
        """
        expected = [line for line in textwrap.dedent(script).splitlines() if line.strip()]
        del self.conversation[:]
        for line in expected:
            self._play(line)
        if not _matches(expected, self.conversation):
            actual = [line.replace(self.session.id, "ID") for line in self.conversation]
            difference = difflib.ndiff(expected, actual)
            raise AssertionError("the conversation went otherwise:\n" + "\n".join(difference))
        return self

    def _play(self, line: str) -> None:
        if line.startswith("="):
            self.conversation.append(f"= {self.session.state.value}")
            return
        if line[:2] not in ("C>", "S>", "! "):
            return
        self.conversation.append(line)
        line = line.replace("HEADER", HEADER)
        if line.startswith("C>"):
            self._clientSends(line[3:].encode())
        elif line.startswith("S>"):
            for event in self._link.feed(line[3:].encode()):
                assert isinstance(event, Stanza)
                self.session.routed(event)
        else:
            self._input(*line[2:].split())

    def _clientSends(self, data: bytes) -> None:
        scanner = self._scanner
        try:
            events = scanner.feed(data)
        except StreamError as error:
            self.session.streamFailed(error)
            return
        for event in events:
            if isinstance(event, Opened):
                self.session.streamOpened(event.tag)
            elif isinstance(event, Closed):
                self.session.streamClosed()
            elif isinstance(event, Stanza):
                self.session.stanzaReceived(event)

    def _input(self, name: str, *arguments: str) -> None:
        session = self.session
        if name == "transportLost":
            self.stream.lose()
        elif name == "relinked":
            session.relinked(self.pool.links[int(arguments[0]) - 1])
        elif name == "linkLost":
            link: Any = session.link
            link.isReady = False
            link.sessions.clear()
            session.linkLost()
        elif name == "closeRequested":
            session.closeRequested(StreamError(arguments[0]) if arguments else None)
        elif name == "routeFailed":
            session.routeFailed(arguments[0], element(" ".join(arguments[1:])))
        elif name == "block":
            self.stream.isBlocked = True
        else:
            getattr(session, name)(*arguments)


def element(text: str) -> Stanza | None:
    """
    Return an element as a client would have sent it; L{None} for nothing.
    """
    if not text:
        return None
    scanner = Scanner(1, 1 << 20)
    scanner.feed(HEADER.encode())
    (event,) = scanner.feed(text.encode())
    assert isinstance(event, Stanza)
    return event


def _matches(expected: list[str], actual: list[str]) -> bool:
    return len(expected) == len(actual) and all(
        _pattern(line).fullmatch(said) for line, said in zip(expected, actual, strict=True)
    )


def _pattern(line: str) -> re.Pattern[str]:
    parts = re.split("(…|ID)", line)
    spelled = {"…": ".*", "ID": "[A-Za-z0-9]{22}"}
    return re.compile("".join(spelled.get(part, re.escape(part)) for part in parts), re.DOTALL)
