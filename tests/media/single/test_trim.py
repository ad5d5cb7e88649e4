"""Parts of films and sounds: their frames, their sound, and cuts by copying."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from core.domain.media.content import MediaKind
from core.media.engine.workspace import EngineWorkspace
from core.media.operations.port import Expected, OperationError, Seconds
from core.media.operations.single.trim import Trim, TrimParameters
from tests.media.inputs import clicks_at, counted, film, input_file, number_of, sound_file, tone
from tests.media.operations.sources import clicks, frames_of, level, sound_of
from tests.media.single.conftest import Render

SOURCE = {"asset": "asset_1"}


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trim") / "source.mp4"
    return film(path, counted(50), sound=clicks_at(2, 0.2, 0.8, 1.5))


async def test_trim_keeps_exactly_the_frames_between(source: Path, render: Render) -> None:
    made = await render(Trim(), source, start=0.52, end=1.0)
    assert [number_of(frame) for frame in frames_of(made)] == list(range(13, 25))


async def test_trimmed_sound_keeps_its_place(source: Path, render: Render) -> None:
    made = await render(Trim(), source, start=0.52, duration=1.2)
    sound = sound_of(made)
    assert clicks(sound) == pytest.approx([0.28, 0.98], abs=0.005)
    assert len(sound) == pytest.approx(1.2 * 48_000, abs=1024)


async def test_copied_cut_begins_at_a_key_frame(
    source: Path, render: Render, workspace: EngineWorkspace
) -> None:
    made = await render(Trim(), source, start=0.52, end=1.0, copy=True)
    numbers = [number_of(frame) for frame in frames_of(made)]
    assert numbers[0] == 10
    assert numbers[-1] >= 23
    assert any("key frame" in warning for warning in workspace.warnings)


async def test_sound_is_cut_at_the_given_times(tmp_path: Path, render: Render) -> None:
    source = sound_file(tmp_path / "source.wav", clicks_at(1, 0.5), "pcm_s16le")
    sound = sound_of(await render(Trim(), source, start=0.25, duration=0.5))
    assert clicks(sound) == pytest.approx([0.25], abs=0.002)
    assert len(sound) == pytest.approx(0.5 * 48_000, abs=1024)


async def test_sound_is_copied_if_it_is_mp3(
    tmp_path: Path, render: Render, workspace: EngineWorkspace
) -> None:
    source = sound_file(tmp_path / "source.mp3", tone(1, 0.5), "mp3")
    made = await render(Trim(), source, start=0.5, copy=True)
    assert input_file(made).probe is not None
    assert made.suffix == ".mp3"
    assert len(sound_of(made)) == pytest.approx(0.5 * 48_000, abs=4 * 1152)
    assert any("copied" in warning for warning in workspace.warnings)


async def test_part_after_the_sound_is_silent(tmp_path: Path, render: Render) -> None:
    source = film(tmp_path / "source.mp4", counted(25), sound=clicks_at(0.4, 0.2))
    sound = sound_of(await render(Trim(), source, start=0.6))
    assert level(sound, 0, 0.4) < -90
    assert len(sound) == pytest.approx(0.4 * 48_000, abs=1024)


async def test_part_after_the_picture_holds_its_last_frame(tmp_path: Path, render: Render) -> None:
    source = film(tmp_path / "source.mp4", counted(10), sound=clicks_at(1, 0.9))
    made = await render(Trim(), source, start=0.6)
    assert [number_of(frame) for frame in frames_of(made)] == [9] * 10
    assert clicks(sound_of(made)) == pytest.approx([0.3], abs=0.005)


async def test_end_after_the_source_is_reported(
    source: Path, render: Render, workspace: EngineWorkspace
) -> None:
    made = await render(Trim(), source, start=1.8, end=30)
    assert len(frames_of(made)) == 5
    assert any("ends at 2.0" in warning for warning in workspace.warnings)


async def test_start_after_the_source_is_refused(source: Path, render: Render) -> None:
    with pytest.raises(OperationError, match="but the source ends at"):
        await render(Trim(), source, start=5)


def test_start_after_the_expected_end_is_a_fault() -> None:
    seconds = Seconds(low=2, expected=3, worst=4)
    inputs = {"source": Expected(kind=MediaKind.VIDEO, seconds=seconds)}
    late = TrimParameters.model_validate({"source": SOURCE, "start": 5})
    assert [fault.pointer for fault in Trim().faults(late, inputs)] == ["start"]
    early = TrimParameters.model_validate({"source": SOURCE, "start": 1, "duration": 2})
    assert Trim().faults(early, inputs) == ()
    assert Trim().expect(early, inputs).seconds == Seconds(low=1, expected=2, worst=2)


@pytest.mark.parametrize(
    "wrong",
    [{"end": 2, "duration": 1}, {"start": 2, "end": 1}, {"start": -1}, {"duration": 0}],
)
def test_impossible_parts_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrimParameters.model_validate({"source": SOURCE, **wrong})


def test_counted_frames_differ() -> None:
    assert [number_of(frame) for frame in counted(50)] == list(range(50))
    assert np.ptp(counted(1)[0]) == 0
