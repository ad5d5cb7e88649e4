"""The two Python clients are twins, and the package imports only what it declares."""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import make_sync
from takeone._async import _io as _async_io
from takeone._sync import _io as _sync_io

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/python/takeone"
DECLARED = {"httpx", "pydantic", "pydantic_core", "takeone", "typing_extensions"}
"""The dependencies of its pyproject.toml; pydantic_core is pydantic's."""
OF_EXTRAS = {"mcp": {"anyio", "mcp", "mcp_types", "starlette", "uvicorn"}}
"""What the folder of an extra may import in addition: its dependency with what that brings."""


def test_blocking_client_is_made_from_the_asyncio_client() -> None:
    assert make_sync.stale() == [], "run .venv/bin/python clients/python/make_sync.py"


def test_handwritten_files_of_both_clients_have_the_same_functions() -> None:
    blocking, twin = _sync_io, _async_io
    names = [name for name, _ in inspect.getmembers(twin, inspect.isfunction)]
    assert names
    for name in names:
        signatures = [str(inspect.signature(getattr(each, name))) for each in (blocking, twin)]
        assert signatures[0] == signatures[1]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_client_imports_only_its_declared_dependencies() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 20
    foreign = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in files
        for module in imported(ast.parse(path.read_text(encoding="utf-8")))
        if module not in DECLARED | OF_EXTRAS.get(path.parent.name, set()) | sys.stdlib_module_names
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
