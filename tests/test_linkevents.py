# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.linkevents}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.linkevents import (
    Accepted,
    CloseRequested,
    Configuration,
    Configured,
    Features,
    LinkEvent,
    Proceed,
    Replied,
    RouteFailed,
    ServerError,
    TLSPolicy,
    interpreted,
)
from cmanager.stanza import (
    NS_CLIENT,
    NS_LINK,
    NS_MULTIPLEX,
    NS_SASL,
    NS_STANZA_ERRORS,
    NS_STREAM_ERRORS,
    NS_STREAMS,
    NS_TLS,
    Stanza,
    Tag,
)


def child(name: str, namespace: str, content: str = "", **attributes: str) -> Stanza:
    """
    Return an element with a declaration of its own.
    """
    written = "".join(f' {key}="{value}"' for key, value in attributes.items())
    data = f'<{name} xmlns="{namespace}"{written}>{content}</{name}>'
    return Stanza(name, namespace, attributes, data.encode())


def iq(kind: str | None, *children: Stanza, iqID: str | None = "1") -> LinkEvent | None:
    """
    Interpret an iq.
    """
    attributes = {"type": kind, "id": iqID}
    given = {name: value for name, value in attributes.items() if value is not None}
    return interpreted(Tag("iq", NS_LINK, None, given), list(children))


def error(condition: str, text: str = "") -> Stanza:
    """
    Return a stanza's error.
    """
    return child(
        "error", NS_CLIENT, f'{text}<{condition} xmlns="{NS_STANZA_ERRORS}"/>', type="cancel"
    )


def session(content: str, streamID: str = "s") -> Stanza:
    """
    Return a management payload.
    """
    return child("session", NS_MULTIPLEX, content, id=streamID)


class StreamTests(SynchronousTestCase):
    """
    Features, TLS, handshake and stream errors.
    """

    def features(self, *children: Stanza) -> tuple[bool, bool]:
        """
        Interpret features.
        """
        event = interpreted(Tag("features", NS_STREAMS), list(children))
        assert isinstance(event, Features)
        return event.starttls, event.required

    def test_features(self) -> None:
        """
        STARTTLS is absent, offered or required; other features mean nothing.
        """
        compression = child("compression", "http://jabber.org/features/compress")
        self.assertEqual(self.features(), (False, False))
        self.assertEqual(self.features(compression), (False, False))
        self.assertEqual(self.features(compression, child("starttls", NS_TLS)), (True, False))
        self.assertEqual(self.features(child("starttls", NS_TLS, "<required/>")), (True, True))

    def test_tls(self) -> None:
        """
        Only C{proceed} lets TLS begin.
        """
        self.assertIsInstance(interpreted(Tag("proceed", NS_TLS), []), Proceed)
        self.assertIsNone(interpreted(Tag("proceed", NS_LINK), []))
        self.assertIsNone(interpreted(Tag("failure", NS_TLS), []))

    def test_handshake(self) -> None:
        """
        An empty C{handshake} accepts us, in whatever namespace servers put what has none.
        """
        self.assertIsInstance(interpreted(Tag("handshake", NS_LINK), []), Accepted)
        self.assertIsNone(interpreted(Tag("handshake", NS_SASL), []))

    def test_error(self) -> None:
        """
        A stream error has a condition and perhaps a text, in any order.
        """
        text = child("text", NS_STREAM_ERRORS, "bye &amp; out")
        condition = child("system-shutdown", NS_STREAM_ERRORS)
        for children in ([condition, text], [text, condition]):
            event = interpreted(Tag("error", NS_STREAMS, "stream"), children)
            assert isinstance(event, ServerError)
            self.assertEqual((event.condition, event.text), ("system-shutdown", "bye & out"))

    def test_bareError(self) -> None:
        """
        A stream error without a condition is C{undefined-condition}.
        """
        event = interpreted(Tag("error", NS_STREAMS, "stream"), [child("x", "urn:x")])
        assert isinstance(event, ServerError)
        self.assertEqual((event.condition, event.text), ("undefined-condition", None))

    def test_unknown(self) -> None:
        """
        What nobody has ever seen means nothing, and so does a stanza outside a route.
        """
        for name, namespace in (
            ("x", NS_STREAMS),
            ("x", NS_TLS),
            ("message", NS_LINK),
            ("iq", "urn:x"),
        ):
            self.assertIsNone(interpreted(Tag(name, namespace), []))


class ConfigurationTests(SynchronousTestCase):
    """
    What the server wants to be offered.
    """

    def test_configuration(self) -> None:
        """
        A configuration is read, with the id that its answer must have.
        """
        payload = child("configuration", NS_MULTIPLEX, f'<starttls xmlns="{NS_TLS}"/>')
        event = iq("set", payload)
        assert isinstance(event, Configured)
        self.assertEqual(event.iqID, "1")
        self.assertEqual(event.configuration, Configuration(TLSPolicy.OPTIONAL))


class CloseTests(SynchronousTestCase):
    """
    The server ends a session.
    """

    def close(self, content: str) -> CloseRequested:
        """
        Interpret a request to close.
        """
        event = iq("set", session(content))
        assert isinstance(event, CloseRequested)
        self.assertEqual((event.iqID, event.streamID), ("1", "s"))
        return event

    def test_plain(self) -> None:
        """
        Without a reason there is no error.
        """
        self.assertIsNone(self.close("<close/>").error)

    def test_error(self) -> None:
        """
        A stream error beside C{close} is what the client should be told.
        """
        found = self.close(
            f'<close/><stream:error xmlns:stream="{NS_STREAMS}">'
            f'<conflict xmlns="{NS_STREAM_ERRORS}"/><text xmlns="{NS_STREAM_ERRORS}">Replaced.</text>'
            '<x xmlns="urn:x"/></stream:error>'
        ).error
        assert found is not None
        self.assertEqual((found.condition, found.text), ("conflict", "Replaced."))

    def test_bareError(self) -> None:
        """
        An error without a condition is C{undefined-condition}; an C{error} of another
        namespace is none.
        """
        found = self.close(f'<close/><stream:error xmlns:stream="{NS_STREAMS}"/>').error
        assert found is not None
        self.assertEqual((found.condition, found.text), ("undefined-condition", None))
        self.assertIsNone(self.close("<close/><error/>").error)

    def test_otherActions(self) -> None:
        """
        No other request is known.
        """
        for event in (
            iq("set", session("<create/>")),
            iq("set", child("session", NS_MULTIPLEX, "<close/>")),
            iq("set", child("query", "urn:x")),
            iq("set"),
            iq("get", child("ping", "urn:xmpp:ping")),
            iq(None),
        ):
            self.assertIsNone(event)

    def test_withoutID(self) -> None:
        """
        A request that cannot be answered is still followed.
        """
        event = iq("set", session("<close/>"), iqID=None)
        assert isinstance(event, CloseRequested)
        self.assertIsNone(event.iqID)


class ReplyTests(SynchronousTestCase):
    """
    Answers to our own requests.
    """

    def reply(self, kind: str, *children: Stanza) -> tuple[str | None, str | None, str | None]:
        """
        Interpret an answer.
        """
        event = iq(kind, *children)
        assert isinstance(event, Replied)
        return event.iqID, event.streamID, event.condition

    def test_result(self) -> None:
        """
        A result repeats the session's id, or has no payload.
        """
        self.assertEqual(self.reply("result", session("<create/>")), ("1", "s", None))
        self.assertEqual(self.reply("result"), ("1", None, None))

    def test_error(self) -> None:
        """
        An error has a condition, wherever the payload stands.
        """
        refused = error("not-allowed", f'<text xmlns="{NS_STANZA_ERRORS}">No.</text><x/>')
        expected = ("1", "s", "not-allowed")
        self.assertEqual(self.reply("error", session("<create/>"), refused), expected)
        self.assertEqual(self.reply("error", refused, session("<create/>")), expected)

    def test_bareError(self) -> None:
        """
        An error without one is C{undefined-condition}.
        """
        self.assertEqual(self.reply("error"), ("1", None, "undefined-condition"))
        self.assertEqual(
            self.reply("error", child("error", NS_CLIENT)), ("1", None, "undefined-condition")
        )


class RouteErrorTests(SynchronousTestCase):
    """
    The server could not take a route.
    """

    def test_error(self) -> None:
        """
        Session, route and condition are told.
        """
        tag = Tag("route", NS_LINK, None, {"streamid": "s", "id": "1f", "type": "error"})
        event = interpreted(tag, [error("item-not-found")])
        assert isinstance(event, RouteFailed)
        self.assertEqual(
            (event.streamID, event.routeID, event.condition), ("s", "1f", "item-not-found")
        )

    def test_withoutID(self) -> None:
        """
        An old manager's routes had no id; an error without a session is nobody's.
        """
        event = interpreted(Tag("route", NS_LINK, None, {"streamid": "s"}), [])
        assert isinstance(event, RouteFailed)
        self.assertEqual((event.routeID, event.condition), (None, "undefined-condition"))
        self.assertIsNone(interpreted(Tag("route", NS_LINK, None, {"type": "error"}), []))
