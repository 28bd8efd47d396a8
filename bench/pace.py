# Copyright the cmanager authors.
# See LICENSE for details.

"""
Sessions that send at a pace and get back what they sent: the load of L{bench.cost}.

Orders and answers are lines of JSON on standard input and output.  C{connect} opens
sessions, with a login where the plan wants one; C{load} sends C{rate} stanzas a second,
spread evenly over the first C{busy} sessions, for so many seconds, and tells how many
came back and how long they took.
"""

from __future__ import annotations

import base64
import json
import selectors
import socket
import ssl
import sys
import time
from collections import deque
from typing import Any

STANZA_BYTES = 200
TICK_SECONDS = 0.004
MAX_OUTSTANDING = 20000
"""
Stanzas on their way; beyond that the pace is not kept, and that is told.
"""
DRAIN_SECONDS = 5.0
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
        if plan.get("authority"):
            self.context = ssl.create_default_context(cafile=plan["authority"])
            if plan.get("alpn"):
                self.context.set_alpn_protocols([plan["alpn"]])

    def connect(self, count: int, host: str | None = None) -> None:
        """
        Open so many more sessions.
        """
        plan = self.plan
        domain = plan["domain"]
        for _ in range(count):
            source = (host, 0) if host else None
            sock: socket.socket = socket.create_connection((plan["host"], plan["port"]), 30, source)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_hostname=domain)
            session = Session(sock)
            if plan["login"]:
                header = HEADER.format(domain=domain)
                session.talk(header, b"</stream:features>")
                response = base64.b64encode(b"\0user\0password").decode()
                session.talk(AUTH.format(response=response), b"<success")
                session.talk(header, b"</stream:features>")
                session.talk(BIND, b"<jid>")
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ, session)
            self.sessions.append(session)

    def load(self, rate: float, seconds: float, busy: int) -> dict[str, Any]:
        """
        Send at a pace and wait for all to come back.
        """
        sessions, delays = self.sessions[:busy], []
        sent = received = late = 0
        used, began = time.process_time(), time.monotonic()
        ends = began + seconds
        while True:
            now = time.monotonic()
            if now < ends:
                due = int((now - began) * rate) - sent
                if sent - received > MAX_OUTSTANDING:
                    late += due
                    due = 0
                for _ in range(due):
                    session = sessions[sent % busy]
                    session.sock.send(self.stanza)
                    session.sent.append(time.monotonic())
                    sent += 1
            elif received >= sent or now > ends + DRAIN_SECONDS:
                break
            for key, _ in self.selector.select(TICK_SECONDS):
                session = key.data
                try:
                    data = session.sock.recv(READ_BYTES)
                except (BlockingIOError, ssl.SSLWantReadError):
                    continue
                if not data:
                    raise ConnectionError("a session was closed")
                count = (session.unread + data).count(b"</message>")
                session.unread = data[-len(b"</message>") + 1 :] if count == 0 else tail(data)
                now = time.monotonic()
                received += count
                for _ in range(count):
                    delays.append(now - session.sent.popleft())
        took = time.monotonic() - began
        delays.sort()
        return {
            "sent": sent,
            "received": received,
            "late": late,
            "seconds": took,
            "busy": (time.process_time() - used) / took,
            "delays": [quantile(delays, share) for share in (0.5, 0.99, 0.999)],
        }


def tail(data: bytes) -> bytes:
    """
    Return what may be the beginning of another end tag.
    """
    return data[data.rfind(b"</message>") + len(b"</message>") :][-len(b"</message>") + 1 :]


def quantile(ordered: list[float], share: float) -> float:
    """
    Return the value below which C{share} of them are.
    """
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def main() -> None:
    """
    Do what standard input says.
    """
    pace = Pace(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        order = json.loads(line)
        name = order.pop("order")
        result = getattr(pace, name)(**order) or {}
        print(json.dumps({"event": name, **result}), flush=True)


if __name__ == "__main__":
    main()
