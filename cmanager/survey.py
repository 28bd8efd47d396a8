# Copyright the cmanager authors.
# See LICENSE for details.

"""
What C{cmanager check-dns} does: finds out what clients will find of a domain, and says
what to do about what is wrong.  Layer 5; asks through L{cmanager.world}, changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from ipaddress import ip_address

from cmanager.discovery import (
    DIRECT_TLS,
    HOST_META,
    HOST_META_JSON,
    STARTTLS,
    Record,
    asciiName,
    publicURLs,
    readHostMeta,
    readHostMetaJSON,
    records,
)
from cmanager.settings import Settings
from cmanager.world import ORIGIN, IWorld, Place, Service, Unanswered

MAX_TARGETS = 16
MAX_URLS = 16
"""
Of each document, not more is looked at.
"""

SHOWN_CHARACTERS = 500

_SERVICES = {STARTTLS: "STARTTLS", DIRECT_TLS: "TLS from the first byte"}
_READERS = {HOST_META: readHostMeta, HOST_META_JSON: readHostMetaJSON}
_WEB_SERVER = "make the web server of {domain} redirect it to this connection manager, or copy it"


class Verdict(Enum):
    """
    What is to be done about a finding: nothing, think about it, mend it.
    """

    GOOD = "ok"
    NOTE = "note"
    PROBLEM = "problem"


class Survey:
    """
    One look at one domain.

    @param domain: In any form.
    @param settings: What should be found, or L{None} for whatever can work.
    @param report: Called with each finding, one line.
    @ivar problems: How many there were so far.
    @raise ConfigError: The settings do not say what should be found.
    """

    def __init__(
        self,
        domain: str,
        world: IWorld,
        settings: Settings | None,
        report: Callable[[str], object],
    ) -> None:
        self._name = domain
        self._domain = asciiName(domain) or ""
        self._world = world
        self._report = report
        self.problems = 0
        self._hasExpectations = settings is not None
        self._records: tuple[Record, ...] = ()
        self._urls: tuple[str, ...] = ()
        if settings is not None:
            self._records = tuple(r for r in records(settings) if r.domain == self._domain)
            domains = {asciiName(d) for server in settings.servers for d in server.domains}
            if self._domain in domains:
                self._urls = publicURLs(settings)
            else:
                self._hasExpectations = False
                self._problem(f"{domain}: is not in server.domains of the configuration")

    def _say(self, verdict: Verdict, text: str) -> None:
        if verdict is Verdict.PROBLEM:
            self.problems += 1
        # Much of it is others' words, and goes to a terminal.
        text = re.sub(r"[^ -~]", lambda m: m.group().encode("unicode_escape").decode(), text)
        self._report(f"{verdict.value}: {text[:SHOWN_CHARACTERS]}")

    def _good(self, text: str) -> None:
        self._say(Verdict.GOOD, text)

    def _note(self, text: str) -> None:
        self._say(Verdict.NOTE, text)

    def _problem(self, text: str) -> None:
        self._say(Verdict.PROBLEM, text)

    async def run(self) -> None:
        """
        Look, and report.
        """
        if not self._domain:
            self._problem(f"{self._name}: is not a domain in the DNS")
            return
        found: dict[str, list[Service]] = {}
        for service in _SERVICES:
            try:
                found[service] = await self._world.services(f"{service}.{self._domain}")
            except Unanswered as error:
                self._problem(
                    f"{service}.{self._domain}: {error.reason}: look at the name servers of the"
                    " domain"
                )
            else:
                self._judge(service, found[service])
        if len(found) == len(_SERVICES) and not any(found.values()):
            await self._fallBack()
        targets = [service.target for each in found.values() for service in each]
        for target in list(dict.fromkeys(filter(None, targets)))[:MAX_TARGETS]:
            await self._target(target)
        await self._documents()

    def _judge(self, service: str, found: list[Service]) -> None:
        """
        Look at the records of one service.
        """
        name = f"{service}.{self._domain}"
        expected = [record for record in self._records if record.service == service]
        if not found and not expected:
            self._note(f"{name}: no SRV record, so that {_SERVICES[service]} is not found")
        for record in found:
            self._record(name, record, expected)
        if len(found) > 1 and not all(record.target for record in found):
            self._problem(f'{name}: a record for "." beside others: remove one or the other')
        there = {(record.target, record.port) for record in found}
        for wanted in expected:
            if (wanted.target, wanted.port) not in there:
                self._problem(f"{name}: nothing leads to this configuration: publish {wanted}")

    def _record(self, name: str, record: Service, expected: list[Record]) -> None:
        text = (
            f"{name}: {record.target}:{record.port}"
            f" (priority {record.priority}, weight {record.weight})"
        )
        if not record.target:
            self._note(f'{name}: leads to ".": clients learn that this is not offered')
        elif not record.port:
            self._problem(f"{text}: there is no port 0: correct the record")
        elif not self._hasExpectations or (record.target, record.port) in [
            (wanted.target, wanted.port) for wanted in expected
        ]:
            self._good(text)
        elif record.target in [r.target for r in self._records]:
            ports = ", ".join(str(r.port) for r in expected) or "none"
            self._problem(
                f"{text}: this configuration has another port for that ({ports}): correct the"
                " record or public"
            )
        else:
            self._note(f"{text}: another host than public.host; is it one of yours?")

    async def _fallBack(self) -> None:
        """
        Without any record clients try the domain itself (RFC 6120 section 3.2.2).
        """
        self._problem(
            f"{self._domain}: no SRV records at all: publish them (cmanager dns --config FILE"
            f" prints them); until then clients try {self._domain}:5222"
        )
        await self._target(self._domain, isTarget=False)

    async def _target(self, name: str, *, isTarget: bool = True) -> None:
        """
        Look at the addresses of a host.
        """
        try:
            place = await self._world.place(name)
        except Unanswered as error:
            self._problem(f"{name}: {error.reason}: look at its name servers")
            return
        if place.alias is not None and isTarget:
            self._problem(
                f"{name}: is another name for {place.alias} (CNAME), which a record must not lead"
                " to (RFC 2782): let it lead there, or give the name addresses of its own"
            )
        if not place.addresses:
            self._problem(f"{name}: has no address: publish an A or AAAA record")
        else:
            self._addresses(name, place)

    def _addresses(self, name: str, place: Place) -> None:
        text = f"{name}: {', '.join(place.addresses)}"
        inside = [a for a in place.addresses if not ip_address(a).is_global]
        if inside:
            self._note(f"{text}: the world cannot reach {', '.join(inside)}")
        else:
            self._good(text)

    async def _documents(self) -> None:
        """
        Look at what browsers read.
        """
        found = [await self._document(path) for path in _READERS]
        # What differs from what is expected has been said.
        if not self._hasExpectations and None not in found and len(set(found)) > 1:
            self._problem(f"{self._domain}: {HOST_META} and {HOST_META_JSON} differ: correct one")

    async def _document(self, path: str) -> frozenset[str] | None:
        url = f"https://{self._domain}{path}"
        advice = _WEB_SERVER.format(domain=self._domain)
        try:
            page = await self._world.page(url)
            if page.status != 200:
                raise Unanswered(f"the web server answers with status {page.status}")
        except Unanswered as error:
            if self._urls:
                self._problem(f"{url}: {error.reason}: {advice}")
            else:
                self._note(f"{url}: {error.reason}: clients in browsers find nothing")
            return None
        try:
            urls = _READERS[path](page.body)[:MAX_URLS]
        except ValueError as error:
            self._problem(f"{url}: cannot be read: {error}: {advice}")
            return None
        self._compare(url, urls, advice)
        if page.origins not in ("*", ORIGIN):
            self._problem(
                f"{url}: pages of other origins may not read it: add the header"
                " Access-Control-Allow-Origin: *"
            )
        return frozenset(urls)

    def _compare(self, url: str, urls: tuple[str, ...], advice: str) -> None:
        for link in urls:
            if link.startswith(("ws:", "http:")) and link not in self._urls:
                self._problem(
                    f"{url}: {link} sends passwords in clear: offer wss: or https: instead"
                )
            elif self._hasExpectations and link not in self._urls:
                self._note(f"{url}: {link} is not in this configuration; is it one of yours?")
            else:
                self._good(f"{url}: {link}")
        for link in self._urls:
            if link not in urls:
                self._problem(f"{url}: {link} is missing: {advice}")
        if not urls and not self._urls:
            self._note(f"{url}: names no URL for XMPP: clients in browsers find nothing")
