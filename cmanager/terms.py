# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a BOSH client and this program agree on when a session is created (XEP-0124
sections 7 and 15).  Layer 1, pure.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from attrs import frozen

from cmanager.body import Body

if TYPE_CHECKING:
    from cmanager.settings import BOSHSettings, ClientSettings

VERSION = (1, 11)
"""
The version of XEP-0124 that is spoken here.
"""

FIRST_MODERN_VERSION = (1, 6)
"""
Clients before that go by the status of a response, and know no acknowledgements.
"""


CONTENT_TYPE = "text/xml; charset=utf-8"
"""
Of responses, unless a client wants another (section 7.1).
"""

BODY_STANZAS = 2
"""
A request may have so many bytes as this many of the largest stanzas: in one, clients send all
that has come together while they were not permitted another.
"""


@frozen(kw_only=True)
class Rules:
    """
    What clients may have.

    @ivar wait: Longest time in seconds that a request is held.
    @ivar hold: Most requests that are held at a time.
    @ivar inactivity: Seconds for which a client may have no request here.
    @ivar pollingInactivity: The same where requests are not held.
    @ivar polling: Fewest seconds between two requests that ask for nothing but a response;
        0 for no such bound.
    @ivar maxPause: Longest time in seconds that a client may be away if it says so; 0 if it
        may not.
    @ivar queueBytes: Bytes that may wait for a request, behind one element of any size.
    @ivar responseBytes: Bytes of the elements in a response, unless it is one element.
    @ivar earlyBytes: Bytes of requests that may wait for those before them.
    """

    wait: int = 60
    hold: int = 2
    inactivity: int = 60
    pollingInactivity: int = 120
    polling: int = 5
    maxPause: int = 300
    queueBytes: int = 1048576
    responseBytes: int = 65536
    earlyBytes: int = 524288


def rulesFor(settings: BOSHSettings, client: ClientSettings) -> Rules:
    """
    Return what the configuration lets a client have.
    """
    return Rules(
        wait=settings.wait,
        hold=settings.hold,
        inactivity=settings.inactivity,
        pollingInactivity=settings.pollingInactivity,
        polling=settings.polling,
        maxPause=settings.maxPause,
        queueBytes=client.queueBytes,
        earlyBytes=BODY_STANZAS * client.stanzaBytes,
    )


@frozen(kw_only=True)
class Terms:
    """
    What holds for one session.

    @ivar requests: Most requests the client may have here without a response: the size of
        the window.
    @ivar isPolling: Requests are answered at once (section 12).
    @ivar isLegacy: See L{FIRST_MODERN_VERSION}.
    @ivar isAcknowledging: The client says which responses it has received (section 9.2).
    """

    wait: int
    hold: int
    requests: int
    inactivity: int
    polling: int
    maxPause: int
    ver: tuple[int, int] | None
    isPolling: bool
    isLegacy: bool
    isAcknowledging: bool

    def attributes(self, sid: str, rid: int) -> dict[str, str | int]:
        """
        Return what the response to the first request says of them (section 7.2).
        """
        attributes: dict[str, str | int] = {
            "sid": sid,
            "wait": self.wait,
            "hold": self.hold,
            "requests": self.requests,
            "inactivity": self.inactivity,
        }
        if self.polling:
            attributes["polling"] = self.polling
        if self.maxPause:
            attributes["maxpause"] = self.maxPause
        if self.ver is not None:
            attributes["ver"] = f"{self.ver[0]}.{self.ver[1]}"
        if not self.isLegacy:
            attributes["ack"] = rid
        attributes["xmpp:restartlogic"] = "true"
        return attributes


def isLegacyClient(first: Body) -> bool:
    """
    Tell whether a client is older than L{FIRST_MODERN_VERSION}.
    """
    return first.ver is None or first.ver < FIRST_MODERN_VERSION


def contentType(first: Body) -> str:
    """
    Return the C{Content-Type} of the responses to a client.
    """
    type_ = first.content or CONTENT_TYPE
    return type_ if "charset" in type_.lower() else f"{type_}; charset=utf-8"


def agree(first: Body, rules: Rules) -> Terms:
    """
    Return what is agreed with a client.

    @param first: Its first request.
    """
    wait = rules.wait if first.wait is None else min(first.wait, rules.wait)
    hold = min(1 if first.hold is None else first.hold, rules.hold)
    isPolling = not (wait and hold)
    if isPolling:
        hold = 0
    return Terms(
        wait=wait,
        hold=hold,
        requests=max(2, hold + 1),
        inactivity=rules.pollingInactivity if isPolling else rules.inactivity,
        polling=rules.polling,
        maxPause=rules.maxPause,
        ver=None if first.ver is None else min(first.ver, VERSION),
        isPolling=isPolling,
        isLegacy=isLegacyClient(first),
        isAcknowledging=first.ack is not None,
    )


class KeySequence:
    """
    The keys by which a client shows that its requests are its own (section 15).
    """

    __slots__ = ("_image",)

    def __init__(self) -> None:
        # The next key must hash to this.
        self._image: str | None = None

    @property
    def isUsed(self) -> bool:
        """
        The client has begun a sequence.
        """
        return self._image is not None

    def follows(self, body: Body) -> bool:
        """
        Tell whether C{body} has the next key, and expect the one after it.  To be asked once
        for each request, in their order.
        """
        image = self._image
        if image is not None:
            if body.key is None:
                return False
            # Not for its strength: the specification knows no other.
            digest = hashlib.sha1(body.key.encode(), usedforsecurity=False).hexdigest()
            if not hmac.compare_digest(digest.encode(), image.lower().encode()):
                return False
            self._image = body.key
        if body.newkey is not None:
            self._image = body.newkey
        return True
