"""Layered films: what is seen where and when, and what is audible."""

import numpy as np
import pytest

from tests.media.operations.conftest import Layerer
from tests.media.operations.sources import (
    Frame,
    clicks,
    color_at,
    frames_of,
    is_near,
    level,
    sound_of,
)

RED, BLUE, LIME, BLACK = (254, 0, 0), (0, 0, 254), (0, 255, 1), (0, 0, 0)
PURPLE = (127, 0, 127)


def edges(frame: Frame, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the area that is nearly of a colour."""
    near = np.all(np.abs(frame.astype(np.int64) - np.array(color)) < 60, axis=2)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


async def test_picture_in_picture_is_where_it_belongs(layered: Layerer) -> None:
    film = await layered(
        {"file": "blue", "main": True},
        {"file": "red", "placement": "w-1/4 bottom-right"},
        {"file": "white", "placement": {"width": 40, "position": {"x": 10, "y": "0%"}}},
    )
    frames = frames_of(film)
    assert len(frames) == 20
    frame = frames[10]
    assert edges(frame, RED) == pytest.approx((96, 72, 128, 96), abs=1)
    assert edges(frame, (255, 255, 255)) == pytest.approx((10, 0, 50, 20), abs=1)
    assert is_near(color_at(frame, 112, 84), RED)
    assert is_near(color_at(frame, 92, 84), BLUE)
    assert is_near(color_at(frame, 112, 68), BLUE)


async def test_later_layers_cover_earlier_ones(layered: Layerer) -> None:
    film = await layered(
        {"file": "blue"},
        {"file": "red", "placement": "w-1/2 center"},
        {"file": "green", "placement": "w-1/4 center"},
    )
    frame = frames_of(film)[5]
    assert is_near(color_at(frame, 64, 48), LIME)
    assert is_near(color_at(frame, 40, 48), RED)
    assert is_near(color_at(frame, 10, 48), BLUE)


async def test_key_colour_shows_the_layer_below(layered: Layerer) -> None:
    film = await layered(
        {"file": "blue"},
        {"file": "studio", "placement": "full", "chromaKey": True, "chromaKeyColor": "00D000"},
    )
    frames = frames_of(film)
    assert is_near(color_at(frames[5], 10, 10), BLUE)
    assert is_near(color_at(frames[5], 64, 48), (253, 0, 0))
    assert edges(frames[5], (253, 0, 0)) == pytest.approx((48, 32, 80, 64), abs=2)
    assert int(frames[5][:, :, 1].max()) < 60  # no green edge
    assert is_near(color_at(frames[15], 64, 48), BLUE)  # the studio's clip has ended


async def test_layer_without_key_keeps_its_colour(layered: Layerer) -> None:
    film = await layered({"file": "blue"}, {"file": "studio", "placement": "full"})
    assert is_near(color_at(frames_of(film)[5], 10, 10), (0, 208, 0))


@pytest.mark.parametrize("name", ["alpha webm", "alpha mov", "alpha png"])
async def test_transparency_of_a_file_is_kept(layered: Layerer, name: str) -> None:
    film = await layered({"file": "blue"}, {"file": name, "placement": "center"})
    frame = frames_of(film)[5]
    assert is_near(color_at(frame, 48, 48), PURPLE)
    assert is_near(color_at(frame, 80, 48), RED)
    assert is_near(color_at(frame, 10, 48), BLUE)


async def test_opacity_mixes_with_the_layer_below(layered: Layerer) -> None:
    film = await layered({"file": "blue"}, {"file": "red", "placement": "full", "opacity": 0.5})
    assert is_near(color_at(frames_of(film)[5], 64, 48), PURPLE)


async def test_layer_is_shown_from_start_to_end(layered: Layerer) -> None:
    film = await layered(
        {"file": "blue", "main": True},
        {"file": "red", "placement": "fill", "start": 0.2, "end": 0.6},
    )
    colors = [color_at(frame, 64, 48) for frame in frames_of(film)]
    assert [is_near(color, RED) for color in colors] == [5 <= n < 15 for n in range(20)]


@pytest.mark.parametrize(
    ("fit", "red_frames"),
    [({}, range(10)), ({"fit": "extend"}, range(25)), ({"loop": True}, range(25))],
)
async def test_short_layer_ends_unless_it_is_extended(
    layered: Layerer, fit: dict[str, object], red_frames: range
) -> None:
    film = await layered(
        {"file": "red"}, {"file": "studio", "placement": "fill", **fit}, duration=1
    )
    frames = frames_of(film)
    green = [n for n, frame in enumerate(frames) if is_near(color_at(frame, 10, 10), (0, 208, 0))]
    assert green == list(red_frames)


async def test_main_layer_decides_length_and_sound(layered: Layerer) -> None:
    film = await layered(
        {"file": "white"}, {"file": "blue"}, {"file": "red", "placement": "pip", "main": True}
    )
    frames = frames_of(film)
    assert len(frames) == 25
    assert frames[0].shape == (100, 200, 3)
    assert clicks(sound_of(film)) == pytest.approx([0.5], abs=0.005)


async def test_other_layers_are_silent_without_a_volume(layered: Layerer) -> None:
    film = await layered({"file": "blue", "main": True}, {"file": "red", "placement": "pip"})
    assert (await layered.workspace.probe(film)).audio_stream is None


async def test_volume_makes_another_layer_audible(layered: Layerer) -> None:
    film = await layered(
        {"file": "blue", "main": True}, {"file": "red", "start": 0.1, "volume": 0.5}
    )
    sound = sound_of(film)
    assert clicks(sound) == pytest.approx([0.6], abs=0.005)
    assert level(sound, 0, 0.55) < -80


async def test_timeline_shows_its_items_in_turn(layered: Layerer) -> None:
    film = await layered(
        {"file": "blue", "main": True},
        {
            "timeline": [
                {"file": "red", "duration": 0.2},
                {"file": "studio", "start": 0.2},
                {"file": "white"},
                {"file": "white"},
            ],
            "placement": "h-1/2 left",
        },
    )
    frames = frames_of(film)
    assert len(frames) == 20
    # Half of the height: a red box of 64 x 48 on the left, as wide as its shape demands.
    assert [is_near(color_at(frame, 20, 48), RED) for frame in frames] == [n < 5 for n in range(20)]
    assert is_near(color_at(frames[7], 4, 30), (0, 208, 0))
    assert all(is_near(color_at(frame, 20, 48), (255, 255, 255)) for frame in frames[10:])
    assert all(is_near(color_at(frame, 120, 48), BLUE) for frame in frames)


async def test_background_is_seen_where_nothing_else_is(layered: Layerer) -> None:
    film = await layered(
        {"file": "red", "placement": "w-1/2 top-left"}, background="#00f", fadeOut=0.2
    )
    frames = frames_of(film)
    assert is_near(color_at(frames[0], 20, 20), RED)
    assert is_near(color_at(frames[0], 100, 80), BLUE)
    assert sum(color_at(frames[-1], 100, 80)) < 80


async def test_same_layers_twice_have_identical_bytes(layered: Layerer) -> None:
    made: list[bytes] = []
    for _ in range(2):
        film = await layered(
            {"file": "red", "placement": "fill"},
            {"file": "studio", "chromaKey": True, "loop": True, "opacity": 0.8},
            {"file": "alpha webm", "placement": "pip"},
        )
        made.append(film.read_bytes())
    assert made[0] == made[1]
