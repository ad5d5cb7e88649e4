"""The files that are merged and layered, made once per test process."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from core.media.engine.engine import Engine
from core.media.engine.workspace import EngineWorkspace
from core.media.operations.layers.operation import Layers
from core.media.operations.merge.operation import Merge
from core.media.operations.port import InputFile, Operation, P, Probe
from tests.media.operations import sources

ASSET = {"asset": "asset_1"}
PROBES: dict[Path, Probe] = {}
"""Of the files, which are probed once in a test process."""


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    late_click = sources.click(0.5, 0.9, 44_100)
    return {
        "red": sources.clip(folder / "red.mp4", "red", *late_click),
        "blue": sources.clip(folder / "blue.mp4", "blue", seconds=0.8),
        "green": sources.clip(folder / "green.mp4", "lime", size="100x100", rate=30, seconds=0.6),
        "click": sources.ffmpeg(folder / "click.wav", *sources.click(0.25, 0.5)),
        "tone": sources.ffmpeg(folder / "tone.wav", *sources.tone(1.0)),
        "hum": sources.ffmpeg(folder / "hum.wav", *sources.tone(0.5, frequency=100)),
        "studio": sources.film(
            folder / "studio.mp4",
            "color=0x00d000:s=128x96:r=25:d=0.4,drawbox=x=48:y=32:w=32:h=32:color=red:t=fill",
        ),
        "alpha webm": sources.transparent(folder / "alpha.webm", "libvpx-vp9", "yuva420p"),
        "alpha mov": sources.transparent(folder / "alpha.mov", "prores_ks", "yuva444p10le"),
        "alpha png": sources.picture(
            folder / "alpha.png", f"color=red:s=64x64,format=rgba,{sources.HALF_TRANSPARENT}"
        ),
        "stripes": sources.stripes(folder / "stripes.png"),
        "dot": sources.picture(
            folder / "dot.png",
            "color=black:s=128x96,drawbox=x=32:y=24:w=64:h=48:color=white:t=fill",
        ),
        "white": sources.picture(folder / "white.png", "color=white:s=200x100"),
    }


class Runner:
    """Runs operations on files in a workspace of the engine."""

    def __init__(
        self, engine: Engine, workspace: EngineWorkspace, files: Mapping[str, Path]
    ) -> None:
        self.engine = engine
        self.workspace = workspace
        self.files = files
        self.inputs: dict[str, InputFile] = {}

    async def published(self, pointer: str, item: Mapping[str, object]) -> dict[str, object]:
        """Return an item with a reference in the place of `file`, and add its input."""
        published = dict(item)
        name = published.pop("file", None)
        if name is not None:
            published["media"] = ASSET
            self.inputs[f"{pointer}/media"] = await self.input_file(str(name))
        return published

    async def input_file(self, name: str) -> InputFile:
        path = self.files[name]
        if path not in PROBES:
            PROBES[path] = await self.engine.check(path, None)
        return InputFile(path=path, sha256=name, probe=PROBES[path])

    async def made(self, operation: Operation[P], plain: Mapping[str, object]) -> Path:
        parameters = operation.parameters.model_validate(plain)
        (output,) = await operation.render(parameters, self.inputs, self.workspace)
        return output.path


class Merger(Runner):
    """Merges files."""

    async def __call__(self, *items: Mapping[str, object], **rest: object) -> Path:
        """Return the film of items, of which `file` names one of the files."""
        self.inputs = {}
        plain = [await self.published(f"items/{place}", item) for place, item in enumerate(items)]
        return await self.made(Merge(), {"items": plain, **rest})


class Layerer(Runner):
    """Puts files over each other."""

    async def __call__(self, *items: Mapping[str, object], **rest: object) -> Path:
        """Return the film of layers, whose items and timeline items have a `file`."""
        self.inputs = {}
        plain: list[Mapping[str, object]] = []
        for place, item in enumerate(items):
            published = await self.published(f"items/{place}", item)
            timeline = cast("Sequence[Mapping[str, object]]", published.get("timeline", ()))
            if timeline:
                published["timeline"] = [
                    await self.published(f"items/{place}/timeline/{number}", part)
                    for number, part in enumerate(timeline)
                ]
            plain.append(published)
        return await self.made(Layers(), {"items": plain, **rest})


@pytest.fixture
def merged(engine: Engine, workspace: EngineWorkspace, files: Mapping[str, Path]) -> Merger:
    return Merger(engine, workspace, files)


@pytest.fixture
def layered(engine: Engine, workspace: EngineWorkspace, files: Mapping[str, Path]) -> Layerer:
    return Layerer(engine, workspace, files)
