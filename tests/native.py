# Copyright the cmanager authors.
# See LICENSE for details.

"""
The native engine for tests, where it has been built.
"""

from __future__ import annotations

from typing import Any

from cmanager.framing import native
from tests.programs import lacks

Routes: Any = None
Scanner: Any = None
_lack = ""
try:
    Routes, Scanner = native()
except ImportError as error:
    _lack = str(error)


def requireNative() -> None:
    """
    Skip a test where the engine is missing, unless all tests must run.
    """
    if _lack:
        lacks(_lack)
