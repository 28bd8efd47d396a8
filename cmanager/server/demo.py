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
import socket
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
    @ivar link: For the link, which is nobody else's; 0 is any.
    """

    tcp: int = 5222
    tls: int = 5223
    link: int = 0

    @classmethod
    def named(cls, text: str) -> Ports:
        """
        Read two numbers with a comma between.

        @raise ConfigError: It is something else.
        """
        found = re.fullmatch(r"([0-9]{1,5}),([0-9]{1,5})", text)
        numbers = [int(number) for number in found.groups()] if found else []
        if len(set(numbers)) != 2 or not all(1 <= number <= MAX_PORT for number in numbers):
            raise ConfigError([f'--demo-ports {text}: two ports are needed, such as "5222,5223"'])
        return cls(*numbers)


def demoService(directory: str, reactor: Any, ports: Ports | None = None) -> Demo:
    """
    Prepare a demonstration.  What C{directory} holds already is kept: accounts,
    rosters, waiting messages, the certificate.

    @raise ConfigError: It cannot run; the one line says what to do.
    """
    home, ports = Path(directory), ports or Ports()
    interfaces = _interfaces()
    for port in (ports.tcp, ports.tls):
        for interface in interfaces:
            _refuseTaken(interface, port)
    if not ports.link:
        ports = evolve(ports, link=_anyPort())
    try:
        certificate, secret = _prepare(home, datetime.fromtimestamp(reactor.seconds(), UTC))
        configuration = home / "cmanager.toml"
        configuration.write_text(_configuration(interfaces, ports))
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
    return Demo(load(configuration, {}), server, _screen(home, certificate, ports))


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


def _configuration(interfaces: list[str], ports: Ports) -> str:
    """
    Return the front's configuration.
    """
    listeners = "".join(
        f'\n[[listener]]\ntype = "{kind}"\nendpoint = "{_endpoint(port, interface)}"\n'
        for kind, port in (("tcp", ports.tcp), ("tls", ports.tls))
        for interface in interfaces
    )
    return f"""\
# Written anew at each start of the demonstration.

[manager]
drain = 1.0
grace = 1.0

[limits]
sessions = 1000

[tls]
certificates = "certificates"
{listeners}
[[server]]
domains = ["{DOMAIN}"]
address = "{LOOPBACK[0]}:{ports.link}"
secret-file = "secret"
# The server is in this very process.
security = "plain"
roster-versioning = true
"""


def _endpoint(port: int, interface: str) -> str:
    if ":" in interface:
        escaped = interface.replace(":", "\\\\:")
        return f"tcp6:{port}:interface={escaped}"
    return f"tcp:{port}:interface={interface}"


def _screen(home: Path, certificate: Path, ports: Ports) -> str:
    romeo, juliet = ACCOUNTS
    accounts = "\n".join(
        f"             {name}@{DOMAIN}, password {password}" for name, password in ACCOUNTS.items()
    )
    write = f"echo Hello | {_client(romeo, ports.tcp)} {juliet}@{DOMAIN}"
    # It does not know the end of a stream from a message, hence the end by the clock.
    read = f"timeout 3 {_client(juliet, ports.tcp)} -l"
    return f"""
The connection manager runs, with a small XMPP server behind it.

Domain       {DOMAIN}, reached from this machine only
Ports        {ports.tcp} (STARTTLS) and {ports.tls} (TLS from the first byte)
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


def _client(name: str, port: int) -> str:
    """
    Return how a stock client logs in from a shell; it accepts our certificate.
    """
    return f"go-sendxmpp -n -u {name}@{DOMAIN} -p {ACCOUNTS[name]} -j {DOMAIN}:{port}"
