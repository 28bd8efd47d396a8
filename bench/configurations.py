# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the subjects of L{bench.cost} and L{bench.many} are configured with.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import attrs

from bench.part import HOST, Part
from cmanager.settings import ManagerSettings
from tests.certificates import authority

DOMAIN = "bench.example"
LINKS = 2
"""
Of each worker.
"""
SPARE_FILES = 200
"""
Files that a process opens besides the connections of its sessions.
"""
HAS_WORKERS = "workers" in attrs.fields_dict(ManagerSettings)
SECRET = "for the measurement"
HAPROXY_PROGRAM = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

FRONT = """
[manager]
drain = 0.5
grace = 0.5
{more}

[log]
level = "warn"

[tls]
certificates = "{directory}/certificates"

[client]
idle-timeout = 86400.0

[limits]
sessions = {most}
connections-per-address = 100000
connection-rate = 100000.0
connection-burst = 100000
bytes-per-second = 1000000000
bytes-burst = 1000000000

[[listener]]
type = "{kind}"
endpoint = "tcp:{port}:backlog=4096:interface={host}"
starttls = "server"

[[server]]
domains = ["{domain}"]
address = "{host}:{farPort}"
secret-file = "{directory}/secret"
security = "plain"
links = {links}
audit-after = 0
"""

HAPROXY = """
global
    maxconn {most}
    nbthread 1
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend clients
    bind {host}:{port}{tls}
    default_backend far
backend far
    server far {host}:{farPort}
"""


def prepare(directory: Path) -> None:
    """
    Write what all need: C{authority.pem}, C{certificates} and C{secret}.
    """
    (directory / "certificates").mkdir()
    (directory / "authority.pem").write_bytes(authority().pem)
    authority().issue(DOMAIN).write(directory / "certificates", DOMAIN)
    (directory / "secret").write_text(SECRET)
    (directory / "secret").chmod(0o600)


def startFront(directory: Path, workers: int, port: int, **values: Any) -> Part:
    """
    Start the connection manager.

    @param directory: As L{prepare} left it.
    """
    values |= {"directory": directory, "domain": DOMAIN, "host": HOST, "port": port, "links": LINKS}
    path = directory / f"{port}.toml"
    path.write_text(FRONT.format(more=f"workers = {workers}" if HAS_WORKERS else "", **values))
    return Part(
        "cmanager",
        str(Path(sys.executable).with_name("twistd")),
        *("-n", "--pidfile=", "cmanager", "--config", str(path)),
    )
