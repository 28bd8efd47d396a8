# Copyright the cmanager authors.
# See LICENSE for details.

"""
What goes to one BOSH client, and how far it is known to have got.  Layer 1, pure; knows no
rule of when a request is answered.

An element waits in a queue, then it is in the response to one request, the bytes of which
never change: whoever repeats the request gets them again.  Until the client is known to
have them a response remembers which stanzas it holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

from attrs import frozen

from cmanager.stanza import Stanza

MAX_TOKENS = 2
"""
HTTP requests with the same rid that are told apart: a lost one and its repetition.
"""


@frozen(slots=True)
class Answer:
    """
    What to write.

    @ivar token: The HTTP request it answers.
    @ivar status: Of HTTP.
    @ivar data: A C{<body/>}, or nothing where the status is not 200.
    """

    token: Hashable
    status: int
    data: bytes


class Response:
    """
    The response to one request.

    @ivar key: The key of the request, by which a repetition is known to be the client's.
    @ivar hasPayload: There are elements in it.
    @ivar stanzas: Those in it that the client is not known to have.
    @ivar isReceived: The client is known to have it.
    @ivar tokens: The HTTP requests it has been written to, as far as they are not known
        to have been lost.
    """

    __slots__ = (
        "data",
        "hasPayload",
        "isReceived",
        "key",
        "rid",
        "sentAt",
        "stanzas",
        "status",
        "tokens",
    )

    def __init__(  # noqa: PLR0917 - all of them, once
        self,
        rid: int,
        key: str | None,
        sentAt: float,
        payload: Sequence[tuple[bytes, Stanza | None]],
        status: int,
        data: bytes,
    ) -> None:
        self.rid = rid
        self.key = key
        self.sentAt = sentAt
        self.status = status
        self.data = data
        self.hasPayload = bool(payload)
        self.stanzas = [stanza for _, stanza in payload if stanza is not None]
        self.tokens: list[Hashable] = []
        self.isReceived = False

    def written(self, token: Hashable) -> None:
        """
        It goes to C{token} too.
        """
        self.tokens = [*self.tokens, token][-MAX_TOKENS:]


class Ledger:
    """
    Elements in the order they were sent: those of the responses, then the queue.

    @param queueBytes: Bytes that may wait, behind one element of any size.
    @param responseBytes: Bytes of the elements in a response, unless it is one element.
    @ivar size: Bytes of the queue.
    @ivar responses: Those that can be had again, by rid, in that order.
    """

    __slots__ = ("_queue", "_queueBytes", "_responseBytes", "responses", "size")

    def __init__(self, queueBytes: int, responseBytes: int) -> None:
        self._queueBytes = queueBytes
        self._responseBytes = responseBytes
        self._queue: deque[tuple[bytes, Stanza | None]] = deque()
        self.size = 0
        self.responses: dict[int, Response] = {}

    @property
    def isEmpty(self) -> bool:
        """
        Nothing waits.
        """
        return not self._queue

    @property
    def isDoubtful(self) -> bool:
        """
        There are stanzas in responses, the last excepted, that the client is not known to have.
        """
        return any(response.stanzas for response in list(self.responses.values())[:-1])

    def fits(self, amount: int) -> bool:
        """
        So much more may wait.  Where nothing waits anything does, and an element larger than
        the bound does not count until it is gone, as over TCP.
        """
        size = self.size
        if not size or size + amount <= self._queueBytes:
            return True
        first = len(self._queue[0][0])
        return first > self._queueBytes and size - first + amount <= self._queueBytes

    def put(self, element: bytes, stanza: Stanza | None = None) -> None:
        """
        Queue an element.  The caller has asked L{fits}.
        """
        self._queue.append((element, stanza))
        self.size += len(element)

    def take(self, *, all: bool = False) -> list[tuple[bytes, Stanza | None]]:
        """
        Take from the queue what goes into the next response, or C{all} there is.
        """
        payload: list[tuple[bytes, Stanza | None]] = []
        room = self.size if all else self._responseBytes
        while self._queue and (not payload or len(self._queue[0][0]) <= room):
            entry = self._queue.popleft()
            room -= len(entry[0])
            self.size -= len(entry[0])
            payload.append(entry)
        return payload

    def record(self, response: Response) -> None:
        """
        Keep a response.  Its rid is higher than that of all before it.
        """
        self.responses[response.rid] = response

    def received(self, rid: int) -> None:
        """
        The client has the responses up to C{rid}.
        """
        for response in self.responses.values():
            response.isReceived = response.isReceived or response.rid <= rid
            if not response.isReceived:
                break
            response.stanzas = []

    def confirm(self, token: Hashable) -> None:
        """
        The client has the response that was written to C{token}.  What is in it counts as
        received with that which is before it, and not without: clients read in order.
        """
        response = self.find(token)
        if response is not None:
            response.isReceived = True
            self.received(0)

    def forget(self, rid: int) -> None:
        """
        The responses up to C{rid} need not be had again.
        """
        for old in [known for known in self.responses if known <= rid]:
            del self.responses[old]

    def find(self, token: Hashable) -> Response | None:
        """
        Return the response that was written to C{token}, if it is kept.
        """
        for response in self.responses.values():
            if token in response.tokens:
                return response
        return None

    def takeUndelivered(self, *, trust: bool) -> list[Stanza]:
        """
        Return, oldest first, the stanzas that the client is not known to have, and give them
        up: what held them cannot be had again.

        @param trust: What has been written, and was not lost, counts as received.
        """
        stanzas: list[Stanza] = []
        for response in list(self.responses.values()):
            if response.stanzas and not (trust and response.tokens):
                stanzas += response.stanzas
                del self.responses[response.rid]
        stanzas += [stanza for _, stanza in self.take(all=True) if stanza is not None]
        return stanzas
