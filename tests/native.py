# Copyright the cmanager authors.
# See LICENSE for details.

"""
The native engine for tests, where it has been built.
"""

from __future__ import annotations

from typing import Any

from tests.programs import lacks

Routes: Any
Scanner: Any
try:
    from cmanager._scanner import Routes, Scanner
except ImportError:
    Routes = Scanner = None


def requireNative() -> None:
    """
    Skip a test where the engine is missing, unless all tests must run.
    """
    if Scanner is None:
        lacks("the native engine has not been built: see requirements/install")
