# Copyright the cmanager authors.
# See LICENSE for details.

"""
The direction of dependencies, read from the source with L{ast}.

Each module says in its docstring which layer it is in.  It imports from its own
layer and lower ones; what only annotations need stands under C{TYPE_CHECKING} and
is exempt.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PACKAGE = Path(__file__).resolve().parent.parent / "cmanager"

LAYERS = {
    "errors": 0,
    "interfaces": 0,
    "stanza": 0,
    "profile": 1,
    "scanner": 1,
    "jid": 1,
    "multiplex": 1,
    "limits": 1,
    "config": 1,
    "wheel": 1,
    "metrics": 1,
    "session": 2,
    "table": 2,
    "router": 3,
    "tcp": 4,
    "tls": 4,
    "link": 4,
    "pool": 4,
    "tap": 5,
    "legacy": 5,
    "logs": 5,
}
"""
The modules that the architecture names; others say themselves where they are.
"""

HIGHEST_PURE_LAYER = 2
HIGHEST_LAYER_OF_SERVER = 1
IMPURE = ("twisted.internet", "twisted.web", "time", "socket", "asyncio")

_LAYER = re.compile(r"\blayer (\d)\b", re.IGNORECASE)


def modules() -> dict[str, ast.Module]:
    """
    Return the modules of the program, without the embedded server, by name.
    """
    return {
        path.stem: ast.parse(path.read_text(), str(path))
        for path in sorted(PACKAGE.glob("*.py"))
        if path.stem != "__init__"
    }


def serverModules() -> dict[str, ast.Module]:
    """
    Return the modules of the embedded server by name.
    """
    return {
        path.stem: ast.parse(path.read_text(), str(path))
        for path in sorted((PACKAGE / "server").glob("*.py"))
    }


def statedLayer(module: ast.Module) -> int | None:
    """
    Return the layer that a module's docstring states.
    """
    found = _LAYER.search(ast.get_docstring(module) or "")
    return int(found.group(1)) if found else None


def isTypeCheck(node: ast.AST) -> bool:
    """
    Tell whether C{node} is C{if TYPE_CHECKING:}.
    """
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


def imports(node: ast.AST, *, lazy: bool = True) -> Iterator[str]:
    """
    Yield the dotted names that C{node} imports at run time.

    @param lazy: Whether imports inside functions count.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isTypeCheck(child):
            assert isinstance(child, ast.If)
            yield from imports(ast.Module(child.orelse, []), lazy=lazy)
        elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(child, lazy=lazy)


def under(name: str, package: str) -> bool:
    """
    Tell whether C{name} is C{package} or in it.
    """
    return name == package or name.startswith(package + ".")


def ownModule(name: str) -> str | None:
    """
    Return which module of ours an imported name is or is in, or L{None}.
    """
    parts = name.split(".")
    return parts[1] if parts[0] == "cmanager" and len(parts) > 1 else None


class LayerTests(SynchronousTestCase):
    """
    Modules depend on their own layer and on lower ones.
    """

    def test_everyModuleHasALayer(self) -> None:
        """
        Each module's docstring states its layer.
        """
        self.assertEqual(
            [name for name, module in modules().items() if statedLayer(module) is None], []
        )

    def test_layersAreThoseOfTheArchitecture(self) -> None:
        """
        A module that the architecture names is in the layer it has there.
        """
        stated = {name: statedLayer(module) for name, module in modules().items() if name in LAYERS}
        self.assertEqual(stated, {name: LAYERS[name] for name in stated})

    def test_downwardOnly(self) -> None:
        """
        No module imports from a higher layer.
        """
        known = modules()
        layers = {name: statedLayer(module) for name, module in known.items()}
        breaches = []
        for name, module in known.items():
            for imported in imports(module):
                target = ownModule(imported)
                theirs, ours = layers.get(target or ""), layers[name]
                if theirs is not None and ours is not None and theirs > ours:
                    breaches.append(f"{name} (layer {ours}) imports {target} (layer {theirs})")
        self.assertEqual(breaches, [])

    def test_importsAreAbsolute(self) -> None:
        """
        No module uses relative imports, which the other tests would not see.
        """
        breaches = [
            name
            for name, module in {**modules(), **serverModules()}.items()
            for node in ast.walk(module)
            if isinstance(node, ast.ImportFrom) and node.level
        ]
        self.assertEqual(breaches, [])

    def test_interfacesImportNothing(self) -> None:
        """
        C{interfaces} imports nothing of ours at run time.
        """
        self.assertEqual(
            [name for name in imports(modules()["interfaces"]) if under(name, "cmanager")], []
        )


class PurityTests(SynchronousTestCase):
    """
    What must not touch the world does not import it.
    """

    def test_lowLayersArePure(self) -> None:
        """
        Layers 0 to 2 import no transports, no TLS, no HTTP and no clock.
        """
        breaches = [
            f"{name} imports {imported}"
            for name, module in modules().items()
            if (layer := statedLayer(module)) is not None and layer <= HIGHEST_PURE_LAYER
            for imported in imports(module)
            if any(under(imported, impure) for impure in IMPURE)
        ]
        self.assertEqual(breaches, [])

    def test_onlyTapImportsTheReactor(self) -> None:
        """
        The reactor is a parameter everywhere but in C{tap}.
        """
        breaches = [
            name
            for name, module in {**modules(), **serverModules()}.items()
            if name != "tap"
            and any(under(imported, "twisted.internet.reactor") for imported in imports(module))
        ]
        self.assertEqual(breaches, [])


class ServerTests(SynchronousTestCase):
    """
    The embedded server stands aside.
    """

    def test_onlyTapImportsIt(self) -> None:
        """
        Nothing but C{tap} imports the embedded server.
        """
        breaches = [
            name
            for name, module in modules().items()
            if name != "tap"
            and any(under(imported, "cmanager.server") for imported in imports(module))
        ]
        self.assertEqual(breaches, [])

    def test_tapImportsItLate(self) -> None:
        """
        C{tap} imports the embedded server inside functions only: a process in front
        of a real server never loads it.
        """
        tap = modules().get("tap", ast.Module([], []))
        self.assertEqual(
            [name for name in imports(tap, lazy=False) if under(name, "cmanager.server")], []
        )

    def test_itUsesLowLayersOnly(self) -> None:
        """
        The embedded server imports from layers 0 and 1 only, so that it judges the
        rest from outside.
        """
        layers = {name: statedLayer(module) for name, module in modules().items()}
        breaches = [
            f"server.{name} imports {imported}"
            for name, module in serverModules().items()
            for imported in imports(module)
            if (layers.get(ownModule(imported) or "") or 0) > HIGHEST_LAYER_OF_SERVER
        ]
        self.assertEqual(breaches, [])


class ReadingTests(SynchronousTestCase):
    """
    The reading of imports itself.
    """

    def names(self, source: str, *, lazy: bool = True) -> list[str]:
        """
        Return what C{source} imports.
        """
        return list(imports(ast.parse(source), lazy=lazy))

    def test_forms(self) -> None:
        """
        Both import statements are seen, in functions too.
        """
        source = "import a.b\ndef f():\n    from c import d\n"
        self.assertEqual(self.names(source), ["a.b", "c.d"])
        self.assertEqual(self.names(source, lazy=False), ["a.b"])

    def test_typeChecking(self) -> None:
        """
        What stands under C{TYPE_CHECKING} is exempt, what stands in its C{else} is not.
        """
        source = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\n"
        self.assertEqual(self.names(source), ["b"])
