# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.accounts}.
"""

from __future__ import annotations

from pathlib import Path

from scramp import ScramMechanism
from twisted.trial.unittest import SynchronousTestCase
from wokkel.xmppim import RosterItem

from cmanager.server.accounts import (
    KEY_KINDS,
    MAX_PASSWORD_BYTES,
    Bounds,
    Full,
    PasswordUnusable,
    Store,
)
from cmanager.server.elements import address, build, parse


class StoreTestCase(SynchronousTestCase):
    """
    A store with one account and narrow bounds.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.store = Store(
            bounds=Bounds(messages=2, contacts=2, private=2, elementBytes=100, accounts=2)
        )
        self.store.setAccount("romeo", "r0meo")


class AccountTests(StoreTestCase):
    """
    Accounts and passwords.
    """

    def test_verify(self) -> None:
        """
        Only the account's own password is right.
        """
        self.assertTrue(self.store.verify("romeo", "r0meo"))
        self.assertFalse(self.store.verify("romeo", "r0me"))
        self.assertFalse(self.store.verify("romeo", ""))
        self.assertFalse(self.store.verify("romeo", "\0"))
        self.assertFalse(self.store.verify("nobody", "r0meo"))

    def test_keys(self) -> None:
        """
        The keys are SCRAM's; the password is not kept.
        """
        for kind in KEY_KINDS:
            keys = self.store.keys("romeo", kind)
            assert keys is not None
            salt, stored, server, iterations = keys
            self.assertEqual(
                ScramMechanism(kind).make_auth_info("r0meo", iterations, salt),
                (salt, stored, server, iterations),
            )
        self.assertIsNone(self.store.keys("nobody", KEY_KINDS[0]))
        dump = "\n".join(self.store._base.iterdump())
        self.assertNotIn("r0meo", dump)

    def test_change(self) -> None:
        """
        A password can be changed.
        """
        self.store.setAccount("romeo", "other")
        self.assertTrue(self.store.verify("romeo", "other"))
        self.assertFalse(self.store.verify("romeo", "r0meo"))

    def test_unusable(self) -> None:
        """
        Passwords have from 1 to 1023 bytes that SASLprep allows.
        """
        self.store.setAccount("romeo", "x" * MAX_PASSWORD_BYTES)
        for password in ("", "x" * (MAX_PASSWORD_BYTES + 1), "a\0"):
            self.assertRaises(PasswordUnusable, self.store.setAccount, "romeo", password)
        self.assertTrue(self.store.verify("romeo", "x" * MAX_PASSWORD_BYTES))
        self.assertFalse(self.store.verify("romeo", "x" * (MAX_PASSWORD_BYTES + 1)))

    def test_bound(self) -> None:
        """
        So many accounts, and no more.
        """
        self.store.setAccount("juliet", "x")
        self.assertRaises(Full, self.store.setAccount, "mercutio", "x")
        self.assertFalse(self.store.hasAccount("mercutio"))
        self.store.setAccount("juliet", "y")

    def test_remove(self) -> None:
        """
        With an account goes all that is kept for it.
        """
        self.store.keep("romeo", build(None, "message"))
        self.store.putContact("romeo", RosterItem(address("juliet@localhost")))
        self.store.removeAccount("romeo")
        self.assertFalse(self.store.hasAccount("romeo"))
        self.store.setAccount("romeo", "x")
        self.assertEqual(self.store.takeWaiting("romeo"), [])
        self.assertEqual(list(self.store.contacts("romeo")), [])


class RosterTests(StoreTestCase):
    """
    Rosters and requests.
    """

    def test_item(self) -> None:
        """
        An entry comes back as it was.
        """
        item = RosterItem(address("juliet@localhost"), True, False, "Juliet", {"b", "a"})
        item.pendingOut = True
        self.store.putContact("romeo", item)
        (found,) = self.store.contacts("romeo")
        self.assertEqual(
            (found.entity.full(), found.name, found.groups, found.pendingOut),
            ("juliet@localhost", "Juliet", ["a", "b"], True),
        )
        self.assertEqual((found.subscriptionTo, found.subscriptionFrom), (True, False))

    def test_version(self) -> None:
        """
        The version changes with each change, and with nothing else.
        """
        seen = [self.store.version("romeo")]
        self.store.putContact("romeo", RosterItem(address("a@localhost")))
        seen.append(self.store.version("romeo"))
        self.store.putContact("romeo", RosterItem(address("a@localhost")))
        seen.append(self.store.version("romeo"))
        self.store.dropContact("romeo", "a@localhost")
        seen.append(self.store.version("romeo"))
        self.assertEqual(seen, ["0", "1", "2", "3"])
        self.assertEqual(self.store.version("nobody"), "0")

    def test_bound(self) -> None:
        """
        So many entries, and no more; those that are there can change.
        """
        for name in ("a", "b"):
            self.store.putContact("romeo", RosterItem(address(f"{name}@localhost")))
        self.assertRaises(Full, self.store.putContact, "romeo", RosterItem(address("c@localhost")))
        self.store.putContact("romeo", RosterItem(address("b@localhost"), True))
        self.assertEqual(len(list(self.store.contacts("romeo"))), 2)

    def test_requests(self) -> None:
        """
        Requests wait until they are dropped; beyond the bound they are not taken.
        """
        stanza = build(None, "presence", type="subscribe", from_="a@localhost")
        kept = [self.store.putRequest("romeo", f"{n}@localhost", stanza) for n in "abc"]
        self.assertEqual(kept, [True, True, False])
        self.assertEqual([s["type"] for s in self.store.requests("romeo")], ["subscribe"] * 2)
        self.assertTrue(self.store.dropRequest("romeo", "a@localhost"))
        self.assertFalse(self.store.dropRequest("romeo", "a@localhost"))


class WaitingTests(StoreTestCase):
    """
    Messages that wait.
    """

    def test_order(self) -> None:
        """
        They come out once, oldest first.
        """
        for body in ("1", "2"):
            message = build(None, "message")
            message.addElement("body", content=body)
            self.store.keep("romeo", message)
        self.assertEqual([str(m.body) for m in self.store.takeWaiting("romeo")], ["1", "2"])
        self.assertEqual(self.store.takeWaiting("romeo"), [])

    def test_bound(self) -> None:
        """
        So many, and no more.
        """
        for _ in range(2):
            self.store.keep("romeo", build(None, "message"))
        self.assertRaises(Full, self.store.keep, "romeo", build(None, "message"))
        self.assertEqual(self.store.waiting("romeo"), 2)


class ElementTests(StoreTestCase):
    """
    vCards and private elements.
    """

    def test_vCard(self) -> None:
        """
        A vCard is kept, up to the bound.
        """
        self.assertIsNone(self.store.vCard("romeo"))
        self.assertIsNone(self.store.vCard("nobody"))
        head = "<vCard xmlns='vcard-temp'>"
        text = "x" * (100 - len(head) - len("</vCard>"))
        self.store.putVCard("romeo", parse(f"{head}{text}</vCard>"))
        card = self.store.vCard("romeo")
        self.assertEqual((card.uri, str(card)), ("vcard-temp", text))  # type: ignore[union-attr] # else it fails
        self.assertRaises(Full, self.store.putVCard, "romeo", parse(f"{head}{text}x</vCard>"))

    def test_private(self) -> None:
        """
        Private elements are kept by their full name, up to the bound.
        """
        for namespace in ("urn:a", "urn:b"):
            self.store.putPrivate("romeo", build(namespace, "x", content=namespace))
        kept = self.store.private("romeo", "urn:b", "x")
        self.assertEqual(str(kept), "urn:b")
        self.assertIsNone(self.store.private("romeo", "urn:a", "y"))
        self.assertRaises(Full, self.store.putPrivate, "romeo", build("urn:c", "x"))
        self.store.putPrivate("romeo", build("urn:b", "x", content="new"))
        self.assertEqual(str(self.store.private("romeo", "urn:b", "x")), "new")


class FileTests(SynchronousTestCase):
    """
    A store in a file.
    """

    def test_kept(self) -> None:
        """
        What is kept is there again.
        """
        path = str(Path(self.mktemp()))
        store = Store(path)
        store.setAccount("romeo", "r0meo")
        store.keep("romeo", build(None, "message"))
        store.close()
        again = Store(path)
        self.addCleanup(again.close)
        self.assertTrue(again.verify("romeo", "r0meo"))
        self.assertEqual(again.waiting("romeo"), 1)
