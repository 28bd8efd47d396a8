# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.survey}.
"""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from cmanager.discovery import hostMeta, hostMetaJSON
from cmanager.errors import ConfigError
from cmanager.settings import (
    ListenerSettings,
    PublicSettings,
    ServerSettings,
    Settings,
    TLSSettings,
)
from cmanager.survey import MAX_TARGETS, MAX_URLS, SHOWN_CHARACTERS, Survey
from cmanager.world import ORIGIN, Page, Place, Service, Unanswered

CLIENT = "_xmpp-client._tcp.montague.example"
CLIENTS = "_xmpps-client._tcp.montague.example"
HOST = "xmpp.montague.example"
XML = "https://montague.example/.well-known/host-meta"
JSON = XML + ".json"
URLS = (f"wss://{HOST}/ws", f"https://{HOST}/http-bind")

# Those for documentation are not the world's; these are of servers of the root.
GLOBAL = ("198.41.0.4", "2001:503:ba3e::2:30")

SETTINGS = Settings(
    tls=TLSSettings("x"),
    listeners=(
        ListenerSettings("tcp", "tcp:5222"),
        ListenerSettings("tls", "tcp:5223"),
        ListenerSettings("https", "tcp:443"),
    ),
    servers=(ServerSettings(("montague.example", "bücher.example")),),
    public=PublicSettings(HOST),
)
WITHOUT_WEB = evolve(SETTINGS, listeners=SETTINGS.listeners[:2])


def documents(xml: tuple[str, ...] = URLS, json: tuple[str, ...] = URLS) -> dict[str, Page]:
    """
    Make the documents for browsers.
    """
    return {XML: Page(200, hostMeta(xml), "*"), JSON: Page(200, hostMetaJSON(json), "*")}


class World:
    """
    A world in which all is well, until a test changes something.  What is not in it
    does not exist; what is an error is not known.
    """

    def __init__(self) -> None:
        self.records: dict[str, list[Service] | Unanswered] = {
            CLIENT: [Service(0, 5, 5222, HOST)],
            CLIENTS: [Service(0, 5, 5223, HOST)],
        }
        self.places: dict[str, Place | Unanswered] = {HOST: Place(GLOBAL)}
        self.pages: dict[str, Page | Unanswered] = {**documents()}
        self.asked: list[str] = []

    async def services(self, name: str) -> list[Service]:
        return self._answer(self.records.get(name, []), name)

    async def place(self, name: str) -> Place:
        return self._answer(self.places.get(name, Place()), name)

    async def page(self, url: str) -> Page:
        return self._answer(self.pages.get(url, Page(404)), url)

    def _answer(self, answer: object, name: str) -> object:
        self.asked.append(name)
        if isinstance(answer, Unanswered):
            raise answer
        return answer


class Case(SynchronousTestCase):
    """
    With a world.
    """

    def setUp(self) -> None:
        """
        Begin with all well.
        """
        self.world = World()

    def look(
        self, settings: Settings | None = SETTINGS, domain: str = "montague.example"
    ) -> list[str]:
        """
        Return the findings that are not good; nothing is told twice.
        """
        self.lines: list[str] = []
        survey = Survey(domain, self.world, settings, self.lines.append)
        self.successResultOf(ensureDeferred(survey.run()))
        self.assertEqual(len(self.lines), len(set(self.lines)))
        problems = [line for line in self.lines if line.startswith("problem: ")]
        self.assertEqual(survey.problems, len(problems))
        return [line for line in self.lines if not line.startswith("ok: ")]


class WellTests(Case):
    """
    What is as it should be.
    """

    def test_expected(self) -> None:
        """
        All that was expected is there, line by line.
        """
        self.assertEqual(self.look(), [])
        self.assertEqual(
            self.lines,
            [
                f"ok: {CLIENT}: {HOST}:5222 (priority 0, weight 5)",
                f"ok: {CLIENTS}: {HOST}:5223 (priority 0, weight 5)",
                f"ok: {HOST}: 198.41.0.4, 2001:503:ba3e::2:30",
                *(f"ok: {document}: {url}" for document in (XML, JSON) for url in URLS),
            ],
        )

    def test_anybodys(self) -> None:
        """
        Without a configuration whatever can work is well.
        """
        self.world.records[CLIENT] = [Service(3, 1, 80, "a.example"), Service(0, 0, 1, HOST)]
        self.world.places["a.example"] = Place(GLOBAL[:1])
        self.world.pages = {**documents(URLS[:1], URLS[:1])}
        self.assertEqual(self.look(None), [])

    def test_noWeb(self) -> None:
        """
        Who serves no browsers need not have documents for them.
        """
        for answer in (Page(404), Unanswered("no such host")):
            self.world.pages = {XML: answer, JSON: answer}
            for settings in (None, WITHOUT_WEB):
                found = self.look(settings)
                self.assertEqual([line[:6] for line in found], ["note: ", "note: "])
                self.assertIn("clients in browsers find nothing", found[0])

    def test_name(self) -> None:
        """
        The domain may be in any form.
        """
        for domain in ("Montague.Example.", "MONTAGUE.EXAMPLE"):
            self.assertEqual(self.look(domain=domain), [])
        self.look(domain="Bücher.example")
        self.assertIn("_xmpp-client._tcp.xn--bcher-kva.example", self.world.asked)

    def test_origin(self) -> None:
        """
        A server may allow the origin that asked alone.
        """
        self.world.pages = {url: evolve(page, origins=ORIGIN) for url, page in documents().items()}
        self.assertEqual(self.look(), [])


class RecordTests(Case):
    """
    SRV records.
    """

    def test_missing(self) -> None:
        """
        What is not there is to be published, as it should be.
        """
        self.world.records[CLIENTS] = []
        self.assertEqual(
            self.look(),
            [
                f"problem: {CLIENTS}: nothing leads to this configuration: publish"
                f" {CLIENTS}. 3600 IN SRV 0 5 5223 {HOST}."
            ],
        )

    def test_missingAnybodys(self) -> None:
        """
        Without a configuration one kind is enough.
        """
        self.world.records[CLIENT] = []
        (line,) = self.look(None)
        self.assertTrue(line.startswith(f"note: {CLIENT}: no SRV record, so that STARTTLS"), line)

    def test_none(self) -> None:
        """
        Without any record clients try the domain, which is looked up instead.
        """
        self.world.records = {}
        self.world.places = {"montague.example": Place(GLOBAL, "alias.example")}
        found = self.look(None)
        self.assertEqual([line[:4] for line in found], ["note", "note", "prob"])
        self.assertIn("until then clients try montague.example:5222", found[2])
        self.assertIn("ok: montague.example: 198.41.0.4, 2001:503:ba3e::2:30", self.lines)
        self.assertNotIn(HOST, self.world.asked)

    def test_port(self) -> None:
        """
        A record that leads to the host has one of its ports.
        """
        self.world.records[CLIENT] = [Service(0, 5, 5222, HOST), Service(9, 5, 5223, HOST)]
        (line,) = self.look()
        self.assertTrue(line.startswith(f"problem: {CLIENT}: {HOST}:5223 "))
        self.assertIn("has another port for that (5222)", line)
        settings = evolve(SETTINGS, listeners=SETTINGS.listeners[1:])
        self.assertIn("has another port for that (none)", self.look(settings)[0])

    def test_otherHost(self) -> None:
        """
        There may be other connection managers, beside this one.
        """
        self.world.records[CLIENT] = [Service(0, 5, 5222, "b.example")]
        self.world.places["b.example"] = Place(GLOBAL)
        found = self.look()
        self.assertIn("note: ", found[0])
        self.assertIn("b.example:5222 (priority 0, weight 5): another host", found[0])
        self.assertIn(f"publish {CLIENT}. 3600", found[1])
        self.assertEqual(len(found), 2)

    def test_dot(self) -> None:
        """
        A record may say that there is nothing; not beside others.
        """
        self.world.records[CLIENTS] = [Service(0, 0, 0, "")]
        (line,) = self.look(None)
        self.assertEqual(
            line, f'note: {CLIENTS}: leads to ".": clients learn that this is not offered'
        )
        self.assertEqual(self.look()[1][:8], "problem:")
        self.world.records[CLIENTS] = [Service(0, 0, 0, ""), Service(0, 5, 5223, HOST)]
        self.assertIn('a record for "." beside others', self.look()[1])

    def test_zero(self) -> None:
        """
        There is no port 0.
        """
        self.world.records[CLIENT] = [Service(0, 5, 0, HOST)]
        (line,) = self.look(None)
        self.assertIn("no port 0", line)

    def test_unanswered(self) -> None:
        """
        That nobody knows is a problem of its own, and says nothing of what there is.
        """
        self.world.records = {CLIENT: Unanswered("SERVFAIL"), CLIENTS: Unanswered("REFUSED")}
        found = self.look()
        self.assertEqual(
            found,
            [
                f"problem: {name}: {why}: look at the name servers of the domain"
                for name, why in ((CLIENT, "SERVFAIL"), (CLIENTS, "REFUSED"))
            ],
        )


class TargetTests(Case):
    """
    What records lead to.
    """

    def test_alias(self) -> None:
        """
        A record must not lead to another name of something.
        """
        self.world.places[HOST] = Place(GLOBAL, "a.example")
        (line,) = self.look()
        self.assertTrue(line.startswith(f"problem: {HOST}: is another name for a.example (CNAME)"))

    def test_noAddress(self) -> None:
        """
        Nor to what has no address.
        """
        self.world.places = {}
        for settings in (None, SETTINGS):
            self.assertEqual(
                self.look(settings),
                [f"problem: {HOST}: has no address: publish an A or AAAA record"],
            )
        self.world.places[HOST] = Unanswered("SERVFAIL")
        self.assertEqual(self.look(), [f"problem: {HOST}: SERVFAIL: look at its name servers"])

    def test_inside(self) -> None:
        """
        An address that only some can reach is told.
        """
        self.world.places[HOST] = Place((GLOBAL[0], "10.0.0.1", "fd00::1"))
        (line,) = self.look()
        self.assertEqual(
            line,
            f"note: {HOST}: 198.41.0.4, 10.0.0.1, fd00::1: the world cannot reach 10.0.0.1,"
            " fd00::1",
        )

    def test_many(self) -> None:
        """
        Of so many hosts not more are looked at.
        """
        for number in (MAX_TARGETS, MAX_TARGETS + 1):
            self.world = World()
            self.world.records[CLIENT] = [Service(0, 0, 1, f"{i}.example") for i in range(number)]
            self.world.records[CLIENTS] = []
            self.look(None)
            asked = [name for name in self.world.asked if name.endswith(".example")]
            self.assertEqual(len([name for name in asked if name[0].isdigit()]), MAX_TARGETS)


class DocumentTests(Case):
    """
    What browsers read.
    """

    def test_missing(self) -> None:
        """
        Where browsers are served, both documents must be there.
        """
        self.world.pages = {XML: Page(404), JSON: Unanswered("the connection is refused")}
        found = self.look()
        self.assertIn(f"problem: {XML}: the web server answers with status 404: make the", found[0])
        self.assertIn(f"problem: {JSON}: the connection is refused: make the web", found[1])

    def test_unreadable(self) -> None:
        """
        A document that cannot be read is a problem in any case.
        """
        self.world.pages = {XML: Page(200, b"<html>", "*"), JSON: Page(200, b"<html>", "*")}
        for settings in (None, SETTINGS, WITHOUT_WEB):
            found = self.look(settings)
            self.assertIn(f"problem: {XML}: cannot be read: not ", found[0])
            self.assertIn(f"problem: {JSON}: cannot be read: not JSON", found[1])

    def test_missingURL(self) -> None:
        """
        Each URL must be in both.
        """
        self.world.pages = {**documents(URLS[:1])}
        (line,) = self.look()
        self.assertTrue(line.startswith(f"problem: {XML}: {URLS[1]} is missing: make the web"))

    def test_otherURL(self) -> None:
        """
        Other URLs may be somebody else's.
        """
        self.world.pages = {**documents((*URLS, "wss://b.example/"), URLS)}
        (line,) = self.look()
        self.assertIn("note: ", line)
        self.assertIn("wss://b.example/ is not in this configuration", line)

    def test_inClear(self) -> None:
        """
        URLs without TLS are a problem, unless the configuration has them.
        """
        urls = ("ws://a.example/", "http://a.example/")
        self.world.pages = {**documents(urls, urls)}
        found = self.look(None)
        self.assertEqual(len(found), 4)
        self.assertIn("ws://a.example/ sends passwords in clear", found[0])
        public = PublicSettings(HOST, websocket=urls[0], bosh=urls[1])
        self.assertEqual(self.look(evolve(WITHOUT_WEB, public=public)), [])

    def test_differ(self) -> None:
        """
        Without a configuration both must say the same, in any order.
        """
        self.world.pages = {**documents(URLS, URLS[:1])}
        (line,) = self.look(None)
        self.assertIn("host-meta and /.well-known/host-meta.json differ", line)
        self.world.pages = {**documents(URLS, URLS[::-1])}
        self.assertEqual(self.look(None), [])

    def test_empty(self) -> None:
        """
        A document for something else is no problem where nothing is expected.
        """
        self.world.pages = {**documents((), ())}
        for settings in (None, WITHOUT_WEB):
            found = self.look(settings)
            self.assertIn(f"note: {XML}: names no URL for XMPP", found[0])
            self.assertEqual(len(found), 2)

    def test_origins(self) -> None:
        """
        Scripts of all origins must be allowed to read them.
        """
        for origins in (None, "https://montague.example"):
            page = documents()[XML]
            self.world.pages[XML] = evolve(page, origins=origins)
            (line,) = self.look()
            self.assertIn("Access-Control-Allow-Origin: *", line)

    def test_many(self) -> None:
        """
        Of so many URLs not more are looked at.
        """
        for number in (MAX_URLS, MAX_URLS + 1):
            urls = tuple(f"wss://{i}.example/" for i in range(number))
            self.world.pages = {**documents(urls, urls)}
            self.look(None)
            self.assertEqual(
                len([line for line in self.lines if line.startswith(f"ok: {XML}:")]), MAX_URLS
            )


class SurveyTests(Case):
    """
    The whole.
    """

    def test_noDomain(self) -> None:
        """
        Nothing is asked about what cannot be in the DNS.
        """
        for domain in ("", "192.0.2.1", "a..b"):
            self.assertEqual(
                self.look(None, domain), [f"problem: {domain}: is not a domain in the DNS"]
            )
        self.assertEqual(self.world.asked, [])

    def test_otherDomain(self) -> None:
        """
        A domain that the configuration does not serve is looked at like anybody's.
        """
        self.world.records = {"_xmpp-client._tcp.capulet.example": [Service(0, 5, 1, HOST)]}
        found = self.look(domain="capulet.example")
        self.assertEqual(
            found[0],
            "problem: capulet.example: is not in server.domains of the configuration",
        )
        self.assertEqual({line.partition(":")[0] for line in found[1:]}, {"note"})

    def test_noHost(self) -> None:
        """
        A configuration that does not say where clients should go cannot be compared.
        """
        settings = evolve(SETTINGS, public=PublicSettings())
        self.assertRaises(ConfigError, Survey, "montague.example", self.world, settings, print)

    def test_shown(self) -> None:
        """
        Whatever others say comes as printable ASCII.
        """
        body = hostMetaJSON(["wss://a/\x1b[31m\u202e\ud800\u00e9"])
        self.world.pages = {JSON: Page(200, body, "*")}
        self.look(None)
        self.assertIn(f"ok: {JSON}: wss://a/\\x1b[31m\\u202e\\ud800\\xe9", self.lines)

    def test_length(self) -> None:
        """
        And not without end.
        """
        self.world.pages = {JSON: Page(200, hostMetaJSON(["wss://" + "a" * 60000]), "*")}
        self.look(None)
        self.assertEqual(max(map(len, self.lines)), len("ok: ") + SHOWN_CHARACTERS)
