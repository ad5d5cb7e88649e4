"""The wheel of the Python client: installs alone, into an environment without the server."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
USE = """
import importlib.metadata, pathlib, takeone
print(*sorted({each.metadata["Name"].lower().replace("_", "-") for each in importlib.metadata.distributions()}))
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
    used = subprocess.run([python, "-I", "-c", USE], check=True, capture_output=True, text=True)
    names, version, typed, result = used.stdout.splitlines()
    assert set(names.split()) <= ALLOWED
    assert (version, typed, result) == ("True", "True", "image-1")
