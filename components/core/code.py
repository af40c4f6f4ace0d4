"""The source behind names of the user's, as a digest: what it computed is computed again when it changes."""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Literal

_IMPORTERS = ("import_module", "__import__")
_INSTALLED = ("site-packages", "dist-packages")
_OURS = "lossmap"  # has a digest of its own
_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()


def sources_sha256(names: Iterable[str]) -> str:
    """SHA-256 over the source of modules and of what they import, transitively, and over the versions of the
    installed packages that they import.

    Imports are read from the source, those in functions and under conditions, too; nothing is imported. A
    module whose name is computed when the code runs is not found.

    Args:
        names: of modules.
    """
    modules = _Modules()
    modules.add(names)
    return hashlib.sha256("\n".join(modules.parts()).encode()).hexdigest()


def is_own(module: str) -> bool:
    """Whether a module is the user's own: neither installed, nor of Python, nor of lossmap. One that is in no
    file, as in a notebook, is.
    """
    file = _file(module)
    if file is None:
        return module == "__main__"
    return _kind(module, file) == "own"


class _Modules:
    """Modules that were reached by following imports.

    Attributes:
        files: of the user's own modules, by name.
        packages: installed ones that they import, by their first name.
    """

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.packages: set[str] = set()
        self._seen: set[str] = set()

    def add(self, names: Iterable[str]) -> None:
        """Follow imports from these modules on."""
        waiting = [parent for name in names for parent in _with_parents(name)]
        while waiting:
            name = waiting.pop()
            if name not in self._seen:
                self._seen.add(name)
                waiting += self._reach(name)

    def parts(self) -> list[str]:
        """What was reached, a line for each module and package."""
        distributions = _distributions() if self.packages else {}
        return [
            *(
                f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}"
                for name, file in sorted(self.files.items())
            ),
            *(
                f"{found}=={version(found)}"
                for name in sorted(self.packages)
                for found in sorted(set(distributions.get(name, ())))
            ),
        ]

    def _reach(self, name: str) -> list[str]:
        """Note a module; returns the names of those that it imports."""
        file = _file(name)
        kind = _kind(name, file) if file else None
        if kind == "installed":
            self.packages.add(name.partition(".")[0])
        if file is None or kind != "own":
            return []
        self.files[name] = file
        if file.suffix != ".py":
            return []
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        return [parent for found in _imports(file, package) for parent in _with_parents(found)]


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _with_parents(name: str) -> list[str]:
    """Of a.b.c: a, a.b, a.b.c, which are all executed."""
    parts = name.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _kind(name: str, file: Path) -> Literal["own", "installed", "Python's", "ours"]:
    if name.partition(".")[0] == _OURS:
        return "ours"
    if set(_INSTALLED) & set(file.parts):
        return "installed"
    return "Python's" if file.is_relative_to(_STANDARD_LIBRARY) else "own"


def _file(name: str) -> Path | None:
    """Where a module is defined; None where there is no such module, or no file."""
    module = sys.modules.get(name)
    place = getattr(module, "__file__", None)
    if module is None:
        spec = _spec(name)
        place = spec.origin if spec and spec.has_location else None
    file = Path(place).resolve() if place else None
    return file if file and file.is_file() else None


def _spec(name: str) -> ModuleSpec | None:
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        package = sys.modules.get(parent) or _spec(parent)
        path = getattr(package, "__path__", None) or getattr(package, "submodule_search_locations", None)
        if path is None:
            return None
    specs = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in specs if spec), None)


def _imports(file: Path, package: str) -> Iterator[str]:
    """Names of the modules that a file may import; some of them are names of other things in modules."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # told where it is imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and _called(node) in _IMPORTERS and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value if not name.value.startswith(".") else package + name.value


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _called(node: ast.Call) -> str:
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))
