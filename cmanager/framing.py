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
from typing import TYPE_CHECKING

__all__ = ["ENGINE", "Routes", "Scanner"]

_WANTED = os.environ.get("CMANAGER_ENGINE", "")

if TYPE_CHECKING or _WANTED == "python":
    from cmanager.routes import Routes
    from cmanager.scanner import Scanner
else:
    try:
        from cmanager._scanner import Routes, Scanner
    except ImportError:
        if _WANTED == "native":
            raise
        from cmanager.routes import Routes
        from cmanager.scanner import Scanner

ENGINE = "python" if Scanner.__module__ == "cmanager.scanner" else "native"
"""
Which one it is.
"""
