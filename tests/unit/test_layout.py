"""Layout rules beyond the linter: sizes, vendors' names and registered activities."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import activities.assets
import activities.executions
import activities.jobs
import activities.media
import activities.webhooks
from activities.approvals import ApprovalActivities
from activities.assets import AssetActivities
from activities.executions import ExecutionActivities
from activities.jobs import JobActivities
from activities.media import MediaActivities
from activities.webhooks import WebhookActivities
from core.providers.registry import PROVIDER_NAMES

ROOT = Path(__file__).parents[2]
PRODUCT = ("activities", "api", "cli", "clients", "core", "workflows")
OTHERS = ("deploy", "sandbox", "tests")
MAY_NAME_VENDORS = (
    "core/providers/vendors/",
    "core/providers/registry.py",
    "core/platform/settings/providers.py",
    "core/platform/observability/redaction.py",
)
"""The last file has the forms of vendors' keys, for redaction in logs."""
VENDOR = re.compile(
    rf"(?<![a-z]){'|(?<![a-z])'.join(f'{name}(?![a-z])' for name in PROVIDER_NAMES)}", re.IGNORECASE
)


def files(folders: tuple[str, ...]) -> list[Path]:
    return [
        ROOT / "worker.py",
        *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))),
    ]


def long_functions(path: Path, limit: int) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > limit:
                yield f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"


def test_no_function_is_over_its_limit() -> None:
    everything = files((*PRODUCT, *OTHERS))
    assert [found for path in everything for found in long_functions(path, 60)] == []


@pytest.mark.parametrize(("folders", "limit"), [(PRODUCT, 400), (OTHERS, 450)])
def test_no_file_is_over_its_limit(folders: tuple[str, ...], limit: int) -> None:
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in files(folders)
    }
    assert {path for path, lines in sizes.items() if lines > limit} == set()


def code_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield names and strings, without comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NAME, tokenize.STRING) and token.start[0] not in prose:
            yield token.start[0], token.string


def test_no_vendor_is_named_outside_its_modules() -> None:
    """A new provider needs only its own module and a line in the registry."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {code}"
        for path in files(PRODUCT)
        if not str(path.relative_to(ROOT)).startswith(MAY_NAME_VENDORS)
        for line, code in code_of(path)
        if VENDOR.search(code)
    ]
    assert found == []


@pytest.mark.parametrize("code", ["fal", '"fal-ai/flux"', "REPLICATE_URL", "fal_key"])
def test_vendor_is_recognised(code: str) -> None:
    assert VENDOR.search(code)
    assert [word for word in ("default", "false_alarm", "replicated") if VENDOR.search(word)] == []


def defined_activities() -> set[str]:
    """Return the names of all @activity.defn in the source, registered or not."""
    pattern = re.compile(r'@activity\.defn\(name="([a-z_]+)"\)')
    return {
        name
        for path in files(("activities",))
        for name in pattern.findall(path.read_text(encoding="utf-8"))
    }


def registered() -> dict[str, set[str]]:
    """Read from the source which activities make_workers registers on each task queue."""
    tree = ast.parse((ROOT / "activities" / "registration.py").read_text(encoding="utf-8"))
    make = next(
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "make_workers"
    )
    classes = {
        "approvals": ApprovalActivities,
        "executions": ExecutionActivities,
        "jobs": JobActivities,
        "media": MediaActivities,
        "assets": AssetActivities,
        "webhooks": WebhookActivities,
    }
    found: dict[str, set[str]] = {}
    for node in ast.walk(make):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "worker"
        ):
            continue
        handed = node.args[2]
        assert isinstance(handed, ast.List)
        names: set[str] = set()
        for item in handed.elts:
            *_, group, method = ast.unparse(item).split(".")
            names.add(
                getattr(getattr(classes[group], method), "__temporal_activity_definition").name
            )
        found[ast.unparse(node.args[0])] = names
    return found


def test_every_activity_is_registered_on_exactly_one_queue() -> None:
    handed = [name for names in registered().values() for name in names]
    assert sorted(handed) == sorted(defined_activities()) != []


def test_every_queue_of_a_workflow_has_its_activity() -> None:
    queues = registered()
    pattern = re.compile(r"(\w+Activities)\.(\w+),\s+\w+,\s+task_queue=(policies\.\w+)")
    uses = [
        use
        for path in files(("workflows",))
        for use in pattern.findall(path.read_text(encoding="utf-8"))
    ]
    assert len(uses) >= 6
    modules = inspect.getmembers(activities.jobs) + inspect.getmembers(activities.assets)
    modules += inspect.getmembers(activities.executions) + inspect.getmembers(activities.webhooks)
    modules += inspect.getmembers(activities.media)
    for owner, method, queue in uses:
        name = getattr(getattr(dict(modules)[owner], method), "__temporal_activity_definition").name
        matching = [names for expression, names in queues.items() if expression.startswith(queue)]
        assert any(name in names for names in matching), (
            f"no worker of {queue} has the activity {name}"
        )
