"""Pictures out of films: the frame that is shown at a time, sizes and formats."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.domain.media.content import MediaKind
from core.media.operations.port import Expected
from core.media.operations.single.poster import Poster, PosterParameters
from tests.media.corpus import CORPUS
from tests.media.inputs import Pixels, counted, film, gray, number_of
from tests.media.operations.sources import frames_of
from tests.media.single.conftest import Render


def pixels_of(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("poster") / "source.mp4", counted(50))


@pytest.mark.parametrize(
    ("at", "frame"), [(0, 0), (0.52, 13), (0.559, 13), (0.56, 14), (1.999, 49), (60, 49)]
)
async def test_poster_is_the_frame_shown_then(
    source: Path, render: Render, at: float, frame: int
) -> None:
    assert number_of(pixels_of(await render(Poster(), source, at=at))) == frame


async def test_frame_that_is_shown_for_long_is_found(tmp_path: Path, render: Render) -> None:
    """The last frames of this film are shown for 0.14 s; a search to the next one misses them."""
    source = tmp_path / "source.mp4"
    CORPUS["variable frame rate"].build(source)
    made = pixels_of(await render(Poster(), source, at=0.43, format="png"))
    distances = [np.abs(made.astype(float) - frame).mean() for frame in frames_of(source)]
    assert int(np.argmin(distances)) == 7


async def test_best_frame_is_not_black(tmp_path: Path, render: Render) -> None:
    frames = [gray(0)] * 20 + counted(10)[-5:]
    made = await render(Poster(), film(tmp_path / "source.mp4", frames))
    assert number_of(pixels_of(made)) in range(5, 10)


async def test_best_frame_of_a_black_film_is_its_first(tmp_path: Path, render: Render) -> None:
    made = await render(Poster(), film(tmp_path / "source.mp4", [gray(0)] * 3))
    assert pixels_of(made).max() < 8


@pytest.mark.parametrize(("form", "name"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
async def test_poster_has_the_width_and_format(
    tmp_path: Path, render: Render, form: str, name: str
) -> None:
    frame = gray(0)
    frame[:] = (200, 40, 40)
    source = film(tmp_path / "source.mp4", [frame])
    made = await render(Poster(), source, at=0, width=32, format=form)
    with Image.open(made) as picture:
        assert (picture.format, picture.size) == (name, (32, 24))
    red, green, blue = pixels_of(made).reshape(-1, 3).mean(axis=0)
    assert (red, green, blue) == pytest.approx((200, 40, 40), abs=6)


def test_width_is_limited_without_a_request() -> None:
    source = {"source": Expected(kind=MediaKind.VIDEO, width=4096, height=2160)}
    parameters = PosterParameters.model_validate({"source": {"asset": "asset_1"}})
    expected = Poster().expect(parameters, source)
    assert (expected.kind, expected.width, expected.height) == (MediaKind.IMAGE, 1920, 1012)
