# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a stream is told of the way its client came.  Layer 4; values only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from cmanager.records import Records

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from cmanager.router import Router
    from cmanager.settings import ListenerSettings

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

    @ivar address: Its address, where the transport's peer is a proxy; L{None} where the
        peer is the client.
    @ivar records: TLS that ends here and began before the stream did.
    @ivar isSecureOutside: It is encrypted up to a proxy that we trust.
    """

    address: str | None = None
    records: Records | None = None
    isSecureOutside: bool = False

    @property
    def secure(self) -> bool:
        """
        What the client sends is encrypted, here or up to the proxy.
        """
        return self.isSecureOutside or self.records is not None
