"""Previews: formats, lengths, sizes and the limit of their bytes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.domain.media.content import MediaKind, require_kind
from core.media.engine.engine import Engine
from core.media.engine.workspace import EngineWorkspace
from core.media.operations.port import OperationError
from core.media.operations.single.preview import Preview
from tests.media.inputs import RATE, Pixels, counted, film, input_file, number_of
from tests.media.single.conftest import Render


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("preview") / "source.mp4", counted(50))


def pictures_of(path: Path) -> list[tuple[Pixels, float]]:
    """Return the frames of an animation and how many seconds each is shown."""
    shown: list[tuple[Pixels, float]] = []
    with Image.open(path) as animation:
        for number in range(getattr(animation, "n_frames", 1)):
            animation.seek(number)
            pixels = np.asarray(animation.convert("RGB"))
            shown.append((pixels, float(animation.info["duration"]) / 1000))
    return shown


@pytest.mark.parametrize("form", ["webp", "gif"])
async def test_animation_shows_the_part(
    source: Path, render: Render, workspace: EngineWorkspace, form: str
) -> None:
    made = await render(Preview(), source, start=0.4, duration=1, width=64, format=form)
    pictures = pictures_of(made)
    assert pictures[0][0].shape == (48, 64, 3)
    assert sum(seconds for _, seconds in pictures) == pytest.approx(1, abs=0.05)
    numbers = [number_of(frame) for frame, _ in pictures]
    assert numbers == pytest.approx([10 + 2.5 * place for place in range(10)], abs=1.3)
    require_kind(made.read_bytes()[:256], MediaKind.IMAGE)
    probe = await workspace.probe(made)
    assert (probe.kind, probe.width, probe.height) == (MediaKind.IMAGE, 64, 48)


async def test_gif_keeps_the_colors(tmp_path: Path, render: Render) -> None:
    """A palette for all films has 216 colours, of which the nearest one is up to 25 off."""
    ramp = np.linspace(100, 160, 64).astype(np.uint8)
    frame = np.stack([np.tile(ramp, (48, 1)), np.full((48, 64), 40), np.full((48, 64), 90)], axis=2)
    frame = frame.astype(np.uint8)
    source = film(tmp_path / "source.mp4", [frame] * RATE)
    (shown, _), *_ = pictures_of(await render(Preview(), source, width=64, format="gif"))
    assert np.abs(shown.astype(float) - frame).mean() < 4
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 256


async def test_film_preview_is_silent_and_ends_with_the_source(
    source: Path, render: Render, workspace: EngineWorkspace
) -> None:
    made = await render(Preview(), source, start=1.8, duration=1, width=64, format="mp4")
    probe = input_file(made).probe
    assert probe is not None
    assert probe.seconds == pytest.approx(1, abs=0.1)
    assert (probe.width, probe.height, probe.frames) == (64, 48, 10)
    assert probe.audio_stream is None
    assert any("starts at 1.00 s" in warning for warning in workspace.warnings)


async def test_large_preview_loses_frames_then_pixels(
    tmp_path: Path, render: Render, workspace: EngineWorkspace
) -> None:
    generator = np.random.default_rng(1)
    frames = [generator.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(RATE)]
    source = film(tmp_path / "source.mp4", frames)
    full = await render(Preview(), source, duration=1, width=128)
    small = full.stat().st_size // 8
    made = await render(Preview(max_bytes=small), source, duration=1, width=128)
    assert made.stat().st_size <= small
    pictures = pictures_of(made)
    assert len(pictures) == 2
    assert pictures[0][0].shape[1] < 128
    assert any("2.0 frames a second" in warning for warning in workspace.warnings)


async def test_preview_that_stays_too_large_is_refused(source: Path, render: Render) -> None:
    with pytest.raises(OperationError, match="Use a smaller width"):
        await render(Preview(max_bytes=100), source, duration=1, width=64)


async def test_animation_is_no_input(source: Path, engine: Engine, render: Render) -> None:
    webp = await render(Preview(), source, width=64)
    with pytest.raises(OperationError, match="animated"):
        await engine.check(webp, MediaKind.IMAGE)
    gif = await render(Preview(), source, width=64, format="gif")
    with pytest.raises(OperationError, match="no supported format"):
        await engine.check(gif, MediaKind.IMAGE)
