# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the native engine is made of, as a number.  C{setup.py}, which runs this file by
itself, builds it into the engine, and L{cmanager.framing} looks whether it is still that.
Layer 0.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

HERE = Path(__file__).parent
LARGEST = 2**31 - 1
"""
What a C{long} holds everywhere.
"""


def interface(folder: Path = HERE) -> int:
    """
    Return a number that is another one as soon as a source in C is.

    @param folder: That of this package.
    @return: 0 where the sources are not there, as in a wheel.
    """
    number = 0
    for path in sorted([*folder.glob("_scanner.c"), *folder.glob("native/*.[ch]")]):
        number = crc32(path.read_bytes(), number)
    return number & LARGEST
