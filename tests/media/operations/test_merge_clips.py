"""Merged clips: their frames and colours, transitions between them, and their own sound."""

import pytest

from tests.media.operations.conftest import Merger
from tests.media.operations.sources import (
    clicks,
    color_at,
    frames_of,
    is_near,
    level,
    sound_of,
)

RED, BLUE, LIME, BLACK = (254, 0, 0), (0, 0, 254), (0, 255, 1), (0, 0, 0)


async def test_clips_follow_each_other_frame_by_frame(merged: Merger) -> None:
    film = await merged({"file": "red"}, {"file": "blue"}, {"file": "red"})
    frames = frames_of(film)
    assert len(frames) == 25 + 20 + 25
    for number, color in ((0, RED), (12, RED), (24, RED), (25, BLUE), (44, BLUE), (45, RED)):
        assert is_near(color_at(frames[number], 64, 48), color), number
    assert is_near(color_at(frames[-1], 64, 48), RED)


async def test_sound_of_every_clip_stays_with_its_picture(merged: Merger) -> None:
    film = await merged({"file": "red"}, {"file": "blue"}, {"file": "red"})
    sound = sound_of(film)
    assert clicks(sound) == pytest.approx([0.5, 2.3], abs=0.005)
    assert level(sound, 1.05, 1.75) < -80  # the blue clip has no sound
    assert len(sound) / 48_000 == pytest.approx(2.8, abs=0.03)


async def test_crossfade_mixes_and_shortens(merged: Merger) -> None:
    film = await merged(
        {"file": "red"},
        {"file": "blue"},
        {"file": "red"},
        transition={"type": "fade", "duration": 0.4},
    )
    frames = frames_of(film)
    assert len(frames) == 70 - 2 * 10
    assert is_near(color_at(frames[10], 64, 48), RED)
    assert is_near(color_at(frames[20], 64, 48), (127, 0, 127), within=20)
    assert is_near(color_at(frames[25], 64, 48), BLUE)
    assert clicks(sound_of(film)) == pytest.approx([0.5, 1.5], abs=0.005)
    assert merged.workspace.warnings == []


async def test_transition_of_a_clip_overrides_that_of_the_film(merged: Merger) -> None:
    film = await merged(
        {"file": "red", "transition": {"type": "cut"}},
        {"file": "blue", "transition": {"type": "wipe-left", "duration": 0.4}},
        {"file": "red"},
        transition={"type": "fade", "duration": 0.4},
    )
    frames = frames_of(film)
    assert len(frames) == 70 - 10
    assert is_near(color_at(frames[24], 64, 48), RED)
    assert is_near(color_at(frames[25], 64, 48), BLUE)
    # The red clip enters from the right.
    assert is_near(color_at(frames[40], 20, 48), BLUE)
    assert is_near(color_at(frames[40], 108, 48), RED)


@pytest.mark.parametrize(
    ("name", "colors"),
    [
        ("fade-black", {"left": BLACK, "right": BLACK}),
        ("fade-white", {"left": (255, 255, 255), "right": (255, 255, 255)}),
        ("wipe-right", {"left": BLUE, "right": RED}),
        ("wipe-up", {"top": RED, "bottom": BLUE}),
        ("wipe-down", {"top": BLUE, "bottom": RED}),
        ("slide-left", {"left": RED, "right": BLUE}),
        ("slide-right", {"left": BLUE, "right": RED}),
        ("slide-up", {"top": RED, "bottom": BLUE}),
        ("slide-down", {"top": BLUE, "bottom": RED}),
    ],
)
async def test_transition_has_its_direction(
    merged: Merger, name: str, colors: dict[str, tuple[int, int, int]]
) -> None:
    film = await merged(
        {"file": "red", "duration": 0.4, "volume": 0},
        {"file": "blue", "duration": 0.4},
        transition={"type": name, "duration": 0.2},
        width=64,
        height=64,
        fps=20,
    )
    frames = frames_of(film)
    assert len(frames) == 12
    places = {"left": (6, 32), "right": (58, 32), "top": (32, 14), "bottom": (32, 50)}
    for place, color in colors.items():
        seen = color_at(frames[6], *places[place])
        assert is_near(seen, color, within=80), place
    assert is_near(color_at(frames[0], 32, 32), RED)
    assert is_near(color_at(frames[-1], 32, 32), BLUE)


async def test_dissolve_mixes_single_pixels(merged: Merger) -> None:
    film = await merged(
        {"file": "red", "duration": 0.4},
        {"file": "blue", "duration": 0.4},
        transition={"type": "dissolve", "duration": 0.2},
    )
    frames = frames_of(film)
    assert 40 < float(frames[7][:, :, 0].mean()) < 215


async def test_transition_is_at_most_half_of_a_clip(merged: Merger) -> None:
    film = await merged(
        {"file": "red"},
        {"file": "blue", "duration": 0.4},
        {"file": "red"},
        transition={"type": "fade", "duration": 2},
    )
    assert len(frames_of(film)) == 25 + 10 + 25 - 5 - 5
    assert [warning.split(":")[0] for warning in merged.workspace.warnings] == [
        "items/0/media",
        "items/1/media",
    ]


async def test_clips_of_other_shapes_and_rates_fit(merged: Merger) -> None:
    film = await merged({"file": "red"}, {"file": "green"}, {"file": "white", "duration": 0.4})
    frames = frames_of(film)
    assert len(frames) == 25 + 15 + 10
    assert {frame.shape for frame in frames} == {(96, 128, 3)}
    green, white = frames[32], frames[45]
    assert is_near(color_at(green, 64, 48), LIME)
    assert is_near(color_at(green, 4, 48), BLACK)  # 100 x 100 is 96 x 96, with bars of 16
    assert is_near(color_at(green, 20, 48), LIME)
    assert is_near(color_at(white, 64, 48), (255, 255, 255))
    assert is_near(color_at(white, 64, 8), BLACK)


async def test_part_of_a_clip_is_used(merged: Merger) -> None:
    film = await merged({"file": "red", "start": 0.4, "duration": 0.4}, {"file": "blue"})
    assert len(frames_of(film)) == 10 + 20
    assert clicks(sound_of(film)) == pytest.approx([0.1], abs=0.005)


@pytest.mark.parametrize(
    ("fit", "frames", "clicked"),
    [("extend", 50, [0.5]), ("loop", 50, [0.5, 1.5]), ("cut", 25, [0.5])],
)
async def test_clip_shorter_than_its_duration_follows_fit(
    merged: Merger, fit: str, frames: int, clicked: list[float]
) -> None:
    film = await merged({"file": "red", "duration": 2}, fit=fit)
    assert len(frames_of(film)) == frames
    assert clicks(sound_of(film)) == pytest.approx(clicked, abs=0.025)


async def test_film_without_any_sound_has_no_sound_track(merged: Merger) -> None:
    film = await merged({"file": "blue"}, {"file": "white"})
    probe = await merged.workspace.probe(film)
    assert probe.audio_stream is None


async def test_same_film_twice_has_identical_bytes(merged: Merger) -> None:
    made: list[bytes] = []
    for _ in range(2):
        film = await merged(
            {"file": "red", "fadeIn": 0.2},
            {"file": "blue"},
            {"file": "white"},
            {"file": "tone", "offset": 0.3, "duck": True, "loop": True},
            transition={"type": "dissolve", "duration": 0.2},
            imageMotion="zoom-in",
            resize="blur",
        )
        made.append(film.read_bytes())
    assert made[0] == made[1]
    assert b"Lavf" not in made[0]


async def test_fifty_clips_fit_into_the_memory_of_a_step(merged: Merger) -> None:
    film = await merged(
        *[{"file": "red", "duration": 0.12}, {"file": "blue", "duration": 0.12}] * 25
    )
    assert len(frames_of(film)) == 150
