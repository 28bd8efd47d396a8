# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a worker shares with the others.  Layer 1; a value, opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import field, frozen


@frozen
class Crew:
    """
    The place of one process among its like, and the descriptors it was born with.

    There is one slot more than there are workers: a worker that takes over from another
    starts in the free one, so that no slot is ever that of two living processes, and the
    one before is cleaned up before the next begins.  Any slot may be empty at any time.

    @ivar slot: Ours, from 0.
    @ivar size: How many slots there are.
    @ivar shared: A descriptor of the memory that all of them share (a memfd); it is made
        once, by the supervisor, and is zeroes then.
    @ivar listening: A descriptor of the Unix socket on which the others reach us.
    @ivar paths: The path of that socket of each slot.
    @ivar sockets: By endpoint: descriptors of listening sockets, to be accepted from.
    """

    slot: int
    size: int
    shared: int
    listening: int
    paths: tuple[str, ...]
    sockets: Mapping[str, int] = field(factory=lambda: MappingProxyType({}), hash=False)
