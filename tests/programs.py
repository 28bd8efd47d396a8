# Copyright the cmanager authors.
# See LICENSE for details.

"""
Programs that some tests run and a machine may lack: the tests are left out then, or
fail where all are wanted, as in C{.ci/run}.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from twisted.trial.unittest import SkipTest

from tests.gates import isRequired


def find(program: str, package: str, environment: Mapping[str, str] = os.environ) -> str:
    """
    Return the path of a program.

    @param package: What brings it on Debian and Ubuntu.
    @raise SkipTest: It is not installed.
    @raise AssertionError: It is not, and all tests are wanted.
    """
    # Debian keeps daemons where only the path of root leads.
    path = shutil.which(program, path=f"{environment.get('PATH', '')}:/usr/sbin")
    if path is None:
        lacks(
            f"{program} is not installed; on Debian or Ubuntu: apt install {package}", environment
        )
    return path


def findNode(
    environment: Mapping[str, str] = os.environ, folder: Path = Path(sys.prefix, "node")
) -> str:
    """
    Return the path of Node.

    @param folder: Where C{requirements/install} puts the packages of C{requirements/node}.
    @raise SkipTest: It is not installed, or its packages are not.
    @raise AssertionError: Likewise, and all tests are wanted.
    """
    path = find("node", "nodejs npm", environment)
    if not folder.with_suffix(".pins").exists():
        find("npm", "npm", environment)
        lacks(f"{folder} is not installed; sh requirements/install test", environment)
    return path


def findMellium(
    environment: Mapping[str, str] = os.environ, path: Path = Path(sys.prefix, "mellium")
) -> str:
    """
    Return the path of our client in Go.

    @param path: Where C{requirements/install} builds it.
    @raise SkipTest: It is not built.
    @raise AssertionError: Likewise, and all tests are wanted.
    """
    if not path.with_suffix(".pins").exists():
        find("go", "golang-go", environment)
        lacks(f"{path} is not built; sh requirements/install test", environment)
    return str(path)


def lacks(missing: str, environment: Mapping[str, str] = os.environ) -> NoReturn:
    """
    Leave a test out.

    @param missing: What it needs, and how to get that.
    @raise SkipTest: Always, unless
    @raise AssertionError: all tests are wanted.
    """
    if isRequired(environment):
        raise AssertionError(missing)
    raise SkipTest(missing)
