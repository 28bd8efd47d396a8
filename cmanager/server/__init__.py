# Copyright the cmanager authors.
# See LICENSE for details.

"""
A small XMPP server behind the front: to try the program with, and to test it with.

It speaks the server side of C{jabber:connectionmanager} and nothing else: its clients
come over links.  One process, one domain, SQLite, about what two people need to
talk.  It stands aside of the layers: it imports from layers 0 and 1 only, and
nothing but L{cmanager.tap} imports it, for C{--demo}.

L{cmanager.server.service} holds it together, L{cmanager.server.multiplexer} is one
link, L{cmanager.server.configuration} what managers are told, L{cmanager.server.management}
what they ask, L{cmanager.server.clienttls} what they know of a client's TLS,
L{cmanager.server.sessions} who is there; L{cmanager.server.inbound} takes in what clients
send;
L{cmanager.server.sasl}, L{cmanager.server.roster},
L{cmanager.server.presence}, L{cmanager.server.messages} and L{cmanager.server.queries}
are what they get, L{cmanager.server.accounts} what is kept.
"""
