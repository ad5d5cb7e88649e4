"""The bans on workflow code, which replace the runtime bans of the SDK's sandbox."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.guarantee("G1")

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.py"))
MAY_IMPORT = {
    "asyncio",
    "collections.abc",
    "dataclasses",
    "datetime",
    "types",
    "typing",
    "temporalio",
    "temporalio.common",
    "temporalio.exceptions",
    # Classes, whose methods are named in calls and run by activity workers.
    "activities.approvals",
    "activities.assets",
    "activities.executions",
    "activities.jobs",
    "activities.media",
    "activities.webhooks",
    # Pure modules: the contract "modules that workflows call are deterministic" covers each.
    "core.domain.failures",
    "core.domain.messages.approvals",
    "core.domain.messages.assets",
    "core.domain.messages.executions",
    "core.domain.messages.jobs",
    "core.domain.messages.media",
    "core.domain.messages.webhooks",
    "core.domain.money",
    "core.domain.plans",
    "core.domain.states",
    "core.platform.temporal",
    "core.platform.temporal.search_attributes",
    # Other workflow files, which these tests cover as well.
    "workflows",
    "workflows.approvals",
    "workflows.media_steps",
    "workflows.purchases",
    "workflows.run_state",
    "workflows.stored_files",
}
"""A new entry has to be pure: no clock, randomness, I/O, threads or mutable module state."""
BUILTINS = {"eval", "exec", "globals", "hash", "id", "input", "open"}
"""They read or change the process, or differ from one process to the next."""
IMMUTABLE = ("Final", "TypeVar", "MappingProxyType")
BANNED = [
    "import time",
    "from time import monotonic",
    "datetime.datetime.now()",
    "datetime.datetime.now(datetime.UTC)",
    "datetime.datetime.utcnow()",
    "datetime.date.today()",
    "from core.platform.clock import Clock",
    "await asyncio.sleep(1)",
    "await asyncio.wait([])",
    "asyncio.as_completed([])",
    "await asyncio.to_thread(print)",
    "asyncio.get_running_loop().time()",
    "import random",
    "from secrets import token_hex",
    "from uuid import uuid4",
    "from uuid_utils import uuid7",
    "from core.domain.ids import new_execution_id",
    "import os",
    "import sys",
    "from os import environ",
    "from pathlib import Path",
    "import tempfile",
    "import io",
    "import socket",
    "import ssl",
    "import urllib.request",
    "import http.client",
    "import httpx",
    "import aioboto3",
    "import asyncpg",
    "import subprocess",
    "import threading",
    "from concurrent.futures import ThreadPoolExecutor",
    "import multiprocessing",
    "import logging",
    "import structlog",
    "from core.platform.observability.logging import get_logger",
    "from core.platform.settings.load import load",
    "from core.store.database import Database",
    "from core.providers.registry import Providers",
    "global state; state = 1",
]


def test_linter_refuses_every_kind_of_nondeterminism() -> None:
    """Each statement violates a ban of workflows/ruff.toml."""
    source = ["import asyncio", "import datetime", "state = 0", "async def run():"]
    source += [f"    {statement}" for statement in BANNED]
    found = subprocess.run(
        (
            *(sys.executable, "-m", "ruff", "check", "--output-format", "json"),
            *("--select", "TID251,PLW0603", "--stdin-filename", "workflows/planted.py", "-"),
        ),
        input="\n".join(source),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {one["location"]["row"] for one in json.loads(found.stdout)}
    first = source.index(f"    {BANNED[0]}") + 1
    accepted = [text for row, text in enumerate(BANNED, start=first) if row not in lines]
    assert accepted == []


def imports_of(source: str) -> set[str]:
    return {
        name
        for node in ast.walk(ast.parse(source))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }


def mutable_globals(source: str) -> Iterator[str]:
    """Yield module variables that one execution could change for another."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            text = ast.unparse(node)
            if not any(word in text for word in IMMUTABLE):
                yield text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_files_import_only_pure_modules(path: Path) -> None:
    assert imports_of(path.read_text(encoding="utf-8")) <= MAY_IMPORT


def banned_builtins(source: str) -> set[str]:
    names = (node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))
    return BUILTINS & set(names)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_files_use_no_builtin_of_the_process(path: Path) -> None:
    assert banned_builtins(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_files_have_no_mutable_state_of_their_own(path: Path) -> None:
    assert list(mutable_globals(path.read_text(encoding="utf-8"))) == []


def test_lint_finds_imports_builtins_and_mutable_state() -> None:
    source = "import json\nfrom core.jobs import submit\n_SEEN: dict[str, int] = {}\n"
    assert imports_of(source) - MAY_IMPORT == {"json", "core.jobs"}
    assert banned_builtins("with open(str(hash('a'))): pass") == {"open", "hash"}
    assert list(mutable_globals(source)) == ["_SEEN: dict[str, int] = {}"]
