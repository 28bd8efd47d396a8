# Copyright the cmanager authors.
# See LICENSE for details.

"""
C{twistd cmanager}: options, and building the tree of services.  Layer 5; the only
module that imports the reactor.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from attrs import evolve
from twisted.application.service import IService, Service
from twisted.python import usage
from twisted.python.logfile import LogFile

from cmanager import plugins
from cmanager.check import check, found
from cmanager.child import PLAN
from cmanager.colleagues import Colleagues
from cmanager.config import LogFormat, LogSettings, Settings, loads, read
from cmanager.errors import ConfigError
from cmanager.front import Front
from cmanager.logs import LogWriter
from cmanager.plan import Orders, Plan, readPlan
from cmanager.process import cores
from cmanager.root import Root, Surroundings
from cmanager.router import Router
from cmanager.supervisor import Supervisor
from cmanager.tls import CertificateStore
from cmanager.worker import Tie

NAME_BYTES = 12
"""
Random bytes of a manager's name: who knows it, and can reach the server's port, can
receive clients' traffic (pitfall S-1).
"""


class Options(usage.Options):
    """
    The options behind C{twistd cmanager}.
    """

    synopsis = "--config FILE [--check] | --demo DIRECTORY"
    longdesc = (
        "A front-end tier for XMPP servers: accepts very many clients and carries their streams"
        " over a few links to the server behind.  SIGHUP reads the configuration and the"
        " certificates again; SIGTERM and SIGINT tell the clients to leave, and exit with status"
        " 0.  Options of twistd itself, such as -n to stay in the foreground, stand before"
        ' "cmanager".'
    )
    optParameters = [
        [
            "config",
            "c",
            None,
            "The configuration: a TOML file, in which also the log is chosen. etc/cmanager.toml"
            " shows every key.",
        ],
        [
            "demo",
            None,
            None,
            "Instead of a configuration: run with a small server behind, for the domain localhost"
            " and the accounts romeo and juliet; its data and certificate are kept in this"
            " directory.",
        ],
        [
            "demo-ports",
            None,
            "5222,5223,5280,5443",
            "Where the demonstration takes clients: the ports for STARTTLS, for TLS from the first"
            " byte, for HTTP and for HTTPS; the first two alone leave browsers out.",
        ],
        ["worker", None, None, "How the program starts its workers: not for operators."],
    ]
    optFlags = [
        [
            "check",
            None,
            "Do not start: check the configuration, its certificates and plugins, and show all"
            " settings in effect, without secrets. Exit status 1 if something is wrong, one line"
            " for each problem.",
        ],
    ]

    def postOptions(self) -> None:
        """
        See that the options make sense together, and do C{--check}.
        """
        if self["worker"] is not None:
            return
        if (self["config"] is None) == (self["demo"] is None):
            raise usage.UsageError("give one of --config FILE and --demo DIRECTORY")
        if not self["check"]:
            return
        if self["config"] is None:
            raise usage.UsageError("--check needs --config FILE")
        from twisted.internet import reactor

        sys.exit(check(self["config"], os.environ, reactor, sys.stdout, sys.stderr))


def makeService(options: Options) -> IService:
    """
    Build what C{twistd} runs.  An error of the operator's is one line each, without
    a traceback, and exit status 1.
    """
    from twisted.internet import reactor

    try:
        if options["worker"] is not None:
            return forWorker(readPlan(PLAN), os.environ, reactor)
        if options["demo"] is not None:
            return forDemo(options, reactor)
        return fromFile(options, os.environ, reactor)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"cmanager: {problem}\n")
        sys.exit(1)


def forDemo(options: Options, reactor: Any) -> Front:
    """
    Build a front with a small server behind it, in one process.

    @raise ConfigError: It cannot work.
    """
    from cmanager.server.demo import Ports, demoService

    # A Demo: .settings of the front, .service of the server, .screen to show.
    ports = Ports.named(options["demo-ports"])
    demo = demoService(os.path.abspath(options["demo"]), reactor, ports)

    def welcome() -> None:
        # By now sys.stdout is part of the log.
        if sys.__stdout__ is not None:
            sys.__stdout__.write(demo.screen)
            sys.__stdout__.flush()

    around = surroundings(options, demo.settings.log, reactor)
    return build(demo.settings, evolve(around, behind=demo.service, welcome=welcome))


def fromFile(options: Options, environ: Mapping[str, str], reactor: Any) -> Root:
    """
    Build what a configuration file describes: a front, or a supervisor of several.

    @raise ConfigError: It cannot work.
    """
    # twistd changes the directory before it starts anything.
    path = os.path.abspath(options["config"])
    name = drawName()

    def orders() -> Orders:
        text = read(path)
        settings = loads(text, environ, directory=Path(path).parent, name=path)
        return Orders(path, text, complete(settings, name))

    first = orders()
    around = surroundings(options, first.settings.log, reactor)
    if first.settings.manager.workers == 1:
        return build(first.settings, evolve(around, reload=lambda: orders().settings))
    parent: Mapping[str, Any] = options.parent or {}
    if parent.get("chroot"):
        raise ConfigError(["--chroot: workers could not be started there: set manager.workers = 1"])
    problems = list(found(first.settings, reactor))
    if problems:
        raise ConfigError(problems)
    chosen = parent.get("reactor")
    return Supervisor(first, around, orders, (f"--reactor={chosen}",) if chosen else ())


def forWorker(plan: Plan, environ: Mapping[str, str], reactor: Any) -> Front:
    """
    Build one front of several.

    @raise ConfigError: It cannot work.
    """
    settings = plan.settings(environ)
    around = Surroundings(
        reactor,
        # The supervisor reads this, and chooses the form.
        writer=LogWriter(sys.stdout, LogFormat.JSON, settings.log.level),
        reload=lambda: plan.settings(environ, read(plan.path)),
        crew=plan.crew,
    )
    return build(settings, around)


def drawName() -> str:
    """
    Return a name for a manager that has none.
    """
    return "cm-" + secrets.token_hex(NAME_BYTES)


def complete(settings: Settings, name: str) -> Settings:
    """
    Fill in what a configuration leaves to the start.

    @param name: See L{drawName}.
    """
    manager = settings.manager
    manager = evolve(manager, name=manager.name or name, workers=manager.workers or cores())
    return evolve(settings, manager=manager)


def build(settings: Settings, around: Surroundings) -> Front:
    """
    Build the tree: certificates, the router, the links to each server, the ways in.

    @raise ConfigError: A plugin or a certificate is missing or broken.
    """
    settings = complete(settings, drawName())
    chosen = plugins.find(settings)
    reactor = around.reactor
    tls = CertificateStore(settings.tls, reactor)
    tls.load()
    router = Router(reactor, settings, tls, around.crew)
    for filter_ in settings.filters:
        router.addFilter(chosen.filters[filter_.type], filter_.options)
    for server in settings.servers:
        router.addPool(chosen.protocols[server.protocol].pool(reactor, server, router))
    for listener in settings.listeners:
        router.addListener(chosen.listeners[listener.type].service(reactor, listener, router))
    if around.crew is not None:
        Colleagues(reactor, around.crew, router).setServiceParent(router)  # type: ignore[no-untyped-call]  # Twisted's
    front = Front(settings, router, tls, around)
    children: list[Service] = [tls, router]
    if around.crew is not None:
        children.append(Tie(reactor, router, around.crew))
    for child in children:
        child.setServiceParent(front)
    return front


def surroundings(options: Options, log: LogSettings, reactor: Any) -> Surroundings:
    """
    Find out where C{twistd} was told to write its log, and how to leave it.
    """
    parent: Mapping[str, Any] = options.parent or {}

    def fail(error: ConfigError) -> NoReturn:
        if parent.get("nodaemon"):
            with contextlib.suppress(OSError):
                os.unlink(parent.get("pidfile") or "")
            sys.exit(1)
        raise error  # twistd tells it to the process that waits in the foreground

    name = parent.get("logfile")
    if parent.get("logger") or parent.get("syslog") or (name == "-" and not parent["nodaemon"]):
        return Surroundings(reactor, fail=fail)
    if name == "-" or (parent.get("nodaemon") and not name):
        writer = LogWriter(sys.stdout, log.format, log.level)
        return Surroundings(reactor, writer=writer, fail=fail)
    # Rotated from outside, opened again on SIGHUP.
    logFile = LogFile.fromFullPath(os.path.abspath(name or "twistd.log"), rotateLength=None)
    writer = LogWriter(logFile, log.format, log.level)
    return Surroundings(reactor, writer=writer, logFile=logFile, fail=fail)
