# Copyright the cmanager authors.
# See LICENSE for details.

"""
A folder of files that an HTTP-speaking listener serves: a web client, most likely.
Layer 4; knows no listener and no stream.

They are read once, at the start: nothing waits for a disk later, and no path that
somebody asks for ever reaches one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from http import HTTPStatus
from mimetypes import MimeTypes
from pathlib import Path

from attrs import frozen
from twisted.web.http import CACHED
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cmanager.errors import ConfigError
from cmanager.web import Request

INDEX = "index.html"

MAX_FILES = 10000
MAX_TOTAL_BYTES = 64 * 1024 * 1024

POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss: http: https:; style-src 'self';"
    " img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'self'"
)
"""
What pages may do: run and show what lies beside them, and connect to where they like.  So
what somebody writes to somebody cannot run, even where a page is careless.
"""

_TOO_LARGE = (
    f"{{}}: has more than {MAX_FILES} files, or more than {MAX_TOTAL_BYTES // 1024**2} MB of them;"
    " name a folder that holds the web pages alone"
)

_HEADERS = {
    b"Cache-Control": b"no-cache",
    b"Content-Security-Policy": POLICY.encode(),
    b"Referrer-Policy": b"no-referrer",
}

# Not the system's, so that every machine says the same.
_types = MimeTypes()
_types.types_map[True].update(
    {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".map": "application/json",
        ".webmanifest": "application/manifest+json",
        ".woff": "font/woff",
        ".woff2": "font/woff2",
    }
)
_TEXT = ("text/", "application/json", "application/manifest+json", "image/svg+xml")


@frozen
class File:
    """
    One file.

    @ivar type_: Its C{Content-Type}.
    @ivar tag: Another one for other content.
    """

    content: bytes
    type_: bytes
    tag: bytes


class Files(Resource):
    """
    All files below a folder but those that are hidden, or in a folder that is: their
    names begin with a dot.  Symbolic links are followed to files and not to folders, which
    may have no end.  For a folder its C{index.html}; there are no listings.
    """

    isLeaf = True

    def __init__(self, folder: str) -> None:
        """
        @raise ConfigError: They cannot be read, or are too large.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self._files: dict[bytes, File] = {}
        size = 0
        for path in _below(Path(folder)):
            try:
                size += path.stat().st_size
                if len(self._files) == MAX_FILES or size > MAX_TOTAL_BYTES:
                    raise ConfigError([_TOO_LARGE.format(folder)])
                content = path.read_bytes()
            except OSError as error:
                raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
            tag = b'"%b"' % sha256(content).hexdigest().encode()
            self._files[os.fsencode(path.relative_to(folder))] = File(content, _typeOf(path), tag)

    def render_GET(self, request: Request) -> bytes | int:  # Twisted's name
        """
        Answer with a file.
        """
        name = b"/".join(request.postpath or ())
        if not name or name.endswith(b"/"):
            name += INDEX.encode()
        file = self._files.get(name)
        if file is None:
            if name + b"/" + INDEX.encode() in self._files:
                # Links in the page would lead astray otherwise.
                request.say(b"Location", request.path + b"/")
                request.answer(HTTPStatus.PERMANENT_REDIRECT, "It is a folder.")
            else:
                request.answer(HTTPStatus.NOT_FOUND, "There is nothing here.")
            return NOT_DONE_YET
        for header, value in _HEADERS.items():
            request.say(header, value)
        if request.setETag(file.tag) is CACHED:  # type: ignore[no-untyped-call]  # Twisted's
            return b""
        request.say(b"Content-Type", file.type_)
        return file.content


def _below(folder: Path) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        raise ConfigError([f"{error.filename}: cannot be read: {error.strerror}"])

    for here, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _typeOf(path: Path) -> bytes:
    type_, packing = _types.guess_type(path.name)
    if type_ is None or packing is not None:
        type_ = "application/octet-stream"
    if type_.startswith(_TEXT):
        type_ += "; charset=utf-8"
    return type_.encode()
