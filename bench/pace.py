# Copyright the cmanager authors.
# See LICENSE for details.

"""
Sessions that send at a pace and get back what they sent: the load of L{bench.cost}.

Orders and answers are lines of JSON on standard input and output.  C{connect} opens
sessions, with a login where the plan wants one; C{load} sends, at a pace or as fast as
they come back, and tells how many came back and how long they took; C{close} closes them.
"""

from __future__ import annotations

import base64
import json
import select
import selectors
import socket
import ssl
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

STANZA_BYTES = 200
END_TAG = b"</message>"
CONNECTING_AT_ONCE = 4
CONNECT_SECONDS = 30.0
IP_BIND_ADDRESS_NO_PORT = 24
"""
Of Linux; C{socket} has it from Python 3.12 on.
"""
TICK_SECONDS = 0.004
MAX_OUTSTANDING = 20000
"""
Stanzas on their way; beyond that the pace is not kept, and that is told.
"""
DRAIN_SECONDS = 20.0
READ_BYTES = 65536
HEADER = (
    '<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams"'
    ' to="{domain}" version="1.0">'
)
AUTH = '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="SCRAM-SHA-1">{response}</auth>'
BIND = '<iq type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>'


class Session:
    """
    One connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sent: deque[float] = deque()
        self.unread = b""
        self.isResumed = False

    def send(self, data: bytes) -> None:
        """
        Send all of C{data} at once.
        """
        if self.sock.send(data) != len(data):
            raise ConnectionError("a session takes no more")

    def receive(self) -> int:
        """
        Return how many stanzas are complete now that more has come.
        """
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return 0
        if not data:
            raise ConnectionError("a session was closed")
        data = self.unread + data
        count = data.count(END_TAG)
        self.unread = data[data.rfind(END_TAG) + len(END_TAG) if count else 0 :]
        self.unread = self.unread[1 - len(END_TAG) :]
        return count

    def talk(self, data: str, until: bytes) -> None:
        """
        Send C{data} and read up to C{until}; blocking.
        """
        self.sock.sendall(data.encode())
        read = b""
        while until not in read:
            try:
                more = self.sock.recv(READ_BYTES)
            except TimeoutError:
                more = b""
            if not more:
                raise ConnectionError(f"no {until!r} behind {read[-300:]!r}")
            read += more


def stanza(domain: str) -> bytes:
    """
    Return a message of L{STANZA_BYTES}.
    """
    frame = f'<message to="juliet@{domain}/r" type="chat" id="m"><body>%s</body></message>'
    return (frame % ("x" * (STANZA_BYTES - len(frame) + 2))).encode()


class Pace:
    """
    All sessions of this process.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.stanza = stanza(plan["domain"])
        self.sessions: list[Session] = []
        self.selector = selectors.DefaultSelector()
        self.context: ssl.SSLContext | None = None
        self.ticket: ssl.SSLSession | None = None
        if plan.get("authority"):
            self.context = ssl.create_default_context(cafile=plan["authority"])

    def open(self, resume: bool) -> Session:
        """
        Open one session.

        @param resume: With the TLS session of the one before.
        """
        plan, domain = self.plan, self.plan["domain"]
        sock = socket.socket()
        sock.settimeout(CONNECT_SECONDS)
        # Otherwise bind() itself looks for a port, and among thousands it looks for long.
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((plan["source"], 0))
        sock.connect((plan["host"], plan["port"]))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context is not None:
            ticket = self.ticket if resume else None
            sock = self.context.wrap_socket(sock, server_hostname=domain, session=ticket)
        session = Session(sock)
        if plan.get("greeted"):
            session.talk("", b".")
        if plan["login"]:
            header = HEADER.format(domain=domain)
            session.talk(header, b"</stream:features>")
            response = base64.b64encode(b"\0user\0password").decode()
            session.talk(AUTH.format(response=response), b"<success")
            session.talk(header, b"</stream:features>")
            session.talk(BIND, b"<jid>")
        if isinstance(sock, ssl.SSLSocket):
            session.isResumed = bool(sock.session_reused)
            if resume:
                self.ticket = sock.session
        sock.setblocking(False)
        return session

    def connect(self, count: int, resume: bool = False) -> dict[str, Any]:
        """
        Open so many more sessions.
        """
        with ThreadPoolExecutor(CONNECTING_AT_ONCE) as pool:
            opened = list(pool.map(self.open, [resume] * count))
        for session in opened:
            self.selector.register(session.sock, selectors.EVENT_READ, session)
        self.sessions += opened
        return {"resumed": sum(session.isResumed for session in opened)}

    def close(self) -> None:
        """
        Close all sessions.
        """
        for session in self.sessions:
            self.selector.unregister(session.sock)
            session.sock.close()
        self.sessions = []

    def load(self, seconds: float, busy: int, rate: float, window: int) -> dict[str, Any]:
        """
        Send for so long, over the first C{busy} sessions, and wait for all to come back.

        @param rate: Stanzas a second, spread evenly; a delay counts from when its stanza
            was due, so that one that could not be sent in time does not go unseen.
        @param window: Where not 0 there is no pace: each session has so many on their way
            at any time, and sends the next when one has come back.
        @return: C{delays}: microseconds; none where there is no pace.
        """
        sessions = self.sessions[:busy]
        delays: list[int] = []
        sent = received = late = 0
        waiting = [self.selector.fileno()]
        began = time.monotonic()
        ends = began + seconds
        if window:
            for session in sessions * window:
                session.send(self.stanza)
                sent += 1
        while True:
            now = time.monotonic()
            if now < ends:
                due = 0 if window else int((now - began) * rate) - sent
                if sent - received > MAX_OUTSTANDING:
                    late += due
                    due = 0
                for _ in range(due):
                    session = sessions[sent % busy]
                    session.sent.append(began + sent / rate)
                    session.send(self.stanza)
                    sent += 1
            elif received >= sent or now > ends + DRAIN_SECONDS:
                break
            if not window:
                # epoll itself knows no shorter time than a millisecond.
                left = began + (sent + 1) / rate - time.monotonic()
                select.select(waiting, [], [], min(max(left, 0.0), TICK_SECONDS))
            for key, _ in self.selector.select(TICK_SECONDS if window else 0):
                session = key.data
                count = session.receive()
                received += count
                now = time.monotonic()
                if not window:
                    for _ in range(count):
                        delays.append(round((now - session.sent.popleft()) * 1e6))
                elif now < ends:
                    for _ in range(count):
                        session.send(self.stanza)
                    sent += count
        took = time.monotonic() - began
        return {
            "sent": sent,
            "received": received,
            "late": late,
            "seconds": took,
            "delays": delays,
        }


def main() -> None:
    """
    Do what standard input says.
    """
    pace = Pace(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        order = json.loads(line)
        name = order.pop("order")
        used = time.process_time()
        result = getattr(pace, name)(**order) or {}
        used = time.process_time() - used
        print(json.dumps({"event": name, "used": used, **result}), flush=True)


if __name__ == "__main__":
    main()
