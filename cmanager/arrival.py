# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a stream is told of the way its client came.  Layer 4; knows no stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from attrs import evolve, frozen
from OpenSSL import SSL
from twisted.internet.interfaces import ISSLTransport

from cmanager.binding import describe
from cmanager.outbox import Outbox
from cmanager.records import Records, recordsOn
from cmanager.sinks import sinkFor

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime, ITransport

    from cmanager.clienttls import ClientTLS
    from cmanager.router import Router
    from cmanager.settings import ListenerSettings
    from cmanager.tls import ServerTLS

LOCAL_PEER = "127.0.0.1"
"""
The address of a client on a Unix socket.  Servers want one for each session, and
these are on this machine.
"""


class Origin(Protocol):
    """
    The listener that a client came in by.
    """

    reactor: IReactorTime
    listener: ListenerSettings
    hub: Router


@frozen
class Arrival:
    """
    What is known of a client before its stream.

    @ivar address: Its address; L{None} where the transport's peer is the client.
    @ivar records: TLS that ends here and began before the stream did.
    @ivar isSecureOutside: Whether it is encrypted up to a proxy that we trust; L{None}
        where none has said.
    @ivar isCounted: Whoever brought it counts it among the connections of its address,
        until the transport is lost.
    @ivar outbox: What it has been sent, on its way; through C{records} where there are
        any.  L{None}: nothing has been sent.
    @ivar rest: What it has sent to the stream, decrypted.
    @ivar tls: Makes the C{records} of a client whose TLS begins with the stream.
    @ivar isSecureBelow: The transport itself has TLS in it.
    """

    address: str | None = None
    records: Records | None = None
    isSecureOutside: bool | None = None
    isCounted: bool = False
    outbox: Outbox | None = None
    rest: bytes = b""
    tls: ServerTLS | None = None
    isSecureBelow: bool = False

    @property
    def secure(self) -> bool:
        """
        What the client sends is encrypted, here or up to the proxy.
        """
        if self.isSecureOutside is not None:
            return self.isSecureOutside
        return self.isSecureBelow or self.records is not None or self.tls is not None

    def begun(self, transport: ITransport) -> Arrival:
        """
        Begin L{tls}, if there is any, over C{transport}, which may have some itself.
        """
        if self.tls is not None:
            return evolve(self, tls=None, records=recordsOn(transport, self.tls))
        if ISSLTransport.providedBy(transport):
            return evolve(self, isSecureBelow=True)
        return self

    def outboxFor(
        self, transport: ITransport, writable: Callable[[], object], limit: int
    ) -> Outbox:
        """
        Return the outbox to go on with.

        @param writable: Called when there is room again.
        @param limit: How many bytes may wait.
        """
        outbox = self.outbox
        if outbox is None:
            outbox = Outbox(sinkFor(transport, writable), limit)
        else:
            outbox.redirect(writable, limit)
        if self.records is not None:
            outbox.startTLS(self.records)
        return outbox

    def turnAway(self, transport: ITransport, farewell: bytes) -> None:
        """
        Close the transport of a client that gets no stream.

        @param farewell: What it is told, if it can read that by now and takes it at once.
        """
        outbox, records = self.outbox, self.records
        if outbox is not None:
            if records is None or records.established:
                outbox.put(farewell)
            if records is not None:
                records.close()
                outbox.flush()
            outbox.release()
        elif records is None and not self.isSecureBelow:
            transport.write(farewell)
        transport.loseConnection()


def factsOf(transport: ITransport, records: Records | None) -> ClientTLS | None:
    """
    Return what can be told of the TLS in C{records}, or in the transport itself where there
    are none.
    """
    if records is not None:
        return records.description()
    getHandle = getattr(transport, "getHandle", None)
    handle = getHandle() if getHandle is not None else None
    if not isinstance(handle, SSL.Connection):
        return None
    return describe(handle, clientFinishedFirst=False)


UNKNOWN = Arrival()
"""
Nothing is known.
"""
