# Copyright the cmanager authors.
# See LICENSE for details.

"""
The service at the root where several workers share the clients: binds once, keeps as
many of them running as there are to be, passes signals on, replaces them one after the
other when the configuration wants it.  Layer 5; takes no client itself.

Each worker has a slot, and by that a name that no other has: a server takes all links of
one name for those of one process, and sends what is for its clients over any of them.
There is one slot more than there are workers.  A replacement starts in the free one, with
links of its own; only when it is ready is the worker before told to leave, whose slot is
free for the next once it is really gone.  A worker that died is followed by one in its own
slot: a server that has kept its sessions hears, under the same name, that nobody is behind
them any more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.defer import TimeoutError as LateError

from cmanager.check import found
from cmanager.child import FIRST_SHARED, Child, Start
from cmanager.crew import Crew
from cmanager.errors import ConfigError
from cmanager.front import STOP_MARGIN, isLive
from cmanager.opening import Opening
from cmanager.plan import Orders, Plan
from cmanager.ports import Ports
from cmanager.post import Post
from cmanager.provisions import Provisions
from cmanager.root import Root, Surroundings
from cmanager.schema import differences

START_SECONDS = 10.0
"""
What a process may take until it connects to the servers.
"""

LEAVE_SECONDS = 2.0
"""
What it may take to end beyond the time in which its service stops.
"""

WORKERS = "manager.workers"
"""
The only key that needs a restart of it all.
"""

FORMAT = "log.format"
"""
And the only one that is ours alone.
"""


class Supervisor(Root):
    """
    The root of a process that has workers.

    @param orders: What they are to do, and how many they are.
    @param read: Reads the configuration, or raises L{ConfigError}.
    @param options: Of twistd, for the workers.
    @param random: Returns a number from 0 up to 1.
    @ivar posts: One for each worker.
    """

    def __init__(
        self,
        orders: Orders,
        around: Surroundings,
        read: Callable[[], Orders],
        options: tuple[str, ...] = (),
        random: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(around)
        workers = orders.settings.manager.workers
        assert workers is not None
        self.posts = [
            Post(around.reactor, slot, orders, self._hire, random) for slot in range(workers)
        ]
        self._free = workers
        self._orders = orders
        self._read = read
        self._options = options
        self._ports = Ports(around.reactor)
        self._provisions = Provisions(workers + 1)
        self._children: set[Child] = set()
        self._rolling: Deferred[None] | None = None
        self._readsLater = False

    # Starting and stopping.

    def bind(self) -> None:
        """
        See L{Root.bind}.
        """
        Opening(self._orders.settings, len(self.posts)).tell()
        self._ports.bind(self._orders.endpoints)
        super().bind()

    def startService(self) -> None:
        """
        Start the workers, as soon as the reactor runs.
        """
        addresses = self._orders.settings.limits.addresses
        self._orFail(lambda: self._provisions.open(addresses))
        super().startService()
        self._around.reactor.callWhenRunning(self._fill)

    def _fill(self) -> None:
        for post in self.posts:
            post.fill()

    def stopService(self) -> Deferred[None]:
        """
        Have all workers leave, in bounded time.
        """
        self.log.info("stopping: clients are told to leave")
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's; there are no children
        # Whoever connects is refused as soon as the workers have let go of the sockets, too.
        self._ports.keep(())
        if self._rolling is not None:
            self._rolling.cancel()
        for post in self.posts:
            post.vacate()
        bound = max((child.patience for child in self._children), default=0.0)
        leaving: Deferred[Any] = DeferredList([child.leave() for child in self._children])
        leaving.addCallback(lambda _: self._provisions.close())
        return self._within(bound + STOP_MARGIN, leaving)

    # Workers.

    def _hire(self, slot: int, orders: Orders) -> Child:
        provisions, ports = self._provisions, self._ports.descriptors(orders.endpoints)
        sockets = ports.values()
        given = [provisions.held, provisions.shared, provisions.listening(slot), *sockets]
        descriptors = dict(enumerate(given, FIRST_SHARED))
        _, shared, listening, *numbers = descriptors
        crew = Crew(
            slot,
            provisions.size,
            shared,
            listening,
            provisions.paths,
            dict(zip(ports, numbers, strict=True)),
        )
        manager = orders.settings.manager
        start = Start(
            Plan(orders.path, orders.text, orders.name(slot), crew),
            descriptors,
            manager.drain + manager.grace + STOP_MARGIN + LEAVE_SECONDS,
            self._options,
        )
        child = Child(self._around.reactor, start, self)
        self._children.add(child)
        return child

    def childEnded(self, child: Child) -> None:
        """
        See L{IWatch <cmanager.child.IWatch>}.
        """
        self._children.discard(child)
        clients = self._provisions.freed(child.slot)
        for post in self.posts:
            if post.child is child and self.running:
                post.lost(clients)

    # A changed configuration.

    def reload(self) -> None:
        """
        Have the workers take over what has changed, or be replaced where that does not do.
        A configuration that cannot be read changes nothing.  With one that nobody could
        start with, none is replaced; each takes over what can change, as one process does.
        """
        super().reload()
        if not self.running:
            return
        if self._rolling is not None:
            self._readsLater = True
            return
        try:
            orders = self._read()
        except ConfigError as error:
            self._notTaken(error)
            return
        problems = self._prepared(orders)
        settings = orders.settings
        self._tellDoubts(settings)
        if settings.manager.workers != len(self.posts):
            self.log.warn("configuration: only a restart changes {keys}", keys=WORKERS)
        if self._around.writer is not None:
            self._around.writer.level = settings.log.level
            self._around.writer.form = settings.log.format
        changed: dict[str, None] = {}
        behind: list[Post] = []
        for post in self.posts:
            keys = [key for key in differences(post.orders.settings, settings) if key != WORKERS]
            live = [key for key in keys if isLive(key) or key == FORMAT]
            changed |= dict.fromkeys(live if problems else keys)
            if live != keys:
                behind.append(post)
            elif not problems:
                post.orders = orders
            if post.child is not None and (live == keys or problems):
                post.child.hangUp()
        self.log.info(
            "configuration read again; changed: {keys}", keys=", ".join(changed) or "nothing"
        )
        if behind and problems:
            self._stays(behind[0], "; ".join(problems))
        elif behind:
            self._rolling = ensureDeferred(self._roll(behind, orders))
            self._rolling.addErrback(
                lambda failure: self.log.failure("workers cannot be replaced", failure)
            )
            self._rolling.addCallback(self._rolled)

    def _prepared(self, orders: Orders) -> list[str]:
        """
        Bind what new workers need.

        @return: What keeps them from starting; nothing is bound then.
        """
        problems = list(found(orders.settings, self._around.reactor))
        if not problems:
            try:
                self._ports.bind(orders.endpoints)
            except ConfigError as error:
                problems += error.problems
        return problems

    async def _roll(self, behind: list[Post], orders: Orders) -> None:
        """
        Replace workers one after the other, as long as that goes well.
        """
        for post in behind:
            try:
                why = await self._replace(post, orders)
            except CancelledError:
                return  # by stopService
            if why:
                self._stays(post, why)
                break
        else:
            self.log.info("all workers run with the new configuration")

    def _stays(self, post: Post, why: str) -> None:
        self.log.error(
            "worker {worker} stays as it is, and those after it: {why}; correct the"
            " configuration, and send SIGHUP again",
            worker=post.slot,
            why=why,
        )

    def _rolled(self, _: object) -> None:
        self._rolling = None
        if self.running:
            self._ports.keep({place for post in self.posts for place in post.orders.endpoints})
            if self._readsLater:
                self._readsLater = False
                self.reload()

    async def _replace(self, post: Post, orders: Orders) -> str | None:
        """
        Have another process take the place of a worker.

        @return: Why it does not.
        """
        trial = self._hire(self._free, orders)
        patience = START_SECONDS + max(server.setupTimeout for server in orders.settings.servers)
        why = None
        try:
            await trial.settled().addTimeout(patience, self._around.reactor)
        except LateError:
            if not trial.isUp:
                why = f"its replacement has not started after {patience:g} s"
            elif post.child is not None and post.child.isReady:
                # Where the one before has none either, nothing can become worse.
                why = f"its replacement has no link to each server after {patience:g} s"
        if trial.how is not None:
            why = f"its replacement {trial.how}"
        if why:
            await trial.leave()
            return why
        free, before = post.slot, post.take(trial, orders)
        if before is not None:
            self.log.info(
                "worker {worker} is in the place of worker {before}, which leaves",
                worker=trial.slot,
                before=before.slot,
            )
            await before.leave()
        self._free = free
        return None
