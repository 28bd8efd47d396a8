# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.files}.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

from cmanager import files
from cmanager.errors import ConfigError
from cmanager.files import POLICY, Files
from tests.test_web import WebCase

PAGE = b"<!doctype html>"


class AllFiles:
    """
    A site that has nothing else.
    """

    requestSeconds = 60.0

    def __init__(self, trusted: Any, found: Files) -> None:
        self.trusted = trusted
        self.files = found

    def find(self, path: bytes) -> Files:
        """
        Return it.
        """
        return self.files


class FilesCase(WebCase):
    """
    A folder with a page.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        for name, content in {
            "index.html": PAGE,
            "chat.js": b"'use strict';",
            "a b\u00e9.css": b"",
            "data": b"\0",
            "deep/er/index.html": b"deep",
            "deep/photo.jpeg": b"\xff\xd8",
            ".hidden": b"x",
            ".git/config": b"x",
            "deep/.htaccess": b"x",
        }.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        super().setUp()
        self.read()

    def read(self) -> None:
        """
        Begin, with the files as they are.
        """
        self.site: Any = AllFiles(self.site.trusted, Files(str(self.folder)))
        self.connect()

    def codes(self, *paths: bytes) -> set[int]:
        """
        Return what is said of some paths.
        """
        return {self.ask(b"GET " + path).code for path in paths}


class FoundTests(FilesCase):
    """
    Files that are there.
    """

    def test_content(self) -> None:
        """
        A file is what it was at the start.
        """
        (self.folder / "chat.js").write_bytes(b"other")
        response = self.ask(b"GET /chat.js")
        self.assertEqual((response.code, response.body), (200, b"'use strict';"))
        self.assertEqual(response.headers[b"content-length"], b"13")

    def test_headers(self) -> None:
        """
        A browser asks each time, runs nothing from elsewhere, tells nobody where it was, and
        believes the type.
        """
        headers = self.ask(b"GET /").headers
        self.assertEqual(headers[b"cache-control"], b"no-cache")
        self.assertEqual(headers[b"content-security-policy"], POLICY.encode())
        self.assertEqual(headers[b"referrer-policy"], b"no-referrer")
        self.assertEqual(headers[b"x-content-type-options"], b"nosniff")
        self.assertNotIn(b"access-control-allow-origin", headers)

    def test_types(self) -> None:
        """
        The type goes by the name, the same on every machine.
        """
        for name in ("a.mjs", "a.svg", "a.json", "a.woff2", "a.wasm", "a.tar.gz", "a.js.map"):
            (self.folder / name).touch()
        self.read()
        for path, expected in (
            (b"/", b"text/html; charset=utf-8"),
            (b"/chat.js", b"text/javascript; charset=utf-8"),
            (b"/a.mjs", b"text/javascript; charset=utf-8"),
            (b"/a%20b%C3%A9.css", b"text/css; charset=utf-8"),
            (b"/a.svg", b"image/svg+xml; charset=utf-8"),
            (b"/a.json", b"application/json; charset=utf-8"),
            (b"/a.js.map", b"application/json; charset=utf-8"),
            (b"/a.woff2", b"font/woff2"),
            (b"/a.wasm", b"application/wasm"),
            (b"/deep/photo.jpeg", b"image/jpeg"),
            (b"/data", b"application/octet-stream"),
            (b"/a.tar.gz", b"application/octet-stream"),
        ):
            self.assertEqual(self.ask(b"GET " + path).headers[b"content-type"], expected)

    def test_index(self) -> None:
        """
        A folder is its C{index.html}, also where there is a query; without the slash at
        its end it is elsewhere.
        """
        for path in (b"/", b"/index.html", b"/?x=/y"):
            self.assertEqual(self.ask(b"GET " + path).body, PAGE)
        self.assertEqual(self.ask(b"GET /deep/er/").body, b"deep")
        response = self.ask(b"GET /deep/er?x")
        self.assertEqual((response.code, response.headers[b"location"]), (308, b"/deep/er/"))

    def test_unchanged(self) -> None:
        """
        What a browser has is not sent again.
        """
        tag = self.ask(b"GET /").headers[b"etag"]
        self.assertRegex(tag, rb'^"[0-9a-f]{64}"$')
        response = self.ask(b"GET /", b"If-None-Match: " + tag)
        self.assertEqual((response.code, response.body), (304, b""))
        self.assertNotIn(b"content-length", response.headers)
        self.assertEqual(self.ask(b"GET /chat.js", b"If-None-Match: " + tag).code, 200)

    def test_head(self) -> None:
        """
        The headers can be had without the file.
        """
        response = self.ask(b"HEAD /chat.js")
        self.assertEqual((response.code, response.body), (200, b""))
        self.assertEqual(response.headers[b"content-length"], b"13")


class NotFoundTests(FilesCase):
    """
    Files that are not there, or nobody's business.
    """

    def test_missing(self) -> None:
        """
        There is nothing else, and no listing.
        """
        self.assertEqual(self.codes(b"/x", b"/chat.js/", b"/deep", b"/deep/", b"/%00"), {404})

    def test_hidden(self) -> None:
        """
        What is hidden stays so.
        """
        paths = (b"/.hidden", b"/.git/config", b"/.git/", b"/deep/.htaccess", b"/%2ehidden")
        self.assertEqual(self.codes(*paths), {404})

    def test_links(self) -> None:
        """
        A link to a file is that file; one to a folder is nothing, and leads round and round
        nowhere.
        """
        (self.folder.parent / "shared.js").write_text("x")
        (self.folder / "linked.js").symlink_to(self.folder.parent.absolute() / "shared.js")
        (self.folder / "round").symlink_to(self.folder.absolute())
        self.read()
        self.assertEqual(self.codes(b"/linked.js"), {200})
        self.assertEqual(self.codes(b"/round/", b"/round/chat.js"), {404})

    def test_outside(self) -> None:
        """
        No path leads out of the folder, nor to another host.
        """
        (self.folder.parent / "secret").write_text("x")
        paths = (b"/../secret", b"/%2e%2e/secret", b"/..%2fsecret", b"/deep/../chat.js")
        self.assertEqual(self.codes(*paths), {404})
        absolute = str(self.folder.absolute() / "chat.js").encode()
        self.assertEqual(self.codes(absolute, b"/" + absolute), {404})
        self.assertEqual(self.codes(b"//deep/er", b"//deep/er/", b"//"), {404})

    def test_methods(self) -> None:
        """
        Files can be read, and nothing else.
        """
        for method in (b"POST", b"OPTIONS"):
            response = self.ask(method + b" /")
            self.assertEqual(response.code, 405)
            self.assertEqual(set(response.headers[b"allow"].split(b", ")), {b"GET", b"HEAD"})

    def test_special(self) -> None:
        """
        What is no file is not waited for.
        """
        os.mkfifo(self.folder / "fifo")
        self.read()
        self.assertEqual(self.codes(b"/fifo"), {404})


class ReadingTests(FilesCase):
    """
    The start.
    """

    def problem(self) -> str:
        """
        Return what is said of the folder.
        """
        (line,) = self.assertRaises(ConfigError, Files, str(self.folder)).problems
        return line

    def test_noFolder(self) -> None:
        """
        A folder that is not there is one line.
        """
        self.folder = self.folder / "x"
        self.assertEqual(
            self.problem(), f"{self.folder}: cannot be read: No such file or directory"
        )

    def test_unreadable(self) -> None:
        """
        So is a file that cannot be read.
        """
        denied = PermissionError(13, "Permission denied")
        with mock.patch.object(Path, "read_bytes", side_effect=denied):
            self.assertTrue(self.problem().endswith(": cannot be read: Permission denied"))

    def test_files(self) -> None:
        """
        There is a bound for their number; it can be reached.
        """
        self.patch(files, "MAX_FILES", 6)
        Files(str(self.folder))
        (self.folder / "x").touch()
        self.assertIn("name a folder that holds the web pages alone", self.problem())

    def test_bytes(self) -> None:
        """
        There is a bound for their bytes; it can be reached.
        """
        size = sum(len(x.content) for x in Files(str(self.folder))._files.values())
        self.patch(files, "MAX_TOTAL_BYTES", size)
        Files(str(self.folder))
        (self.folder / "x").write_bytes(b"x")
        self.assertIn("name a folder that holds the web pages alone", self.problem())
