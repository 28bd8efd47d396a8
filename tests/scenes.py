# Copyright the cmanager authors.
# See LICENSE for details.

"""
Scenes that conversations begin with, and the words they are made of.
"""

from __future__ import annotations

from cmanager.clienttls import TLS_EXPORTER, TLS_UNIQUE, ClientCertificate, ClientTLS
from cmanager.configuration import Configuration, TLSOffer, TLSPolicy
from cmanager.stanza import NS_STREAM_ERRORS
from tests.play import Play

AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>YQ==</auth>"
SUCCESS = '<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>'
CHALLENGE = '<challenge xmlns="urn:ietf:params:xml:ns:xmpp-sasl">YQ==</challenge>'
FAILURE = '<failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><not-authorized/></failure>'
BIND = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
JID = "romeo@verona.example/balcony"
BOUND = (
    f'<iq type="result" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><jid>{JID}</jid>'
    "</bind></iq>"
)
SETUP = "C> HEADER\nC< <?xml…\nC< <stream:features>…\n"
LOGIN = f"C> {AUTH}\nS: create\nS< <auth …\n"
LOGGED_IN = f"{LOGIN}S> {SUCCESS}\nC< {SUCCESS}\nC: restart 262144\n= awaiting-restart\n"
RESTARTED = f"{SETUP}= binding\n"
BINDING = f"C> {BIND}\nS< <iq …\nS> {BOUND}\nC< {BOUND}\n= bound\n"
TO_BOUND = SETUP + LOGGED_IN + RESTARTED + BINDING
BINDING_DATA = ClientTLS("TLSv1.3", bindings=((TLS_EXPORTER, b"DATA"), (TLS_UNIQUE, b"OTHER")))
CERTIFICATE = ClientTLS("TLSv1.3", certificate=ClientCertificate("7ad2", b"DER", isVerified=True))
ERROR = f'C< <stream:error><%s xmlns="{NS_STREAM_ERRORS}"/>…</stream:stream>\n'


DESCRIBED = {
    "channel binding": BINDING_DATA,
    "client certificate": CERTIFICATE,
    "encrypted by a proxy": None,
}
"""
Situations with a server that knows C{urn:cmanager:tls:0}.
"""


def streamError(condition: str) -> str:
    """
    Return the lines that end a stream with an error, after its header.
    """
    return f"{ERROR % condition}C: close\n= closing\n"


def policy(play: Play, starttls: TLSPolicy) -> None:
    """
    Let the server have another policy on TLS.
    """
    play.hub.onlyHost.configured(Configuration(starttls, None, True, True))


def described(facts: ClientTLS | None) -> Play:
    """
    Return a play with a client in TLS and a server that wants to know about it.

    @param facts: What is known about it.
    """
    play = Play(secure=True)
    tls = TLSOffer(("SCRAM-SHA-1-PLUS", "EXTERNAL"), (TLS_EXPORTER,))
    play.hub.onlyHost.configured(Configuration(mechanisms=("SCRAM-SHA-1", "PLAIN"), tls=tls))
    play.stream.facts = facts
    return play


def inSituation(name: str) -> Play:
    """
    Return a play that has come as far as a row of the table wants.
    """
    state, _, detail = name.partition(", ")
    play = Play(secure=detail == "encrypted")
    if detail in DESCRIBED:
        play = described(DESCRIBED[detail])
    if detail == "TLS required":
        policy(play, TLSPolicy.REQUIRED)
    if state == "waiting":
        play.pool.links[0].isReady = False
        return play("C> HEADER\nC< <?xml…\nC: pause\n= waiting")
    if state in ("negotiating", "login"):
        play(SETUP)
    if detail == "no link":
        play.pool.links[0].isReady = False
    if state == "login":
        play(LOGIN)
        if detail == "client's turn":
            play(f"S> {CHALLENGE}\nC< {CHALLENGE}")
        if detail == "aborted":
            play("C> <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
    if state in ("awaiting-restart", "binding"):
        play(SETUP + LOGGED_IN)
    if state == "binding":
        play(RESTARTED)
    if state in ("bound", "closing"):
        play(TO_BOUND)
    if state == "closing":
        play("! shutdown\nC< …\nC: close\n= closing")
    return play


def header(*, to: str = "verona.example", lang: str = "", sender: str = "") -> str:
    extra = (f" xml:lang='{lang}'" if lang else "") + (f" from='{sender}'" if sender else "")
    return (
        f"<stream:stream version='1.0' to='{to}'{extra} xmlns='jabber:client'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    )
