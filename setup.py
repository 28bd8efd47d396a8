# Copyright the cmanager authors.
# See LICENSE for details.

"""
The one part of the package that is compiled; all else is in C{setup.cfg}, which cannot
name it.
"""

from __future__ import annotations

from glob import glob
from runpy import run_path

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "cmanager._scanner",
            ["cmanager/_scanner.c", *sorted(glob("cmanager/native/*.c"))],
            depends=sorted(glob("cmanager/native/*.h")),
            define_macros=[("INTERFACE", str(run_path("cmanager/sources.py")["interface"]()))],
            # Without a compiler cmanager.scanner does the same.
            optional=True,
        )
    ]
)
