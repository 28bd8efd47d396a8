# Copyright the cmanager authors.
# See LICENSE for details.

"""
Many clients at once: C{make soak} in small.
"""

from __future__ import annotations

import os
import sys

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.acts.actor import HERE


class SoakTests(TestCase):
    """
    L{bench.soak}.
    """

    timeout = 300

    async def test_small(self) -> None:
        """
        200 clients log in, write to each other and leave, and nothing is lost.
        """
        output, errors, status = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "bench.soak", "--clients", "200", "--hold", "3"],
            env={**os.environ, "PYTHONPATH": str(HERE)},
            path=str(HERE),
        )
        self.assertEqual(status, 0, (output + errors).decode())
        self.assertIn(b"800 messages and 200 pings in 3 s: 800 and 200 arrived, 0 twice", output)
        self.assertTrue(output.endswith(b"none lost\n"), output)
