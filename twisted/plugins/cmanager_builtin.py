# Copyright the cmanager authors.
# See LICENSE for details.

"""
Names the listeners and the link protocol that come with cmanager.
"""

from cmanager.pool import Openfire
from cmanager.tcp import TCPListener, TLSListener

tcp = TCPListener()
tls = TLSListener()
openfire = Openfire()
