# Copyright the cmanager authors.
# See LICENSE for details.

"""
Sessions that send at a pace and get back what they sent: the load of L{bench.cost}.

Orders and answers are lines of JSON on standard input and output.  C{connect} opens
sessions, with a login where the plan wants one; C{load} sends, at a pace or as fast as
they come back, and tells how many came back and how long they took; C{close} closes them.
"""

from __future__ import annotations

import json
import select
import selectors
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.clients import Session, connect
from bench.web import BOSHSession, WebSocketSession

CONNECTING_AT_ONCE = 2
TICK_SECONDS = 0.004
MAX_OUTSTANDING = 20000
"""
Stanzas on their way; beyond that the pace is not kept, and that is told.
"""
DRAIN_SECONDS = 60.0
WAYS = {"stream": Session, "websocket": WebSocketSession, "bosh": BOSHSession}


class Pace:
    """
    All sessions of this process.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
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
        plan = self.plan
        sock = connect(plan)
        if self.context is not None:
            ticket = self.ticket if resume else None
            sock = self.context.wrap_socket(sock, server_hostname=plan["domain"], session=ticket)
        session = WAYS[plan["way"]](sock, plan)
        if plan["greeted"]:
            session.until(b".")
        session.open(plan["login"])
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
        @return: C{delays}: microseconds; none where there is no pace.  C{bursts}: how often
            some were sent together, because they were due.
        """
        sessions = self.sessions[:busy]
        delays: list[int] = []
        sent = received = late = bursts = 0
        waiting = [self.selector.fileno()]
        began = time.monotonic()
        ends = began + seconds
        if window:
            for session in sessions * window:
                session.say()
                sent += 1
        while True:
            now = time.monotonic()
            if now < ends:
                due = 0 if window else int((now - began) * rate) - sent
                if sent - received > MAX_OUTSTANDING:
                    late += due
                    due = 0
                bursts += due > 0
                for _ in range(due):
                    session = sessions[sent % busy]
                    session.sent.append(began + sent / rate)
                    session.say()
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
                        session.say()
                    sent += count
        took = time.monotonic() - began
        return {
            "sent": sent,
            "received": received,
            "late": late,
            "bursts": bursts,
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
