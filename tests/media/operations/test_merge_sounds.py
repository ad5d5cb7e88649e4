"""Sounds on the time line of a merged film: their place, their level and the film's length."""

import numpy as np
import pytest

from tests.media.operations.conftest import Merger
from tests.media.operations.sources import (
    RATE,
    Samples,
    clicks,
    color_at,
    frames_of,
    is_near,
    level,
    sound_of,
)

TONE_LEVEL = -21.1
"""Of the tone's file, in dB of full scale: an amplitude of 1/8."""


async def test_sound_begins_at_its_offset(merged: Merger) -> None:
    film = await merged({"file": "blue"}, {"file": "blue"}, {"file": "click", "offset": 0.7})
    assert clicks(sound_of(film)) == pytest.approx([0.95], abs=0.005)


async def test_negative_offset_skips_the_beginning(merged: Merger) -> None:
    film = await merged({"file": "blue"}, {"file": "click", "offset": -0.1})
    assert clicks(sound_of(film)) == pytest.approx([0.15], abs=0.005)


async def test_start_and_duration_cut_a_sound(merged: Merger) -> None:
    film = await merged(
        {"file": "red", "volume": 0},
        {"file": "tone", "start": 0.2, "duration": 0.4, "offset": 0.3},
    )
    sound = sound_of(film)
    assert level(sound, 0.0, 0.28) < -80
    assert level(sound, 0.35, 0.65) == pytest.approx(TONE_LEVEL, abs=0.5)
    assert level(sound, 0.75, 1.0) < -80


@pytest.mark.parametrize(("volume", "change"), [(1, 0), (0.5, -6.02), (2, 6.02)])
async def test_volume_changes_the_level(merged: Merger, volume: float, change: float) -> None:
    film = await merged({"file": "blue"}, {"file": "tone", "volume": volume})
    assert level(sound_of(film), 0.1, 0.7) == pytest.approx(TONE_LEVEL + change, abs=0.5)


async def test_mixed_sounds_keep_their_levels(merged: Merger) -> None:
    film = await merged(
        {"file": "red", "volume": 0},
        {"file": "tone"},
        {"file": "click", "offset": 0.2},
        {"file": "blue", "volume": 0},
        {"file": "green", "duration": 0.1},
    )
    sound = sound_of(film)
    for start, end in ((0.05, 0.4), (0.5, 0.69), (0.75, 0.95)):  # the click's file ends at 0.7
        assert level(sound, start, end) == pytest.approx(TONE_LEVEL, abs=0.5)


async def test_loud_sum_is_limited_and_not_delayed(merged: Merger) -> None:
    film = await merged(
        {"file": "blue"},
        {"file": "click", "volume": 2},
        {"file": "click", "volume": 2},
    )
    sound = sound_of(film)
    assert abs(sound).max() < 1.05  # four times that without the limiter; AAC adds a little
    assert clicks(sound) == pytest.approx([0.25], abs=0.005)


async def test_quiet_sound_is_not_raised_by_the_limiter(merged: Merger) -> None:
    film = await merged({"file": "blue"}, {"file": "tone", "volume": 0.1})
    assert level(sound_of(film), 0.1, 0.7) == pytest.approx(TONE_LEVEL - 20, abs=0.5)


async def test_fades_of_a_sound(merged: Merger) -> None:
    film = await merged(
        {"file": "red", "volume": 0}, {"file": "tone", "fadeIn": 0.4, "fadeOut": 0.4}
    )
    sound = sound_of(film)
    assert level(sound, 0.45, 0.55) == pytest.approx(TONE_LEVEL, abs=0.5)
    assert level(sound, 0.19, 0.21) == pytest.approx(TONE_LEVEL - 6, abs=1.5)
    assert level(sound, 0.79, 0.81) == pytest.approx(TONE_LEVEL - 6, abs=1.5)
    assert level(sound, 0.98, 1.0) < TONE_LEVEL - 20


async def test_looped_sound_fills_the_film_without_gaps(merged: Merger) -> None:
    film = await merged(
        {"file": "blue", "duration": 1.6},
        {"file": "click", "loop": True, "offset": 0.1, "start": 0.1},
    )
    assert len(frames_of(film)) == 40
    # The used part lasts 0.4 s; its click is 0.15 s after its beginning.
    assert clicks(sound_of(film)) == pytest.approx([0.25, 0.65, 1.05, 1.45], abs=0.005)


async def test_ducked_music_is_quiet_while_others_sound(merged: Merger) -> None:
    film = await merged(
        {"file": "white", "duration": 3},
        {"file": "hum", "duck": True, "loop": True},
        {"file": "tone", "offset": 1, "volume": 2},
    )
    sound = sound_of(film)
    before, during, after = (hum_level(sound, at) for at in (0.5, 1.6, 2.85))
    assert before - during > 6
    assert after == pytest.approx(before, abs=2)


def hum_level(sound: Samples, at: float) -> float:
    """Return the level of the 100 Hz hum in the fifth of a second after a time."""
    part = sound[round(at * RATE) : round((at + 0.2) * RATE)]
    wave = np.exp(-2j * np.pi * 100 * np.arange(len(part)) / RATE)
    return float(20 * np.log10(abs((part * wave).mean()) + 1e-12))


@pytest.mark.parametrize(("fit", "frames"), [("extend", 33), ("cut", 20), ("loop", 33)])
async def test_film_shorter_than_its_sound_follows_fit(
    merged: Merger, fit: str, frames: int
) -> None:
    film = await merged(
        {"file": "white", "duration": 0.2},
        {"file": "blue", "duration": 0.6},
        {"file": "tone", "offset": 0.32},
        fit=fit,
        fps=25,
    )
    seen = frames_of(film)
    assert len(seen) == frames
    assert is_near(color_at(seen[-1], 64, 48), (0, 0, 254))
    sound = sound_of(film)
    assert level(sound, 0.4, 0.79) == pytest.approx(TONE_LEVEL, abs=0.5)
    if fit == "extend":
        assert is_near(color_at(seen[22], 64, 48), (0, 0, 254))
    if fit == "loop":
        assert is_near(color_at(seen[22], 64, 48), (255, 255, 255))
        assert level(sound, 0.81, 1.3) == pytest.approx(TONE_LEVEL, abs=0.5)


async def test_repeated_film_repeats_its_own_sound(merged: Merger) -> None:
    film = await merged({"file": "red"}, {"file": "tone", "offset": 1.6}, fit="loop")
    assert len(frames_of(film)) == 65
    assert clicks(sound_of(film)) == pytest.approx([0.5, 1.5, 2.5], abs=0.005)


async def test_music_bed_does_not_make_the_film_longer(merged: Merger) -> None:
    film = await merged({"file": "blue"}, {"file": "tone", "duck": True})
    assert len(frames_of(film)) == 20


async def test_sounds_alone_become_a_sound_file(merged: Merger) -> None:
    made = await merged({"file": "click"}, {"file": "tone", "offset": 0.6})
    probe = await merged.workspace.probe(made)
    assert (probe.video_stream, probe.sample_rate, probe.channels) == (None, 48_000, 2)
    assert made.read_bytes()[4:11] == b"\x66typM4A"
    sound = sound_of(made)
    assert len(sound) / 48_000 == pytest.approx(1.6, abs=0.03)
    assert clicks(sound) == pytest.approx([0.25], abs=0.005)
    assert level(sound, 0.7, 1.5) == pytest.approx(TONE_LEVEL, abs=0.5)


async def test_only_the_sound_of_a_video_is_used(merged: Merger) -> None:
    film = await merged({"file": "blue"}, {"file": "red", "type": "audio", "offset": 0.1})
    seen = frames_of(film)
    assert all(is_near(color_at(frame, 64, 48), (0, 0, 254)) for frame in seen)
    assert clicks(sound_of(film)) == pytest.approx([0.6], abs=0.005)


async def test_fades_of_the_film_reach_picture_and_sound(merged: Merger) -> None:
    film = await merged(
        {"file": "white", "duration": 1}, {"file": "tone"}, fadeIn=0.4, fadeOut=0.4, fps=25
    )
    seen, sound = frames_of(film), sound_of(film)
    assert is_near(color_at(seen[0], 64, 48), (0, 0, 0))
    assert is_near(color_at(seen[5], 64, 48), (128, 128, 128), within=16)
    assert is_near(color_at(seen[12], 64, 48), (255, 255, 255))
    assert color_at(seen[-1], 64, 48)[0] < 40
    assert level(sound, 0.0, 0.02) < TONE_LEVEL - 20
    assert level(sound, 0.45, 0.55) == pytest.approx(TONE_LEVEL, abs=0.5)
    assert level(sound, 0.98, 1.0) < TONE_LEVEL - 20
