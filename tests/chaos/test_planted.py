"""The planted bugs match the current source; `python -m tests.chaos --planted` runs them."""

import ast
from pathlib import Path

import pytest

from deploy.local.config import ROOT
from tests.chaos.__main__ import main
from tests.chaos.planted import AnchorError, UnknownBugError, copied, named, plant
from tests.chaos.planted_bugs import BUGS, Bug, Edit
from tests.chaos.planted_cases import case_of


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_planted_bug_fits_the_source_and_is_python(bug: Bug, tmp_path: Path) -> None:
    for edit in bug.edits:
        target = tmp_path / edit.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / edit.file).read_bytes())
    plant(bug, tmp_path)
    for edit in bug.edits:
        changed = (tmp_path / edit.file).read_text(encoding="utf-8")
        assert changed != (ROOT / edit.file).read_text(encoding="utf-8")
        ast.parse(changed)


@pytest.mark.parametrize(
    ("given", "said"),
    [(["--case", "nope"], "no case nope"), (["--planted", "nope"], "no bug nope")],
)
def test_unknown_name_is_one_line_and_code_2(
    given: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", *given])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr().err
    assert (stopped.value.code, shown.count("\n"), said in shown) == (2, 1, True)


def test_planted_bugs_name_cases_that_exist() -> None:
    assert all(bug.cases for bug in BUGS)
    assert {name for bug in BUGS for name in bug.cases} == {
        case_of(name).name for bug in BUGS for name in bug.cases
    }
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert named([BUGS[0].name]) == [BUGS[0]]
    with pytest.raises(UnknownBugError, match="nonsense"):
        named(["nonsense"])


@pytest.mark.parametrize("source", ["nothing of it", "twice twice"])
def test_planting_refuses_a_changed_source(tmp_path: Path, source: str) -> None:
    (tmp_path / "file.py").write_text(source, encoding="utf-8")
    bug = Bug(name="bug", what="", edits=(Edit(file="file.py", old="twice", new="once"),), cases=())
    with pytest.raises(AnchorError, match=r"in file\.py"):
        plant(bug, tmp_path)
    assert (tmp_path / "file.py").read_text(encoding="utf-8") == source


def test_copy_holds_the_product_and_no_tests() -> None:
    with copied(ROOT) as folder:
        assert (folder / "worker.py").read_bytes() == (ROOT / "worker.py").read_bytes()
        assert (folder / "core" / "store" / "migrations" / "0001_roles.sql").exists()
        assert not (folder / "tests").exists()
    assert not folder.exists()
