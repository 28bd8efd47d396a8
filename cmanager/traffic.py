# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a stanza of a client must be like to go up, and the errors that answer one.
Layer 2; values in, values out.

The server takes much on trust from its managers (pitfall S-16): addresses are
prepared here, and types are those of the RFCs, or the stanza does not go up.
"""

from __future__ import annotations

from cmanager.errors import StanzaError
from cmanager.jid import known, prepare
from cmanager.multiplex import MAX_UPWARD_BYTES
from cmanager.stanza import NS_CLIENT, Stanza, bounce

IQ_REQUESTS = frozenset({"get", "set"})

TYPES: dict[str, frozenset[str | None]] = {
    # RFC 6120 section 8.2.3
    "iq": frozenset({"get", "set", "result", "error"}),
    # RFC 6121 section 5.2.2
    "message": frozenset({None, "chat", "error", "groupchat", "headline", "normal"}),
    # RFC 6121 section 4.7.1
    "presence": frozenset(
        {
            None,
            "error",
            "probe",
            "subscribe",
            "subscribed",
            "unavailable",
            "unsubscribe",
            "unsubscribed",
        }
    ),
}
"""
The C{type}s a stanza may have; L{None} for none.
"""

_ERROR_TYPES = {"bad-request": "modify", "internal-server-error": "wait", "not-authorized": "auth"}


def checked(stanza: Stanza, lang: str | None) -> Stanza:
    """
    Return C{stanza} as it may go up, itself if nothing had to be changed: without a
    C{from}, with a prepared C{to} and with the language of the stream (RFC 6120
    section 4.7.4).

    @raise StanzaError: C{bad-request} or C{jid-malformed}.
    """
    name = stanza.name
    attributes = stanza.attributes
    kind = attributes.get("type")
    if kind not in TYPES[name]:
        raise StanzaError("bad-request", "modify")
    if name == "iq" and (
        not attributes.get("id") or (kind in IQ_REQUESTS and _isChildless(stanza.data))
    ):
        raise StanzaError("bad-request", "modify")
    to = attributes.get("to")
    if to is not None:
        prepared = known(to) or prepare(to)
        if prepared != to:
            stanza = stanza.withAttributes({"to": prepared})
    if "from" in attributes:
        stanza = stanza.withAttributes({"from": None})
    if lang is not None and "xml:lang" not in attributes:
        end = len(name) + 1
        data = b'%s xml:lang="%s"%s' % (stanza.data[:end], lang.encode(), stanza.data[end:])
        stanza = Stanza(name, stanza.namespace, {**stanza.attributes, "xml:lang": lang}, data)
    return stanza


def _isChildless(data: bytes) -> bool:
    # In the profile the first ">" ends the root tag.
    return data.endswith(b"/>") and data.find(b">") == len(data) - 1


def refusal(stanza: Stanza, error: StanzaError) -> bytes | None:
    """
    Return what tells a client that its stanza was not taken, or L{None} where
    there must be no answer.
    """
    if stanza.name not in TYPES:
        # An element of a login; its stream ends with the link.
        return None
    attributes = stanza.attributes
    if error.condition == "jid-malformed":
        # What is no address must not stand where an address is expected.
        attributes = {key: value for key, value in attributes.items() if key != "to"}
    kind = attributes.get("type")
    if kind not in TYPES[stanza.name]:
        # Whatever it was meant to be: it asked for something, and gets an answer.
        attributes = {**attributes, "type": "get"}
    return bounce(Stanza(stanza.name, stanza.namespace, attributes, stanza.data), error, swap=False)


def isReturnable(stanza: Stanza) -> bool:
    """
    Tell whether a stanza from the server can be given back to be stored: a message that
    is no error, nor larger than a link may carry up.
    """
    return (
        stanza.name == "message"
        and stanza.attributes.get("type") != "error"
        and len(stanza.data) <= MAX_UPWARD_BYTES
    )


def returned(stanza: Stanza, error: StanzaError) -> Stanza | None:
    """
    Return what tells the sender of a stanza from the server that it was not taken,
    or L{None} where there must be no answer.
    """
    data = bounce(stanza, error)
    if data is None:
        return None
    attributes = {"type": "error"}
    for key, source in (("id", "id"), ("to", "from"), ("from", "to")):
        if source in stanza.attributes:
            attributes[key] = stanza.attributes[source]
    return Stanza(stanza.name, NS_CLIENT, attributes, data)


def routeError(condition: str) -> StanzaError:
    """
    Return the stanza error for a condition the server gave in a route error.
    """
    return StanzaError(condition, _ERROR_TYPES.get(condition, "cancel"))
