"""What all tests share: the servers that start when a test asks for them, and an environment that
leads nowhere.

Provider keys and addresses are taken out before anything is imported, and `.env` is not read: no
test can spend money.
"""

import os
from pathlib import Path, PurePosixPath

import pytest
from xdist.remote import Producer

from core.platform.settings import processes
from core.platform.settings.base import ENV_FILE, Settings
from deploy.local.product import FOREIGN
from tests.support.schedule import ByUnit, order
from tests.support.servers import (
    fresh_database,
    postgres_server,
    s3_server,
    servers_folder,
    template_database,
    temporal_server,
)

TESTS = Path(__file__).parent


def _settings_classes(base: type[Settings] = Settings) -> list[type[Settings]]:
    """Return a settings class and all classes derived from it."""
    assert processes  # imported so that every group and process is defined
    return [base, *(kind for child in base.__subclasses__() for kind in _settings_classes(child))]


def _forget_outside() -> None:
    for name in [name for name in os.environ if name.upper().startswith(FOREIGN)]:
        del os.environ[name]
    for kind in _settings_classes():
        kind.model_config["env_file"] = None


_forget_outside()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: order(PurePosixPath(item.path.relative_to(TESTS))))


@pytest.hookimpl(optionalhook=True)  # a run in one process may be without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByUnit | None:
    return ByUnit(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture
def env_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that make a `.env` in a folder of their own."""
    for kind in _settings_classes():
        monkeypatch.setitem(kind.model_config, "env_file", ENV_FILE)


__all__ = [
    "env_file_is_read",
    "fresh_database",
    "postgres_server",
    "s3_server",
    "servers_folder",
    "template_database",
    "temporal_server",
]
