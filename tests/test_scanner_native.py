# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for the native engine, C{cmanager/_scanner.c}: all those of the Python engine, and
that the two do not differ.  C{make fuzz} goes on with the latter.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tracemalloc
import weakref
from itertools import islice
from pathlib import Path
from typing import Any
from xml.parsers import expat

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import LocalError, StreamError
from cmanager.scanner import Scanner as PythonScanner
from cmanager.stanza import CONTENT_NAMESPACES, NS_CLIENT, Stanza, escapeAttribute
from tests import test_scanner, test_slices
from tests.differential import Trial, split, trials
from tests.native import Scanner, requireNative
from tests.programs import lacks
from tests.properties import given, settings, st
from tests.strategies import Stream, routes, splits, streams
from tests.test_scanner import FOOTER, HEADER, LINK_HEADER, bytewise
from tests.test_transcripts import EDGES, JAVA
from tests.test_transcripts import streams as recorded

TOP = Path(__file__).resolve().parent.parent
SEED = 5
TRIALS = 10000
IDLE_BYTES = 300
CHAT = (
    b'<message to="juliet@capulet.example/balcony" type="chat" id="aab8a" xml:lang="en">'
    b"<body>Wherefore art thou, Romeo?</body></message>"
)


class NativeCase(SynchronousTestCase):
    """
    Tests of the native engine.
    """

    engine = Scanner

    def setUp(self) -> None:
        """
        Skip where it has not been built.
        """
        requireNative()

    def held(self, scanner: Any) -> int:
        """
        Return the bytes a scanner takes.
        """
        return sys.getsizeof(scanner)


# What any engine does


class NativeFramingTests(NativeCase, test_scanner.FramingTests):
    """
    As its base.
    """


class NativeDocumentTests(NativeCase, test_scanner.DocumentTests):
    """
    As its base.
    """


class NativeLinkTests(NativeCase, test_scanner.LinkTests):
    """
    As its base.
    """


class NativeLimitTests(NativeCase, test_scanner.LimitTests):
    """
    As its base.
    """


class NativeCostTests(NativeCase, test_scanner.CostTests):
    """
    As its base.
    """


class NativeRefusalTests(NativeCase, test_scanner.RefusalTests):
    """
    As its base.
    """


class NativeProfileTests(NativeCase, test_scanner.ProfileTests):
    """
    As its base.
    """


class NativeNamespaceTests(NativeCase, test_scanner.NamespaceTests):
    """
    As its base.
    """


class NativePropertyTests(NativeCase, test_scanner.PropertyTests):
    """
    As its base.
    """


class NativeSlicerTests(NativeCase, test_slices.SlicerTests):
    """
    As its base, with a whole scanner in the place of a slicer.
    """

    def stanza(
        self, data: bytes, uri: str = NS_CLIENT, scope: Any = None, **options: Any
    ) -> tuple[str, bytes]:
        """
        Return what namespace and bytes become of an element.
        """
        isDocument = options.pop("mustDeclare", False)
        scanner = self.engine(0 if isDocument else 1, 1 << 22, **{"maxNamespaces": 2, **options})
        if not isDocument:
            declared = b"".join(
                b' %s="%s"' % (f"xmlns:{p}".encode() if p else b"xmlns", escapeAttribute(u))
                for p, u in ({"": NS_CLIENT} if scope is None else scope).items()
            )
            scanner.feed(b"<s" + declared + b">")
        (stanza,) = scanner.feed(data)
        self.assertIsInstance(stanza, Stanza)
        self.assertEqual(stanza.name, "message")
        return stanza.namespace, stanza.data


# What the two engines do


class DifferentialTests(NativeCase):
    """
    The same events and errors after the same reads, with all there is to them.
    """

    def compare(self, trial: Trial) -> None:
        """
        Give both engines one stream.
        """
        self.assertEqual(trial.run(PythonScanner), trial.run(Scanner), trial)

    def test_generated(self) -> None:
        """
        Streams of every kind, broken in every way.
        """
        for trial in islice(trials(SEED), TRIALS):
            self.compare(trial)

    @settings(max_examples=100)
    @given(st.data(), streams(), st.booleans())
    def test_streams(self, data: st.DataObject, stream: Stream, strict: bool) -> None:
        """
        Well-formed streams in odd spellings.
        """
        for level in (0, 1, 2):
            whole = b"".join(stream.elements) if level == 0 else stream.data
            pieces = tuple(data.draw(splits(whole)))
            self.compare(Trial(level, 100000, {"strict": strict}, pieces))

    @settings(max_examples=100)
    @given(st.data(), st.lists(routes(), max_size=3))
    def test_links(self, data: st.DataObject, parts: list[bytes]) -> None:
        """
        Links with text and comments.
        """
        pieces = tuple(data.draw(splits(LINK_HEADER + b" ".join(parts) + FOOTER)))
        self.compare(Trial(2, 100000, {"strict": False}, pieces))

    def test_recorded(self) -> None:
        """
        What a real server and a real manager said, from either side, in any reads.
        """
        chance = random.Random(SEED)
        for said in (JAVA, EDGES):
            for isServer in (True, False):
                for stream in recorded(said, isServer).values():
                    for level in (1, 2):
                        for pieces in ((stream,), split(chance, stream), tuple(bytewise(stream))):
                            self.compare(Trial(level, 1 << 20, {"strict": False}, pieces))

    def test_everyByte(self) -> None:
        """
        Each byte means the same wherever it stands among sixteen that are looked at
        together, in text and in a value, at the end of what has come and before it.
        """
        for byte in range(256):
            for before in (0, 1, 7, 8, 15, 16, 17):
                run = b"x" * before + bytes((byte,))
                for rest in (b"", b"y" * 15):
                    for form in (b"<s><a>%s</a>", b"<s><a b='%s'/>"):
                        data = form % (run + rest)
                        for pieces in ((data,), (data[: data.index(run) + before + 1], rest)):
                            self.compare(Trial(1, 1000, {}, pieces))

    def test_names(self) -> None:
        """
        The same characters begin names and go on with them.
        """
        for code in range(0x80, 0x10000):
            if 0xD800 <= code < 0xE000:
                continue
            for name in (chr(code).encode(), b"x" + chr(code).encode()):
                data = b"<%s/>" % name
                try:
                    expat.ParserCreate("UTF-8", "\f").Parse(data, True)
                except expat.ExpatError:
                    self.assertRaises(StreamError, Scanner(1, 100).feed, data)
                else:
                    self.assertEqual(len(Scanner(1, 100).feed(data)), 2, data)


# What it is alone


class ObjectTests(NativeCase):
    """
    How it is made, and what it refuses of its callers.
    """

    def test_made(self) -> None:
        """
        Levels are 0, 1 and 2, limits can be set, what is no limit cannot.
        """
        for level in (-1, 3):
            self.assertRaises(ValueError, Scanner, level, 100)
        self.assertRaises(TypeError, Scanner, 1)
        self.assertRaises(TypeError, Scanner, 1, 100, 100)
        self.assertRaises(TypeError, Scanner, 1, 100, content=None)
        scanner = Scanner(1, 100)
        self.assertEqual((scanner.limit, scanner.pending, scanner.completed), (100, False, []))
        scanner.limit = 50
        self.assertEqual(scanner.limit, 50)
        for wrong in ("x", None, 1 << 70):
            with self.assertRaises((TypeError, OverflowError)):
                scanner.limit = wrong
        with self.assertRaises(AttributeError):
            del scanner.limit

    def test_bytes(self) -> None:
        """
        It reads bytes; a subclass of them gives nothing away of itself.
        """

        class Bytes(bytes):
            pass

        scanner = self.engine(0, 100)
        for wrong in (None, "<a/>", bytearray(b"<a/>")):
            self.assertRaises(TypeError, scanner.feed, wrong)
        (stanza,) = scanner.feed(Bytes(b'<a xmlns="u"/>'))
        self.assertIs(type(stanza.data), bytes)

    def test_sameBytes(self) -> None:
        """
        A read that is a stanza in the profile is not copied.
        """
        scanner = Scanner(1, 1000)
        scanner.feed(HEADER)
        (stanza,) = scanner.feed(CHAT)
        self.assertIs(stanza.data, CHAT)

    def test_busy(self) -> None:
        """
        While it reads it does not read: what it calls may not call it.
        """

        class Content(frozenset[str]):
            scanner: Any = None
            error: Any = None

            def __contains__(self, item: object) -> bool:
                if self.scanner is not None:
                    try:
                        self.scanner.feed(b"")
                    except LocalError as error:
                        self.error = error
                return super().__contains__(item)

        content = Content(CONTENT_NAMESPACES)
        content.scanner = Scanner(1, 1000, content=content)
        self.assertEqual(len(content.scanner.feed(HEADER)), 1)
        self.assertIsInstance(content.error, LocalError)
        content.scanner = None

    def test_python(self) -> None:
        """
        What stands oddly before the first tag is left to the Python engine, for good.
        """
        scanner = Scanner(1, 100, strict=False)
        self.assertEqual(scanner.feed(b"<!-- x"), [])
        self.assertTrue(scanner.pending)
        self.assertEqual(len(scanner.feed(b" --><a><b/>")), 2)
        self.assertFalse(scanner.pending)
        scanner.limit = 4
        with self.assertRaises(StreamError) as raised:
            scanner.feed(b"<b/><cc/>")
        self.assertEqual(raised.exception.condition, "policy-violation")
        self.assertEqual(len(scanner.completed), 1)
        self.assertFalse(scanner.pending)
        self.assertRaises(LocalError, scanner.feed, b"")


class MemoryTests(NativeCase):
    """
    What it takes, and that it gives it back.
    """

    def taken(self, count: int, *reads: bytes) -> float:
        """
        Return the bytes that each of many scanners takes after the same reads.
        """
        self.engine(1, 10000).feed(HEADER)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        scanners = [Scanner(1, 10000) for _ in range(count)]
        for scanner in scanners:
            for read in reads:
                scanner.feed(read)
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return taken / len(scanners)

    def test_idle(self) -> None:
        """
        A stream on which nothing has begun takes 300 bytes at most.
        """
        self.assertLessEqual(self.taken(1000), IDLE_BYTES)
        self.assertLessEqual(self.taken(1000, HEADER), IDLE_BYTES)
        reads = (HEADER, CHAT, CHAT[:50], CHAT[50:] + b" <p:a xmlns:p='u'><p:b/>", b"</p:a>")
        self.assertLessEqual(self.taken(1000, *reads), IDLE_BYTES)

    def test_flat(self) -> None:
        """
        A hundred thousand stanzas, good and bad, leave nothing behind.
        """
        reads = [
            CHAT,
            CHAT.replace(b'"', b"'"),
            CHAT[:99],
            CHAT[99:],
            b"<p:a xmlns:p='u' p:b='' b=''><p:c xmlns:p='v'/></p:a><stream:x/>",
            b"<a xmlns='jabber:server' c='&lt;'>x<![CDATA[y]]></a>",
            b"<a>" * 30 + b"</a>" * 30,
            b"<a " + b" ".join(b"a%d=''" % n for n in range(30)) + b"/>",
        ]
        wrong = [b"<a><b></a>", b"<a b='' b=''/>", b"x", b"<p:a/>", b"<a>&b;", b"<!DOCTYPE", b"<a"]

        def some(count: int) -> None:
            scanner = self.engine(1, 10000)
            scanner.feed(HEADER)
            for _ in range(count):
                for read in reads:
                    scanner.feed(read)
            for _ in range(count // 50):
                for bad in wrong:
                    other = self.engine(1, 10000)
                    other.feed(HEADER)
                    try:
                        other.feed(CHAT + bad)
                    except StreamError:
                        other.completed.clear()

        some(1000)
        gc.collect()
        before = sys.getallocatedblocks()
        some(100000 // len(reads))
        gc.collect()
        self.assertLess(sys.getallocatedblocks() - before, 500)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        some(100)
        before = tracemalloc.get_traced_memory()[0]
        some(1000)
        gc.collect()
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 5000)

    def test_cycle(self) -> None:
        """
        One that is reached from what it holds is collected.
        """

        class Holder(list[Any]):
            pass

        scanner = self.engine(1, 100)
        self.assertRaises(StreamError, scanner.feed, b"<a><b/></c>")
        holder = Holder([scanner])
        scanner.completed.append(holder)
        gone = weakref.ref(holder)
        del holder, scanner
        gc.collect()
        self.assertIsNone(gone())


class BuildTests(NativeCase):
    """
    How it is built.
    """

    def compiler(self) -> str:
        """
        Return one, or skip.
        """
        found = shutil.which("gcc") or shutil.which("clang")
        if found is None:
            lacks("there is no C compiler; on Debian or Ubuntu: apt install gcc libc6-dev")
        return found

    def test_warnings(self) -> None:
        """
        The compiler has nothing to say.
        """
        sources = sorted((TOP / "cmanager").glob("_scanner.c"))
        sources += sorted((TOP / "cmanager/native").glob("*.c"))
        command = [self.compiler(), "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC"]
        command += [f"-I{sysconfig.get_path('include')}", "-c", "-o", "/dev/null"]
        for source in sources:
            run = subprocess.run([*command, source], capture_output=True, text=True, check=False)
            self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_optional(self) -> None:
        """
        Without a compiler the package is built without it.
        """
        built = Path(self.mktemp())
        run = subprocess.run(
            [sys.executable, "setup.py", "-q", "build", f"--build-base={built.resolve()}"],
            cwd=TOP,
            env={**os.environ, "CC": "no-such-compiler"},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertTrue([*built.glob("lib*/cmanager/scanner.py")])
        self.assertEqual([*built.glob("lib*/cmanager/*.so")], [])
