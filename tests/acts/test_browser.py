# Copyright the cmanager authors.
# See LICENSE for details.

"""
The chat page of the demonstration in a browser, as two people use it.

Pictures of it are kept in the folder that C{CMANAGER_SCREENSHOTS} names, or with what
else trial keeps of a test.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor

from tests.acts.actor import Actor, Role
from tests.acts.demonstration import SCREEN_ENDS, DemoCase
from tests.acts.stage import STOP_SECONDS
from tests.programs import find

ROMEO = "romeo@localhost"
JULIET = "juliet@localhost"
DESKTOP = {"width": 1280, "height": 800, "isPhone": False}
PHONE = {"width": 390, "height": 844, "isPhone": True}

DIALOGUE = (
    ("romeo", "He jests at scars that never felt a wound."),
    ("juliet", "O Romeo, Romeo! wherefore art thou Romeo?"),
    ("juliet", "Deny thy father and refuse thy name"),
    ("romeo", "Shall I hear more, or shall I speak at this?"),
    ("juliet", "'Tis but thy name that is my <b onclick='stab()'>enemy</b> & <script>x</script>"),
    ("romeo", "so" * 120),
)


class BrowserTests(DemoCase):
    """
    The page.
    """

    async def setUp(self) -> None:
        """
        Start the demonstration, and a browser.
        """
        program = find("chromium", "chromium")
        self.actor = Actor(reactor, "browser")
        self.addCleanup(self.quit)
        super().setUp()
        self.front = self.begin()
        await self.front.until(SCREEN_ENDS)
        self.page = f"http://localhost:{self.ports[2]}/"
        self.program = program

    async def quit(self) -> None:
        """
        End the browser.
        """
        assert self.actor.transport is not None
        self.actor.transport.closeStdin()
        self.actor.ended.addTimeout(STOP_SECONDS, reactor)
        await self.actor.ended

    async def window(
        self, name: str, size: dict[str, int], *, isDark: bool = False, mayComplain: bool = False
    ) -> Role:
        """
        Open a window.

        @param mayComplain: The page may lack something, such as a server.
        """
        window = self.actor.role(name)
        window.order(
            "open",
            program=self.program,
            url=self.page,
            colorScheme="dark" if isDark else "light",
            mayComplain=mayComplain,
            **size,
        )
        await window.expect("opened", title="Chat")
        return window

    async def couple(self, transport: str, *, isDark: bool = False) -> dict[str, Role]:
        """
        Log in Romeo at a desktop and Juliet at a phone.
        """
        windows = {
            "romeo": await self.window("romeo", DESKTOP, isDark=isDark),
            "juliet": await self.window("juliet", PHONE, isDark=isDark),
        }
        for name, window in windows.items():
            await self.picture(f"{transport}-{name}-login", window)
            window.order("login", jid=f"{name}@localhost", password=name, transport=transport)
            await window.expect("online", state=f"online by {transport}")
        for window in windows.values():
            await self.see(window, "#contacts button.online")
        return windows

    async def see(self, window: Role, selector: str, text: str = "") -> None:
        """
        Wait until an element is there.
        """
        window.order("look", selector=selector, text=text)
        await window.expect("seen", selector=selector, text=text)

    async def picture(self, name: str, window: Role) -> None:
        """
        Keep a picture of a window, in which everything fits.
        """
        window.order("measure")
        await window.expect("measured", overflow=0)
        folder = Path(os.environ.get("CMANAGER_SCREENSHOTS") or self.home.parent).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        window.order("screenshot", path=str(folder / f"{name}.png".lower()))
        await window.expect("pictured")

    async def converse(self, transport: str, *, isDark: bool = False) -> None:
        """
        Have the two talk to each other.
        """
        windows = await self.couple(transport, isDark=isDark)
        for name, text in DIALOGUE:
            windows[name].order("write", text=text)
            await self.see(windows["juliet" if name == "romeo" else "romeo"], "#messages li", text)
        for name, window in windows.items():
            window.order("read", selector="#messages li")
            shown = (await window.expect("read"))["texts"]
            self.assertEqual([text.rpartition("\n")[0] for text in shown], [x for _, x in DIALOGUE])
            window.order("read", selector="#messages li.mine")
            mine = (await window.expect("read"))["texts"]
            self.assertEqual(len(mine), sum(who == name for who, _ in DIALOGUE))
            await self.picture(f"{transport}-{name}-chat", window)

    async def test_webSocket(self) -> None:
        """
        Two windows chat over WebSocket; what is said is shown as it is, and in order.
        """
        await self.converse("WebSocket")

    async def test_bosh(self) -> None:
        """
        Two windows chat over BOSH, in the dark.
        """
        await self.converse("BOSH", isDark=True)

    async def test_atOnce(self) -> None:
        """
        A tap logs in; who leaves is seen to be offline, and gets at the next login what was
        written meanwhile.
        """
        romeo = await self.window("romeo", DESKTOP)
        juliet = await self.window("juliet", PHONE)
        for window, name in ((romeo, "Romeo"), (juliet, "Juliet")):
            window.order("tap", label=name)
            await self.see(window, "#state", "online by WebSocket")
        await self.see(romeo, "#contacts button.online", "Juliet")
        juliet.order("tap", label="Log out")
        await self.see(juliet, "#login h1", "Chat")
        await self.see(romeo, "#contacts button:not(.online)", "Juliet")
        romeo.order("write", text="Wilt thou leave me so unsatisfied?")
        await self.see(romeo, "#messages li.mine", "unsatisfied")
        juliet.order("tap", label="Juliet")
        await self.see(juliet, "#messages li", "Wilt thou leave me so unsatisfied?")

    async def test_wrongPassword(self) -> None:
        """
        A wrong password is said to be one, and the right one is taken afterwards.
        """
        window = await self.window("romeo", PHONE)
        for transport in ("WebSocket", "BOSH"):
            window.order("fill", jid=ROMEO, password="wrong", transport=transport)
            await self.see(window, "[role=alert]", "The address or the password is wrong.")
        await self.picture("refused", window)
        window.order("login", jid=ROMEO, password="romeo", transport="BOSH")
        await window.expect("online")

    async def test_comesBack(self) -> None:
        """
        A page whose server is gone says so, and goes on when the server is back.
        """
        windows = [
            await self.window(name, size, mayComplain=True)
            for name, size in (("romeo", DESKTOP), ("juliet", PHONE))
        ]
        for window, name, transport in zip(
            windows, ("romeo", "juliet"), ("WebSocket", "BOSH"), strict=True
        ):
            window.order("login", jid=f"{name}@localhost", password=name, transport=transport)
            await window.expect("online")
        await self.front.stop()
        for window in windows:
            await self.see(window, "#state", "offline, again in")
        await self.picture("offline", windows[1])
        await self.begin().until(SCREEN_ENDS)
        for window in windows:
            await self.see(window, "#contacts button.online")
        windows[0].order("write", text="Parting is such sweet sorrow")
        await self.see(windows[1], "#messages li", "Parting is such sweet sorrow")
