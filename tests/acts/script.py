# Copyright the cmanager authors.
# See LICENSE for details.

"""
What two clients say to a server, scene by scene, and what they hear: the same wherever
it is played, if a front is worth its name.

In each scene, after each line a client speaks, every client pings the server; what it
got before the pong are the answers to that line.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any
from xml.etree.ElementTree import Element

from tests.acts.stage import DOMAIN, PASSWORD
from tests.acts.wire import END, Wire, canonical, dial, name

ROOMS = f"rooms.{DOMAIN}"
R, J, N = f"romeo@{DOMAIN}", f"juliet@{DOMAIN}", f"nobody@{DOMAIN}"
HEADER = (
    f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xml:lang='en'"
    " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
NS_TLS = "urn:ietf:params:xml:ns:xmpp-tls"
NS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
NS_DISCO = "http://jabber.org/protocol/disco#info"
NS_ITEMS = "http://jabber.org/protocol/disco#items"
NS_PUBSUB = "http://jabber.org/protocol/pubsub"
TUNE = "http://jabber.org/protocol/tune"
SCENE = "scene"


def plain(user: str, password: str = PASSWORD) -> str:
    """
    Return a login by SASL PLAIN.
    """
    answer = b64encode(f"\0{user}\0{password}".encode()).decode()
    return f"<auth xmlns='{NS_SASL}' mechanism='PLAIN'>{answer}</auth>"


def bind(resource: str) -> str:
    """
    Return a resource binding.
    """
    return (
        "<iq type='set' id='s-bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        f"<resource>{resource}</resource></bind></iq>"
    )


def query(kind: str, payload: str, to: str = "", id: str = "s-query") -> str:
    """
    Return an iq.
    """
    target = f" to='{to}'" if to else ""
    return f"<iq type='{kind}' id='{id}'{target}>{payload}</iq>"


def publish(number: int) -> str:
    """
    Return an item for a node of one's own.
    """
    return query(
        "set",
        f"<pubsub xmlns='{NS_PUBSUB}'><publish node='{TUNE}'><item id='s-item{number}'>"
        f"<tune xmlns='{TUNE}'><title>Heigh-ho {number}</title></tune></item></publish></pubsub>",
    )


def spread(text: str, element: Element | None) -> list[str]:
    """
    Return the lines of a note: stream features are one line each.
    """
    if element is None or name(element) != "features":
        return [text]
    lines = []
    for feature in element:
        if name(feature) == "mechanisms":
            lines += [f"mechanism {mechanism.text}" for mechanism in feature]
        else:
            lines.append(f"feature {canonical(feature)}")
    return ["<features> with", *sorted(lines)]


STAMP = re.compile(r"\b\d{4}-?\d\d-?\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")
SECRET_TEXT = re.compile(r"(?<=>)[A-Za-z0-9+/=]+(?=</(?:challenge|success)>)")
ID = re.compile(r"""\bid=["']([^"']+)["']""")
RESOURCE = re.compile(rf"(?<={re.escape(DOMAIN)}/)[\w-]{{12}}(?![\w-])")
CAPABILITIES = re.compile(r"(?<=node=\"http://prosody.im\" ver=\")[^\"]+")
LONG = re.compile(r"(.)\1{99,}")
OURS = "s-"
PREFIXES = (
    "urn:ietf:params:xml:ns:",
    "http://etherx.jabber.org/",
    "http://jabber.org/protocol/",
    "http://jabber.org/features/",
)


def settle(lines: list[str]) -> list[str]:
    """
    Replace what differs each time: times, SASL's numbers used once, resources that the
    server makes up, the hash of what it can do, and all ids but those that the script gives; an id that stands in
    several lines remains one.  Namespaces and runs of one character are shortened.
    """
    text = "\n".join(lines)
    for prefix in PREFIXES:
        text = text.replace(prefix, "")
    for pattern, word in (
        (STAMP, "(time)"),
        (SECRET_TEXT, "(secret)"),
        (RESOURCE, "(resource)"),
        (CAPABILITIES, "(hash)"),
        (LONG, r"\1..."),
    ):
        text = pattern.sub(word, text)
    lines = text.split("\n")
    ids = dict.fromkeys(found for found in ID.findall(text) if not found.startswith(OURS))
    number = 0
    for found in ids:
        token = "(id)"
        if sum(found in line for line in lines) > 1:
            number += 1
            token = f"(id {number})"
        lines = [line.replace(found, token) for line in lines]
    return lines


Transcript = dict[str, list[tuple[str, list[str]]]]
"""
By scene: what was said, and what was heard thereupon.
"""


def exchanges(lines: list[str]) -> list[tuple[str, list[str]]]:
    """
    Return what was said, and after each of that what was heard.
    """
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        who, direction, text = line.split(" ", 2)
        if direction == ">":
            found.append((text, []))
        else:
            found[-1][1].append(f"{who} {text}")
    return found


class Script:
    """
    One performance.

    @ivar lines: What was said (C{>}) and heard (C{<}) so far, by scene.
    """

    def __init__(self, reactor: Any, host: str, port: int) -> None:
        self.lines: dict[str, list[str]] = {}
        self._reactor = reactor
        self._address = host, port
        self._here: list[str] = []
        self._cast: dict[str, Wire] = {}
        self._pings = 0

    async def play(self) -> Transcript:
        """
        Play all scenes, in the order in which they stand here.

        @return: All, with what differs each time taken out.
        """
        for scene in [scene for scene in vars(type(self)) if scene.startswith(SCENE)]:
            self._here = self.lines[scene.removeprefix(SCENE).lower()] = []
            act: Callable[[], Awaitable[None]] = getattr(self, scene)
            await act()
            await self._leave()
        return {scene: exchanges(settle(lines)) for scene, lines in self.lines.items()}

    async def _leave(self) -> None:
        for wire in self._cast.values():
            await wire.close()
        self._cast = {}

    # How lines are spoken.

    async def connect(self, who: str) -> Wire:
        """
        Let somebody open a connection.
        """
        wire = self._cast[who] = await dial(self._reactor, *self._address)
        return wire

    async def stream(self, who: str, xml: str, *until: str) -> list[Element | None]:
        """
        Say something on a stream that is not ready for pings, and wait for an answer.
        """
        self._note(who, ">", xml)
        self._cast[who].send(xml)
        return await self.hear(who, *until)

    async def hear(self, who: str, *until: str) -> list[Element | None]:
        """
        Note what comes.
        """
        found = await self._cast[who].take(*until)
        self._here += [
            f"{who} < {line}" for text, element in found for line in spread(text, element)
        ]
        return [element for _, element in found]

    def _note(self, who: str, direction: str, text: str) -> None:
        text = text.strip().replace("\r", "\\r").replace("\n", "\\n")
        self._here.append(f"{who} {direction} {text}")

    def _heard(self, who: str, text: str, element: Element | None) -> None:
        for line in spread(text, element):
            self._note(who, "<", line)

    async def secure(self, who: str) -> None:
        """
        Open a stream with TLS.
        """
        await self.connect(who)
        await self.stream(who, HEADER, "features")
        await self.stream(who, f"<starttls xmlns='{NS_TLS}'/>", "proceed")
        self._cast[who].secure(DOMAIN)
        await self.stream(who, HEADER, "features")

    async def ready(self, who: str) -> None:
        """
        Open a stream with TLS, as before, without taking notes.
        """
        here, self._here = self._here, []
        await self.secure(who)
        self._here = here

    async def login(self, *cast: str, password: str = PASSWORD) -> None:
        """
        Let people come, as before, without taking notes; each is named by a resource of
        its own, behind a slash; without one it is not bound.
        """
        here, self._here = self._here, []
        for who in cast:
            user, _, resource = who.partition("/")
            await self.secure(who)
            await self.stream(who, plain(user, password), "success")
            self._cast[who].restart()
            await self.stream(who, HEADER, "features")
            if resource:
                await self.stream(who, bind(resource), "#s-bind")
        self._here = here

    async def say(self, who: str, *lines: str) -> None:
        """
        Say something, and note what everybody hears.
        """
        for xml in lines:
            self._note(who, ">", xml)
            self._cast[who].send(xml)
            while await self._listen(who):
                pass

    async def _listen(self, speaker: str) -> bool:
        """
        Note what came; return whether somebody has answered a question of the server's.
        """
        answered = False
        for who in (speaker, *(other for other in self._cast if other != speaker)):
            wire = self._cast[who]
            self._pings += 1
            mark = f"s-ping{self._pings}"
            if not wire.isOver:
                wire.send(query("get", "<ping xmlns='urn:xmpp:ping'/>", DOMAIN, mark))
            for text, element in await wire.take(f"#{mark}", END):
                if element is not None and element.get("id") == mark:
                    continue
                self._heard(who, text, element)
                if element is not None:
                    answered |= self._answer(wire, element)
        return answered

    def _answer(self, wire: Wire, element: Element) -> bool:
        """
        Tell who asks what this client can do.
        """
        asked = element.find(f"{{{NS_DISCO}}}query")
        if element.get("type") != "get" or asked is None:
            return False
        features = "".join(f"<feature var='{name}'/>" for name in (NS_DISCO, f"{TUNE}+notify"))
        node = asked.get("node")
        wire.send(
            f"<iq type='result' id='{element.get('id')}' to='{element.get('from')}'>"
            f"<query xmlns='{NS_DISCO}'" + (f" node='{node}'" if node else "") + ">"
            f"<identity category='client' type='pc'/>{features}</query></iq>"
        )
        return True

    async def account(self, *names: str) -> None:
        """
        Make accounts, without taking notes.
        """
        here, self._here = self._here, []
        for who in names:
            await self.ready(who)
            payload = f"<username>{who}</username><password>{PASSWORD}</password>"
            register = f"<query xmlns='jabber:iq:register'>{payload}</query>"
            await self.stream(who, query("set", register), "iq")
        await self._leave()
        self._here = here

    # Streams.

    async def sceneLogin(self) -> None:
        """
        From the first header to the first stanza.
        """
        who = "romeo"
        await self.secure(who)
        await self.stream(who, plain("romeo", "wrong"), "failure")
        await self.stream(who, plain("nobody"), "failure")
        await self.stream(who, f"<auth xmlns='{NS_SASL}' mechanism='TELEPATHY'/>", "failure")
        await self.stream(
            who, f"<auth xmlns='{NS_SASL}' mechanism='PLAIN'>not base64</auth>", "failure"
        )
        await self.stream(who, plain("romeo"), "success")
        self._cast[who].restart()
        await self.stream(who, HEADER, "features")
        await self.stream(who, bind("orchard"), "#s-bind")
        session = "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>"
        await self.say(who, query("set", session), bind("again"), "<presence/>")
        await self.stream(who, "</stream:stream>", END)

    async def sceneChallenge(self) -> None:
        """
        SCRAM, given up half-way; then a message without a login.
        """
        who = "romeo"
        await self.ready(who)
        first = b64encode(b"n,,n=romeo,r=fyko+d2lbbFgONRv9qkxdawL").decode()
        await self.stream(
            who, f"<auth xmlns='{NS_SASL}' mechanism='SCRAM-SHA-1'>{first}</auth>", "challenge"
        )
        await self.stream(who, f"<abort xmlns='{NS_SASL}'/>", "failure")
        await self.stream(who, f"<message to='{J}'><body>?</body></message>", "message", END)

    async def sceneUnencrypted(self) -> None:
        """
        Logins where there is no TLS.
        """
        for xml in (
            plain("romeo"),
            f"<message to='{J}'/>",
            query("get", "<query xmlns='jabber:iq:auth'/>"),
        ):
            await self.connect("romeo")
            await self.stream("romeo", HEADER, "features")
            await self.stream("romeo", xml, "failure", "message", "iq", END)

    async def sceneHeaders(self) -> None:
        """
        Streams that cannot be.
        """
        for header in (
            HEADER.replace(DOMAIN, "mantua.example"),
            HEADER.replace(f"to='{DOMAIN}'", ""),
            HEADER.replace("version='1.0' ", ""),
            HEADER.replace("xmlns='jabber:client'", "xmlns='jabber:server'"),
            HEADER.replace("http://etherx", "https://etherx"),
            HEADER.replace("stream:stream", "stream:river"),
            "GET / HTTP/1.1\r\n\r\n",
            "<!DOCTYPE x><x>",
        ):
            await self.connect("romeo")
            await self.stream("romeo", header, "features", END)

    async def sceneEnds(self) -> None:
        """
        What ends a stream.
        """
        for xml in (
            "<message><body></message>",
            "<!-- aside -->",
            "<?pi x?>",
            "<nonsense/>",
            "<message xmlns='jabber:server'/>",
            "exit",
            "<message>&amour;</message>",
            "<n:message/>",
            f"<m:message xmlns:m='jabber:client' to='{N}' type='error'/>",
            f"<message to='{J}'><body>{'x' * 300_000}</body></message>",
            "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
            f"<presence from='{J}'/>",
            plain("romeo"),
        ):
            await self.login("romeo/orchard")
            await self.say("romeo/orchard", xml)
            await self._leave()

    async def sceneBeforeBinding(self) -> None:
        """
        A stanza from somebody who has no address yet.
        """
        for xml in (
            "<presence/>",
            query("get", "<query xmlns='jabber:iq:roster'/>"),
            bind(""),
            bind("a&#x200E;b"),
            bind("r" * 1024),
        ):
            await self.login("romeo/")
            await self.stream("romeo/", xml, "iq", "presence", END)

    async def sceneConflict(self) -> None:
        """
        Two that want to be one.
        """
        await self.login("romeo/orchard")
        first = self._cast["romeo"] = self._cast.pop("romeo/orchard")
        await self.login("romeo/orchard")
        await self.stream("romeo", " ", END)
        await self.say("romeo/orchard", "<presence/>")
        await first.close()

    async def sceneRegistration(self) -> None:
        """
        An account is made, gets another password, and is removed.
        """
        register = "<query xmlns='jabber:iq:register'>{}</query>"
        account = register.format("<username>{}</username><password>{}</password>")
        who = "nurse"
        await self.ready(who)
        for payload, kind in (
            (register.format(""), "get"),
            (account.format("romeo", "mine"), "set"),
            (account.format("", "x"), "set"),
            (register.format("<username>nurse</username>"), "set"),
            (account.format("nurse", "old"), "set"),
        ):
            await self.stream(who, query(kind, payload), "iq", END)
        await self.stream(who, plain("nurse", "old"), "success")
        await self._leave()
        who = "nurse/chamber"
        await self.login(who, password="old")
        await self.say(
            who,
            query("get", register.format("")),
            query("set", account.format("nurse", "new")),
            query("set", account.format("romeo", "new")),
            query("set", register.format("<remove/>")),
        )
        await self._leave()
        await self.ready("nurse")
        await self.stream("nurse", plain("nurse", "new"), "failure")

    # Those who are there.

    async def sceneRoster(self) -> None:
        """
        Contacts.
        """
        romeo, street = "romeo/orchard", "romeo/street"
        await self.login(romeo, street)
        roster = "<query xmlns='jabber:iq:roster'{}>{}</query>"
        await self.say(street, query("get", roster.format("", "")))
        await self.say(
            romeo,
            query("get", roster.format(" ver=''", "")),
            query("set", roster.format("", f"<item jid='{J}' name='Sun'><group>A</group></item>")),
            query("set", roster.format("", f"<item jid='{J}' subscription='both'/>")),
            query("set", roster.format("", f"<item jid='{N}'/><item jid='{J}'/>")),
            query("set", roster.format("", "<item jid='@@'/>")),
            query("set", roster.format("", "<item/>")),
            query("set", roster.format("", "")),
            query("get", roster.format("", "")),
            query("get", roster.format(" ver='2'", "")),
            query("get", roster.format("", ""), J),
            query("set", roster.format("", f"<item jid='{J}'/>"), J),
            query("set", roster.format("", f"<item jid='{J}' subscription='remove'/>")),
            query("set", roster.format("", f"<item jid='{J}' subscription='remove'/>")),
        )

    async def scenePresence(self) -> None:
        """
        Who comes, goes, and knows whom.
        """
        romeo, juliet = "romeo/orchard", "juliet/balcony"
        await self.login(romeo, juliet)
        await self.say(romeo, "<presence/>")
        await self.say(juliet, "<presence><show>dnd</show><priority>5</priority></presence>")
        await self.say(romeo, f"<presence to='{J}' type='subscribe'/>")
        await self.say(juliet, f"<presence to='{R}' type='subscribed'/>")
        await self.say(juliet, f"<presence to='{R}' type='subscribe'><status>I</status></presence>")
        await self.say(romeo, f"<presence to='{J}' type='subscribed'/>")
        await self.say(
            romeo,
            "<presence id='s-1' xml:lang='it'><status>O &amp; &lt;O&gt;</status></presence>",
            "<presence><priority>-1</priority></presence>",
            "<presence><priority>1000</priority></presence>",
            "<presence type='flying'/>",
            "<presence type='error'/>",
            "<presence type='probe'/>",
            f"<presence to='{J}' type='probe'/>",
            f"<presence to='{J}/balcony' type='unavailable'/>",
            f"<presence to='{J}/balcony'><show>chat</show></presence>",
            f"<presence to='{N}'/>",
            f"<presence to='{N}' type='subscribe'/>",
            "<presence to='@@'/>",
            "<presence to='mantua.example'/>",
            "<presence type='unavailable'/>",
            "<presence/>",
        )
        await self.say(juliet, f"<presence to='{R}' type='unsubscribed'/>")
        await self.say(juliet, f"<presence to='{R}' type='unsubscribe'/>")
        await self.say(juliet, "</stream:stream>")

    async def sceneMessages(self) -> None:
        """
        Messages, and what becomes of them.
        """
        romeo, juliet, street = "romeo/orchard", "juliet/balcony", "romeo/street"
        await self.login(romeo, juliet)
        body = "<body>O</body>"
        await self.say(
            romeo,
            f"<message to='{J}' type='chat' id='s-1'>{body}</message>",
            f"<message to='{J}' type='headline'>{body}</message>",
            f"<message to='{J}' type='groupchat'>{body}</message>",
            f"<message to='{J}/chapel' type='chat'>{body}</message>",
            f"<message to='{J}/chapel' type='normal'>{body}</message>",
        )
        await self.say(romeo, "<presence/>")
        await self.say(juliet, "<presence/>")
        whole = f"{J}/balcony"
        await self.say(
            romeo,
            f"<message to='{J}' type='chat'>{body}</message>",
            f"<message to='{J}' type='groupchat' id='s-2'>{body}</message>",
            f"<message to='{J}' type='headline'>{body}</message>",
            f"<message to='{J}' type='error' id='s-3'>{body}</message>",
            f"<message to='{whole}'>{body}<subject>S</subject><thread>t</thread></message>",
            f"<message to='{whole}' xml:lang='it'>{body}<body xml:lang='de'>Ach</body></message>",
            f"<message to='{whole}'><body>&#x1f339; &amp;&lt;&gt;&apos;&quot; ]]&gt; \u00e9</body></message>",
            f"<message to='{whole}'><body><![CDATA[<O> & ]]></body></message>",
            f"<message to='{whole}'><body>\ta\n b\r\n c&#13;&#10;  </body></message>",
            f"<message id='s-&#9;&#10;&#13;&lt;' to='{whole}'>{body}</message>",
            f"<message to='{whole}'><x:x xmlns:x='urn:x' x:y='z' y='w'><y xmlns=''/></x:x></message>",
            f"<message to='{whole}'><x xmlns='urn:x'><body xmlns='jabber:client'/></x></message>",
            f"<message   to = '{whole}'  ><body  >spaces</body ></message >",
            f"<message to='{whole}'><body>{'x' * 100_000}</body></message>",
            f"<message to='{whole}' type='telepathy'>{body}</message>",
            f"<message to='{whole}' from='{J}'>{body}</message>",
            f"<message to='{R}'>{body}</message>",
            f"<message to='{R}/orchard'>{body}</message>",
            f"<message>{body}</message>",
            "<message/>",
            f"<message to='{N}' id='s-4'>{body}</message>",
            f"<message to='{N}' type='error'>{body}</message>",
            f"<message to='{J.upper()}/balcony'>{body}</message>",
            f"<message to='{DOMAIN}' id='s-5'>{body}</message>",
            f"<message to='x@mantua.example' id='s-6'>{body}</message>",
            f"<message to='@@' id='s-7'>{body}</message>",
            f"<message to='{'n' * 1024}@{DOMAIN}' id='s-8'>{body}</message>",
            f"<message to='' id='s-9'>{body}</message>",
        )
        await self.say(juliet, "<presence><priority>-1</priority></presence>")
        await self.say(romeo, f"<message to='{J}' type='chat'><body>later</body></message>")
        await self.say(juliet, "<presence/>")
        await self.login(street)
        await self.say(street, "<presence><priority>1</priority></presence>")
        await self.say(juliet, f"<message to='{R}' type='chat'>{body}</message>")
        await self.say(juliet, f"<message to='{R}/orchard' type='chat'>{body}</message>")

    async def sceneQueries(self) -> None:
        """
        Questions, good and bad.
        """
        romeo, juliet = "romeo/orchard", "juliet/balcony"
        await self.login(romeo, juliet)
        await self.say(juliet, "<presence/>")
        ping = "<ping xmlns='urn:xmpp:ping'/>"
        unknown = "<query xmlns='urn:unknown'/>"
        for to in (
            "",
            DOMAIN,
            R,
            f"{R}/orchard",
            J,
            f"{J}/chapel",
            N,
            ROOMS,
            "mantua.example",
            "@@",
        ):
            await self.say(romeo, query("get", ping, to), query("set", unknown, to))
        await self.say(romeo, query("get", ping, f"{J}/balcony"))
        await self.say(juliet, f"<iq type='result' id='s-query' to='{R}/orchard'/>")
        await self.say(juliet, f"<iq type='result' id='s-nobody' to='{R}/chapel'/>")
        await self.say(
            romeo,
            query("get", ""),
            query("get", ping + ping),
            query("ask", ping),
            f"<iq id='s-1'>{ping}</iq>",
            f"<iq type='get'>{ping}</iq>",
            f"<iq type='get' id=''>{ping}</iq>",
            "<iq type='result' id='s-2'/>",
            "<iq type='error' id='s-3'/>",
            f"<iq type='error' id='s-4' to='{J}/balcony'><x/></iq>",
            query("get", "<query xmlns='jabber:iq:version'/>", DOMAIN),
            query("get", "<query xmlns='jabber:iq:last'/>", DOMAIN),
            query("get", "<time xmlns='urn:xmpp:time'/>", DOMAIN),
            query("get", f"<query xmlns='{NS_DISCO}'/>", DOMAIN),
            query("get", f"<query xmlns='{NS_DISCO}' node='x'/>", DOMAIN),
            query("get", f"<query xmlns='{NS_ITEMS}'/>", DOMAIN),
            query("get", f"<query xmlns='{NS_DISCO}'/>", R),
            query("get", f"<query xmlns='{NS_DISCO}'/>", J),
            query("get", f"<query xmlns='{NS_DISCO}'/>", ROOMS),
            query("get", f"<query xmlns='{NS_ITEMS}'/>", ROOMS),
            query("get", "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>"),
            query("set", "<query xmlns='jabber:iq:private'><x xmlns='urn:x'>1</x></query>"),
            query("get", "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>"),
            query("get", "<vCard xmlns='vcard-temp'/>"),
            query("set", "<vCard xmlns='vcard-temp'><FN>Romeo &amp; c\u00f3.</FN></vCard>"),
            query("get", "<vCard xmlns='vcard-temp'/>"),
            query("get", "<vCard xmlns='vcard-temp'/>", J),
        )

    async def sceneStreamManagement(self) -> None:
        """
        What is between a client and whoever holds its connection.
        """
        sm = "urn:xmpp:sm:3"
        for xml in (
            f"<r xmlns='{sm}'/>",
            f"<enable xmlns='{sm}'/>",
            f"<resume xmlns='{sm}' previd='x' h='0'/>",
            "<inactive xmlns='urn:xmpp:csi:0'/>",
            "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
            f"<starttls xmlns='{NS_TLS}'/>",
        ):
            await self.login("romeo/orchard")
            await self.say("romeo/orchard", xml)
            await self._leave()

    async def scenePersonalEvents(self) -> None:
        """
        Nodes of one's own (XEP-0163).
        """
        romeo, juliet = "romeo/orchard", "juliet/balcony"
        await self.login(romeo, juliet)
        caps = (
            "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1'"
            " node='urn:x' ver='{}'/></presence>"
        )
        await self.say(romeo, caps.format("aaaa"))
        await self.say(romeo, f"<presence to='{J}' type='subscribed'/>")
        await self.say(juliet, f"<presence to='{R}' type='subscribe'/>")
        await self.say(romeo, f"<presence to='{J}' type='subscribed'/>")
        await self.say(juliet, caps.format("bbbb"))
        items = f"<pubsub xmlns='{NS_PUBSUB}'><items node='{{}}'/></pubsub>"
        await self.say(romeo, publish(1), publish(2))
        await self.say(
            juliet,
            query("get", items.format(TUNE), R),
            query("get", items.format("urn:x"), R),
            publish(3).replace("id='s-query'", f"id='s-query' to='{R}'"),
        )
        retract = (
            f"<pubsub xmlns='{NS_PUBSUB}'><retract node='{TUNE}' notify='1'>"
            "<item id='s-item2'/></retract></pubsub>"
        )
        delete = f"<pubsub xmlns='{NS_PUBSUB}#owner'><delete node='{TUNE}'/></pubsub>"
        await self.say(romeo, query("set", retract), query("set", delete))

    async def sceneBlocking(self) -> None:
        """
        The blocking command (XEP-0191).
        """
        romeo, juliet = "romeo/orchard", "juliet/balcony"
        await self.login(romeo, juliet)
        await self.say(romeo, "<presence/>")
        await self.say(juliet, "<presence/>")
        block = f"<block xmlns='urn:xmpp:blocking'><item jid='{J}'/></block>"
        await self.say(
            romeo,
            query("get", "<blocklist xmlns='urn:xmpp:blocking'/>"),
            query("set", block),
            query("get", "<blocklist xmlns='urn:xmpp:blocking'/>"),
            f"<message to='{J}' id='s-1'><body>?</body></message>",
        )
        await self.say(
            juliet,
            f"<message to='{R}' id='s-2'><body>?</body></message>",
            f"<presence to='{R}' type='subscribe'/>",
            query("get", "<ping xmlns='urn:xmpp:ping'/>", f"{R}/orchard"),
        )
        await self.say(
            romeo,
            query("set", "<block xmlns='urn:xmpp:blocking'/>"),
            query("set", "<unblock xmlns='urn:xmpp:blocking'/>"),
        )

    async def sceneArchive(self) -> None:
        """
        Copies (XEP-0280) and the archive (XEP-0313).
        """
        await self.account("benvolio", "rosaline")
        romeo, street, juliet = "benvolio/orchard", "benvolio/street", "rosaline/balcony"
        await self.login(romeo, street, juliet)
        for who in (romeo, street, juliet):
            await self.say(who, "<presence/>")
        await self.say(street, query("set", "<enable xmlns='urn:xmpp:carbons:2'/>"))
        await self.say(
            romeo, f"<message to='rosaline@{DOMAIN}/balcony' type='chat'><body>1</body></message>"
        )
        await self.say(
            juliet, f"<message to='benvolio@{DOMAIN}/orchard' type='chat'><body>2</body></message>"
        )
        await self.say(
            juliet,
            f"<message to='benvolio@{DOMAIN}/orchard' type='chat'><body>3</body>"
            "<private xmlns='urn:xmpp:carbons:2'/></message>",
        )
        rsm = "<set xmlns='http://jabber.org/protocol/rsm'><max>2</max>{}</set>"
        archive = "<query xmlns='urn:xmpp:mam:2' queryid='s-q'>{}</query>"
        await self.say(
            romeo,
            query("get", "<prefs xmlns='urn:xmpp:mam:2'/>"),
            query("set", archive.format("")),
            query("set", archive.format(rsm.format(""))),
            query("set", archive.format(rsm.format("<before/>"))),
            query("set", archive.format(rsm.format("<after>nowhere</after>"))),
            query("set", archive.format(""), f"rosaline@{DOMAIN}"),
        )

    async def sceneRoom(self) -> None:
        """
        A room (XEP-0045).
        """
        romeo, juliet = "romeo/orchard", "juliet/balcony"
        await self.login(romeo, juliet)
        room = f"ball@{ROOMS}"
        enter = "<presence to='{}/{}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        owner = "<query xmlns='http://jabber.org/protocol/muc#owner'>{}</query>"
        admin = "<query xmlns='http://jabber.org/protocol/muc#admin'>{}</query>"
        await self.say(juliet, enter.format(f"dark@{ROOMS}", "J"))
        await self.say(romeo, enter.format(room, "R"))
        await self.say(juliet, enter.format(room, "J"))
        await self.say(
            romeo,
            query("set", owner.format("<x xmlns='jabber:x:data' type='submit'/>"), room),
        )
        await self.say(
            juliet,
            enter.format(room, "R"),
            enter.format(room, "J"),
            f"<message to='{room}' type='groupchat' id='s-1'><body>Good pilgrim</body></message>",
            f"<message to='{room}/R' type='chat' id='s-2'><body>psst</body></message>",
            f"<message to='{room}/X' type='chat' id='s-3'><body>psst</body></message>",
            f"<message to='{room}' type='groupchat'><subject>Masks</subject></message>",
            query("get", owner.format(""), room),
            query("get", f"<query xmlns='{NS_DISCO}'/>", room),
            query("get", "<ping xmlns='urn:xmpp:ping'/>", f"{room}/R"),
            enter.format(room, "Capulet"),
            "<presence><show>away</show></presence>",
            f"<presence to='{room}/Capulet'><show>away</show></presence>",
            f"<presence to='{room}/Capulet' type='unavailable'/>",
            enter.format(room, "J"),
        )
        await self.say(
            romeo,
            query("set", admin.format("<item nick='J' role='none'/>"), room),
            query("set", owner.format("<destroy/>"), room),
            query("get", f"<query xmlns='{NS_DISCO}'/>", room),
        )
