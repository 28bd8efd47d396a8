# Copyright the cmanager authors.
# See LICENSE for details.

"""
Counters that only go up, and how they are shown.  Layer 1; knows nothing of
what is counted.

Any part bumps a counter by name; the dictionary is rendered when somebody
scrapes.  Gauges (sessions, links) are not kept here: they are read from the
tables that hold the things themselves, so that they cannot drift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

COUNTERS: Mapping[str, tuple[str, str]] = {
    "clients_refused": ("reason", "Clients turned away before a stream was open."),
    "streams_closed": ("condition", "Client streams that ended, by condition."),
    "stanzas_up": ("", "Stanzas taken from clients to a server."),
    "stanzas_down": ("", "Stanzas handed to client streams."),
    "messages_returned": ("", "Undelivered messages returned to the server."),
    "iqs_bounced": ("", "Undeliverable iq requests answered with an error."),
    "stanzas_refused": ("condition", "Client stanzas answered with an error here."),
    "stanzas_dropped": ("reason", "Stanzas that went nowhere."),
    "logins": ("", "Successful logins."),
    "login_failures": ("", "Failed logins."),
    "links_up": ("", "Links that became ready."),
    "links_lost": ("", "Links lost, or never ready."),
    "stanzas_lost_in_link": ("", "Stanzas in a link that was lost."),
    "filter_errors": ("filter", "Stanzas refused because a filter failed."),
    "ghosts_closed": ("", "Sessions of a server's that no client stands behind."),
    "sessions_repinned": ("", "Sessions moved from a lost link to another."),
    "audits": ("", "Questions to a server whether a session is still there."),
}
"""
Every counter: name to the name of its label (C{""} for none) and what it means.
"""

Gauge = tuple[str, str, str, Mapping[str, float]]
"""
Name, what it means, the name of its label (C{""} for none), value by label.
"""


class Metrics:
    """
    All counters of one process.

    @ivar stanzasUp: The counter C{stanzas_up}, and
    @ivar stanzasDown: C{stanzas_down}: those that count each stanza do without a call.
    """

    def __init__(self) -> None:
        self.stanzasUp = 0
        self.stanzasDown = 0
        self._counts: dict[tuple[str, str], int] = {}

    def increment(self, name: str, label: str = "", by: int = 1) -> None:
        """
        Count.  C{label} must be one of a closed set: a condition, a plugin's name,
        never anything a peer may choose.
        """
        key = (name, label)
        counts = self._counts
        counts[key] = counts.get(key, 0) + by

    def value(self, name: str, label: str = "") -> int:
        """
        Return a counter; zero if nothing was counted.
        """
        return self._all().get((name, label), 0)

    def items(self) -> Iterator[tuple[str, str, int]]:
        """
        Yield name, label and count, sorted.
        """
        for (name, label), count in sorted(self._all().items()):
            if count:
                yield name, label, count

    def _all(self) -> dict[tuple[str, str], int]:
        busy = {("stanzas_up", ""): self.stanzasUp, ("stanzas_down", ""): self.stanzasDown}
        return self._counts | busy


class Collector:
    """
    Renders counters and gauges for prometheus_client at scrape time.

    @param gauges: Returns the gauges as they are now.
    """

    def __init__(self, metrics: Metrics, gauges: Callable[[], Iterable[Gauge]]) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """
        Yield one family for each counter and each gauge.  See
        L{prometheus_client.registry.Collector}.
        """
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, CounterMetricFamily] = {}
        for name, (label, text) in COUNTERS.items():
            families[name] = CounterMetricFamily(
                f"cmanager_{name}", text, labels=[label] if label else []
            )
            if not label:
                families[name].add_metric([], self._metrics.value(name))
        for name, label, count in self._metrics.items():
            family = families.get(name)
            if family is None:
                # A plugin's own counter.
                family = CounterMetricFamily(f"cmanager_{name}", name, labels=["label"])
                families[name] = family
            if COUNTERS.get(name, ("label", ""))[0]:
                family.add_metric([label], count)
        yield from families.values()
        for name, text, label, values in self._gauges():
            gauge = GaugeMetricFamily(f"cmanager_{name}", text, labels=[label] if label else [])
            for key, value in values.items():
                gauge.add_metric([key] if label else [], value)
            yield gauge


def registry(metrics: Metrics, gauges: Callable[[], Iterable[Gauge]]) -> CollectorRegistry:
    """
    Return a registry of its own that shows C{metrics} and C{gauges}, and nothing of the
    interpreter's.
    """
    from prometheus_client import CollectorRegistry

    made = CollectorRegistry(auto_describe=False)
    made.register(Collector(metrics, gauges))
    return made
