"""Captions on small films that are made once per process."""

from pathlib import Path

import pytest

from core.media.engine.engine import Engine
from core.media.operations.port import Probe
from tests.media.captions.films import Captioner, film


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tall film of one second."""
    return film(tmp_path_factory.mktemp("films") / "plain.mp4")


@pytest.fixture(scope="session")
def probes() -> dict[Path, Probe]:
    return {}


@pytest.fixture
def caption(engine: Engine, tmp_path: Path, probes: dict[Path, Probe]) -> Captioner:
    return Captioner(engine, tmp_path, probes)
