"""Money is never a float, in money modules, in variables that hold amounts and in columns."""

import ast
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G3")

ROOT = Path(__file__).parents[2]
PRODUCT = ("activities", "api", "cli", "core", "workflows")
MONEY_FILES = (
    "core/domain/months.py",
    "core/domain/money.py",
    "core/providers/pricing.py",
    "core/store/money/adjustments.py",
    "core/store/money/budget_counters.py",
    "core/store/money/charges.py",
    "core/store/money/ledger_entries.py",
    "core/store/money/budget_admission.py",
    "core/store/money/reports/ledger_check.py",
    "core/store/jobs/orphans.py",
    "core/store/money/reports/provider_bill.py",
    "core/store/money/refunds.py",
    "core/store/money/settlement.py",
    "core/store/money/daily_spending_cap.py",
    "core/store/money/budget_alerts.py",
    "core/store/money/reports/usage.py",
    "core/jobs/settlement.py",
)
"""Modules that handle only money: no float at all."""
AMOUNTS = ("nano_usd", "_usd", "usd_")
"""Parts of names that mark an amount, everywhere."""
ONLY_DISPLAYED = {
    # A search attribute of Temporal: doubles are its only type for fractions.
    "workflows/execution.py: outcome.spent_nano_usd / NANO_PER_USD",
}


def floats_in(source: str) -> list[str]:
    """Return every float, float type, true division and rounding, with its line."""
    return [f"{line}: {what}" for line, what in _floats(ast.parse(source))]


def _floats(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, f"the float {node.value}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "true division"
        elif isinstance(node, ast.Name) and node.id in ("float", "round"):
            yield node.lineno, node.id


def floating_amounts_in(source: str) -> list[str]:
    """Return every expression or declaration that makes an amount a float, with its line."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        touched = _touched(node)
        if any(_is_amount(name) for part in touched for name in _names(part)) and any(
            map(_has_float, touched)
        ):
            found.append(f"{node.lineno}: {ast.unparse(node)[:80]}")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]: all of these have a line
    return found


def _touched(node: ast.AST) -> list[ast.AST]:
    """Return the node if it calculates, converts or declares a value."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.AnnAssign | ast.Call | ast.arg):
        return [node]
    if isinstance(node, ast.Assign | ast.keyword):
        return [node]
    return []


def _has_float(part: ast.AST) -> bool:
    if isinstance(part, ast.Call):
        return isinstance(part.func, ast.Name) and part.func.id in ("float", "round")
    if isinstance(part, ast.arg | ast.AnnAssign):
        return part.annotation is not None and any(_floats(part.annotation))
    if isinstance(part, ast.BinOp | ast.AugAssign):
        sides = (part.left, part.right) if isinstance(part, ast.BinOp) else (part.value,)
        return isinstance(part.op, ast.Div) or any(_is_float(side) for side in sides)
    return isinstance(part, ast.Assign | ast.keyword) and _is_float(part.value)


def _is_float(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, float)


def _names(part: ast.AST) -> Iterator[str]:
    for node in ast.walk(part):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.arg or ""
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.isidentifier()
        ):
            yield node.value  # row["held_nano_usd"]


def _is_amount(name: str) -> bool:
    return any(mark in name.lower() for mark in AMOUNTS)


@pytest.mark.parametrize("name", MONEY_FILES)
def test_money_module_has_no_float(name: str) -> None:
    assert floats_in((ROOT / name).read_text(encoding="utf-8")) == []


def test_no_amount_becomes_a_float_anywhere() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line.partition(':')[2]}"
        for folder in PRODUCT
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in floating_amounts_in(path.read_text(encoding="utf-8"))
    }
    assert found == ONLY_DISPLAYED


@pytest.mark.parametrize(
    "source",
    [
        "x = 0.5",
        "x = 1e9",
        "def f(x: float) -> int: ...",
        "x: list[float] = []",
        "x = a / b",
        "x /= 2",
        "x = round(y, 2)",
        "x = float('0.1')",
    ],
)
def test_lint_finds_a_float(source: str) -> None:
    assert len(floats_in(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "x = held_nano_usd / 2",
        "x = charge.settled_nano_usd * 1.1",
        "x = 2.0 * row['held_nano_usd']",
        "held_nano_usd /= 3",
        "held_nano_usd += 0.5",
        "x = float(cost_nano_usd)",
        "x = round(price_usd * 3)",
        "held_nano_usd: float = given",
        "class Charge:\n    held_nano_usd: float | None",
        "def hold(amount_nano_usd: float) -> None: ...",
        "held_nano_usd = 0.0",
        "hold(amount_nano_usd=1.5)",
    ],
)
def test_lint_finds_an_amount_that_becomes_a_float(source: str) -> None:
    assert floating_amounts_in(source) != []


@pytest.mark.parametrize(
    "source",
    [
        "x = held_nano_usd // 2 * 3 - settled_nano_usd",
        "wait(seconds=0.5, held_nano_usd=held)",
        "deadline = time.monotonic() + 0.5",
        "def hold(amount_nano_usd: int, seconds: float) -> None: ...",
        "NANO_PER_USD = 1_000_000_000",
    ],
)
def test_lint_accepts_integer_amounts(source: str) -> None:
    assert floating_amounts_in(source) == []


COLUMNS = """
SELECT table_name || '.' || column_name AS name, data_type AS kind FROM information_schema.columns
WHERE table_schema = 'public'
"""


async def test_amounts_have_integer_columns(fresh_database: FreshDatabase) -> None:
    connection = await asyncpg.connect(fresh_database.owner_dsn)
    try:
        kinds = {row["name"]: row["kind"] for row in await connection.fetch(COLUMNS)}
    finally:
        await connection.close()
    amounts = {name: kind for name, kind in kinds.items() if _is_amount(name)}
    assert len(amounts) >= 8
    assert set(amounts.values()) == {"bigint"}
    of_money = ("charges.", "ledger_entries.", "budgets.", "daily_spending.")
    floats = {
        name
        for name, kind in kinds.items()
        if kind in ("real", "double precision", "numeric", "money")
    }
    assert [name for name in floats if name.startswith(of_money)] == []
