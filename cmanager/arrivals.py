# Copyright the cmanager authors.
# See LICENSE for details.

"""
The requests of one BOSH session that have no response yet, put into the order of their
rids, and what a client may do with them (XEP-0124 sections 11, 12 and 14).  Layer 1,
pure.
"""

from __future__ import annotations

from collections.abc import Hashable

from cmanager.body import Body
from cmanager.errors import BOSHError
from cmanager.ledger import MAX_TOKENS, Response
from cmanager.terms import KeySequence, Terms

JITTER_SECONDS = 1.0
"""
A request may have come so much faster than the one before it.
"""


class Request:
    """
    A request without a response.

    @ivar body: L{None} once it has been handed out.
    @ivar at: When it came first.
    @ivar slack: 1 for that of a client that leaves, for a while or for good: it may be one
        more than others (section 11).
    @ivar tokens: The HTTP requests for it that are here, and since when; none if they
        were lost, and the client has yet to repeat it.
    """

    __slots__ = ("at", "body", "isPause", "isTerminate", "key", "rid", "slack", "tokens")

    def __init__(self, token: Hashable, body: Body, now: float, *, isPause: bool = False) -> None:
        self.rid = body.rid
        self.key = body.key
        self.body: Body | None = body
        self.isPause = isPause
        self.isTerminate = body.isTerminate
        self.slack = int(isPause or body.isTerminate)
        self.at = now
        self.tokens = [(token, now)]

    def repeated(self, token: Hashable, now: float) -> Hashable | None:
        """
        It has come again.

        @return: An older HTTP request for it that can wait no longer, or L{None}.
        """
        self.tokens.append((token, now))
        return self.tokens.pop(0)[0] if len(self.tokens) > MAX_TOKENS else None

    def lost(self, token: Hashable) -> bool:
        """
        An HTTP request is gone.

        @return: It was one for this.
        """
        before = len(self.tokens)
        self.tokens = [entry for entry in self.tokens if entry[0] != token]
        return len(self.tokens) < before


class Arrivals:
    """
    What has come and has no response.

    At most C{terms.requests} requests, and one of a client that leaves; C{earlyBytes} of
    those that have come before their turn.

    @param rid: Of the first request.
    @ivar last: The rid up to which requests have been handed out.
    @ivar open: Requests that have been handed out, by rid, in that order.
    @ivar waiting: Those that have not, by rid.
    @ivar keys: See L{KeySequence}.
    @ivar newest: The rid of the request that was the last to come.
    """

    __slots__ = (
        "_earlyBytes",
        "_newestAt",
        "_newestIsPoll",
        "_terms",
        "keys",
        "last",
        "newest",
        "open",
        "waiting",
    )

    def __init__(self, terms: Terms, rid: int, earlyBytes: int) -> None:
        self._terms = terms
        self._earlyBytes = earlyBytes
        self.last = rid - 1
        self.open: dict[int, Request] = {}
        self.waiting: dict[int, Request] = {}
        self.keys = KeySequence()
        self.newest = 0
        self._newestAt = 0.0
        self._newestIsPoll = False

    @property
    def whole(self) -> int:
        """
        The rid up to which no request is missing.
        """
        rid = self.last
        while rid + 1 in self.waiting:
            rid += 1
        return rid

    @property
    def isAttended(self) -> bool:
        """
        The client waits for us: it has a request here, and none before that is missing.
        """
        if any(request.tokens for request in self.open.values()):
            return True
        return any(self.waiting[rid].tokens for rid in range(self.last + 1, self.whole + 1))

    def find(self, rid: int) -> Request | None:
        """
        Return the request with a rid, if it has come.
        """
        return self.open.get(rid) or self.waiting.get(rid)

    def lost(self, token: Hashable) -> bool:
        """
        An HTTP request is gone.

        @return: It was one of these.
        """
        requests = (*self.open.values(), *self.waiting.values())
        return any(request.lost(token) for request in requests)

    def admit(self, request: Request, before: Response | None) -> None:
        """
        Let in a request with a rid that has not come yet.

        @param before: The response to L{newest}, if there is one.
        @raise BOSHError: It may not be, and the session cannot go on.
        """
        body = request.body
        assert body is not None, "it is new"
        size = self._terms.requests + request.slack
        if request.rid <= self.last:
            raise BOSHError("item-not-found", "the response to a request is not kept any more")
        if request.rid > self.last + size:
            raise BOSHError("item-not-found", "a rid is outside of the window")
        if self._isCrowded(request):
            raise BOSHError("policy-violation", "too many requests at a time")
        if request.rid > self.last + 1 and self._early() + body.size > self._earlyBytes:
            raise BOSHError("policy-violation", "too much has come before its turn")
        if body.isPoll and self._isHasty(request.at, before):
            raise BOSHError("policy-violation", "requests for nothing come too fast")
        self.waiting[request.rid] = request
        self.newest = request.rid
        self._newestAt = request.at
        self._newestIsPoll = body.isPoll

    def _isCrowded(self, request: Request) -> bool:
        """
        Tell whether there are as many requests here as may be (section 11).
        """
        others = [*self.open.values(), *self.waiting.values()]
        leaving = sum(other.slack for other in others)
        most = self._terms.requests
        return len(others) > most or (not request.slack and len(others) - leaving >= most)

    def _early(self) -> int:
        return sum(
            request.body.size
            for rid, request in self.waiting.items()
            if request.body is not None and rid > self.last + 1
        )

    def _isHasty(self, now: float, before: Response | None) -> bool:
        """
        Tell whether a poll comes too soon after the last request.
        """
        if not self.newest or now - self._newestAt >= self._terms.polling - JITTER_SECONDS:
            return False
        if self._terms.isPolling:
            return self._newestIsPoll and before is not None and not before.hasPayload
        return len(self.open) + len(self.waiting) + 1 >= self._terms.requests

    def advance(self) -> Request | None:
        """
        Hand out the next request, if it is here.

        @raise BOSHError: It is not the client's.
        """
        request = self.waiting.get(self.last + 1)
        if request is None:
            return None
        assert request.body is not None, "it waits"
        if not self.keys.follows(request.body):
            raise BOSHError("item-not-found", "a key does not follow from the one before")
        self.last += 1
        self.open[self.last] = self.waiting.pop(self.last)
        return request
