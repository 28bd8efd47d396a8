# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.relay}.
"""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.logger import Logger, LogPublisher, globalLogPublisher
from twisted.logger import LogLevel as Level
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cmanager.config import LogFormat, LogLevel
from cmanager.logs import MAX_MESSAGE_CHARACTERS, LogWriter
from cmanager.relay import MAX_LINE_BYTES, Relay


class RelayTests(SynchronousTestCase):
    """
    L{Relay} makes events of lines.
    """

    def setUp(self) -> None:
        """
        A relay, what comes of it, and what the program says.
        """
        self.events: list[dict[str, Any]] = []
        self.relay = Relay(2, self.events.append)
        self.own: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.own.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.own.append)

    def written(self, form: LogFormat, write: Any) -> str:
        """
        Return what becomes of what a worker logs.

        @param write: Called with its logger.
        """
        worker, supervisor = io.StringIO(), io.StringIO()
        observer = LogPublisher(LogWriter(worker, LogFormat.JSON, LogLevel.DEBUG))
        write(Logger(namespace="cmanager.link.Link", observer=observer))
        Relay(2, LogWriter(supervisor, form, LogLevel.DEBUG)).received(worker.getvalue().encode())
        return supervisor.getvalue()

    def test_text(self) -> None:
        """
        A line is as it would be, but for the number of the worker.
        """
        line = self.written(LogFormat.TEXT, lambda log: log.warn("up: {name}", name="c{m}\n"))
        self.assertEqual(line.split(" ", 1)[1], "warn     worker 2 link: up: c{m}\n")

    def test_json(self) -> None:
        """
        For programs the values are there, too, under the same names.
        """
        line = self.written(
            LogFormat.JSON, lambda log: log.info("up: {name}", name="cm", time=7, many=[1])
        )
        found = json.loads(line)
        self.assertIsInstance(found.pop("log_time"), float)
        self.assertEqual(
            found,
            {
                "level": "info",
                "namespace": "cmanager.link.Link",
                "message": "up: cm",
                "worker": 2,
                "name": "cm",
                "time_": 7,
            },
        )

    def test_failure(self) -> None:
        """
        A traceback stays one.
        """

        def fail(log: Logger) -> None:
            log.failure("it broke", Failure(ValueError("so what")))

        text = self.written(LogFormat.TEXT, fail)
        self.assertIn("critical worker 2 link: it broke\n    Traceback", text)
        self.assertIn("ValueError: so what\n", text)
        self.assertIn(
            "ValueError: so what", json.loads(self.written(LogFormat.JSON, fail))["traceback"]
        )

    def test_pieces(self) -> None:
        """
        Lines come in any pieces; the last one needs no end.
        """
        line = b'{"log_time": 1.5, "level": "info", "namespace": "x", "message": "y"}\n'
        for number in range(len(line)):
            self.relay.received(line[number : number + 1])
        self.relay.received(line[:-1])
        self.assertEqual(len(self.events), 1)
        self.relay.ended()
        self.relay.ended()
        self.assertEqual(len(self.events), 2)
        self.assertEqual(self.events[0], self.events[1])
        self.assertIs(self.events[0]["log_level"], Level.info)
        self.assertEqual(self.events[0]["log_worker"], 2)

    def test_others(self) -> None:
        """
        What is no event is told as what the worker says.
        """
        for line in (
            b"Segmentation fault",
            b"[]",
            b"{}",
            b'{"level": "loud", "log_time": 1, "namespace": "", "message": ""}',
            b"\xff",
        ):
            self.relay.received(line + b"\n\n")
        said = [event["text"] for event in self.own if event.get("worker") == 2]
        self.assertEqual(len(said), 5)
        self.assertEqual(said[0], "Segmentation fault")
        self.assertEqual(self.events, [])

    def test_long(self) -> None:
        """
        A line without an end is cut where it becomes too long.
        """
        self.relay.received(b"x" * MAX_LINE_BYTES)
        self.assertEqual(self.own, [])
        self.relay.received(b"y")
        (event,) = self.own
        self.assertEqual(event["text"], "x" * MAX_MESSAGE_CHARACTERS)
        self.relay.ended()
        self.assertEqual(len(self.own), 1)
