# Copyright the cmanager authors.
# See LICENSE for details.

"""
How much one address, and one client, may ask of us: token buckets and counters
over an injected clock.  Layer 1; knows no stream, no session and no reactor.

How many clients there may be in all is the table's business
(L{cmanager.table}), how large a stanza the scanner's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from cmanager.errors import StreamError

if TYPE_CHECKING:
    from cmanager.config import LimitSettings


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
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now

    def take(self, amount: float) -> float:
        """
        Take C{amount} whatever is there.

        @return: Seconds until the bucket is no longer overdrawn; 0 if it is not.
        """
        self._refill()
        self._tokens -= amount
        return 0.0 if self._tokens >= 0 else -self._tokens / self._rate

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


class _Address:
    """
    What is remembered of one address.
    """

    __slots__ = ("bucket", "connections", "failedAt", "failures")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.connections = 0
        self.failures = 0
        self.failedAt = 0.0


class AddressLimits:
    """
    Connections, new connections and failed logins, by address.

    An IPv6 client owns a /64 as a rule, so that counts as one address; an IPv4
    address mapped into IPv6 counts as the IPv4 address it is.

    At most C{settings.addresses} addresses are remembered.  Room is made by forgetting
    the address without connections that has been quiet longest.  Only where every
    remembered address is connected is the one connected longest ago forgotten, with
    its count: then that address may exceed its limit until the connections of before
    are gone, which is better than to turn away a new one for it.

    @ivar settings: In force from the next call on; may be replaced.  The rate of an
        address that is already remembered stays as it was.
    """

    def __init__(self, settings: LimitSettings, now: Callable[[], float]) -> None:
        self.settings = settings
        self._now = now
        self._connected: OrderedDict[str, _Address] = OrderedDict()
        self._idle: OrderedDict[str, _Address] = OrderedDict()

    def __len__(self) -> int:
        return len(self._connected) + len(self._idle)

    def accept(self, peer: str) -> None:
        """
        Count a new connection from C{peer}, an IP address literal.

        @raise Refused: There are too many, or they come too fast.  Then it is not
            counted, and L{released} must not be called for it.
        """
        key = addressKey(peer)
        address = self._remember(key)
        if address.connections >= self.settings.connectionsPerAddress:
            raise Refused(
                "connections-per-address",
                "too many connections from your address",
                reason=f"{address.connections} connections from {key}",
            )
        if not address.bucket.tryTake():
            raise Refused(
                "connection-rate",
                "too many new connections from your address",
                reason=f"more than {self.settings.connectionRate:g} new connections"
                f" a second from {key}",
            )
        if address.connections == 0:
            self._idle.pop(key, None)
            self._connected[key] = address
        address.connections += 1

    def released(self, peer: str) -> None:
        """
        A connection that L{accept} let in is gone.
        """
        key = addressKey(peer)
        address = self._connected.get(key)
        if address is None:  # forgotten while connected, see above
            return
        address.connections -= 1
        if address.connections == 0:
            del self._connected[key]
            self._idle[key] = address

    def loginFailed(self, peer: str) -> float:
        """
        Count a failed login.

        @return: Seconds to make that client wait.
        """
        settings = self.settings
        address = self._remember(addressKey(peer))
        now = self._now()
        if now - address.failedAt >= settings.loginMemory:
            address.failures = 0
        address.failures += 1
        address.failedAt = now
        excess = address.failures - settings.loginFailures
        if excess <= 0:
            return 0.0
        # The exponent is capped so that no count overflows a float.
        return float(min(settings.loginDelay * 2.0 ** min(excess - 1, 64), settings.loginDelayMax))

    def loginSucceeded(self, peer: str) -> None:
        """
        Forget the failed logins.
        """
        key = addressKey(peer)
        address = self._connected.get(key) or self._idle.get(key)
        if address is not None:
            address.failures = 0

    def _remember(self, key: str) -> _Address:
        """
        Return what is known of C{key}, as the one heard of last.
        """
        address = self._connected.get(key)
        if address is not None:
            return address
        address = self._idle.get(key)
        if address is not None:
            self._idle.move_to_end(key)
            return address
        while len(self) >= self.settings.addresses:
            (self._idle or self._connected).popitem(last=False)
        settings = self.settings
        address = _Address(
            TokenBucket(settings.connectionRate, settings.connectionBurst, self._now)
        )
        self._idle[key] = address
        return address


def addressKey(peer: str) -> str:
    """
    Return what C{peer} counts as: an IPv4 address, or an IPv6 /64.
    """
    address = ip_address(peer)
    if not isinstance(address, IPv6Address):
        return str(address)
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
    return str(mapped or parsed)
