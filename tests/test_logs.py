# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.logs}.
"""

from __future__ import annotations

import io
import json
import re
import sys
from typing import Any

from twisted.logger import ILogObserver, Logger, LogPublisher
from twisted.logger import LogLevel as Level
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager import logs
from cmanager.config import LogFormat, LogLevel
from cmanager.logs import MAX_FIELDS, MAX_MESSAGE_CHARACTERS, MAX_TRACEBACK_CHARACTERS, LogWriter


class Case(SynchronousTestCase):
    """
    A logger whose lines can be read.
    """

    form = LogFormat.TEXT

    def setUp(self) -> None:
        """
        Make a writer and a logger that it observes.
        """
        self.out = io.StringIO()
        self.writer = LogWriter(self.out, self.form)
        self.publisher = LogPublisher(self.writer)
        self.log = self.logger("cmanager.link.Link")

    def logger(self, namespace: str) -> Logger:
        """
        Return a logger of another part.
        """
        return Logger(namespace=namespace, observer=self.publisher)

    def lines(self) -> list[str]:
        """
        Return what was written.
        """
        return self.out.getvalue().splitlines()

    def failure(self, text: str = "broken") -> Failure:
        """
        Make a failure with a secret in a local variable.
        """
        try:
            password = "hunter2"
            raise ValueError(text) if password else AssertionError
        except ValueError:
            return Failure()


class TextTests(Case):
    """
    Lines for people.
    """

    def test_worker(self) -> None:
        """
        What a worker wrote names it.
        """
        self.log.info("up", log_worker=0)
        self.assertTrue(self.lines()[0].endswith(" info     worker 0 link: up"))

    def test_line(self) -> None:
        """
        A line holds the time, the level, the part and the message.
        """
        self.log.info("up: {name}", name="cm/1")
        (line,) = self.lines()
        self.assertTrue(
            re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} info     link: up: cm/1", line),
            line,
        )

    def test_parts(self) -> None:
        """
        The part is the module of ours, or the foreign package.
        """
        for namespace, part in (
            ("cmanager.tap", "tap"),
            ("cmanager", "cmanager"),
            ("twisted.web.http", "twisted"),
        ):
            self.logger(namespace).warn("x")
            self.assertTrue(self.lines()[-1].endswith(f" {part}: x"))

    def test_oneLine(self) -> None:
        """
        Line ends and other controls in a message cannot forge a line.
        """
        self.log.info("{x}", x="a\nb\r\x1b[31m\u2028c\u202e\ud800")
        (line,) = self.lines()
        self.assertTrue(line.endswith(r"link: a\nb\r\x1b[31m\u2028c\u202e\ud800"), ascii(line))

    def test_long(self) -> None:
        """
        A message is cut at the bound, and not before.
        """
        for length in (MAX_MESSAGE_CHARACTERS, MAX_MESSAGE_CHARACTERS + 1):
            self.log.info("{x}", x="x" * length)
            message = self.lines()[-1].partition("link: ")[2]
            self.assertEqual(len(message), MAX_MESSAGE_CHARACTERS)
            self.assertEqual(message.endswith("..."), length > MAX_MESSAGE_CHARACTERS)

    def test_traceback(self) -> None:
        """
        A traceback follows indented, without the values of variables.
        """
        self.log.failure("oops", self.failure())
        first, *rest = self.lines()
        self.assertIn("critical link: oops", first)
        self.assertEqual(rest[-1], "    builtins.ValueError: broken")
        self.assertTrue(all(line.startswith("    ") for line in rest))
        self.assertNotIn("password", rest[-1])
        self.assertNotIn("'hunter2'", self.out.getvalue())

    def test_longTraceback(self) -> None:
        """
        Of a long traceback the end is kept.
        """
        self.log.failure("oops", self.failure("x" * MAX_TRACEBACK_CHARACTERS + "end"))
        self.assertTrue(self.lines()[-1].endswith("xend"))
        self.assertTrue(len(self.out.getvalue()) < MAX_TRACEBACK_CHARACTERS + 200)

    def test_brokenTraceback(self) -> None:
        """
        A failure that cannot be shown does not keep its event from being written.
        """

        class Broken:
            def getTraceback(self) -> str:
                raise RuntimeError

        self.log.error("oops", log_failure=Broken())
        self.assertIn("cannot be shown: RuntimeError", self.lines()[1])

    def test_noMessage(self) -> None:
        """
        A failure without a message, such as that of a Deferred, has a line.
        """
        self.writer({"log_failure": self.failure(), "log_level": Level.critical, "log_time": 0.0})
        self.assertIn("critical -: unexpected error", self.lines()[0])

    def test_observer(self) -> None:
        """
        A writer is an observer.
        """
        verifyObject(ILogObserver, self.writer)


class LevelTests(Case):
    """
    What is important enough.
    """

    def written(self, level: LogLevel, namespace: str) -> list[str]:
        """
        Log at each level, and return the levels that were written.
        """
        self.writer.level = level
        self.out.seek(0)
        self.out.truncate()
        for each in Level.iterconstants():
            self.logger(namespace).emit(each, "x")
        return [line.split()[1] for line in self.lines()]

    def test_ours(self) -> None:
        """
        The level and those above it are written; it may change.
        """
        levels = ["debug", "info", "warn", "error", "critical"]
        for i, level in enumerate(LogLevel):
            self.assertEqual(self.written(level, "cmanager.x"), levels[i:])

    def test_theirs(self) -> None:
        """
        Twisted's notices of what goes well are written for C{debug} only.
        """
        self.assertEqual(self.written(LogLevel.INFO, "twisted.x"), ["warn", "error", "critical"])
        self.assertEqual(len(self.written(LogLevel.DEBUG, "twisted.x")), 5)
        self.assertEqual(len(self.written(LogLevel.ERROR, "twisted.x")), 2)

    def test_noLevel(self) -> None:
        """
        An event without a level is a notice.
        """
        self.writer({"log_format": "x", "log_namespace": "cmanager"})
        self.assertIn(" info ", self.lines()[0])


class JSONTests(Case):
    """
    Lines for programs.
    """

    form = LogFormat.JSON

    def event(self) -> dict[str, Any]:
        """
        Return the only event.
        """
        (line,) = self.lines()
        return json.loads(line)

    def test_keys(self) -> None:
        """
        Time, level, namespace and message, and the fields beside.
        """
        self.log.info("up: {name}", name="cm/1", links=2, ready=True, why=None, load=0.5)
        event = self.event()
        self.assertIsInstance(event.pop("log_time"), float)
        self.assertEqual(
            event,
            {
                "level": "info",
                "namespace": "cmanager.link.Link",
                "message": "up: cm/1",
                "name": "cm/1",
                "links": 2,
                "ready": True,
                "why": None,
                "load": 0.5,
            },
        )

    def test_scalars(self) -> None:
        """
        Objects, bytes and containers are not written.
        """
        self.log.info("x", data=b"hunter2", many=["hunter2"], it=object(), ok=1)
        self.assertEqual(self.event()["ok"], 1)
        self.assertEqual(set(self.event()), {"log_time", "level", "namespace", "message", "ok"})

    def test_reserved(self) -> None:
        """
        A field cannot pass itself off as one of the event's own.
        """
        self.log.info("x", namespace="z", message="y")
        event = self.event()
        self.assertEqual((event["namespace"], event["message"]), ("cmanager.link.Link", "x"))
        self.assertEqual((event["namespace_"], event["message_"]), ("z", "y"))

    def test_strict(self) -> None:
        """
        The lines are JSON as RFC 8259 has it: no C{NaN}, no lone surrogates.
        """
        self.log.info("x", rate=float("nan"), text="\ud800\n")
        self.assertEqual(self.event()["rate"], "nan")
        self.assertTrue(self.out.getvalue().isascii())

    def test_bounds(self) -> None:
        """
        Fields are bounded in length and in number.
        """
        fields = {f"f{i}": "x" * (MAX_MESSAGE_CHARACTERS + 1) for i in range(MAX_FIELDS + 1)}
        self.log.info("x", **fields)
        event = self.event()
        self.assertEqual(len(event), 4 + MAX_FIELDS)
        self.assertEqual(len(event["f0"]), MAX_MESSAGE_CHARACTERS)

    def test_traceback(self) -> None:
        """
        A traceback is a text, without the values of variables.
        """
        self.log.failure("oops", self.failure())
        self.assertTrue(self.event()["traceback"].endswith("ValueError: broken"))
        self.assertNotIn("'hunter2'", self.event()["traceback"])

    def test_legacy(self) -> None:
        """
        Events of the old logging system have a message and no fields.
        """
        self.writer(
            {"log_namespace": "log_legacy", "log_level": Level.warn, "system": "-", "isError": 0}
        )
        self.assertEqual(set(self.event()), {"log_time", "level", "namespace", "message"})


class FactoryTests(SynchronousTestCase):
    """
    What C{twistd --logger} can be told.
    """

    def test_factories(self) -> None:
        """
        Both forms write to the standard output.
        """
        for factory, beginning in ((logs.text, "20"), (logs.jsonLines, "{")):
            out = io.StringIO()
            self.patch(sys, "stdout", out)
            Logger(namespace="cmanager", observer=factory()).info("x")
            self.assertTrue(out.getvalue().startswith(beginning))
