"""The evidence for each guarantee: the tests that carry `@pytest.mark.guarantee(...)`."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from docs.generate.markdown import ROOT, first_sentence, table

TESTS = ROOT / "tests"
PAGE = ROOT / "docs/explanation/guarantees.md"
BLOCK = re.compile(r"(<!-- evidence:(\w+) -->\n).*?(<!-- /evidence -->)", re.DOTALL)


class Proof(NamedTuple):
    """A test module, or one test, that proves a guarantee."""

    path: str
    tests: tuple[str, ...]
    subject: str


def render() -> str:
    """Return the page of guarantees with each of its evidence blocks generated again."""
    proofs = collect()

    def fill(block: re.Match[str]) -> str:
        return f"{block[1]}\n{_table(proofs.get(block[2], []))}\n\n{block[3]}"

    return BLOCK.sub(fill, PAGE.read_text(encoding="utf-8"))


def collect() -> dict[str, list[Proof]]:
    """Return the marked tests of the repository by guarantee."""
    proofs: defaultdict[str, list[Proof]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for guarantee, proof in _in_module(path):
            proofs[guarantee].append(proof)
    return dict(proofs)


def _in_module(path: Path) -> Iterable[tuple[str, Proof]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    relative = path.relative_to(ROOT).as_posix()
    subject = first_sentence(ast.get_docstring(tree))
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]
    whole = _guarantees(_module_marks(tree))
    for guarantee in whole:
        yield guarantee, Proof(relative, tuple(test.name for test in tests), subject)
    marked: defaultdict[str, list[str]] = defaultdict(list)
    for test in tests:
        for guarantee in _guarantees(test.decorator_list):
            if guarantee not in whole:
                marked[guarantee].append(test.name)
    for guarantee, names in marked.items():
        yield guarantee, Proof(relative, tuple(names), subject)


def _module_marks(tree: ast.Module) -> list[ast.expr]:
    """Return what is assigned to `pytestmark`, as a list."""
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        if node.targets[0].id == "pytestmark":
            value = node.value
            return value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    return []


def _guarantees(marks: Iterable[ast.expr]) -> list[str]:
    return [
        str(argument.value)
        for mark in marks
        if isinstance(mark, ast.Call)
        and isinstance(mark.func, ast.Attribute)
        and mark.func.attr == "guarantee"
        for argument in mark.args
        if isinstance(argument, ast.Constant)
    ]


def _table(proofs: list[Proof]) -> str:
    rows = [
        (f"[`{proof.path}`](../../{proof.path})", str(len(proof.tests)), proof.subject)
        for proof in proofs
    ]
    return table(("test module", "tests", "what it shows"), rows)
