"""Pictures of other shapes, moving pictures, HDR, transparency and failed steps in a merge."""

from pathlib import Path

import numpy as np
import pytest

from core.media.operations.merge.operation import Merge
from core.media.operations.merge.parameters import MergeParameters
from core.media.operations.port import OperationError
from tests.media.operations.conftest import ASSET, Merger
from tests.media.operations.sources import color_at, ffmpeg, frames_of, is_near

WHITE, BLACK, LIME = (255, 255, 255), (0, 0, 0), (0, 255, 1)


@pytest.mark.parametrize(
    ("resize", "top", "left"),
    [("pad", BLACK, WHITE), ("crop", WHITE, WHITE), ("stretch", WHITE, WHITE)],
)
async def test_picture_of_another_shape_is_resized(
    merged: Merger, resize: str, top: tuple[int, int, int], left: tuple[int, int, int]
) -> None:
    film = await merged(
        {"file": "white", "duration": 0.1}, resize=resize, width=100, height=100, fps=25
    )
    frame = frames_of(film)[0]
    assert frame.shape == (100, 100, 3)
    assert is_near(color_at(frame, 50, 10), top)
    assert is_near(color_at(frame, 2, 50), left)
    assert is_near(color_at(frame, 50, 50), WHITE)


async def test_blurred_picture_fills_the_frame(merged: Merger) -> None:
    film = await merged(
        {"file": "stripes", "duration": 0.1}, resize="blur", width=128, height=256, fps=25
    )
    frame = frames_of(film)[0].astype(np.float64)
    bar, inner = frame[20:60], frame[110:146]
    assert bar.mean() == pytest.approx(inner.mean(), abs=20)
    assert bar.mean(axis=2).std() < inner.mean(axis=2).std() / 4
    assert (bar.max(axis=2) - bar.min(axis=2)).max() < 10  # no colour appears


@pytest.mark.parametrize(("motion", "first", "last"), [("zoom-in", 32, 27), ("zoom-out", 27, 32)])
async def test_picture_zooms(merged: Merger, motion: str, first: int, last: int) -> None:
    film = await merged({"file": "dot", "duration": 0.4}, imageMotion=motion, fps=25)
    frames = frames_of(film)
    assert len(frames) == 10
    # A white square from a quarter to three quarters of the picture grows by 15 %.
    edges = [int(np.flatnonzero(frame[48, :, 0] > 128)[0]) for frame in (frames[0], frames[-1])]
    assert edges == pytest.approx([first, last], abs=1)


async def test_picture_pans_to_the_right(merged: Merger) -> None:
    film = await merged({"file": "dot", "duration": 0.4}, imageMotion="pan", fps=25)
    frames = frames_of(film)
    edges = [int(np.flatnonzero(frame[48, :, 0] > 128)[0]) for frame in (frames[0], frames[-1])]
    assert edges[0] - edges[1] == pytest.approx(0.15 * 128, abs=3)


async def test_transparent_part_of_a_picture_is_black(merged: Merger) -> None:
    film = await merged({"file": "alpha png", "duration": 0.1}, fps=25)
    frame = frames_of(film)[0]
    assert is_near(color_at(frame, 48, 32), (254, 0, 0))
    assert is_near(color_at(frame, 16, 32), (128, 0, 0))


async def test_hdr_becomes_as_bright_as_it_looks(merged: Merger, tmp_path: Path) -> None:
    """White of 100 cd/m² has half of the values of a PQ signal."""
    source = ffmpeg(
        tmp_path / "hdr.mp4",
        *(
            "-f",
            "lavfi",
            "-i",
            "color=0x828282:s=64x64:r=25:d=0.08,format=yuv420p10le,"
            "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc",
        ),
        *("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"),
        *("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"),
    )
    merged.files = {**merged.files, "hdr": source}
    frame = frames_of(await merged({"file": "hdr"}))[0]
    red, green, blue = color_at(frame, 32, 32)
    assert min(red, green, blue) > 170
    assert max(red, green, blue) - min(red, green, blue) < 8


async def test_item_of_a_failed_step_is_left_out(merged: Merger) -> None:
    parameters = MergeParameters.model_validate({"items": [{"media": ASSET}] * 3})
    inputs = {
        "items/0/media": await merged.input_file("red"),
        "items/2/media": await merged.input_file("blue"),
    }
    (output,) = await Merge().render(parameters, inputs, merged.workspace)
    assert len(frames_of(output.path)) == 45


async def test_merge_of_failed_steps_only_is_an_error(merged: Merger) -> None:
    parameters = MergeParameters.model_validate({"items": [{"media": ASSET}]})
    with pytest.raises(OperationError, match="no item is left"):
        await Merge().render(parameters, {}, merged.workspace)


async def test_start_after_the_real_end_is_an_error(merged: Merger) -> None:
    with pytest.raises(OperationError, match=r"items/0/start is at or after .* 1\.00 s") as raised:
        await merged({"file": "red", "start": 5})
    assert raised.value.pointer == "items/0/start"


async def test_film_that_would_be_too_long_is_an_error(merged: Merger) -> None:
    with pytest.raises(OperationError, match="at most 900 s"):
        await merged({"file": "blue", "duration": 900}, {"file": "blue"})
