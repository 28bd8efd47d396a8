# Copyright the cmanager authors.
# See LICENSE for details.

"""
Programs that some tests run and a machine may lack: the tests are left out then, or
fail where all are wanted, as in C{.ci/run}.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from twisted.trial.unittest import SkipTest

from tests.gates import isRequired


def find(program: str, package: str, environment: Mapping[str, str] = os.environ) -> str:
    """
    Return the path of a program.

    @param package: What brings it on Debian and Ubuntu.
    @raise SkipTest: It is not installed.
    @raise AssertionError: It is not, and all tests are wanted.
    """
    path = shutil.which(program, path=environment.get("PATH", ""))
    if path is not None:
        return path
    missing = f"{program} is not installed; on Debian or Ubuntu: apt install {package}"
    if isRequired(environment):
        raise AssertionError(missing)
    raise SkipTest(missing)
