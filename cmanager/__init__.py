# Copyright the cmanager authors.
# See LICENSE for details.

"""
A front-end tier for XMPP servers.

Clients connect here; their stanzas travel over a few authenticated links to the
server behind.  Five words explain the program:

A I{stream} is one client's XML stream, whatever carries it
(L{cmanager.interfaces.IClientStream}).  A I{scanner} turns its bytes into
stanzas and refuses what a server must not see (L{cmanager.scanner}).  A
I{session} is what the server knows the client by, and the one state machine of
the program (L{cmanager.session}).  A I{link} is one authenticated stream to a
server, shared by thousands of sessions (L{cmanager.link}).  The I{router} holds
them together: it picks a link for a session and finds the session for what
comes down (L{cmanager.router}).

A stanza's way up::

    TCPStream.dataReceived -> Scanner.feed -> Session.stanzaReceived -> Link.route

and down::

    Link.dataReceived -> LinkReader.feed -> Router.routed -> Session.routed -> TCPStream.deliver

Read on in L{cmanager.interfaces}, L{cmanager.session}, L{cmanager.scanner} and
L{cmanager.tap}, which builds it all.
"""

__version__ = "0.1.0"
