# Copyright the cmanager authors.
# See LICENSE for details.

"""
The engine that reads XML streams and makes routes: the native one
(C{cmanager/_scanner.c}) where it has been built, else that of L{cmanager.scanner} and
L{cmanager.routes}.  They do the same, the native one about ten times as fast.  Layer 1;
knows nothing of who reads.

C{CMANAGER_ENGINE} in the environment asks for one, C{native} or C{python}.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cmanager.sources import interface

__all__ = ["ENGINE", "LACK", "Routes", "Scanner", "native"]

_NAME = "cmanager._scanner"
_MISSING = "has not been built here (apt install gcc python3-dev)"
_STALE = "was built from other sources than there are now"
_BUILD = "build it: sh requirements/install runtime, or pip install ."


def native() -> tuple[Any, Any]:
    """
    Return C{Routes} and C{Scanner} of the native engine.

    @raise ImportError: There is none, or one that does not fit this program, as after a
        C{git pull}; with what to do.
    """
    try:
        module: Any = import_module(_NAME)
        if interface() in (0, module.INTERFACE):
            return module.Routes, module.Scanner
        why = _STALE
    except (ImportError, AttributeError) as error:
        # An old one may miss something here, or something may miss in it.
        isMissing = isinstance(error, ModuleNotFoundError) and error.name == _NAME
        why = _MISSING if isMissing else _STALE
    raise ImportError(f"the native scanner {why}; {_BUILD}", name=_NAME)


_WANTED = os.environ.get("CMANAGER_ENGINE", "")

LACK = ""
"""
Why it is not the native one, and what to do; empty where it is, or is not wanted.
"""

if TYPE_CHECKING or _WANTED == "python":
    from cmanager.routes import Routes
    from cmanager.scanner import Scanner
else:
    try:
        Routes, Scanner = native()
    except ImportError as error:
        if _WANTED == "native":
            raise
        LACK = str(error)
        from cmanager.routes import Routes
        from cmanager.scanner import Scanner

ENGINE = "python" if Scanner.__module__ == "cmanager.scanner" else "native"
"""
Which one it is.
"""
