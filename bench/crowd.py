# Copyright the cmanager authors.
# See LICENSE for details.

"""
Thousands of light XMPP clients in one process, for L{bench.many}: they log in, stay, and
write to each other.

Orders are lines of JSON on standard input.  C{connect} logs in, C{talk} writes messages at
a pace and C{leave} ends the streams; all that takes its time, and C{status} tells how far
it is.  Ends with standard input.

A client that has logged in is a socket and a handful of bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import select
import socket
import ssl
import sys
import time
from array import array
from collections.abc import Iterator
from typing import Any

from attrs import define, field

from bench.clients import BIND, HEADER, IP_BIND_ADDRESS_NO_PORT, READ_BYTES, STANZA_BYTES, auth

LOGINS_AT_ONCE = 32
CLOSINGS_AT_ONCE = 200
SHOWN_PROBLEMS = 5
MAX_UNREAD_BYTES = 65536
FOOTER = b"</stream:stream>"
MESSAGE = '<message to="c{to}@{domain}" type="chat"><body>{number} {sent} </body></message>'
BODY_END = "</body></message>"
_MESSAGE = re.compile(rb'<message\b[^>]*?\bto="c(\d+)@[^>]*><body>(\d+) (\d+) x*</body></message>')


class Client:
    """
    One client.
    """

    __slots__ = ("isLeaving", "number", "sock", "unread")

    def __init__(self, number: int) -> None:
        self.number = number
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.unread = b""
        self.isLeaving = False

    def read(self) -> bytes | None:
        """
        Return what has come, L{None} if nothing has.

        @raise ConnectionError: It was closed.
        """
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        if not data:
            raise ConnectionError("closed")
        return data

    def send(self, data: bytes) -> None:
        """
        Send all of C{data}, which is little.
        """
        if self.sock.send(data) != len(data):
            raise ConnectionError("takes no more")


@define
class Talk:
    """
    Messages to be written.

    @ivar count: How many of them, in C{seconds}.
    @ivar everybody: How many clients there are in all processes.
    @ivar received: How often each has come, by its number.
    """

    everybody: int
    count: int
    seconds: float
    received: bytearray
    began: float = field(factory=time.monotonic)
    sent: int = 0
    astray: int = 0
    delays: array[int] = field(factory=lambda: array("I"))

    def due(self) -> int:
        """
        Return how many should have been sent by now and have not.
        """
        passed = (time.monotonic() - self.began) / self.seconds
        return min(self.count, int(passed * self.count)) - self.sent

    def wait(self) -> float | None:
        """
        Return the seconds until the next; L{None} where there is none.
        """
        if self.sent == self.count:
            return None
        next_ = self.began + (self.sent + 1) / self.count * self.seconds
        return max(0.0, next_ - time.monotonic())


class Crowd:
    """
    All clients of this process: of C{processes} it is number C{process}, and has each
    C{processes}-th client.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.process: int = plan["process"]
        self.processes: int = plan["processes"]
        self.domain: str = plan["domain"]
        self.clients: dict[int, Client] = {}
        self.logins: dict[int, tuple[Iterator[int], Client]] = {}
        self.online: list[Client] = []
        self.awaited = self.begun = self.clean = self.lost = 0
        self.leaving: list[Client] = []
        self.problems: list[str] = []
        self.talk_: Talk | None = None
        self.random = random.Random(self.process)
        self.epoll = select.epoll()
        self.epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        self.context: ssl.SSLContext | None = None
        if plan["authority"] is not None:
            self.context = ssl.create_default_context(cafile=plan["authority"])

    # What is ordered.

    def connect(self, everybody: int) -> None:
        """
        Log in those of this process among the first C{everybody} clients.
        """
        self.awaited = (everybody - self.process + self.processes - 1) // self.processes

    def talk(self, everybody: int, count: int, seconds: float) -> None:
        """
        Write so many messages; each from one of ours to one of the first C{everybody}.
        """
        numbers = bytearray(count * self.processes)
        self.talk_ = Talk(everybody, count, seconds, numbers)

    def leave(self) -> None:
        """
        End all streams, some at a time.
        """
        self.leaving, self.online = self.online, []
        for _ in range(CLOSINGS_AT_ONCE):
            self._leaveNext()

    def status(self) -> dict[str, Any]:
        """
        Tell what has become of them.

        @return: C{online}; C{lost}, who did not want to leave; C{clean}, who have left and
            were told good-bye; of the messages of the last L{talk} how many were C{sent},
            and of those of all processes how many were C{received}, C{doubled} of them
            more than once, and C{astray} with somebody else.
        """
        talk = self.talk_ or Talk(0, 0, 1.0, bytearray())
        received = len(talk.received) - talk.received.count(0)
        return {
            "online": len(self.online),
            "lost": self.lost,
            "clean": self.clean,
            "problems": self.problems,
            "sent": talk.sent,
            "received": received,
            "doubled": received - talk.received.count(1),
            "astray": talk.astray,
        }

    def delays(self) -> dict[str, Any]:
        """
        Tell how long messages were on the way.

        @return: C{delays}: microseconds, in order, a thousand out of all and the longest.
        """
        found = sorted(self.talk_.delays) if self.talk_ is not None else []
        return {"delays": found[:: max(1, len(found) // 1000)] + found[-1:]}

    # Logging in.

    def _loginNext(self) -> None:
        while self.begun < self.awaited and len(self.logins) < LOGINS_AT_ONCE:
            client = Client(self.process + self.begun * self.processes)
            self.begun += 1
            fd = client.sock.fileno()
            self.clients[fd] = client
            self.logins[fd] = self._login(client), client
            self.epoll.register(fd, 0)
            self._goOn(fd)

    def _goOn(self, fd: int) -> None:
        steps, client = self.logins[fd]
        try:
            self.epoll.modify(fd, next(steps))
        except StopIteration:
            del self.logins[fd]
            self.epoll.modify(fd, select.EPOLLIN)
            self.online.append(client)
        except OSError as error:
            self._forget(fd, f"login: {error!r}, after {client.unread[-300:]!r}")

    def _login(self, client: Client) -> Iterator[int]:
        """
        Log in.

        @return: Yields what to wait for.
        """
        plan, number = self.plan, client.number
        # Otherwise bind() itself looks for a port, and among thousands it looks for long.
        client.sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        source = number // 62500 + 1, number // 250 % 250, number % 250 + 1
        client.sock.bind(("127." + ".".join(map(str, source)), 0))
        client.sock.connect_ex((plan["host"], plan["port"]))
        yield select.EPOLLOUT
        if error := client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context is not None:
            yield from self._secure(client, self.context)
        header = HEADER.format(domain=self.domain)
        for data, until in (
            (header, b"</stream:features>"),
            (auth(f"c{number}"), b"<success"),
            (header, b"</stream:features>"),
            (BIND, b"</iq>"),
        ):
            client.unread = b""
            client.send(data.encode())
            while until not in client.unread:
                yield select.EPOLLIN
                client.unread += client.read() or b""
        client.unread = b""

    def _secure(self, client: Client, context: ssl.SSLContext) -> Iterator[int]:
        secure = context.wrap_socket(
            client.sock, server_hostname=self.domain, do_handshake_on_connect=False
        )
        client.sock = secure
        while True:
            try:
                secure.do_handshake()
                return
            except ssl.SSLWantReadError:
                yield select.EPOLLIN
            except ssl.SSLWantWriteError:
                yield select.EPOLLOUT

    # Staying.

    def _receive(self, fd: int) -> None:
        client = self.clients[fd]
        try:
            data = client.read()
        except OSError as error:
            if client.isLeaving:
                self.clean += client.unread.endswith(FOOTER)
                self._close(fd)
                self._leaveNext()
            else:
                self.online.remove(client)
                self._forget(fd, f"{error!r}, after {client.unread[-300:]!r}")
            return
        if data is not None:
            data = client.unread + data
            position = 0
            for found in _MESSAGE.finditer(data):
                position = found.end()
                self._count(client, *map(int, found.groups()))
            client.unread = data[position:].lstrip()[-MAX_UNREAD_BYTES:]

    def _count(self, client: Client, to: int, number: int, sent: int) -> None:
        talk = self.talk_
        if talk is None or to != client.number or number >= len(talk.received):
            if talk is not None:
                talk.astray += 1
            return
        talk.received[number] = min(255, talk.received[number] + 1)
        talk.delays.append(time.monotonic_ns() // 1000 - sent)

    def _talk(self, talk: Talk) -> None:
        for _ in range(talk.due()):
            message = MESSAGE.format(
                to=self.random.randrange(talk.everybody),
                domain=self.domain,
                number=self.process + talk.sent * self.processes,
                sent=time.monotonic_ns() // 1000,
            )
            body = "x" * (STANZA_BYTES - len(message))
            talk.sent += 1
            # Whoever has just been cut is found by its reader; the message will be missed.
            with contextlib.suppress(OSError):
                self.random.choice(self.online).send(
                    message.replace(BODY_END, body + BODY_END).encode()
                )

    # The end.

    def _leaveNext(self) -> None:
        if self.leaving:
            client = self.leaving.pop()
            client.isLeaving = True
            client.send(FOOTER)

    def _forget(self, fd: int, reason: str) -> None:
        self.lost += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(f"client {self.clients[fd].number}: {reason}")
        self.logins.pop(fd, None)
        self._close(fd)

    def _close(self, fd: int) -> None:
        self.epoll.unregister(fd)
        self.clients.pop(fd).sock.close()

    def run(self) -> None:
        """
        Do what standard input says until it ends.
        """
        orders = b""
        while True:
            self._loginNext()
            wait = None
            if self.talk_ is not None:
                self._talk(self.talk_)
                wait = self.talk_.wait()
            for fd, _ in self.epoll.poll(wait):
                if fd in self.logins:
                    self._goOn(fd)
                elif fd in self.clients:
                    self._receive(fd)
                elif fd == sys.stdin.fileno():
                    more = os.read(fd, READ_BYTES)
                    if not more:
                        return
                    *lines, orders = (orders + more).split(b"\n")
                    for line in lines:
                        self._obey(json.loads(line))

    def _obey(self, order: dict[str, Any]) -> None:
        name = order.pop("order")
        result = getattr(self, name)(**order)
        if result is not None:
            print(json.dumps({"event": name, **result}), flush=True)


def main() -> None:
    """
    Serve as the first line of standard input says.
    """
    # Without a buffer: what follows is read when it is waited for.
    plan = b""
    while not plan.endswith(b"\n"):
        plan += os.read(sys.stdin.fileno(), 1)
    Crowd(json.loads(plan)).run()


if __name__ == "__main__":
    main()
