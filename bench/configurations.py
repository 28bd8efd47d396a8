# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the subjects of L{bench.cost} and L{bench.many} are configured with.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
from pathlib import Path

from bench.part import HOST, Part
from bench.web import BOSH_PATH, WEBSOCKET_PATH
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
SECRET = "for the measurement"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
HAPROXY_PROGRAM = shutil.which("haproxy", path=_PATH)
NGINX_PROGRAM = shutil.which("nginx", path=_PATH)

FRONT = """
[manager]
workers = {workers}
drain = 0.5
grace = 0.5

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
{ping}

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
    nbthread {workers}
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

NGINX = """
daemon off;
worker_processes {workers};
worker_rlimit_nofile {files};
pid {directory}/{port}.pid;
error_log stderr;
{user}
events {{ worker_connections {files}; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    upstream far {{
        server {host}:{farPort};
        keepalive 1000;
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {host}:{port} backlog=4096{tls};
        location {websocket} {{
            proxy_pass http://far;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection Upgrade;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}
        location {bosh} {{
            proxy_pass http://far;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""
NGINX_TLS = """ ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {pem};
        ssl_certificate_key {pem}"""


def prepare(directory: Path) -> None:
    """
    Write what all need: C{authority.pem}, C{certificates} and C{secret}.
    """
    (directory / "certificates").mkdir()
    (directory / "authority.pem").write_bytes(authority().pem)
    authority().issue(DOMAIN).write(directory / "certificates", DOMAIN)
    (directory / "secret").write_text(SECRET)
    (directory / "secret").chmod(0o600)


def startFront(
    directory: Path, kind: str, port: int, farPort: int, most: int, workers: int
) -> Part:
    """
    Start the connection manager.

    @param directory: As L{prepare} left it.
    @param kind: Of its listener.
    @param most: Sessions it may have.
    """
    path = directory / f"{port}.toml"
    path.write_text(
        FRONT.format(
            directory=directory,
            domain=DOMAIN,
            farPort=farPort,
            host=HOST,
            kind=kind,
            links=LINKS,
            most=most,
            ping="ping = 0" if "http" in kind else "",
            port=port,
            workers=workers,
        )
    )
    return Part(
        "cmanager",
        str(Path(sys.executable).with_name("twistd")),
        *("-n", "--pidfile=", "cmanager", "--config", str(path)),
    )


def startHAProxy(directory: Path, isTLS: bool, port: int, farPort: int, workers: int) -> Part:
    """
    Start HAProxy, with a thread for each worker.
    """
    path = directory / f"{port}.cfg"
    path.write_text(
        HAPROXY.format(
            farPort=farPort,
            host=HOST,
            most=openFiles() // 2,
            port=port,
            tls=f" ssl crt {certificate(directory)}" if isTLS else "",
            workers=workers,
        )
    )
    return Part("HAProxy", HAPROXY_PROGRAM or "", "-db", "-f", str(path))


def startNginx(directory: Path, isTLS: bool, port: int, farPort: int, workers: int) -> Part:
    """
    Start nginx, with a process for each worker and one above them.
    """
    path = directory / f"{port}.nginx"
    path.write_text(
        NGINX.format(
            bosh=BOSH_PATH,
            directory=directory,
            farPort=farPort,
            files=openFiles(),
            host=HOST,
            port=port,
            tls=NGINX_TLS.format(pem=certificate(directory)) if isTLS else "",
            # Otherwise what it starts may not read what is here.
            user="user root;" if os.geteuid() == 0 else "",
            websocket=WEBSOCKET_PATH,
            workers=workers,
        )
    )
    return Part("nginx", NGINX_PROGRAM or "", "-c", str(path), "-e", "stderr")


def certificate(directory: Path) -> Path:
    """
    Return where L{prepare} has put the certificate with its key.
    """
    return directory / "certificates" / f"{DOMAIN}.pem"


def openFiles() -> int:
    """
    Return how many connections a process may have.
    """
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES
