# Copyright the cmanager authors.
# See LICENSE for details.

"""
What is kept: accounts, rosters, stored messages, in SQLite.  Knows no session.

Passwords are not kept, only the keys that SCRAM derives from them (RFC 5802 section 3);
PLAIN is verified against the same keys.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Iterator

from attrs import frozen
from scramp import ScramException, ScramMechanism
from wokkel.xmppim import RosterItem

from cmanager.server.elements import Element, address, parse

KEY_KINDS = ("SCRAM-SHA-1", "SCRAM-SHA-256")
MAX_PASSWORD_BYTES = 1023

_SCHEMA = """
PRAGMA foreign_keys = ON;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS account (
    name TEXT PRIMARY KEY, version INTEGER NOT NULL DEFAULT 0, vcard TEXT);
CREATE TABLE IF NOT EXISTS key (
    owner TEXT REFERENCES account ON DELETE CASCADE, kind TEXT,
    salt BLOB, stored BLOB, server BLOB, iterations INTEGER, PRIMARY KEY (owner, kind));
CREATE TABLE IF NOT EXISTS contact (
    owner TEXT REFERENCES account ON DELETE CASCADE, jid TEXT, name TEXT, groups TEXT,
    receives INTEGER, sends INTEGER, asked INTEGER, PRIMARY KEY (owner, jid));
CREATE TABLE IF NOT EXISTS request (
    owner TEXT REFERENCES account ON DELETE CASCADE, jid TEXT, xml TEXT,
    PRIMARY KEY (owner, jid));
CREATE TABLE IF NOT EXISTS waiting (
    number INTEGER PRIMARY KEY, owner TEXT REFERENCES account ON DELETE CASCADE, xml TEXT);
CREATE INDEX IF NOT EXISTS waiting_owner ON waiting (owner, number);
CREATE TABLE IF NOT EXISTS private (
    owner TEXT REFERENCES account ON DELETE CASCADE, name TEXT, xml TEXT,
    PRIMARY KEY (owner, name));
"""

Keys = tuple[bytes, bytes, bytes, int]


class Full(Exception):
    """
    A bound of L{Bounds} is reached.
    """


class PasswordUnusable(Exception):
    """
    A password that is empty, too long, or holds what SASLprep does not allow.
    """


@frozen
class Bounds:
    """
    How much is kept; the first three for each account.

    @ivar messages: Messages that wait for their receiver.
    @ivar contacts: Entries of a roster, and requests of others that wait.
    @ivar private: Elements of private XML storage.
    @ivar elementBytes: Size of one of them, or of a vCard.
    @ivar accounts: Accounts.
    """

    messages: int = 10000
    contacts: int = 1000
    private: int = 100
    elementBytes: int = 65536
    accounts: int = 100000


class Store:
    """
    @param path: The file, or C{":memory:"}.
    """

    def __init__(self, path: str = ":memory:", bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.executescript(_SCHEMA)

    def close(self) -> None:
        """
        Close the file.
        """
        self._base.close()

    def _one(self, sql: str, *values: object) -> tuple[object, ...] | None:
        row: tuple[object, ...] | None = self._base.execute(sql, values).fetchone()
        return row

    def _count(self, table: str, owner: str) -> int:
        sql = f"SELECT count(*) FROM {table} WHERE owner = ?"  # noqa: S608  # names of our own
        return int(str((self._one(sql, owner) or (0,))[0]))

    def hasAccount(self, name: str) -> bool:
        """
        Tell whether there is such an account.
        """
        return self._one("SELECT 1 FROM account WHERE name = ?", name) is not None

    def setAccount(self, name: str, password: str) -> None:
        """
        Make an account, or give it another password.

        @param name: Prepared with nodeprep.
        @raise PasswordUnusable: Nothing was changed.
        @raise Full: There are too many accounts.
        """
        if not 0 < len(password.encode()) <= MAX_PASSWORD_BYTES:
            raise PasswordUnusable
        try:
            keys = [(kind, *ScramMechanism(kind).make_auth_info(password)) for kind in KEY_KINDS]
        except ScramException:
            raise PasswordUnusable from None
        if not self.hasAccount(name):
            total = self._one("SELECT count(*) FROM account")
            if total is not None and int(str(total[0])) >= self.bounds.accounts:
                raise Full
        self._base.execute("INSERT OR IGNORE INTO account (name) VALUES (?)", (name,))
        self._base.executemany(
            "INSERT OR REPLACE INTO key VALUES (?, ?, ?, ?, ?, ?)",
            [(name, *key) for key in keys],
        )

    def removeAccount(self, name: str) -> None:
        """
        Forget an account with all that is kept for it.
        """
        self._base.execute("DELETE FROM account WHERE name = ?", (name,))

    def keys(self, name: str, kind: str) -> Keys | None:
        """
        Return salt, stored key, server key and iterations, as scramp wants them.
        """
        row: Keys | None = self._base.execute(
            "SELECT salt, stored, server, iterations FROM key WHERE owner = ? AND kind = ?",
            (name, kind),
        ).fetchone()
        return row

    def verify(self, name: str, password: str) -> bool:
        """
        Tell whether the password is that of the account.
        """
        kind = KEY_KINDS[-1]
        keys = self.keys(name, kind)
        if keys is None or len(password.encode()) > MAX_PASSWORD_BYTES:
            return False
        salt, stored, _, iterations = keys
        try:
            derived = ScramMechanism(kind).make_auth_info(password, iterations, salt)
        except ScramException:
            return False
        return hmac.compare_digest(derived[1], stored)

    def version(self, owner: str) -> str:
        """
        Return the version of a roster (RFC 6121 section 2.6).
        """
        row = self._one("SELECT version FROM account WHERE name = ?", owner)
        return str(row[0]) if row is not None else "0"

    def contacts(self, owner: str) -> Iterator[RosterItem]:
        """
        Return a roster.
        """
        rows = self._base.execute(
            "SELECT jid, name, groups, receives, sends, asked FROM contact WHERE owner = ?"
            " ORDER BY jid",
            (owner,),
        )
        return (_item(row) for row in rows.fetchall())

    def contact(self, owner: str, jid: str) -> RosterItem | None:
        """
        Return one entry of a roster.
        """
        row = self._base.execute(
            "SELECT jid, name, groups, receives, sends, asked FROM contact"
            " WHERE owner = ? AND jid = ?",
            (owner, jid),
        ).fetchone()
        return _item(row) if row is not None else None

    def putContact(self, owner: str, item: RosterItem) -> None:
        """
        Add or change an entry of a roster.

        @raise Full: It would be one too many.
        """
        jid = item.entity.full()
        if self.contact(owner, jid) is None and (
            self._count("contact", owner) >= self.bounds.contacts
        ):
            raise Full
        self._base.execute(
            "INSERT OR REPLACE INTO contact VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                owner,
                jid,
                item.name,
                json.dumps(sorted(item.groups)),
                item.subscriptionTo,
                item.subscriptionFrom,
                item.pendingOut,
            ),
        )
        self._changed(owner)

    def dropContact(self, owner: str, jid: str) -> None:
        """
        Take an entry off a roster.
        """
        self._base.execute("DELETE FROM contact WHERE owner = ? AND jid = ?", (owner, jid))
        self._changed(owner)

    def _changed(self, owner: str) -> None:
        self._base.execute("UPDATE account SET version = version + 1 WHERE name = ?", (owner,))

    def requests(self, owner: str) -> list[Element]:
        """
        Return the subscription requests that wait for an answer.
        """
        rows = self._base.execute("SELECT xml FROM request WHERE owner = ?", (owner,))
        return [parse(xml) for (xml,) in rows.fetchall()]

    def putRequest(self, owner: str, jid: str, stanza: Element) -> bool:
        """
        Keep a subscription request.

        @return: L{False} if too many wait; it is dropped then.
        """
        if self._count("request", owner) >= self.bounds.contacts:
            return False
        self._base.execute(
            "INSERT OR REPLACE INTO request VALUES (?, ?, ?)", (owner, jid, stanza.toXml())
        )
        return True

    def dropRequest(self, owner: str, jid: str) -> bool:
        """
        Forget a subscription request.

        @return: Whether there was one.
        """
        cursor = self._base.execute("DELETE FROM request WHERE owner = ? AND jid = ?", (owner, jid))
        return cursor.rowcount > 0

    def keep(self, owner: str, message: Element) -> None:
        """
        Keep a message until its receiver comes.

        @raise Full: Too many wait already.
        """
        if self._count("waiting", owner) >= self.bounds.messages:
            raise Full
        self._base.execute(
            "INSERT INTO waiting (owner, xml) VALUES (?, ?)", (owner, message.toXml())
        )

    def waiting(self, owner: str) -> int:
        """
        Return how many messages wait.
        """
        return self._count("waiting", owner)

    def takeWaiting(self, owner: str) -> list[Element]:
        """
        Hand out the messages that wait, oldest first, and forget them.
        """
        rows = self._base.execute(
            "SELECT xml FROM waiting WHERE owner = ? ORDER BY number", (owner,)
        ).fetchall()
        if rows:
            self._base.execute("DELETE FROM waiting WHERE owner = ?", (owner,))
        return [parse(xml) for (xml,) in rows]

    def vCard(self, owner: str) -> Element | None:
        """
        Return a vCard.
        """
        row = self._one("SELECT vcard FROM account WHERE name = ?", owner)
        return parse(str(row[0])) if row is not None and row[0] is not None else None

    def putVCard(self, owner: str, card: Element) -> None:
        """
        Keep a vCard.

        @raise Full: It is too large.
        """
        xml = self._bounded(card)
        self._base.execute("UPDATE account SET vcard = ? WHERE name = ?", (xml, owner))

    def private(self, owner: str, namespace: str, name: str) -> Element | None:
        """
        Return an element of private XML storage.
        """
        key = f"{{{namespace}}}{name}"
        row = self._one("SELECT xml FROM private WHERE owner = ? AND name = ?", owner, key)
        return parse(str(row[0])) if row is not None else None

    def putPrivate(self, owner: str, element: Element) -> None:
        """
        Keep an element in private XML storage.

        @raise Full: It is too large, or one too many.
        """
        key, xml = f"{{{element.uri}}}{element.name}", self._bounded(element)
        known = self.private(owner, element.uri, element.name) is not None
        if not known and self._count("private", owner) >= self.bounds.private:
            raise Full
        self._base.execute("INSERT OR REPLACE INTO private VALUES (?, ?, ?)", (owner, key, xml))

    def _bounded(self, element: Element) -> str:
        xml = str(element.toXml())
        if len(xml.encode()) > self.bounds.elementBytes:
            raise Full
        return xml


def _item(row: tuple[str, str, str, int, int, int]) -> RosterItem:
    jid, name, groups, receives, sends, asked = row
    item = RosterItem(address(jid), bool(receives), bool(sends), name, json.loads(groups))
    item.pendingOut = bool(asked)
    return item
