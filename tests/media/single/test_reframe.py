"""Films and pictures in another shape: sizes, crops, bars and blurred bars."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from core.domain.media.content import MediaKind
from core.media.engine.workspace import EngineWorkspace
from core.media.operations.film.canvas import Size
from core.media.operations.port import Expected
from core.media.operations.single.reframe import (
    AspectRatio,
    Mode,
    Reframe,
    ReframeParameters,
    crop_offset,
    frame_size,
    own_size,
)
from tests.media.corpus import CORPUS
from tests.media.inputs import Pixels, clicks_at, film, gray, input_file
from tests.media.operations.sources import clicks, color_at, frames_of, is_near, sound_of
from tests.media.single.conftest import Render

SOURCE = {"asset": "asset_1"}
WIDE = (160, 90)


def noise(size: tuple[int, int] = WIDE) -> Pixels:
    generator = np.random.default_rng(1)
    return generator.integers(0, 255, (size[1], size[0], 3), np.uint8)


def dotted(x: int, y: int, size: tuple[int, int] = WIDE) -> Pixels:
    """Return black with a white square of 8 pixels around a point."""
    frame = gray(0, size)
    frame[y - 4 : y + 4, x - 4 : x + 4] = 255
    return frame


@pytest.mark.parametrize("ratio", AspectRatio)
@pytest.mark.parametrize("width", [None, 360, 1080])
def test_frame_has_the_aspect_ratio_and_even_sides(ratio: AspectRatio, width: int | None) -> None:
    size = frame_size(ratio, width)
    across, down = ratio.terms
    assert size.width / size.height == pytest.approx(across / down, rel=0.01)
    assert size.width % 2 == size.height % 2 == 0
    assert width == size.width if width else min(size.width, size.height) == 720


def test_own_scale_neither_enlarges_a_crop_nor_shrinks_the_rest() -> None:
    source = Size(1920, 1080)
    assert own_size(AspectRatio.TALL, source, Mode.CROP) == Size(608, 1080)
    assert own_size(AspectRatio.SQUARE, source, Mode.PAD) == Size(1920, 1920)
    assert own_size(AspectRatio.TALL, source, Mode.BLUR) == Size(1920, 3414)
    assert own_size(AspectRatio.TALL, Size(4096, 2160), Mode.PAD) == Size(2304, 4096)


def test_crop_stays_in_the_frame() -> None:
    assert [crop_offset(320, 90, focus) for focus in (0, 0.5, 1)] == [0, 114, 230]


async def test_pad_has_bars_of_the_color_and_round_circles(tmp_path: Path, render: Render) -> None:
    """The stored picture is narrower than shown, so a scaling by its size gives an ellipse."""
    y, x = np.mgrid[0:180, 0:180]
    disc = np.hypot((x - 89.5) * 4 / 3, y - 89.5) <= 70
    frame = np.repeat(np.where(disc, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    source = film(tmp_path / "source.mp4", [frame], pixel_shape=Fraction(4, 3))
    made = await render(
        Reframe(), source, aspectRatio="9:16", mode="pad", width=270, color="#c00000"
    )
    (picture, *_) = frames_of(made)
    assert picture.shape == (480, 270, 3)
    assert is_near(color_at(picture, 135, 20), (192, 0, 0))
    assert is_near(color_at(picture, 135, 460), (192, 0, 0))
    inside = picture[140:340, :, 1].astype(float) / 255
    wide, high = inside.sum(axis=1).max(), inside.sum(axis=0).max()
    assert wide / high == pytest.approx(1, rel=0.01)
    probe = input_file(made).probe
    assert probe is not None
    assert (probe.sample_aspect_ratio, probe.pixel_format) == (1, "yuv420p")


async def test_crop_follows_the_focus_over_time(tmp_path: Path, render: Render) -> None:
    places = [(24, 45)] * 10 + [(136, 45)] * 10
    source = film(tmp_path / "source.mp4", [dotted(*place) for place in places])
    focus = [{"at": 0, "x": 0.15, "y": 0.5}, {"at": 0.4, "x": 0.85, "y": 0.5}]
    made = await render(
        Reframe(), source, aspectRatio="1:1", mode="crop", width="source", focus=focus
    )
    frames = frames_of(made)
    assert frames[0].shape == (90, 90, 3)
    assert [color_at(frames[at], 24, 45)[0] > 200 for at in (0, 9, 10, 19)] == [
        True,
        True,
        False,
        False,
    ]
    assert [color_at(frames[at], 66, 45)[0] > 200 for at in (0, 9, 10, 19)] == [
        False,
        False,
        True,
        True,
    ]


async def test_blurred_bars_have_the_mean_and_little_variance(
    tmp_path: Path, render: Render
) -> None:
    source = film(tmp_path / "source.mp4", [noise()] * 2)
    (picture, *_) = frames_of(await render(Reframe(), source, aspectRatio="9:16", width=180))
    assert picture.shape == (320, 180, 3)
    bar, middle = picture[10:90], picture[130:190]
    assert float(np.mean(bar)) == pytest.approx(float(np.mean(noise())), abs=8)
    assert float(np.std(bar)) < float(np.std(middle)) / 3


async def test_turned_film_is_upright(tmp_path: Path, render: Render) -> None:
    source = tmp_path / "turned.mp4"
    CORPUS["turned by 90"].build(source)
    made = await render(Reframe(), source, aspectRatio="9:16", mode="crop", width="source")
    probe = input_file(made).probe
    assert probe is not None
    assert (probe.width, probe.height, probe.rotation) == (54, 96, 0)


async def test_sound_keeps_its_place(tmp_path: Path, render: Render) -> None:
    source = film(tmp_path / "source.mp4", [gray(99)] * 25, sound=clicks_at(1, 0.3, 0.8))
    made = await render(Reframe(), source, aspectRatio="1:1", width=64)
    assert clicks(sound_of(made)) == pytest.approx([0.3, 0.8], abs=0.005)


async def test_large_loss_is_reported(
    tmp_path: Path, render: Render, workspace: EngineWorkspace
) -> None:
    source = film(tmp_path / "source.mp4", [noise()])
    await render(Reframe(), source, aspectRatio="9:16", mode="crop", width=90)
    assert any("loses 68 % of the width" in warning for warning in workspace.warnings)


async def test_picture_is_cropped_to_jpeg(tmp_path: Path, render: Render) -> None:
    source = tmp_path / "source.png"
    Image.fromarray(dotted(40, 45)).save(source)
    made = await render(
        Reframe(), source, aspectRatio="1:1", width="source", focus={"x": 0.25, "y": 0.5}
    )
    with Image.open(made) as picture:
        assert (picture.format, picture.size) == ("JPEG", (90, 90))
        bright = picture.convert("L").getpixel((40, 45))
        assert isinstance(bright, int)
        assert bright > 240


async def test_transparent_picture_stays_transparent(tmp_path: Path, render: Render) -> None:
    source = tmp_path / "source.png"
    picture = Image.new("RGBA", WIDE, (200, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 80, 90))
    picture.save(source)
    made = await render(Reframe(), source, aspectRatio="1:1", width="source")
    with Image.open(made) as shaped:
        assert shaped.format == "PNG"
        left, right = shaped.getpixel((10, 45)), shaped.getpixel((80, 45))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[3] == 0
    assert right[0] == pytest.approx(200, abs=4)
    assert right[3] == 255


@pytest.mark.parametrize(
    ("kind", "published", "faults"),
    [
        (MediaKind.VIDEO, {"focus": {"x": 0.1}}, ["focus"]),
        (MediaKind.VIDEO, {"focus": {"x": 0.1}, "mode": "crop"}, []),
        (MediaKind.IMAGE, {"focus": {"x": 0.1}}, []),
        (MediaKind.IMAGE, {"focus": [{}, {"at": 1}]}, ["focus"]),
    ],
)
def test_focus_must_fit_mode_and_kind(
    kind: MediaKind, published: dict[str, object], faults: list[str]
) -> None:
    parameters = ReframeParameters.model_validate(
        {"source": SOURCE, "aspectRatio": "1:1", **published}
    )
    found = Reframe().faults(parameters, {"source": Expected(kind=kind)})
    assert [fault.pointer for fault in found] == faults


@pytest.mark.parametrize(
    "wrong",
    [
        {"aspectRatio": "2:1"},
        {"aspectRatio": "9:21", "width": 3000},
        {"aspectRatio": "1:1", "focus": [{"at": 1}, {"at": 1}]},
        {"aspectRatio": "1:1", "focus": {"x": 1.5}},
        {"aspectRatio": "1:1", "width": 16},
    ],
)
def test_impossible_shapes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ReframeParameters.model_validate({"source": SOURCE, **wrong})


def test_expected_size_follows_the_source() -> None:
    parameters = ReframeParameters.model_validate(
        {"source": SOURCE, "aspectRatio": "1:1", "mode": "crop", "width": "source"}
    )
    source = Expected(kind=MediaKind.VIDEO, width=1920, height=1080)
    expected = Reframe().expect(parameters, {"source": source})
    assert (expected.width, expected.height) == (1080, 1080)
