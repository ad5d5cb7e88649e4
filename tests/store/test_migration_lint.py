"""Migrations since 0.2.0 run while the previous version works: squawk looks for what would not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.store.migrate import CONCURRENT, INDEX, migration_names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "core/store/migrations"
LAST_UNCHECKED = 44
"""The last migration of 0.1.0, which stopped the service for its migrations."""


def lint(path: Path, *, in_transaction: bool) -> list[str]:
    """Return squawk's findings in a file, one line each."""
    command = [
        str(Path(sys.executable).with_name("squawk")), "--config", str(ROOT / ".squawk.toml"),
        *(["--assume-in-transaction"] if in_transaction else []), "--reporter", "gcc", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    findings = [line for line in done.stdout.splitlines() if re.match(rf"{path}:\d+", line)]
    assert done.returncode == (1 if findings else 0), done.stdout + done.stderr
    return findings


def unexplained(text: str) -> list[str]:
    """Return the exceptions of a migration that do not follow a comment with their reason."""
    lines = text.splitlines()
    return [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if "squawk-ignore" in line and not re.match(r"-- (?!squawk-ignore)\w+ \w+ \w+", above)
    ]


def test_new_migrations_block_no_writer_and_break_no_reader() -> None:
    findings: list[str] = []
    for name in migration_names():
        if int(name.partition("_")[0]) > LAST_UNCHECKED:
            path, concurrent = FOLDER / name, name.endswith(CONCURRENT)
            findings += lint(path, in_transaction=not concurrent)
            findings += unexplained(path.read_text(encoding="utf-8"))
            assert not concurrent or INDEX.search(path.read_text(encoding="utf-8")), name
    assert findings == []


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("ALTER TABLE webhooks DROP COLUMN body;", "ban-drop-column"),
        ("ALTER TABLE webhooks RENAME COLUMN body TO content;", "renaming-column"),
        ("ALTER TABLE webhooks ADD COLUMN size bigint NOT NULL;", "adding-required-field"),
        ("CREATE INDEX webhooks_size ON webhooks (size);", "require-concurrent-index-creation"),
        ("ALTER TABLE webhooks ADD CONSTRAINT c CHECK (size > 0);", "constraint-missing-not-valid"),
    ],
)
def test_migration_that_stops_the_previous_version_is_found(
    tmp_path: Path, sql: str, rule: str
) -> None:
    path = tmp_path / "9999_change.sql"
    path.write_text(f"{sql}\n", encoding="utf-8")
    assert rule in "".join(lint(path, in_transaction=True))
    path.write_text(f"-- squawk-ignore {rule}\n{sql}\n", encoding="utf-8")
    assert lint(path, in_transaction=True) == []
    assert unexplained(path.read_text(encoding="utf-8")) == [f"-- squawk-ignore {rule}"]
