"""The wheel of the Python client: installs alone, into an environment without the server.

With its extra, the command line runs there, too.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from takeone import VERSION

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/python"
ALLOWED = {
    "annotated-types",
    "anyio",
    "certifi",
    "exceptiongroup",
    "h11",
    "httpcore",
    "httpx",
    "idna",
    "pydantic",
    "pydantic-core",
    "sniffio",
    "takeone",
    "typing-extensions",
    "typing-inspection",
}
"""httpx and pydantic with what they bring."""
EXTRA = {"click", "markdown-it-py", "mdurl", "pygments", "rich"}
"""What the command line needs in addition."""
NAMES = """
import importlib.metadata
print(*sorted({each.metadata["Name"].lower().replace("_", "-") for each in importlib.metadata.distributions()}))
"""
USE = """
import importlib.metadata, pathlib, takeone
print(takeone.VERSION == importlib.metadata.version("takeone"))
print((pathlib.Path(takeone.__file__).parent / "py.typed").exists())
print(takeone.compose(takeone.generate_image(prompt="a kite")).to_plan()["result"])
"""


def pip(*arguments: str) -> None:
    """Run pip. Skip the test if it fails because no package index is reachable."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "No matching distribution found for" in done.stdout + done.stderr:
        pytest.skip("no package index is reachable: the wheel cannot be built or installed")
    assert done.returncode == 0, done.stderr


def test_wheel_installs_alone_in_a_fresh_environment(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin/python"
    source = shutil.copytree(PACKAGE, tmp_path / "source")  # a build leaves files there
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source))
    (wheel,) = tmp_path.glob("takeone-*.whl")
    pip("--python", str(python), "install", "--quiet", "--no-compile", str(wheel))
    version, typed, result = run(python, "-I", "-c", USE).stdout.splitlines()
    assert (version, typed, result) == ("True", "True", "image-1")
    assert names_in(python) <= ALLOWED
    takeone = environment / "bin/takeone"
    without = run(takeone, "--help", code=2)
    assert (without.stdout, "pip install 'takeone[cli]'" in without.stderr) == ("", True)

    pip(
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-compile",
        f"takeone[cli] @ {wheel.as_uri()}",
    )
    assert names_in(python) <= ALLOWED | EXTRA
    assert run(takeone, "--version").stdout == f"takeone {VERSION}\n"
    checkout = run(takeone, "dev", code=2, folder=tmp_path)
    assert "server of Takeone is not installed here" in checkout.stderr


def run(
    program: Path, *arguments: str, code: int = 0, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment to its expected end."""
    done = subprocess.run(
        [program, *arguments], check=False, capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == code, done.stderr
    return done


def names_in(python: Path) -> set[str]:
    """Return the names of the packages of an environment."""
    return set(run(python, "-I", "-c", NAMES).stdout.split())
