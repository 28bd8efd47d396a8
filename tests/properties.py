# Copyright the cmanager authors.
# See LICENSE for details.

"""
Hypothesis, as all property tests use it: the same examples in each run, and no bound
for the time one takes.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

__all__ = ["given", "settings", "st"]

settings.register_profile(
    "deterministic",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("deterministic")
