"""The wheel of the Python client: installs alone, and runs on every supported Python found here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdk.interpreters import SUPPORTED, interpreters

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
PURE = ("test_attempts", "test_sse_parser", "test_watching", "test_streams")
"""Tests that need nothing of the server."""
HELPERS = ("__init__", "stream_server")
OLDEST = next(iter(sorted(interpreters(), key=SUPPORTED.index)), SUPPORTED[0])
"""Installing takes a while: `make test` does it for the oldest, `make test-long` for all."""
VERSIONS = [
    pytest.param(version, marks=() if version == OLDEST else pytest.mark.long)
    for version in SUPPORTED
]


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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, because a build leaves files in its source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(PACKAGE, folder / "source")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source))
    (path,) = folder.glob("takeone-*.whl")
    return path


def interpreter(version: str) -> Path:
    if version not in interpreters():
        pytest.skip(f"Python {version} is not installed here")
    return interpreters()[version]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", VERSIONS)
def test_wheel_installs_alone_and_runs(wheel: Path, tmp_path: Path, version: str) -> None:
    """In a fresh environment for each version, where the tests without a server run, too."""
    environment = tmp_path / "environment"
    command = [interpreter(version), "-m", "venv", "--without-pip", environment]
    subprocess.run(command, check=True)
    python = environment / "bin/python"
    pip("--python", str(python), "install", "--quiet", "--no-compile", str(wheel))
    used = subprocess.run([python, "-I", "-c", USE], check=True, capture_output=True, text=True)
    names, number, typed, result = used.stdout.splitlines()
    assert set(names.split()) <= ALLOWED
    assert (number, typed, result) == ("True", "True", "image-1")
    tools = ("install", "--quiet", "--no-compile", "pytest", "pytest-asyncio", "pytest-timeout")
    pip("--python", str(python), *tools)
    run_pure_tests(python, tmp_path)


def run_pure_tests(python: Path, folder: Path) -> None:
    """Run tests of the installed client, from a folder without the source of the client."""
    tests = folder / "tests/sdk"
    tests.mkdir(parents=True)
    (folder / "tests/__init__.py").touch()
    for name in (*PURE, *HELPERS):
        shutil.copy(ROOT / f"tests/sdk/{name}.py", tests)
    options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-o", "pythonpath=.")
    scope = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    strict = (*scope, "-o", "timeout=60", "-W", "error")
    command = [python, "-m", "pytest", *options, *strict, "tests"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
