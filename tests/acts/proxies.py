# Copyright the cmanager authors.
# See LICENSE for details.

"""
Stages on which clients come by a proxy, as C{docs/operations.rst} configures it, from an
address of their own.
"""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.acts.actor import HERE, PATIENCE_SECONDS, ActorError
from tests.acts.stage import DOMAIN, STOP_SECONDS, loopback
from tests.acts.webstage import INACTIVITY, WAYS, WebStage
from tests.programs import find

MANUAL = HERE / "docs" / "operations.rst"
HTTP_PORT = 5280
PROXIED_PORTS = {"tcp": 5232, "tls": 5233, "any": 5234}
AT_PROXY_PORTS = {"tcp": 5222, "tls": 5223, "any": 5224}
WEB_PORT = 8443
PROXY = "127.0.0.1"
"""
Where connections on the loopback come from that nobody has bound.
"""

FORGED = "203.0.113.9"

_POLL_SECONDS = 0.05

LISTENERS = f"""
[[listener]]
type = "http"
endpoint = "tcp:{HTTP_PORT}:interface={{address}}"
trusted = ["{PROXY}"]
""" + "".join(
    f"""
[[listener]]
type = "{type_}"
endpoint = "tcp:{port}:interface={{address}}"
proxy-protocol = true
trusted = ["{PROXY}"]
"""
    for type_, port in PROXIED_PORTS.items()
)

NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
{user}
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{around}
    server {{
        listen {host}:{port} ssl;
        ssl_certificate {pem};
        ssl_certificate_key {pem};
{inside}
    }}
}}
"""


def example(beginning: str, **changes: str) -> str:
    """
    Return an example of the manual, the one with a line that begins so, with each key of
    C{changes} replaced by its value.

    @raise AssertionError: There is none, or a key is not in it.
    """
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", MANUAL.read_text())
    texts = [textwrap.dedent(block) for block in blocks]
    (text,) = (text for text in texts if re.search(f"(?m)^{re.escape(beginning)}", text))
    return changed(text, changes)


def changed(text: str, changes: dict[str, str]) -> str:
    """
    Replace each key, which must be there, by its value.
    """
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class ProxyProcess(ProcessProtocol):
    """
    A proxy, which ends with the tests at the latest.
    """

    def __init__(self, reactor: Any, *arguments: str) -> None:
        self.reactor = reactor
        self.output = ""
        self.status: int | None = None
        self.ended: Deferred[None] = Deferred()
        line = [find("setpriv", "util-linux"), "--pdeathsig", "TERM", *arguments]
        reactor.spawnProcess(self, line[0], line, env=os.environ)

    def outReceived(self, data: bytes) -> None:
        """
        See L{ProcessProtocol}.
        """
        self.output += data.decode(errors="replace")

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """
        See L{ProcessProtocol}.
        """
        self.status = reason.value.exitCode  # type: ignore[attr-defined]
        self.ended.callback(None)

    async def ready(self, host: str, port: int) -> None:
        """
        Wait until it takes connections.
        """
        endpoint = TCP4ClientEndpoint(self.reactor, host, port)
        until = self.reactor.seconds() + PATIENCE_SECONDS
        while self.status is None and self.reactor.seconds() < until:
            try:
                connection = await endpoint.connect(Factory.forProtocol(Protocol))
            except ConnectError:
                await deferLater(self.reactor, _POLL_SECONDS)
            else:
                connection.transport.abortConnection()
                return
        raise ActorError(f"the proxy does not come up: {self.output[-4000:]}")

    async def stop(self) -> None:
        """
        End it.
        """
        if self.status is None:
            assert self.transport is not None
            self.transport.signalProcess("TERM")
            self.ended.addTimeout(STOP_SECONDS, self.reactor)
            await self.ended


class ProxyStage(WebStage):
    """
    Has a proxy before it.  Clients come from C{source}, and those of the web say that
    they come from L{FORGED}.

    @cvar ports: Where those of the web come in.
    """

    listeners = LISTENERS
    ports = (WEB_PORT, WEB_PORT)

    def __init__(self, *arguments: Any, **settings: str) -> None:
        super().__init__(*arguments, **settings)
        self.outside = loopback()
        self.source = loopback()
        self.proxy: ProxyProcess | None = None

    def arguments(self) -> list[str]:
        """
        Return how to start the proxy.
        """
        raise AssertionError("a subclass says that")

    async def start(self) -> None:
        """
        See L{Stage}.
        """
        arguments = self.arguments()
        await super().start()
        self.proxy = ProxyProcess(self.reactor, *arguments)
        await self.proxy.ready(self.outside, self.ports[0])

    async def stop(self) -> None:
        """
        See L{Stage}.
        """
        try:
            if self.proxy is not None:
                await self.proxy.stop()
        finally:
            await super().stop()

    def way(self, program: str, directTLS: bool) -> dict[str, Any]:
        """
        See L{Stage}.
        """
        way = {**super().way(program, directTLS), "host": self.outside, "source": self.source}
        if program in WAYS:
            scheme, _, rest = way["service"].split("/", 2)
            port, path = self.ports[directTLS], rest.partition("/")[2]
            way["service"] = f"{scheme}//{DOMAIN}:{port}/{path}"
            way["headers"] = {"X-Forwarded-For": FORGED, "X-Forwarded-Proto": "http"}
        return way

    @property
    def pem(self) -> Path:
        """
        The file of certificate and key.
        """
        return self.directory / "certificates" / f"{DOMAIN}.pem"


class NginxStage(ProxyStage):
    """
    nginx, which ends TLS.

    @cvar changes: Of the example in the manual.
    """

    changes: dict[str, str] = {}

    def arguments(self) -> list[str]:
        """
        See L{ProxyStage}.
        """
        program = find("nginx", "nginx-light")
        inside = example("location ~", **{PROXY + ":5280": f"{self.host}:{HTTP_PORT}"})
        inside, _, around = changed(inside, self.changes).partition("# in http {}:\n")
        configuration = self.directory / "nginx.conf"
        configuration.write_text(
            NGINX.format(
                directory=self.directory,
                user="user root root;" if os.geteuid() == 0 else "",
                host=self.outside,
                port=WEB_PORT,
                pem=self.pem,
                inside=inside,
                around=around,
            )
        )
        return [program, "-p", str(self.directory), "-c", str(configuration)]


class NginxBOSHStage(NginxStage):
    """
    The same for BOSH.
    """

    transport = "bosh"
    listeners = LISTENERS + INACTIVITY


class HAProxyStage(ProxyStage):
    """
    HAProxy, which tells who is there in the PROXY protocol.

    @cvar sections: Which types of listeners are behind it.
    @cvar bind: What it does with what comes.
    @cvar send: How it tells.
    """

    ports = (AT_PROXY_PORTS["any"], AT_PROXY_PORTS["any"])
    sections = ("tcp", "tls", "any")
    bind = ""
    send = "send-proxy-v2"

    def arguments(self) -> list[str]:
        """
        See L{ProxyStage}.
        """
        program = find("haproxy", "haproxy")
        configuration = self.directory / "haproxy.cfg"
        configuration.write_text("".join(map(self.section, self.sections)))
        return [program, "-db", "-f", str(configuration)]

    def section(self, name: str) -> str:
        """
        Return how it serves one port.
        """
        bind = f"bind {self.outside}:{AT_PROXY_PORTS[name]} {self.bind}"
        return example(
            "listen xmpp",
            **{
                "listen xmpp": f"listen {name}",
                "bind :443": bind.format(pem=self.pem),
                "192.0.2.10:443": f"{self.host}:{PROXIED_PORTS[name]}",
                "send-proxy-v2": self.send,
            },
        )


class HAProxyTLSStage(HAProxyStage):
    """
    HAProxy that ends TLS and says so.
    """

    sections = ("any",)
    bind = "ssl crt {pem} alpn http/1.1"
    send = "send-proxy-v2-ssl"


class HAProxyHTTPStage(ProxyStage):
    """
    HAProxy that ends TLS and reads HTTP.
    """

    def arguments(self) -> list[str]:
        """
        See L{ProxyStage}.
        """
        program = find("haproxy", "haproxy")
        configuration = self.directory / "haproxy.cfg"
        configuration.write_text(
            f"""
listen web
    mode http
    bind {self.outside}:{WEB_PORT} ssl crt {self.pem}
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    server cmanager {self.host}:{HTTP_PORT}
"""
        )
        return [program, "-db", "-f", str(configuration)]
