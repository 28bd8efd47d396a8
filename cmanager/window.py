# Copyright the cmanager authors.
# See LICENSE for details.

"""
The requests and responses of one BOSH session, in order (XEP-0124 sections 8 to 15).
Layer 1, sans-I/O: time is a parameter, an HTTP request is a token, and nothing is called.

Requests come in any order and any number of times; their bodies go out in the order of
their rids, each once.  Each rid has one response, the bytes of which never change; it is
made, in the order of the rids too, when there is something to say, when a later request
takes its place, or when it has waited long enough.

    - L{Window.request}: an HTTP request has come; L{Window.lost}: one is gone.
    - L{Window.next}: what to process next.  Who does not ask for more than it can take slows
      the client down: what is not asked for is not answered.
    - L{Window.flush}: what to write, after any of these and when L{Window.due} has come.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import Enum

from attrs import evolve

from cmanager.arrivals import Arrivals, Request
from cmanager.body import Body, writeBody, writeEnd
from cmanager.errors import BOSHError
from cmanager.ledger import Answer, Ledger, Response
from cmanager.stanza import Stanza
from cmanager.terms import Rules, agree

REPORT_SECONDS = 1.0
"""
How long a response may be on its way before the client is told that it misses it
(section 9.2).
"""

UNACKNOWLEDGED_FACTOR = 4
"""
A client that says what it has received may be behind by so many windows of responses.
"""

REPLACED_STATUS = 503
"""
What an HTTP request is told whose rid has come again, and again: nothing about BOSH.
"""


class Ending(Enum):
    """
    How a session has ended.
    """

    LEFT = "left"
    """The client has ended it (section 13)."""
    CLOSED = "closed"
    """We have."""
    BROKEN = "broken"
    """The client has broken a rule; L{Window.error} says which."""
    SILENT = "silent"
    """The client has not come back (section 10)."""


class Window:
    """
    One session, from its first request.

    What a client can make it keep is bounded: see L{Arrivals} for requests and L{Ledger} for
    elements; C{terms.requests} responses, or L{UNACKNOWLEDGED_FACTOR} times as many where
    it says that it misses some.

    @param first: The request that makes the session.  It is to be passed to L{request} too.
    @ivar first: The same without its elements.
    @ivar terms: What was agreed on.
    @ivar ending: L{None} while it lasts.  Look after L{next} and L{flush}.
    @ivar error: What the client has done wrong, if that has ended it.
    @ivar isLeaving: The last request that L{next} has handed out ends the session.
    @ivar isTold: The client has been sent word of the end, or will not be.
    """

    __slots__ = (
        "_announced",
        "_answered",
        "_answers",
        "_arrivals",
        "_condition",
        "_lastWords",
        "_late",
        "_ledger",
        "_patience",
        "_quietSince",
        "_received",
        "_report",
        "_reported",
        "_sid",
        "ending",
        "error",
        "first",
        "isLeaving",
        "isTold",
        "terms",
    )

    def __init__(self, rules: Rules, sid: str, first: Body, now: float) -> None:
        self.first = evolve(first, children=(), error=None)
        self.terms = agree(first, rules)
        self.ending: Ending | None = None
        self.error: BOSHError | None = None
        self.isTold = False
        self._sid = sid
        self._arrivals = Arrivals(self.terms, first.rid, rules.earlyBytes)
        self._ledger = Ledger(rules.queueBytes, rules.responseBytes)
        # Up to _answered there are responses, up to _received the client is known to have them.
        self._answered = self._received = first.rid - 1
        self._answers: list[Answer] = []
        self._late: list[Hashable] = []  # can only be told of the end
        self._announced: dict[str, str | int] = {}
        self._report: Response | None = None
        self._reported = 0
        # Nobody has been here since; for how long that may be so.
        self._quietSince = now
        self._patience: float = self.terms.inactivity
        self.isLeaving = False
        self._condition: str | None = None
        self._lastWords = b""

    # From the client.

    def request(self, token: Hashable, body: Body, now: float) -> None:
        """
        An HTTP request has come.

        Section 14.3: where its rid has a response it gets that again.  Where the rid has
        come before and has none yet both HTTP requests wait for the same bytes: were the
        first answered differently, and not lost after all, the client would miss what the
        second is told.

        @param token: Stands for it in L{Answer}.  Kept for as long as its response is.
        """
        response = self._ledger.responses.get(body.rid)
        request = self._arrivals.find(body.rid)
        known = response or request
        if known is not None and self._arrivals.keys.isUsed and known.key != body.key:
            self._late.append(token)
            self._break(BOSHError("item-not-found", "a request was repeated with another key"))
        elif response is not None:
            self._quietSince = now
            self._write(response, token)
        elif request is not None:
            replaced = request.repeated(token, now)
            if replaced is not None:
                self._answers.append(Answer(replaced, REPLACED_STATUS, b""))
        else:
            isPause = body.pause is not None and self.terms.maxPause > 0
            before = self._ledger.responses.get(self._arrivals.newest)
            try:
                self._arrivals.admit(Request(token, body, now, isPause=isPause), before)
            except BOSHError as error:
                self._late.append(token)
                self._break(error)

    def lost(self, token: Hashable, now: float) -> None:
        """
        An HTTP request is gone: before it was answered, or before all of its answer
        was sent.  The client may repeat it.
        """
        if self._arrivals.lost(token):
            self._quietSince = now
            return
        response = self._ledger.find(token)
        if response is not None:
            response.tokens.remove(token)

    def received(self, token: Hashable) -> None:
        """
        The client is known to have the answer to an HTTP request, by something else than what
        it says here: it has used the same connection again.
        """
        self._ledger.confirm(token)

    def next(self) -> Body | None:
        """
        Hand out what is to be processed next, in the order of rids.

        @return: L{None} if there is nothing, or the session has ended.
        """
        if self.ending is not None or self.isLeaving:
            return None
        request = self._advance()
        if request is None or self.ending is not None:
            return None
        body, request.body = request.body, None
        self.isLeaving = request.isTerminate
        return body

    def _advance(self) -> Request | None:
        try:
            request = self._arrivals.advance()
        except BOSHError as error:
            # It waits on, to be told.
            self._break(error)
            return None
        if request is None:
            return None
        assert request.body is not None, "it was not handed out before"
        self._patience = self.terms.inactivity
        if request.isPause and request.body.pause is not None:
            self._patience = min(request.body.pause, self.terms.maxPause)
        self._learn(request, request.body.ack)
        return request

    def _learn(self, request: Request, ack: int | None) -> None:
        """
        Learn from a request which responses the client has: by what it says (section 9.2), or
        by its not waiting for more of them than it may.
        """
        floor = received = request.rid - self.terms.requests - request.slack
        if self.terms.isAcknowledging and request.rid != self.first.rid:
            if ack is None:
                received = request.rid - 1
            # COMPAT clients that always send "1".
            elif self.first.rid <= ack <= self._answered:
                received = ack
                self._miss(ack + 1, request.at)
        self._received = max(self._received, min(received, self._answered))
        self._ledger.received(self._received)
        self._ledger.forget(min(self._received, floor))
        if len(self._ledger.responses) >= self.terms.requests * UNACKNOWLEDGED_FACTOR:
            self._break(BOSHError("policy-violation", "too many responses were not fetched"))

    def _miss(self, rid: int, now: float) -> None:
        """
        The client does not have the response to C{rid}: tell it, once.
        """
        response = self._ledger.responses.get(rid)
        if (
            response is not None
            and rid > self._reported
            and now - response.sentAt >= REPORT_SECONDS
        ):
            self._reported = rid
            self._report = response

    # To the client.

    def fits(self, amount: int) -> bool:
        """
        So much more may wait.  See L{Ledger.fits}.
        """
        return self._ledger.fits(amount)

    def send(self, element: bytes, stanza: Stanza | None = None) -> None:
        """
        Send an element behind all others.  The caller has asked L{fits}.

        @param element: As it stands in a stream over TCP.
        @param stanza: What L{takeUndelivered} returns for it.
        """
        self._ledger.put(element, stanza)

    def announce(self, attributes: Mapping[str, str | int]) -> None:
        """
        Put attributes on the next response; see L{writeBody}.
        """
        self._announced.update(attributes)

    def end(self, condition: str | None = None, element: bytes = b"") -> None:
        """
        End the session.  What waits is sent with word of it, in the oldest request that is
        here or else in the next that comes.  No effect if it has ended, or is about to.

        @param condition: A terminal binding condition (section 17.2).
        @param element: What stands behind all others, such as a C{<stream:error/>}.
        """
        if self.ending is None and not self.isLeaving:
            self.ending = Ending.CLOSED
            self._condition = condition
            self._lastWords = element

    def abandon(self) -> None:
        """
        Wait no longer for a request that could be told of the end: L{flush} answers all
        that is here.  Only after L{end}.
        """
        self.isTold = True

    def takeUndelivered(self) -> list[Stanza]:
        """
        Return, oldest first, the stanzas that have not been sent or that the client is not
        known to have, and give them up.

        Once the session has ended in order what was written counts as received unless it
        was lost, as over TCP: of the last responses nobody will ever know more.
        """
        return self._ledger.takeUndelivered(trust=self.ending in (Ending.LEFT, Ending.CLOSED))

    @property
    def isDoubtful(self) -> bool:
        """
        See L{Ledger.isDoubtful}.
        """
        return self._ledger.isDoubtful

    # Answers.

    @property
    def isAttended(self) -> bool:
        """
        The client waits for us, so that what is L{due} is an answer.
        """
        return self._arrivals.isAttended

    @property
    def due(self) -> float | None:
        """
        When to call L{flush} although nothing has happened.
        """
        if self.ending is not None:
            return None
        if not self._arrivals.isAttended:
            return self._quietSince + self._patience
        held = [request.tokens[0][1] for request in self._arrivals.open.values() if request.tokens]
        return min(held) + self.terms.wait if held else None

    def flush(self, now: float) -> list[Answer]:
        """
        Return what is to be written now.
        """
        arrivals = self._arrivals
        if self.ending is None:
            while (through := self._through(now)) is not None:
                for rid in [rid for rid in arrivals.open if rid <= through]:
                    self._respond(arrivals.open.pop(rid), now)
            if self.isLeaving:
                self.ending = Ending.LEFT
                self._condition = "item-not-found"
            elif not arrivals.isAttended and now >= self._quietSince + self._patience:
                self.ending = Ending.SILENT
                self._condition = "item-not-found"
        if self.ending is not None:
            self._tellEnd(now)
        answers, self._answers = self._answers, []
        return answers

    def _through(self, now: float) -> int | None:
        """
        Return the rid up to which requests are to be answered, or L{None}.
        """
        requests = list(self._arrivals.open.values())
        if any(request.slack for request in requests):
            return self._arrivals.last
        # Lost ones too: a client that sends others has given them up, or will fetch this.
        surplus = len(requests) - self.terms.hold
        through = requests[surplus - 1].rid if surplus > 0 else 0
        here = [request for request in requests if request.tokens]
        if here and (self._report is not None or not self._ledger.isEmpty):
            through = max(through, here[0].rid)
        for request in here:
            if now >= request.tokens[0][1] + self.terms.wait:
                through = max(through, request.rid)
        return through or None

    def _respond(self, request: Request, now: float) -> None:
        """
        Make the response of a request.  There are elements in it if that is here, and not of
        a client that leaves (sections 10 and 13).
        """
        payload = self._ledger.take() if request.tokens and not request.slack else []
        if request.isTerminate:
            status, data = writeEnd()
            self.isTold = True
        else:
            elements = [element for element, _ in payload]
            status, data = 200, writeBody(elements, self._attributes(request, now))
        self._answered = request.rid
        self._record(Response(request.rid, request.key, now, payload, status, data), request)

    def _attributes(self, request: Request, now: float) -> dict[str, str | int]:
        attributes, self._announced = self._announced, {}
        if request.rid == self.first.rid:
            attributes = {**self.terms.attributes(self._sid, request.rid), **attributes}
        elif not self.terms.isLegacy and self._arrivals.whole > request.rid:
            attributes["ack"] = self._arrivals.whole
        if self._report is not None and request.tokens:
            attributes["report"] = self._report.rid
            attributes["time"] = int((now - self._report.sentAt) * 1000)
            self._report = None
        return attributes

    def _record(self, response: Response, request: Request) -> None:
        self._ledger.record(response)
        self._quietSince = response.sentAt
        for token, _ in request.tokens:
            self._write(response, token)

    def _write(self, response: Response, token: Hashable) -> None:
        response.written(token)
        self._answers.append(Answer(token, response.status, response.data))

    # The end.

    def _break(self, error: BOSHError) -> None:
        if self.ending is None:
            self.ending = Ending.BROKEN
            self._condition = error.condition
            self.error = error

    def _tellEnd(self, now: float) -> None:
        """
        Answer all that is here, unless the next to be answered is not.
        """
        arrivals = self._arrivals
        if self.ending is Ending.CLOSED and not self.isTold:
            while self._advance() is not None:
                pass  # what is in them is given up
            self._tellLast(now)
        tokens, self._late = self._late, []
        if self.ending is not Ending.CLOSED or self.isTold:
            for requests in (arrivals.open, arrivals.waiting):
                tokens += [token for x in requests.values() for token, _ in x.tokens]
                requests.clear()
            self.isTold = self.isTold or bool(tokens)
        if tokens:
            status, data = writeEnd(self._condition, isLegacy=self.terms.isLegacy)
            self._answers += [Answer(token, status, data) for token in tokens]

    def _tellLast(self, now: float) -> None:
        """
        Tell the oldest request that is here all there is to say.
        """
        requests = self._arrivals.open
        request = next((x for x in requests.values() if x.tokens), None)
        if request is None:
            return
        for rid in [rid for rid in requests if rid < request.rid]:
            self._respond(requests.pop(rid), now)
        del requests[request.rid]
        payload: list[tuple[bytes, Stanza | None]] = []
        status, data = writeEnd(self._condition, isLegacy=self.terms.isLegacy)
        if status == 200:
            payload = self._ledger.take(all=True)
            elements = [*(element for element, _ in payload), self._lastWords]
            _, data = writeEnd(self._condition, children=list(filter(None, elements)))
        self._record(Response(request.rid, request.key, now, payload, status, data), request)
        self.isTold = True
