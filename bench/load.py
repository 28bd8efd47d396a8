# Copyright the cmanager authors.
# See LICENSE for details.

"""
Many light XMPP clients in one process: log in over direct TLS, stay, write to each
other.  Driven by L{bench.soak} over standard input and output, a line of JSON at a time.

They speak just enough XMPP for that, and look for what they wait for in the bytes;
the clients of C{tests/acts} are the real ones.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import ssl
import sys
import time
from collections import Counter
from typing import Any

HEADER = (
    '<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams"'
    ' to="{domain}" version="1.0">'
)
AUTH = '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">{response}</auth>'
BIND = (
    '<iq type="set" id="bind"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind">'
    "<resource>{resource}</resource></bind></iq>"
)
MESSAGE = '<message to="{to}" type="chat"><body>m{number}-{sent:.6f}</body></message>'
PING = '<iq type="get" id="p{number}" to="{domain}"><ping xmlns="urn:xmpp:ping"/></iq>'

MAX_UNREAD_BYTES = 1 << 20
LOGIN_SECONDS = 60.0
_BODY = re.compile(rb"<body>m(\d+)-([\d.]+)</body>")
_PONG = re.compile(rb"""<iq\b[^>]*\bid=["']p\d+["']""")


class ClientError(Exception):
    """
    A client did not get what it waited for.
    """


class Client:
    """
    One client.

    @ivar received: How often each message came, by its number.
    @ivar lost: Whether its connection has ended before it was told to.
    """

    def __init__(self, plan: dict[str, Any], number: int) -> None:
        self.plan = plan
        self.number = number
        self.received: Counter[int] = Counter()
        self.delays: list[float] = []
        self.pongs = 0
        self.lost = False
        self._unread = b""

    def address(self, number: int) -> str:
        """
        Return the full JID of client C{number}.
        """
        user, resource = divmod(number, self.plan["resources"])
        return f"{self.plan['prefix']}{user}@{self.plan['domain']}/r{resource}"

    async def _until(self, pattern: bytes) -> bytes:
        while (found := re.search(pattern, self._unread)) is None:
            more = await self._reader.read(65536)
            if not more:
                raise ClientError(f"the stream ended before {pattern!r}: {self._unread[-300:]!r}")
            self._unread += more
        seen, self._unread = self._unread[: found.end()], self._unread[found.end() :]
        return seen

    def _send(self, text: str) -> None:
        self._writer.write(text.encode())

    async def login(self, context: ssl.SSLContext) -> None:
        """
        Connect, log in and bind the resource.
        """
        plan = self.plan
        user, _, resource = self.address(self.number).partition("@")
        resource = resource.partition("/")[2]
        source = f"127.0.{1 + self.number // 100 % 250}.{1 + self.number % 10}"
        self._reader, self._writer = await asyncio.open_connection(
            plan["host"],
            plan["port"],
            ssl=context,
            server_hostname=plan["domain"],
            local_addr=(source, 0),
            limit=MAX_UNREAD_BYTES,
        )
        self._send(HEADER.format(**plan))
        await self._until(rb"</stream:features>")
        credentials = base64.b64encode(f"\0{user}\0{plan['password']}".encode()).decode()
        self._send(AUTH.format(response=credentials))
        if b"<success" not in await self._until(rb"<success[^>]*>|<failure.*</failure>"):
            raise ClientError("the login was refused")
        await asyncio.sleep(0)
        self._unread = b""
        self._send(HEADER.format(**plan))
        await self._until(rb"</stream:features>")
        self._send(BIND.format(resource=resource))
        if b"error" in await self._until(rb"</iq>"):
            raise ClientError("the resource was refused")

    async def read(self) -> None:
        """
        Count what comes in until the stream ends.
        """
        while True:
            try:
                more = await self._reader.read(65536)
            except OSError:
                more = b""
            if not more:
                self.lost = True
                return
            text = self._unread + more
            end = 0
            for found in _BODY.finditer(text):
                self.received[int(found.group(1))] += 1
                self.delays.append(time.time() - float(found.group(2)))
                end = found.end()
            for found in _PONG.finditer(text, 0):
                self.pongs += 1
                end = max(end, found.end())
            self._unread = text[end:][-4096:]

    async def chat(self, rng: random.Random, numbers: list[int], until: float) -> int:
        """
        Send a message for each of C{numbers} to somebody, and one ping, spread over the
        time.

        @return: How many messages were sent.
        """
        times = sorted(rng.uniform(time.time(), until) for _ in numbers)
        ping = rng.randrange(len(numbers))
        for position, (number, moment) in enumerate(zip(numbers, times, strict=True)):
            await asyncio.sleep(max(0.0, moment - time.time()))
            if self.lost:
                return position
            to = self.address(rng.randrange(self.plan["clients"]))
            self._send(MESSAGE.format(to=to, number=number, sent=time.time()))
            if position == ping:
                self._send(PING.format(number=number, **self.plan))
        return len(numbers)

    def leave(self) -> None:
        """
        End the stream.
        """
        self._send("</stream:stream>")


async def login(clients: list[Client], plan: dict[str, Any]) -> list[str]:
    """
    Log all in, some at a time.

    @return: What went wrong.
    """
    context = ssl.create_default_context(cafile=plan["authority"])
    turns = asyncio.Semaphore(plan["atOnce"])
    problems: list[str] = []

    async def one(client: Client) -> None:
        async with turns:
            try:
                await asyncio.wait_for(client.login(context), LOGIN_SECONDS)
            except (OSError, ClientError, TimeoutError) as error:
                problems.append(f"client {client.number}: {error!r}")
                client.lost = True

    await asyncio.gather(*(one(client) for client in clients))
    return problems


async def order() -> dict[str, Any]:
    """
    Wait for the next line of standard input.
    """
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    given: dict[str, Any] = json.loads(line or '{"order": "leave"}')
    return given


def tell(**fields: Any) -> None:
    """
    Report.
    """
    print(json.dumps(fields), flush=True)


async def main() -> None:
    """
    Log in, chat and leave, each when told to.
    """
    plan = (await order())["plan"]
    rng = random.Random(plan["first"])
    clients = [Client(plan, plan["first"] + n) for n in range(plan["count"])]
    problems = await login(clients, plan)
    readers = [asyncio.create_task(client.read()) for client in clients if not client.lost]
    tell(event="online", problems=problems)

    chat = await order()
    each = chat["messages"]
    until = time.time() + chat["seconds"]
    online = [client for client in clients if not client.lost]
    sent = sum(
        await asyncio.gather(
            *(
                client.chat(rng, [client.number * each + n for n in range(each)], until)
                for client in online
            )
        )
    )
    tell(event="sent", messages=sent, pings=len(online))

    while (await order())["order"] == "count":
        delays = sorted(delay for client in clients for delay in client.delays)
        tell(
            event="counted",
            received=sum(len(client.received) for client in clients),
            doubled=sum(sum(c.received.values()) - len(c.received) for c in clients),
            pongs=sum(client.pongs for client in clients),
            lost=sum(client.lost for client in clients),
            delays=delays[:: max(1, len(delays) // 1000)],
        )

    for client in clients:
        if not client.lost:
            client.leave()
    if readers:
        await asyncio.wait(readers, timeout=30)
    tell(event="left", clean=sum(client.lost for client in clients))


if __name__ == "__main__":
    asyncio.run(main())
