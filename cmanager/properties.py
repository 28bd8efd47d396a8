# Copyright the cmanager authors.
# See LICENSE for details.

"""
The Java Connection Manager's properties: how its C{conf/manager.xml} is read, and
what becomes of each property that program knew.  Layer 5; writes nothing, that is
L{cmanager.legacy}'s part.
"""

from __future__ import annotations

from xml.parsers import expat

from attrs import define, field

from cmanager.errors import ConfigError

MAX_FILE_BYTES = 1048576
MAX_DEPTH = 32

_THREADS = "there are no threads to count: see manager.workers"
_JVM = "it is about the Java machine"
_SYSTEM = "the operating system finds a better value by itself"
_LOG = "the form of a line is given: log.format is text or json"
_ROTATION = "the journal, or logrotate, keeps the log small"
_CHECKS = (
    "a certificate is checked in full or, with insecure = true, not at all; name the"
    " server's certificate or its issuer's in server.ca"
)
_SCRIPT = "the old start script read it; twistd or systemd starts this program"

CARRIED = {
    "xmpp.domain": "server.domains",
    "xmpp.hostname": "server.address",
    "xmpp.port": "server.address",
    "xmpp.password": "server.secret-file",
    "xmpp.httpbind.enabled": "listener",
    "xmpp.httpbind.port.plain": "listener.endpoint",
    "xmpp.httpbind.port.secure": "listener.endpoint",
    "network.interface": "listener.endpoint",
    "xmpp.httpbind.client.requests.wait": "bosh.wait",
    "xmpp.httpbind.client.requests.polling": "bosh.polling",
    "xmpp.httpbind.client.idle": "bosh.inactivity",
    "xmpp.httpbind.client.idle.polling": "bosh.polling-inactivity",
    "xmpp.httpbind.client.maxpause": "bosh.max-pause",
    "xmpp.manager.name": "manager.name",
    "xmpp.manager.connections": "server.links",
    "xmpp.server.certificate.verify": "server.insecure",
    "xmpp.session.sending-limit": "server.stalled-after",
    "dnsutil.dnsOverride": "server.address",
    "xmpp.socket.default.active": "listener",
    "xmpp.socket.default.port": "listener.endpoint",
    "xmpp.socket.plain.port": "listener.endpoint",
    "xmpp.socket.ssl.active": "listener",
    "xmpp.socket.ssl.port": "listener.endpoint",
    "xmpp.socket.network.interface": "listener.endpoint",
    "xmpp.socket.backlog": "listener.endpoint",
    "xmpp.client.idle": "client.idle-timeout",
    "xmpp.parser.buffer.size": "client.stanza-bytes",
    "session.stalled.cap": "client.queue-bytes",
    "xmpp.socket.ssl.keystore": "tls.certificates",
    "xmpp.socket.ssl.truststore": "server.ca",
    "log.debug.enabled": "log.level",
}
"""
Properties with a counterpart, and the key it is.
"""

LEFT = {
    "xmpp.manager.incoming.threads": _THREADS,
    "xmpp.server.compression.policy": "links are never compressed: with TLS, compression"
    " gives away what is encrypted",
    "xmpp.server.certificate.verify.chain": _CHECKS,
    "xmpp.server.certificate.verify.root": _CHECKS,
    "xmpp.server.certificate.verify.validity": _CHECKS,
    "xmpp.server.certificate.accept-selfsigned": _CHECKS,
    "xmpp.socket.buffer.receive": _SYSTEM,
    "xmpp.socket.buffer.send": _SYSTEM,
    "xmpp.socket.linger": "connections are closed in order, then dropped after"
    " client.close-timeout",
    "xmpp.socket.tcp-nodelay": "it is always on",
    "xmpp.socket.directBuffer": _JVM,
    "xmpp.processor.count": _THREADS,
    "xmpp.processor.threads.standard": _THREADS,
    "xmpp.processor.threads.ssl": _THREADS,
    "xmpp.client.validate.host": "it is always done: a stream to another domain than"
    " those in server.domains ends with host-unknown",
    "connection.ack.timeout": "closing holds up nobody; client.close-timeout is how long"
    " the client's own end is awaited",
    "xmpp.socket.ssl.storeType": "certificates and keys are PEM files here",
    "xmpp.socket.ssl.keypass": "keys are PEM files without a password, protected by their mode",
    "xmpp.socket.ssl.trustpass": "certificates to trust are in a PEM file, which is no secret",
    "xmpp.socket.ssl.algorithm": "tls.preset picks TLS versions and ciphers",
    "xmpp.httpbind.scriptSyntax.enabled": "pages of other origins: listener.origins",
    "xmpp.httpbind.client.requests.max": "there is one request more than bosh.hold allows to wait",
    "xmpp.httpbind.client.requests.ignoreOveractivity": "bosh.polling = 0 lets clients poll as"
    " often as they like; a window of requests there is always",
    "xmpp.httpbind.client.no-cache.enabled": "answers are never to be stored",
    "xmpp.httpbind.crossdomain.secure": "browsers have no Flash any more",
    "log.directory": "the log goes to the standard output, or to twistd's --logfile",
    **{f"log.{name}.format": _LOG for name in ("debug", "info", "warn", "error")},
    **{f"log.{name}.size": _ROTATION for name in ("debug", "info", "warn", "error")},
    "locale": "the log is in English",
    "setup": "there is no setup mode: a file that cannot work is refused at the start",
    "managerHome": "there is no home directory: paths are relative to the configuration file",
    "cmanager.lib.dir": _JVM,
    "java.version": _JVM,
    "line.separator": _JVM,
    "org.eclipse.jetty.util.log.class": _JVM,
    "org.apache.commons.logging.LogFactory": _JVM,
    "javax.net.debug": _JVM,
    "CMANAGER_HOME": _SCRIPT,
    "CMANAGER_OPTS": _SCRIPT,
    "CMANAGER_USER": "the systemd unit names the user",
    "JAVA_HOME": _JVM,
    "JAVACMD": _JVM,
    "LOCALCLASSPATH": _JVM,
    "CLASSPATH": _JVM,
    "JVM_SETTINGS": _JVM,
}
"""
Properties without a counterpart, and why.
"""


@define
class _Element:
    name: str
    text: str = ""
    children: dict[str, _Element] = field(factory=dict)


class _Reader:
    """
    Builds the tree.  Of elements with one name under one parent the first counts, as
    in the old program.
    """

    def __init__(self, repeated: list[str]) -> None:
        self.repeated = repeated
        self.path = [_Element("")]

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.path) > MAX_DEPTH:
            raise ConfigError([f"elements deeper than {MAX_DEPTH}"])
        element = _Element(name)
        if name in self.path[-1].children:
            self.repeated.append(".".join([e.name for e in self.path[2:]] + [name]))
        else:
            self.path[-1].children[name] = element
        self.path.append(element)

    def end(self, name: str) -> None:
        self.path.pop()

    def text(self, text: str) -> None:
        self.path[-1].text += text

    def refuse(self, *declaration: object) -> None:
        raise ConfigError(["a document type declaration is not accepted"])


def parse(document: bytes) -> tuple[dict[str, str], list[str]]:
    """
    Read the old program's configuration file.

    @return: The properties that are set, in the file's order; and the names that
        stand there again, unread.
    @raise ConfigError: It is not well-formed, or not that program's file.
    """
    if len(document) > MAX_FILE_BYTES:
        raise ConfigError([f"larger than {MAX_FILE_BYTES} bytes"])
    repeated: list[str] = []
    reader = _Reader(repeated)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    root = reader.path[0]
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        raise ConfigError([f"line {error.lineno}: not well-formed: {message}"]) from None
    (name, jive), *_ = root.children.items()
    if name != "jive":
        raise ConfigError([f"the root element is <{name}>, not <jive>"])
    found: dict[str, str] = {}
    _collect(jive, "", found)
    return found, repeated


def _collect(element: _Element, path: str, found: dict[str, str]) -> None:
    for name, child in element.children.items():
        here = f"{path}.{name}".removeprefix(".")
        text = " ".join(child.text.split())
        if text:
            found[here] = text
        _collect(child, here, found)
