"""The two Python clients are twins, and the package imports only what it declares."""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/python/takeone"
MODULES = sorted(path.stem for path in (PACKAGE / "_sync").glob("[!_]*.py"))
DECLARED = {"httpx", "pydantic", "pydantic_core", "takeone", "typing_extensions"}
"""The dependencies of its pyproject.toml; pydantic_core is pydantic's."""
EXTRA = {"click", "rich", "tomli"}
"""The dependencies of the command line, an extra."""


def members(module: object) -> Iterator[tuple[str, object]]:
    """Yield the public methods of the classes of a module, with their names."""
    for class_name, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ != getattr(module, "__name__", None):
            continue
        yield class_name, cls
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if method.__module__ == cls.__module__ and not name.startswith("_"):
                yield f"{class_name}.{name}", method


def described(module: object, prefix: str) -> dict[str, tuple[str, str]]:
    """Return signature and documentation of each member, in the words of the blocking client."""
    found: dict[str, tuple[str, str]] = {}
    for name, member in members(module):
        text = str(inspect.signature(member)) if inspect.isfunction(member) else ""
        doc = inspect.getdoc(member) or ""
        plain = re.sub(r"_async|_sync", "", text).replace("Async", "").replace("Blocking", "")
        found[name.replace("Async", "").replace("Blocking", "")] = (
            plain,
            doc.replace(" for asyncio", "").replace(" by the blocking client", ""),
        )
    assert found, prefix
    return found


@pytest.mark.parametrize("name", MODULES)
def test_both_clients_have_the_same_methods_and_documentation(name: str) -> None:
    blocking = importlib.import_module(f"takeone._sync.{name}")
    twin = importlib.import_module(f"takeone._async.{name}")
    assert described(twin, "async") == described(blocking, "sync")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def allowed(path: Path) -> set[str]:
    """Return the packages that a file may import."""
    return DECLARED | (EXTRA if path.is_relative_to(PACKAGE / "cli") else set())


def test_client_imports_only_its_declared_dependencies() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 20
    foreign = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in files
        for module in imported(ast.parse(path.read_text(encoding="utf-8")))
        if module not in allowed(path) | sys.stdlib_module_names
    }
    assert foreign == set()


def test_product_does_not_import_the_client() -> None:
    users = [
        path.relative_to(ROOT).as_posix()
        for folder in ("activities", "api", "cli", "core", "sandbox", "workflows")
        for path in (ROOT / folder).rglob("*.py")
        if "takeone" in set(imported(ast.parse(path.read_text(encoding="utf-8"))))
    ]
    assert users == []
