"""The version of the product, read from pyproject.toml, which the image contains too."""

import tomllib
from pathlib import Path
from typing import Final

_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

VERSION: Final[str] = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]
"""`MAJOR.MINOR.PATCH`, as in the `version` of pyproject.toml."""
