"""The loudness of films and sounds, as a meter by EBU R 128 reports it."""

import re
from pathlib import Path

import numpy as np
import pytest

from core.media.engine.workspace import EngineWorkspace
from core.media.operations.port import Command, CommandInput
from core.media.operations.single.loudness import Loudness
from tests.media.inputs import Samples, counted, film, input_file, played, sound_file, tone
from tests.media.operations.sources import frames_of, level
from tests.media.single.conftest import Render


async def meter(workspace: EngineWorkspace, path: Path) -> tuple[float, float]:
    """Return the integrated loudness in LUFS and the true peak in dBTP."""
    log = await workspace.run(
        Command(
            inputs=[CommandInput(file=input_file(path))],
            filters="[0:a]ebur128=peak=true:framelog=quiet[sound]",
            options=("-map", "[sound]"),
            output=None,
            seconds=5,
        )
    )
    integrated = re.findall(r"I: +(\S+) LUFS", log)[-1]
    return float(integrated), float(re.findall(r"Peak: +(\S+) dBFS", log)[-1])


def speech(seconds: float, amplitude: float) -> Samples:
    """Return noise up to 4 kHz in syllables, with peaks of five times its level."""
    length = round(seconds * 48_000)
    spectrum = np.fft.rfft(np.random.default_rng(1).normal(0, 1, length))
    spectrum[round(4000 * seconds) :] = 0
    noise = np.fft.irfft(spectrum, length)
    syllables = 1 + np.sin(2 * np.pi * 3 * np.arange(length) / 48_000)
    return amplitude * noise / np.std(noise) * syllables


@pytest.mark.parametrize(("target", "amplitude"), [(-16, 0.05), (-23, 0.6)])
async def test_sound_reaches_the_target(
    tmp_path: Path, render: Render, workspace: EngineWorkspace, target: float, amplitude: float
) -> None:
    source = sound_file(tmp_path / "source.wav", tone(3.5, amplitude), "pcm_s16le")
    made = await render(Loudness(), source, target=target)
    integrated, peak = await meter(workspace, made)
    assert integrated == pytest.approx(target, abs=0.5)
    assert peak <= -1.2
    assert workspace.warnings == []


async def test_peaks_are_limited_and_the_target_reached(
    tmp_path: Path, render: Render, workspace: EngineWorkspace
) -> None:
    source = sound_file(tmp_path / "source.wav", speech(4, 0.05), "pcm_s16le")
    before = await meter(workspace, source)
    assert before[1] - before[0] > 12  # raised by a constant, its peaks are too high
    made = await render(Loudness(), source, target=-16, truePeak=-4)
    integrated, peak = await meter(workspace, made)
    assert integrated == pytest.approx(-16, abs=0.5)
    assert peak <= -3.7
    assert workspace.warnings == []


async def test_loudness_that_peaks_forbid_is_reported(
    tmp_path: Path, render: Render, workspace: EngineWorkspace
) -> None:
    bursts = np.clip(np.sin(2 * np.pi * 2 * np.arange(4 * 48_000) / 48_000) - 0.9, 0, 0.1)
    source = sound_file(tmp_path / "source.wav", 9 * bursts * tone(4, 1), "pcm_s16le")
    made = await render(Loudness(), source, target=-9)
    assert (await meter(workspace, made))[1] <= -1.2
    assert any("more would need peaks" in warning for warning in workspace.warnings)


async def test_short_sound_is_measured_in_repetition(tmp_path: Path, render: Render) -> None:
    """The meter reports no loudness below 0.4 s. A sine of -16 LUFS has a peak of -16 dBFS."""
    source = sound_file(tmp_path / "source.wav", tone(0.2, 0.02), "pcm_s16le")
    sound = played(await render(Loudness(), source))
    assert level(sound, 0.02, 0.18) == pytest.approx(-19, abs=0.7)


async def test_silence_is_left_alone(
    tmp_path: Path, render: Render, workspace: EngineWorkspace
) -> None:
    source = sound_file(tmp_path / "source.wav", tone(1, 0.0), "pcm_s16le")
    sound = played(await render(Loudness(), source))
    assert abs(sound).max() < 0.001
    assert any("silent" in warning for warning in workspace.warnings)


async def test_film_keeps_its_picture_unchanged(
    tmp_path: Path, render: Render, workspace: EngineWorkspace
) -> None:
    source = film(tmp_path / "source.mp4", counted(25), sound=tone(1, 0.05))
    made = await render(Loudness(), source)
    before, after = frames_of(source), frames_of(made)
    assert len(before) == len(after)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert level(played(made), 0.2, 0.8) == pytest.approx(-19, abs=0.7)


async def test_film_without_sound_is_reported(
    tmp_path: Path, render: Render, workspace: EngineWorkspace
) -> None:
    made = await render(Loudness(), film(tmp_path / "source.mp4", counted(3)))
    assert len(frames_of(made)) == 3
    assert any("no sound" in warning for warning in workspace.warnings)
