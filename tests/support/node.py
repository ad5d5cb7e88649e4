"""Node with the TypeScript client of this repository."""

import asyncio
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "clients/typescript"
PROGRAMS: Final = ROOT / "tests/typescript"
OLDEST: Final = (20, 3)


@cache
def node_version() -> tuple[int, int]:
    """Return the version of Node; (0, 0) without Node."""
    if shutil.which("node") is None:
        return (0, 0)
    printed = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    major, minor, *_ = re.findall(r"\d+", printed.stdout)
    return (int(major), int(minor))


needs_node = pytest.mark.skipif(node_version() < OLDEST, reason="there is no Node 20.3 or newer")


def link_package(folder: Path) -> None:
    """Install the package in a folder. Repeating is safe."""
    modules = folder / "node_modules"
    modules.mkdir(exist_ok=True)
    if not (modules / "takeone").exists():
        (modules / "takeone").symlink_to(PACKAGE)


async def run_node(folder: Path, *arguments: str | Path, **settings: str) -> str:
    """Run Node in a folder where the package is installed. Return what it prints."""
    link_package(folder)
    program = await asyncio.create_subprocess_exec(
        "node",
        *arguments,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await program.communicate()
    assert program.returncode == 0, printed.decode()
    return printed.decode()


async def run_tests(folder: Path, program: str, *modules: str, **settings: str) -> int:
    """Run a program of tests/typescript. Return how many of its tests have passed: all of them.

    modules: what the program imports from there.
    """
    for name in (program, *modules):
        shutil.copy(PROGRAMS / name, folder)
    printed = await run_node(folder, "--test", program, **settings)
    counts = dict(re.findall(r"^# (pass|fail|skipped|todo) (\d+)$", printed, re.MULTILINE))
    assert {counts.pop(each) for each in ("fail", "skipped", "todo")} == {"0"}, printed
    return int(counts["pass"])
