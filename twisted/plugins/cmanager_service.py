# Copyright the cmanager authors.
# See LICENSE for details.

"""
Names C{twistd cmanager}.
"""

from twisted.application.service import ServiceMaker

cmanager = ServiceMaker(
    "XMPP connection manager",
    "cmanager.tap",
    "A front-end tier for XMPP servers.",
    "cmanager",
)
