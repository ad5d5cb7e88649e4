"""The command line `takeone` without a service: start, profiles, completion and exit codes."""

import os
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takeone import Execution, errors
from takeone.cli._core import output, profiles, values
from takeone.cli._core.exits import MEANINGS, Exit, StopError, explain
from takeone.cli._core.profiles import ProfileFile
from takeone.cli._core.progress import left
from takeone.cli._core.saving import file_name
from takeone.cli.main import SECTIONS, root, run
from takeone.models import ResultFile

PACKAGE = Path(__file__).parents[2] / "clients/python"
HEAVY = ("asyncio", "httpx", "pydantic", "rich")
HELP = f"""
import sys
from takeone.cli.main import run
code = run(["--help"])
print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep profiles in a folder of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("TAKEONE_API_KEY", "TAKEONE_BASE_URL", "TAKEONE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PACKAGE),
        "XDG_CONFIG_HOME": str(folder),
        **more,
    }


def program(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=env, check=False, capture_output=True, text=True
    )


def test_help_imports_neither_the_client_nor_rich(folder: Path) -> None:
    done = program("-c", HELP, env=environment(folder))
    assert done.returncode == 0
    assert done.stderr.strip() == ""
    assert "generate" in done.stdout
    for code in MEANINGS:
        assert f"  {code.value} " in done.stdout


def test_completion_offers_commands_and_options(folder: Path) -> None:
    def completed(words: str, number: int) -> str:
        variables = {"_TAKEONE_COMPLETE": "bash_complete", "COMP_WORDS": words}
        env = environment(folder, COMP_CWORD=str(number), **variables)
        return program("-m", "takeone.cli", env=env).stdout

    assert completed("takeone gen", 1) == "plain,generate\n"
    assert completed("takeone list --st", 2) == "plain,--status\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_TAKEONE_COMPLETE={shell}_complete" in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_closed_output_pipe_is_no_failure(folder: Path) -> None:
    """The reader, for example `head`, may end before the output does."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "takeone.cli", "completion", "bash"]
    done = subprocess.run(
        command, env=environment(folder), stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


TEXTS = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=20)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(TEXTS, st.fixed_dictionaries({"base_url": TEXTS, "api_key": TEXTS})), TEXTS)
def test_profiles_are_read_as_they_were_written(
    tables: dict[str, dict[str, str]], current: str
) -> None:
    content = ProfileFile(current=current, profiles=tables)
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setenv("XDG_CONFIG_HOME", folder)
        profiles.write(content)
        assert profiles.read() == content
        assert stat.S_IMODE(profiles.path().stat().st_mode) == 0o600


def test_profile_is_chosen_by_option_then_environment_then_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {
        name: {"base_url": f"https://{name}.test", "api_key": f"tko_{name}"} for name in ("a", "b")
    }
    profiles.write(ProfileFile(current="a", profiles=tables))
    assert profiles.choose(None).api_key == "tko_a"
    monkeypatch.setenv("TAKEONE_PROFILE", "b")
    assert profiles.choose(None).api_key == "tko_b"
    monkeypatch.setenv("TAKEONE_API_KEY", "tko_outer")
    assert profiles.choose(None).api_key == "tko_outer"
    assert profiles.choose("a").api_key == "tko_a"
    assert "tko" not in repr(profiles.choose("a"))


def test_key_of_a_profile_is_sent_to_its_address_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"default": {"base_url": "https://a.test", "api_key": "tko_a"}}
    profiles.write(ProfileFile(profiles=tables))
    monkeypatch.setenv("TAKEONE_BASE_URL", "https://b.test")
    with pytest.raises(StopError, match="TAKEONE_API_KEY"):
        profiles.choose(None)


@pytest.mark.parametrize("text", ["[profiles", "profiles = 3", "\x00"])
def test_damaged_profile_file_is_a_clear_error(
    folder: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    profiles.path().parent.mkdir()
    profiles.path().write_text(text)
    assert run(["config", "list"]) == 2
    assert str(profiles.path()) in capsys.readouterr().err


def problem(status: int, code: str = "some_code", *, retryable: bool = False) -> Exception:
    document = {"code": code, "title": "A problem", "retryable": retryable}
    return errors.problem_class(code, status)(document, status=status)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (problem(400), 2),
        (problem(401), 3),
        (problem(402), 4),
        (problem(402, "max_cost_exceeded"), 4),
        (problem(403), 3),
        (problem(404), 7),
        (problem(409), 2),
        (problem(409, "idempotency_in_progress", retryable=True), 5),
        (problem(409, "possible_double_cost"), 4),
        (problem(422), 2),
        (problem(429), 5),
        (problem(500), 5),
        (problem(502), 5),
        (problem(503), 5),
        (errors.ConnectError("no"), 5),
        (errors.RequestTimeoutError("late"), 5),
        (errors.ConnectionLostError("lost"), 5),
        (errors.DownloadError("damaged"), 5),
        (errors.UnusableAnswerError("a page"), 2),
        (errors.ConfigurationError("no key"), 3),
        (errors.WaitTimeoutError("exec_1", 2), 6),
        (FileNotFoundError(2, "No such file or directory", "plan.json"), 2),
    ],
    ids=lambda value: f"{value!r}"[:40],
)
def test_each_failure_has_its_exit_code(error: Exception, code: int) -> None:
    explained = explain(error)
    assert explained is not None
    assert explained.code == code


def test_lost_answer_names_the_key_to_repeat_with() -> None:
    explained = explain(errors.ConnectionLostError("lost", idempotency_key="key-1"))
    assert explained is not None
    assert "--idempotency-key key-1" in explained.text
    assert explained.document["idempotencyKey"] == "key-1"


def test_unexpected_failure_is_not_explained() -> None:
    assert explain(KeyError("a bug")) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("0.000000001"), "0.000000001"),
        (Decimal("1E+2"), "100"),
        (Decimal("0.30"), "0.30"),
        ("a\x1b[31mred\x9b\nline", "a [31mred  line"),
        ("safe\u202egnp.exe", "safe gnp.exe"),
        (None, ""),
        (True, "yes"),
        (["a", "b"], "a, b"),
    ],
)
def test_cells_are_exact_and_without_control_characters(value: object, text: str) -> None:
    assert output.text(value) == text


def test_names_of_files_never_lead_out_of_their_folder() -> None:
    """Ids, labels and content types come from the service."""
    members = {"step": "clip", "kind": "video", "url": "http://f.test", "sizeBytes": 1}
    file = ResultFile.model_validate(
        {**members, "id": "asset_1", "contentType": "video/mp4; codecs=x", "sha256": "0"}
    )
    hostile = Execution.model_construct(id="../../etc/passwd")
    assert file_name(hostile, "", file) == "__.._etc_passwd.mp4"
    plain = Execution.model_construct(id="exec_1")
    assert file_name(plain, "..\\sub/été:1", file) == "exec_1-__sub_été_1.mp4"


def test_sections_of_the_help_have_all_commands() -> None:
    assert {each.name for part in SECTIONS.values() for each in part} == set(root.commands)


@pytest.mark.parametrize("text", ["-1", "1e3", "NaN", "ten", "", "0.0000000001", "9" * 10])
def test_amount_that_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(StopError, match="US dollars"):
        values.amount(text, "--max-cost")
    assert values.amount("$0.50", "--max-cost") == Decimal("0.5")


@pytest.mark.parametrize("text", ["9999999d", "0001-01-01T00:00+23:00", "yesterday"])
def test_time_out_of_range_is_a_clear_error(text: str) -> None:
    with pytest.raises(StopError, match="not a time"):
        values.moment(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "ends soon"), (42.4, "about 42 s left"), (600, "about 10 min left"),
     (7200, "about 2.0 h left")],
)  # fmt: skip
def test_estimates_are_rounded(seconds: float, text: str) -> None:
    assert left(seconds) == text


def leaves(group: click.Group) -> list[click.Command]:
    return [
        leaf
        for command in group.commands.values()
        for leaf in (leaves(command) if isinstance(command, click.Group) else [command])
    ]


def test_all_commands_have_json_and_help() -> None:
    commands = leaves(root)
    assert len(commands) > 40
    without = {each.name for each in commands if "json" not in {p.name for p in each.params}}
    assert without == {"completion", "dev"}
    for command in commands:
        assert command.help
        named = [item for item in command.params if isinstance(item, click.Option)]
        assert all(item.help for item in named), command.name


def test_dev_runs_the_local_stack_of_the_checkout(folder: Path) -> None:
    done = program("-m", "takeone.cli", "dev", "--help", env=environment(folder))
    assert "needs the server" in done.stdout
    command = [sys.executable, "-m", "takeone.cli", "dev", "--", "--no-such-option"]
    refused = subprocess.run(
        command, env=environment(folder), cwd=PACKAGE, check=False, capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "usage: python -m deploy.local" in refused.stderr


def test_exit_codes_are_documented() -> None:
    assert set(MEANINGS) == set(Exit)
