# Copyright the cmanager authors.
# See LICENSE for details.

"""
How much one address, and one client, may ask of us: token buckets and counters
over an injected clock.  Layer 1; knows no stream, no session and no reactor.

How many clients there may be in all is the table's business
(L{cmanager.table}), how large a stanza the scanner's.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from cmanager.errors import StreamError

if TYPE_CHECKING:
    from cmanager.config import LimitSettings


def refilled(tokens: float, seconds: float, rate: float, burst: float) -> float:
    """
    Return how many tokens there are so many seconds later.

    @param seconds: Less than none where the clock was put back: then nothing changes.
    """
    return min(burst, tokens + max(seconds, 0.0) * rate)


class TokenBucket:
    """
    So many tokens a second, and so many at once.

    It may be overdrawn: what has been taken cannot be given back to the wire, so
    the debt is paid by waiting.
    """

    __slots__ = ("_at", "_burst", "_now", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._now = now
        self._tokens = burst
        self._at = now()

    def _refill(self) -> None:
        now = self._now()
        self._tokens = refilled(self._tokens, now - self._at, self._rate, self._burst)
        self._at = now

    def take(self, amount: float) -> float:
        """
        Take C{amount} whatever is there.

        @return: Seconds until the bucket is no longer overdrawn; 0 if it is not.
        """
        # As often as anything is read; hence no call more than needed.
        now = self._now()
        seconds = now - self._at
        self._at = now
        tokens = self._tokens + seconds * self._rate if seconds > 0 else self._tokens
        if tokens > self._burst:  # noqa: PLR1730 # min() is a call
            tokens = self._burst
        self._tokens = tokens = tokens - amount
        return 0.0 if tokens >= 0 else -tokens / self._rate

    def tryTake(self, amount: float = 1) -> bool:
        """
        Take C{amount} if it is there.
        """
        self._refill()
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True


class Refused(StreamError):
    """
    An address has used up a limit.

    @ivar limit: The key of C{[limits]} that refused it; the label it is counted under.
    """

    def __init__(self, limit: str, text: str, *, reason: str) -> None:
        super().__init__("policy-violation", text, reason=reason)
        self.limit = limit


class Address(Protocol):
    """
    What is remembered of one address.

    @ivar connections: How many it has.
    @ivar tokens: New connections it might have made at once, L{at} that time; what is
        remembered for the first time has never made any.
    @ivar failures: Failed logins, up to L{failedAt}.
    """

    tokens: float
    at: float
    failures: int
    failedAt: float

    @property
    def connections(self) -> int: ...


class Addresses(Protocol):
    """
    The addresses that are remembered.  While it is entered as a context, nobody else
    changes it; everything but its length is to be asked for only then.

    At most so many are remembered.  Room is made by forgetting the address without
    connections that has been quiet longest.  Only where every remembered address is
    connected is the one connected longest ago forgotten, with its count: then that address
    may exceed its limit until the connections of before are gone, which is better than to
    turn away a new one for it.
    """

    def __enter__(self) -> Addresses: ...

    def __exit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def __len__(self) -> int: ...

    def find(self, key: str) -> Address | None:
        """
        Return what is remembered of an address.
        """

    def remember(self, key: str, most: int) -> Address:
        """
        Return what is known of an address, as the one heard of last.

        @param most: How many may be remembered.
        """

    def connected(self, key: str, address: Any) -> None:  # Any: what remember() returns
        """
        There is one more connection.

        @param address: What L{remember} has just returned for the key.
        """

    def released(self, key: str) -> None:
        """
        A connection of an address is gone, which may have been forgotten meanwhile.
        """


class _Own:
    """
    See L{Address}.
    """

    __slots__ = ("at", "connections", "failedAt", "failures", "tokens")

    def __init__(self) -> None:
        self.connections = 0
        self.failures = 0
        self.tokens = 0.0
        self.at = self.failedAt = -math.inf


class OwnAddresses:
    """
    L{Addresses} of one process.
    """

    __slots__ = ("_connected", "_idle")

    def __init__(self) -> None:
        self._connected: OrderedDict[str, _Own] = OrderedDict()
        self._idle: OrderedDict[str, _Own] = OrderedDict()

    def __enter__(self) -> OwnAddresses:
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def __len__(self) -> int:
        return len(self._connected) + len(self._idle)

    def find(self, key: str) -> _Own | None:
        """
        See L{Addresses}.
        """
        return self._connected.get(key) or self._idle.get(key)

    def remember(self, key: str, most: int) -> _Own:
        """
        See L{Addresses}.
        """
        address = self._connected.get(key)
        if address is not None:
            return address
        address = self._idle.get(key)
        if address is not None:
            self._idle.move_to_end(key)
            return address
        while len(self) >= most:
            (self._idle or self._connected).popitem(last=False)
        address = self._idle[key] = _Own()
        return address

    def connected(self, key: str, address: Any) -> None:
        """
        See L{Addresses}.
        """
        address.connections += 1
        if address.connections == 1:
            self._connected[key] = self._idle.pop(key)

    def released(self, key: str) -> None:
        """
        See L{Addresses}.
        """
        address = self._connected.get(key)
        if address is None:
            return
        address.connections -= 1
        if address.connections == 0:
            del self._connected[key]
            self._idle[key] = address


class AddressLimits:
    """
    Connections, new connections and failed logins, by address.

    An IPv6 client owns a /64 as a rule, so that counts as one address; an IPv4
    address mapped into IPv6 counts as the IPv4 address it is.

    At most C{settings.addresses} addresses are remembered.

    @param addresses: Those that are remembered; other processes may share them.
    @ivar settings: In force from the next call on; may be replaced.
    """

    def __init__(
        self,
        settings: LimitSettings,
        now: Callable[[], float],
        addresses: Addresses | None = None,
    ) -> None:
        self.settings = settings
        self._now = now
        self._addresses = OwnAddresses() if addresses is None else addresses

    def __len__(self) -> int:
        return len(self._addresses)

    def connections(self, peer: str) -> int:
        """
        Return how many there are from an address.
        """
        with self._addresses as addresses:
            address = addresses.find(addressKey(peer))
            return 0 if address is None else address.connections

    def accept(self, peer: str) -> None:
        """
        Count a new connection from C{peer}, an IP address literal.

        @raise Refused: There are too many, or they come too fast.  Then it is not
            counted, and L{released} must not be called for it.
        """
        key = addressKey(peer)
        settings = self.settings
        with self._addresses as addresses:
            address = addresses.remember(key, settings.addresses)
            count = address.connections
            areMany = count >= settings.connectionsPerAddress
            areFast = not areMany and not self._isSlow(address)
            if not (areMany or areFast):
                addresses.connected(key, address)
        if areMany:
            raise Refused(
                "connections-per-address",
                "too many connections from your address",
                reason=f"{count} connections from {key}",
            )
        if areFast:
            raise Refused(
                "connection-rate",
                "too many new connections from your address",
                reason=f"more than {settings.connectionRate:g} new connections a second from {key}",
            )

    def _isSlow(self, address: Address) -> bool:
        """
        Take a token of an address, if there is one.
        """
        settings = self.settings
        now = self._now()
        tokens = refilled(
            address.tokens, now - address.at, settings.connectionRate, settings.connectionBurst
        )
        address.at = now
        address.tokens = tokens - 1 if tokens >= 1 else tokens
        return tokens >= 1

    def released(self, peer: str) -> None:
        """
        A connection that L{accept} let in is gone.
        """
        with self._addresses as addresses:
            addresses.released(addressKey(peer))

    def loginFailed(self, peer: str) -> float:
        """
        Count a failed login.

        @return: Seconds to make that client wait.
        """
        settings = self.settings
        now = self._now()
        with self._addresses as addresses:
            address = addresses.remember(addressKey(peer), settings.addresses)
            since = now - address.failedAt
            failures = address.failures + 1 if since < settings.loginMemory else 1
            address.failures = failures
            address.failedAt = now
        excess = failures - settings.loginFailures
        if excess <= 0:
            return 0.0
        # The exponent is capped so that no count overflows a float.
        return float(min(settings.loginDelay * 2.0 ** min(excess - 1, 64), settings.loginDelayMax))

    def loginSucceeded(self, peer: str) -> None:
        """
        Forget the failed logins.
        """
        with self._addresses as addresses:
            address = addresses.find(addressKey(peer))
            if address is not None:
                address.failures = 0


def addressKey(peer: str) -> str:
    """
    Return what C{peer} counts as: an IPv4 address, or an IPv6 /64.

    @param peer: An IP address literal; one of IPv4 has but one form.
    """
    if ":" not in peer:
        return peer
    address = IPv6Address(peer)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def peerAddress(address: object) -> str | None:
    """
    Return the IP address literal of a transport's peer, without a zone, an IPv4
    address mapped into IPv6 as IPv4; L{None} for one that has none: a Unix socket.

    @param address: L{twisted.internet.interfaces.IAddress}.
    """
    host = getattr(address, "host", None)
    if not isinstance(host, str):
        return None
    parsed = ip_address(host.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    literal = str(mapped or parsed)
    # There may be a hundred thousand of these.
    return host if host == literal else literal
