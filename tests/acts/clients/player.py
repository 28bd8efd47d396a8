# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the client programs have in common: orders come in on standard input, what
happens goes out on standard output, each a JSON object on a line of its own.

An order is C{{"order": NAME, ...}}, one of L{Player}'s methods with its arguments; a
happening is C{{"event": NAME, ...}}.  Both bear a C{as} where the program plays several
roles, each a client of its own:

  - C{online}: C{jid}, the full JID that the server bound.
  - C{refused}: C{condition} of the failed login.
  - C{closed}: C{condition} of the stream error, or null; the connection is gone.
  - C{roster}: C{items}, the bare JIDs in it.
  - C{changed}: the server took a change of the roster.
  - C{presence}: C{from}, C{type} (C{available} where the stanza has none).
  - C{message}: C{from}, C{body}.
  - C{pong}: a reply to C{ping}.
  - C{stuck}: what is to be sent does not go out; C{left}, bytes of it.
  - C{broken}: C{text}; the program itself failed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


class Player(ABC):
    """
    One XMPP client that does as it is told.
    """

    def __init__(self, role: str = "") -> None:
        self.role = role

    @abstractmethod
    def connect(
        self,
        jid: str,
        password: str,
        host: str,
        port: int,
        directTLS: bool,
        authority: str,
        mechanism: str | None,
    ) -> None:
        """
        Log in, once.

        @param authority: File with the certificate to trust, PEM.
        @param mechanism: The one SASL mechanism to use; L{None} for the library's choice.
        """

    @abstractmethod
    def fetchRoster(self) -> None:
        """
        Ask for the roster.
        """

    @abstractmethod
    def addToRoster(self, jid: str) -> None:
        """
        Put a bare JID into the roster.
        """

    @abstractmethod
    def presence(self, to: str | None = None, type: str | None = None) -> None:
        """
        Send presence.
        """

    @abstractmethod
    def message(self, to: str, body: str) -> None:
        """
        Send a chat message.
        """

    @abstractmethod
    def ping(self, to: str) -> None:
        """
        Send a ping (XEP-0199).
        """

    @abstractmethod
    def close(self) -> None:
        """
        End the stream as RFC 6120 section 4.4 says.
        """

    def burst(self, to: str, count: int, size: int = 0, first: int = 0) -> None:
        """
        Send messages whose bodies are numbers, from C{first} on.

        @param size: To fill each up to, with spaces.
        """
        for number in range(first, first + count):
            self.message(to, str(number).ljust(size))

    def tell(self, event: str, **fields: Any) -> None:
        """
        Report what happened.
        """
        role = {"as": self.role} if self.role else {}
        sys.stdout.write(json.dumps({"event": event, **role, **fields}) + "\n")
        sys.stdout.flush()

    def obey(self, order: dict[str, Any]) -> None:
        """
        Carry out one order.
        """
        try:
            getattr(self, order.pop("order"))(**order)
        except Exception:  # noqa: BLE001 # whatever it is, the act should see it
            self.tell("broken", text=traceback.format_exc())


class Company:
    """
    The clients of one program; each is made when it is first told something.
    """

    def __init__(self, make: Callable[[str], Player]) -> None:
        self.make = make
        self.players: dict[str, Player] = {}

    def obey(self, line: str) -> None:
        """
        Pass on one order.
        """
        order = json.loads(line)
        role = order.pop("as", "")
        if role not in self.players:
            self.players[role] = self.make(role)
        self.players[role].obey(order)

    def listen(
        self, inLoop: Callable[[Callable[[], None]], object], stop: Callable[[], None]
    ) -> None:
        """
        Read orders in a thread; each is carried out by C{inLoop}, and so is C{stop} after
        the last.
        """

        def read() -> None:
            for line in sys.stdin:
                inLoop(lambda line=line: self.obey(line))  # type: ignore[misc]
            inLoop(stop)

        threading.Thread(target=read, daemon=True).start()


def perform(make: Callable[[str], Player]) -> None:
    """
    Have clients on asyncio do as they are told until standard input ends.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    Company(make).listen(loop.call_soon_threadsafe, loop.stop)
    loop.run_forever()
