"""Where captions are in the frame, and how large."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.media.captions.films import TALL, Box, Captioner, box_of, drawn, film, like, word

BLUE, RED = (0, 0, 255), (255, 0, 0)
SIZES = [TALL, (320, 180), (240, 240)]


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[int, int], Path]:
    folder = tmp_path_factory.mktemp("shapes")
    return {
        size: film(folder / f"{size[0]}x{size[1]}.mp4", size=size, seconds=0.1) for size in SIZES
    }


async def drawn_box(caption: Captioner, video: Path, *words: str, **style: object) -> Box:
    """Return where a caption of these words is drawn."""
    spoken = [word(text, 0, 0.1) for text in words]
    made = await caption(video, spoken, style={"wordsPerCaption": 12, **style})
    return box_of(drawn(made.frames[1]))


@pytest.mark.parametrize("size", SIZES)
async def test_captions_are_centered_inside_the_margins(
    caption: Captioner, films: Mapping[tuple[int, int], Path], size: tuple[int, int]
) -> None:
    width, height = size
    unit = min(size) / 1080
    margins = {"marginV": 200, "marginL": 150, "marginR": 150}
    box = await drawn_box(caption, films[size], *6 * ["HHHH"], fontSize=90, **margins)
    assert abs(box.middle - width / 2) <= max(1.5, 0.01 * width)
    assert box.left >= 150 * unit - 1
    assert box.right <= width - 150 * unit + 1
    assert height - 200 * unit - 90 * unit < box.bottom <= height - 200 * unit + 1


@pytest.mark.parametrize(
    ("alignment", "column", "row"),
    [("top-left", 0, 0), (9, 2, 0), ("4", 0, 1), ("bottom", 1, 2)],
)
async def test_alignment_places_captions_in_the_frame(
    caption: Captioner,
    films: Mapping[tuple[int, int], Path],
    alignment: int | str,
    column: int,
    row: int,
) -> None:
    box = await drawn_box(caption, films[240, 240], "HI", fontSize=120, alignment=alignment)
    assert int(box.middle // 80) == column
    assert int((box.top + box.bottom) / 2 // 80) == row


@pytest.mark.parametrize("font", ["Arial", "Times New Roman", "Courier New"])
async def test_box_is_one_line_high_in_its_own_color(
    caption: Captioner, films: Mapping[tuple[int, int], Path], font: str
) -> None:
    """The outline has another colour, which a box of BorderStyle 3 would have."""
    style = {"backgroundColor": "#00F", "outlineColor": "#F00", "outlineWidth": 10, "padding": 0}
    spoken = [word("Hg", 0, 0.1)]
    style |= {"fontFamily": font, "fontSize": 180}
    frame = (await caption(films[TALL], spoken, style=style)).frames[1]
    assert box_of(like(frame, BLUE)).height == pytest.approx(180 / 6, rel=0.15)
    assert like(frame, RED, tolerance=100).sum() > 20


async def test_padding_widens_the_box(
    caption: Captioner, films: Mapping[tuple[int, int], Path]
) -> None:
    style = {"backgroundColor": "#0000FF", "outlineWidth": 0}
    boxes = [
        await drawn_box(caption, films[TALL], "Hg", fontSize=180, padding=padding, **style)
        for padding in (0, 60)
    ]
    assert [box.height for box in boxes] == pytest.approx([30, 50], abs=3)
    assert boxes[1].left == pytest.approx(boxes[0].left - 10, abs=2)


async def test_text_follows_the_size_of_the_frame(caption: Captioner, tmp_path: Path) -> None:
    large = film(tmp_path / "large.mp4", size=(360, 640), seconds=0.1)
    small = film(tmp_path / "small.mp4", size=TALL, seconds=0.1)
    heights = [
        (await drawn_box(caption, video, "HH", fontSize=160)).height for video in (small, large)
    ]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.1)


@pytest.mark.parametrize("weight", ["bold", 900])
async def test_bold_text_is_wider(
    caption: Captioner, films: Mapping[tuple[int, int], Path], weight: str | int
) -> None:
    normal = await drawn_box(caption, films[TALL], "weight", fontSize=160)
    bold = await drawn_box(caption, films[TALL], "weight", fontSize=160, fontWeight=weight)
    assert bold.right - bold.left > 1.04 * (normal.right - normal.left)


@pytest.mark.parametrize("size", SIZES)
async def test_long_words_stay_in_the_frame(
    caption: Captioner, films: Mapping[tuple[int, int], Path], size: tuple[int, int]
) -> None:
    texts = ["w" * 90, "語" * 90, "👩‍👩‍👧" * 30]
    spoken = [word(text, number / 30, (number + 1) / 30) for number, text in enumerate(texts)]
    style = {"fontSize": 160, "marginV": 0, "maxLines": 3, "maxCaptionChars": 80}
    made = await caption(films[size], spoken, style={**style, "wordsPerCaption": 12})
    for frame, text in zip(made.frames, texts, strict=True):
        box = box_of(drawn(frame))
        assert 0 < box.left < box.right < size[0], text
        assert 0 < box.top < box.bottom <= size[1], text
