# Copyright the cmanager authors.
# See LICENSE for details.

"""
What C{twistd cmanager --demo DIRECTORY} runs: a server with two accounts, and the
configuration of a front before it, a real deployment in small.  All on the loopback
interface, because everybody knows the passwords.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import shutil
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cmanager.config import load
from cmanager.errors import ConfigError
from cmanager.server.accounts import Store
from cmanager.server.multiplexer import Habits
from cmanager.server.service import Server, ServerOptions
from cmanager.settings import Settings

DOMAIN = "localhost"
ACCOUNTS = {"romeo": "romeo", "juliet": "juliet"}
"""
Passwords to be typed; they guard nothing.
"""

LOOPBACK = ("127.0.0.1", "::1")

MAX_PORT = 65535

PAGE = Path(__file__).with_name("page")
STROPHE = Path(sys.prefix, "page/node_modules/strophe.js/dist/strophe.esm.js")
"""
What the page stands on, where C{requirements/install} has put it if there is an npm.
"""

CERTIFICATE_DAYS = 825
RENEWAL_DAYS = 30


@frozen
class Demo:
    """
    What a demonstration is made of.

    @ivar settings: Of the front.
    @ivar service: The server behind it.
    @ivar screen: What to show when both run.
    """

    settings: Settings
    service: Server
    screen: str


@frozen
class Ports:
    """
    Where it listens.

    @ivar tcp: For clients that begin TLS with STARTTLS.
    @ivar tls: For those that begin with it.
    @ivar http: For browsers; 0: nowhere.
    @ivar https: For those that come by TLS; 0 with C{http}.
    @ivar link: For the link, which is nobody else's; 0 is any.
    """

    tcp: int = 5222
    tls: int = 5223
    http: int = 5280
    https: int = 5443
    link: int = 0

    @classmethod
    def named(cls, text: str) -> Ports:
        """
        Read two or four numbers with commas between; two are without those for browsers.

        @raise ConfigError: It is something else.
        """
        found = re.fullmatch(r"[0-9]{1,5},[0-9]{1,5}(?:,[0-9]{1,5},[0-9]{1,5})?", text)
        numbers = [int(number) for number in text.split(",")] if found else []
        isGood = all(1 <= number <= MAX_PORT for number in numbers)
        if not numbers or len(set(numbers)) != len(numbers) or not isGood:
            raise ConfigError(
                [
                    f"--demo-ports {text}: four ports are needed, such as"
                    ' "5222,5223,5280,5443", or the first two'
                ]
            )
        return cls(*(numbers if len(numbers) > 2 else [*numbers, 0, 0]))

    def taken(self) -> tuple[int, ...]:
        """
        Return those that clients come to.
        """
        return tuple(filter(None, (self.tcp, self.tls, self.http, self.https)))


def demoService(
    directory: str, reactor: Any, ports: Ports | None = None, strophe: Path = STROPHE
) -> Demo:
    """
    Prepare a demonstration.  What C{directory} holds already is kept: accounts,
    rosters, waiting messages, the certificate.

    @param strophe: Where Strophe.js is; without it there is no chat page.
    @raise ConfigError: It cannot run; the one line says what to do.
    """
    home, ports = Path(directory), ports or Ports()
    interfaces = _interfaces()
    for port in ports.taken():
        for interface in interfaces:
            _refuseTaken(interface, port)
    if not ports.link:
        ports = evolve(ports, link=_anyPort())
    try:
        certificate, secret = _prepare(home, datetime.fromtimestamp(reactor.seconds(), UTC))
        hasPage = bool(ports.http) and _putPage(home / "page", strophe)
        configuration = home / "cmanager.toml"
        configuration.write_text(_configuration(interfaces, ports, hasPage))
    except OSError as error:
        raise ConfigError([f"{error.filename}: {error.strerror}; name another folder"]) from None
    options = ServerOptions(
        domain=DOMAIN,
        secret=secret,
        endpoint=f"tcp:{ports.link}:interface={LOOPBACK[0]}",
        habits=Habits.OWN,
    )
    server = Server(reactor, options, Store(str(home / "server.sqlite")))
    _addAccounts(server)
    return Demo(load(configuration, {}), server, _screen(home, certificate, ports, hasPage))


def _addAccounts(server: Server) -> None:
    """
    Make the accounts where they are not; passwords and rosters that were changed stay.
    """
    new = [name for name in ACCOUNTS if not server.store.hasAccount(name)]
    for name in new:
        server.addAccount(name, ACCOUNTS[name])
    if new:
        server.befriend(*ACCOUNTS)


def _interfaces() -> list[str]:
    """
    Return the loopback interfaces there are; a container may lack the second.
    """
    return [interface for interface in LOOPBACK if _problem(interface, 0) is None]


def _problem(interface: str, port: int) -> OSError | None:
    """
    Tell why one cannot listen there.
    """
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As the reactor will: what waits for its time to run out does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((interface, port))
            probe.listen()
    except OSError as error:
        return error
    return None


def _refuseTaken(interface: str, port: int) -> None:
    problem = _problem(interface, port)
    if problem is not None:
        raise ConfigError(
            [
                f"port {port} cannot be used: {problem.strerror}. Stop what uses it, which"
                f" \"ss -ltnp 'sport = :{port}'\" shows, and start again"
            ]
        )


def _anyPort() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK[0], 0))
        port: int = probe.getsockname()[1]
        return port


def _prepare(home: Path, now: datetime) -> tuple[Path, str]:
    """
    Fill the folder: a certificate and the secret of the link.

    @return: Where the certificate is, and the secret.
    """
    certificates = home / "certificates"
    certificates.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate = certificates / f"{DOMAIN}.pem"
    if not _isGood(certificate, now):
        _writePrivately(certificate, selfSigned(now))
    secretFile = home / "secret"
    if not secretFile.exists():
        _writePrivately(secretFile, secrets.token_hex(32).encode())
    base = home / "server.sqlite"
    if not base.exists():
        _writePrivately(base, b"")
    return certificate, secretFile.read_text().strip()


def _putPage(folder: Path, strophe: Path) -> bool:
    """
    Put the chat page there, as it is now.

    @return: Whether that can be.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not strophe.exists():
        return False
    folder.mkdir()
    for file in (*PAGE.iterdir(), strophe):
        shutil.copyfile(file, folder / ("strophe.js" if file is strophe else file.name))
    return True


def _writePrivately(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _isGood(path: Path, now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    return certificate.not_valid_after_utc - now > timedelta(days=RENEWAL_DAYS)


def selfSigned(now: datetime) -> bytes:
    """
    Make a certificate for this machine, with its key, in PEM.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in LOOPBACK]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN), *addresses]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .sign(key, SHA256())
    )
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ) + certificate.public_bytes(Encoding.PEM)


def _configuration(interfaces: list[str], ports: Ports, hasPage: bool) -> str:
    """
    Return the front's configuration.
    """
    # Web pages from elsewhere are kept out: everybody knows the passwords.
    http = (
        _origins("http", ports.http)
        + """
# TLS is not asked for; no network is between.
starttls = "server"
"""
    )
    files = 'files = "page"\n' if hasPage else ""
    kinds = (
        ("tcp", ports.tcp, ""),
        ("tls", ports.tls, ""),
        ("http", ports.http, http + files),
        ("https", ports.https, f"{_origins('https', ports.https)}\n{files}"),
    )
    listeners = "".join(
        f'\n[[listener]]\ntype = "{kind}"\nendpoint = "{_endpoint(port, interface)}"\n{more}'
        for kind, port, more in kinds
        if port
        for interface in interfaces
    )
    public = f"""
[public]
websocket = "ws://{DOMAIN}:{ports.http}/ws"
bosh = "http://{DOMAIN}:{ports.http}/http-bind"
"""
    return f"""\
# Written anew at each start of the demonstration.

[manager]
drain = 1.0
grace = 1.0

[limits]
sessions = 1000

[tls]
certificates = "certificates"
{listeners}{public if ports.http else ""}
[[server]]
domains = ["{DOMAIN}"]
address = "{LOOPBACK[0]}:{ports.link}"
secret-file = "secret"
# The server is in this very process.
security = "plain"
roster-versioning = true
"""


def _origins(scheme: str, port: int) -> str:
    hosts = (DOMAIN, *(f"[{address}]" if ":" in address else address for address in LOOPBACK))
    return "origins = [" + ", ".join(f'"{scheme}://{host}:{port}"' for host in hosts) + "]"


def _endpoint(port: int, interface: str) -> str:
    if ":" in interface:
        escaped = interface.replace(":", "\\\\:")
        return f"tcp6:{port}:interface={escaped}"
    return f"tcp:{port}:interface={interface}"


def _screen(home: Path, certificate: Path, ports: Ports, hasPage: bool) -> str:
    romeo, juliet = ACCOUNTS
    accounts = "\n".join(
        f"             {name}@{DOMAIN}, password {password}" for name, password in ACCOUNTS.items()
    )
    places = f"{ports.tcp} (STARTTLS) and {ports.tls} (TLS from the first byte)"
    if ports.http:
        places += f",\n             {ports.http} (HTTP) and {ports.https} (HTTPS) for browsers"
    write = f"echo Hello | {_client(romeo, ports.tcp)} {juliet}@{DOMAIN}"
    # It does not know the end of a stream from a message, hence the end by the clock.
    read = f"timeout 3 {_client(juliet, ports.tcp)} -l"
    return f"""
The connection manager runs, with a small XMPP server behind it.

Chat page    {_page(ports, hasPage)}
Domain       {DOMAIN}, reached from this machine only
Ports        {places}
Accounts     on each other's contact list:
{accounts}
Certificate  {certificate}
             made here: a client warns until you trust it
Data         {home}
Stop         Ctrl-C

Any XMPP client will do. In profanity (apt install profanity), type

    /connect {romeo}@{DOMAIN} tls trust

In a shell (apt install go-sendxmpp), {romeo.title()} writes and {juliet.title()} reads:

    {write}; {read}

"""


def _page(ports: Ports, hasPage: bool) -> str:
    if hasPage:
        return f"http://{DOMAIN}:{ports.http}/ (open it in two windows)"
    if ports.http:
        return "none, for want of Strophe.js; apt install npm, then make demo again"
    return "none, for want of a port"


def _client(name: str, port: int) -> str:
    """
    Return how a stock client logs in from a shell; it accepts our certificate.
    """
    return f"go-sendxmpp -n -u {name}@{DOMAIN} -p {ACCOUNTS[name]} -j {DOMAIN}:{port}"
