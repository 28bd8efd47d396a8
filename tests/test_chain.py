# Copyright the cmanager authors.
# See LICENSE for details.

"""
The filters of a session, and what happens when they fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cmanager.chain import Chain, compose
from cmanager.errors import StanzaError
from cmanager.interfaces import ISessionFilter, IStanzaFilter
from cmanager.metrics import Metrics
from cmanager.session import Session
from cmanager.stanza import Stanza
from tests.doubles import FakeClientStream, FakeHub
from tests.play import element


@implementer(ISessionFilter)
class Marker:
    """
    Appends its name to the id; raises or drops if told so.
    """

    def __init__(self, name: str, fault: Exception | None = None, *, drops: bool = False) -> None:
        self.name = name
        self.fault = fault
        self.drops = drops

    def upstream(self, stanza: Stanza) -> Stanza | None:
        if self.fault is not None:
            raise self.fault
        if self.drops:
            return None
        return stanza.withAttributes({"id": stanza.attributes["id"] + self.name})

    downstream = upstream


@implementer(IStanzaFilter)
class Plugin:
    """
    Opens what it was given, and remembers what it was asked.
    """

    name = "plugin"

    def __init__(self, made: Marker | Exception | None) -> None:
        self.made = made
        self.asked: list[tuple[Session, Mapping[str, Any]]] = []

    def open(self, session: Session, options: Mapping[str, Any]) -> Marker | None:
        self.asked.append((session, options))
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


def message() -> Stanza:
    """
    Return a message to be marked.
    """
    stanza = element("<message id='-'/>")
    assert stanza is not None
    return stanza


class ChainTests(SynchronousTestCase):
    """
    L{Chain} asks one filter after the other.
    """

    def setUp(self) -> None:
        """
        Nothing has been counted.
        """
        self.metrics = Metrics()

    def chain(self, *filters: Any) -> Chain:
        """
        Return a chain of filters named by letters.
        """
        return Chain([(filter_.name, filter_) for filter_ in filters], self.metrics)

    def test_order(self) -> None:
        """
        Upwards first to last, downwards last to first.
        """
        chain = self.chain(Marker("a"), Marker("b"))
        up, down = chain.upstream(message()), chain.downstream(message())
        assert up is not None and down is not None
        self.assertEqual((up.attributes["id"], down.attributes["id"]), ("-ab", "-ba"))

    def test_dropped(self) -> None:
        """
        What one drops the others do not see.
        """
        chain = self.chain(Marker("a", drops=True), Marker("b", ZeroDivisionError()))
        self.assertIs(chain.upstream(message()), None)
        chain = self.chain(Marker("b", ZeroDivisionError()), Marker("a", drops=True))
        self.assertIs(chain.downstream(message()), None)

    def test_refused(self) -> None:
        """
        A stanza error is the filter's answer, not its failure.
        """
        refusal = StanzaError("not-allowed")
        chain = self.chain(Marker("a", refusal))
        self.assertIs(self.assertRaises(StanzaError, chain.upstream, message()), refusal)
        self.assertEqual(self.metrics.value("filter_errors", "a"), 0)

    def test_failed(self) -> None:
        """
        Any other exception is logged, counted, and refuses the stanza.
        """
        chain = self.chain(Marker("a", ZeroDivisionError()))
        error = self.assertRaises(StanzaError, chain.downstream, message())
        self.assertEqual(error.condition, "internal-server-error")
        self.assertEqual(self.metrics.value("filter_errors", "a"), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def made(self, data: bytes) -> Chain:
        """
        Return a chain with a filter that writes XML by hand.
        """

        class Careless:
            name = "careless"

            def upstream(self, stanza: Stanza) -> Stanza:
                return Stanza("message", stanza.namespace, {}, data)

            downstream = upstream

        return self.chain(Careless())

    def test_illFormed(self) -> None:
        """
        What a filter makes that could harm a link does not go up.
        """
        for number, bad in enumerate(
            (
                b"<message></route>",
                b"<message/><x/>",
                b"<message><x:y/></message>",
                b"<message>",
                b"",
            )
        ):
            chain = self.made(bad)
            # What comes down goes up again where the client does not take it.
            for way in (chain.upstream, chain.downstream):
                error = self.assertRaises(StanzaError, way, message())
                self.assertEqual(error.condition, "internal-server-error")
            self.assertEqual(self.metrics.value("filter_errors", "careless"), 2 * number + 2)

    def test_comment(self) -> None:
        """
        A server may write comments, and so may a filter downwards; none goes further.
        """
        chain = self.made(b"<message><!-- --></message>")
        self.assertRaises(StanzaError, chain.upstream, message())
        taken = chain.downstream(message())
        assert taken is not None
        self.assertNotIn(b"!", taken.data)

    def test_outOfProfile(self) -> None:
        """
        What it makes goes up in the profile that links use.
        """
        chain = self.made(b"<message id='1' ><x>&#62;</x ></message>")
        for way in (chain.upstream, chain.downstream):
            taken = way(message())
            assert taken is not None
            self.assertEqual(taken.data, b'<message id="1"><x>&gt;</x></message>')
            self.assertEqual(taken.attributes, {"id": "1"})

    def test_large(self) -> None:
        """
        What comes down may be larger than what goes up.
        """
        data = b"<message>%s</message>" % (b"x" * 2_000_000)
        self.assertRaises(StanzaError, self.made(data).upstream, message())
        taken = self.made(data).downstream(message())
        assert taken is not None
        self.assertEqual(taken.data, data)


class ComposeTests(SynchronousTestCase):
    """
    The chain of a session is made when it is bound.
    """

    def setUp(self) -> None:
        """
        A session.
        """
        self.hub = FakeHub()
        self.session = Session(FakeClientStream(), self.hub)

    def test_interface(self) -> None:
        """
        The filters of these tests are filters.
        """
        self.assertTrue(verifyObject(IStanzaFilter, Plugin(None)))
        self.assertTrue(verifyObject(ISessionFilter, Marker("a")))

    def test_interested(self) -> None:
        """
        Each plugin is asked with its options; those that are interested make the chain.
        """
        one, two = Plugin(None), Plugin(Marker("b"))
        chain = compose([(one, {"a": 1}), (two, {})], self.session, self.hub.metrics)
        self.assertIsInstance(chain, Chain)
        self.assertEqual(one.asked, [(self.session, {"a": 1})])

    def test_nobody(self) -> None:
        """
        Where none is interested there is no chain.
        """
        self.assertIs(compose([(Plugin(None), {})], self.session, self.hub.metrics), None)
        self.assertIs(compose([], self.session, self.hub.metrics), None)

    def test_failed(self) -> None:
        """
        A plugin that fails refuses the session.
        """
        self.assertRaises(
            StanzaError,
            compose,
            [(Plugin(ZeroDivisionError()), {})],
            self.session,
            self.hub.metrics,
        )
        self.assertEqual(self.hub.metrics.value("filter_errors", "plugin"), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
