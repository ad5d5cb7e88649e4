"""Frame sizes: OpenAI's `size` as a resolution and a shape, and the nearest defaults."""

import pytest

from api.openai.sizes import (
    default_ratio,
    default_resolution,
    default_seconds,
    frame,
    frames,
    resolution_of,
)


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [
        ("720p", "9:16", "720x1280"),
        ("720p", "16:9", "1280x720"),
        ("480p", "16:9", "854x480"),
        ("1080P", "1:1", "1080x1080"),
        ("720p", "21:9", "1680x720"),
        ("4k", "16:9", "3840x2160"),
        ("512p", "4:3", "684x512"),
    ],
)
def test_size_follows_from_resolution_and_shape(resolution: str, ratio: str, size: str) -> None:
    result = frame(resolution, ratio)
    assert result is not None
    assert result.size == size


@pytest.mark.parametrize(
    ("resolution", "ratio"), [(None, "16:9"), ("720p", None), ("high", "16:9"), ("720p", "auto")]
)
def test_unknown_words_have_no_size(resolution: str | None, ratio: str | None) -> None:
    assert frame(resolution, ratio) is None


def test_table_has_every_known_pair() -> None:
    table = frames(["480p", "720p", "auto"], ["16:9", "9:16", "adaptive"])
    assert [each.size for each in table] == ["854x480", "1280x720", "480x854", "720x1280"]


def test_defaults_are_the_nearest_that_the_model_has() -> None:
    assert default_seconds([2, 3, 4, 5]) == 4
    assert default_seconds([5, 10]) == 5
    assert default_seconds([2, 6]) == 2, "the cheaper one of two equally near ones"
    assert default_seconds([]) is None
    assert default_resolution(["480p", "1080p"]) == "480p"
    assert default_resolution(["720p", "4k"]) == "720p"
    assert default_resolution([]) is None
    assert default_ratio(["16:9", "9:16", "1:1"]) == "9:16"
    assert default_ratio(["16:9", "1:1"]) == "1:1"
    assert default_ratio(["auto"]) is None


def test_resolution_of_a_size_is_its_shorter_side() -> None:
    assert resolution_of("720x1280", ["480p", "720p"]) == "720p"
    assert resolution_of("1024x1792", ["480p", "720p"]) is None
    assert resolution_of("large", ["720p"]) is None
