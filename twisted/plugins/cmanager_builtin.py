# Copyright the cmanager authors.
# See LICENSE for details.

"""
Names the listeners and the link protocol that come with cmanager.
"""

from cmanager.listeners import AnyListener, HTTPListener, HTTPSListener
from cmanager.pool import Openfire
from cmanager.tcp import TCPListener, TLSListener

tcp = TCPListener()
tls = TLSListener()
http = HTTPListener()
https = HTTPSListener()
anything = AnyListener()
openfire = Openfire()
