"""Renders operations on one file."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core.media.engine.workspace import EngineWorkspace
from core.media.operations.port import Operation
from tests.media.inputs import input_file

Render = Callable[..., Awaitable[Path]]


@pytest.fixture
def render(workspace: EngineWorkspace) -> Render:
    """Return a function that renders an operation on a file: its output's path."""

    async def rendered(operation: Operation[Any], source: Path, **published: object) -> Path:
        parameters = operation.parameters.model_validate(
            {"source": {"asset": "asset_1"}, **published}
        )
        made = await operation.render(parameters, {"source": input_file(source)}, workspace)
        assert len(made) == 1
        return made[0].path

    return rendered
