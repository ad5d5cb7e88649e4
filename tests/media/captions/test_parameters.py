"""The parameters of captions, their presets and their errors."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.domain.media.content import MediaKind
from core.media.operations.captions.operation import Captions
from core.media.operations.captions.parameters import CaptionsParameters
from core.media.operations.captions.style import CaptionStyle, rgba
from core.media.operations.port import Expected, Seconds
from core.media.operations.references import references_in
from core.media.operations.registry import OPERATIONS

WORDS = [{"text": "a", "start": 0, "end": 1}]


def parameters(**rest: object) -> CaptionsParameters:
    given = {"video": {"step": "film"}, "words": {"step": "voice", "output": "words"}}
    return CaptionsParameters.model_validate({**given, **rest})


def test_preset_sets_what_the_style_leaves_out() -> None:
    style = CaptionStyle.model_validate({"preset": "tiktok", "fontSize": 60})
    assert (style.font_size, style.weight, style.margin_v, style.scale) == (60, 700, 250, 1.2)
    story = CaptionStyle.model_validate({"preset": "story"})
    assert (story.alignment, rgba(story.background_color or "")) == (5, (0, 0, 0, 191))
    assert CaptionStyle.model_validate(style.model_dump(mode="json")) == style
    published = parameters(style={"preset": "tiktok"}).model_dump(mode="json")
    assert published["style"]["marginV"] == 250, "the content key has every value"


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ("#f80", (255, 136, 0, 255)),
        ("#FF8800", (255, 136, 0, 255)),
        ("#FF880040", (255, 136, 0, 64)),
        ("&H400088FF", (255, 136, 0, 191)),
        ("&H0088FF&", (255, 136, 0, 255)),
    ],
)
def test_colors_have_four_forms(color: str, expected: tuple[int, int, int, int]) -> None:
    assert rgba(CaptionStyle.model_validate({"color": color}).color) == expected


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"words": []}, ("words",)),
        ({"words": [{"text": "a", "start": 0}]}, ("words", 0, "end")),
        ({"words": [{"text": "", "start": 0, "end": 1}]}, ("words", 0, "text")),
        ({"words": {"step": "a", "asset": "b"}}, ("words",)),
        ({"style": {"preset": "vine"}}, ("style", "preset")),
        ({"style": {"color": "red"}}, ("style", "color")),
        ({"style": {"fontSize": 7}}, ("style", "fontSize")),
        ({"style": {"alignment": "somewhere"}}, ("style", "alignment")),
        ({"style": {"marginL": 600, "marginR": 600}}, ("style",)),
        ({"style": {"fontColor": "#FFF"}}, ("style", "fontColor")),
        ({"sidecar": ["srt", "srt"]}, ()),
        ({"burn": False, "sidecar": []}, ()),
        ({"shift": float("nan")}, ("shift",)),
        ({"language": "en; drop"}, ("language",)),
    ],
)
def test_wrong_parameters_are_refused_at_their_place(
    fields: dict[str, Any], location: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as raised:
        parameters(**fields)
    assert [error["loc"] for error in raised.value.errors()] == [location]


def test_references_are_the_video_and_a_transcript() -> None:
    assert [pointer for pointer, _ in references_in(parameters())] == ["video", "words"]
    listed = parameters(words=WORDS)
    assert [pointer for pointer, _ in references_in(listed)] == ["video"]


@pytest.mark.parametrize("kind", [MediaKind.AUDIO, MediaKind.VIDEO])
def test_sound_without_word_times_is_a_fault(kind: MediaKind) -> None:
    operation = OPERATIONS[Captions.kind]
    inputs = {"video": Expected(kind=MediaKind.VIDEO), "words": Expected(kind=kind)}
    assert kind in operation.accepts(parameters(), "words")
    (fault,) = operation.faults(parameters(), inputs)
    assert fault.pointer == "words"
    assert "transcript step" in fault.message


def test_expected_video_is_like_its_source() -> None:
    source = Expected(
        kind=MediaKind.VIDEO, seconds=Seconds(low=1, expected=2, worst=3), width=321, height=181,
        frame_rate=29.97, has_sound=True,
    )  # fmt: skip
    inputs = {"video": source, "words": Expected(kind=MediaKind.TRANSCRIPT)}
    expected = Captions().expect(parameters(), inputs)
    assert (expected.width, expected.height, expected.has_sound) == (320, 180, True)
    assert expected.seconds == source.seconds
    assert Captions().faults(parameters(), inputs) == ()


def test_outputs_are_the_video_and_the_chosen_texts() -> None:
    def names(**rest: object) -> list[str]:
        return [output.name for output in Captions().outputs(parameters(**rest), {})]

    assert names() == ["video", "srt", "vtt"]
    assert names(sidecar=["ass"]) == ["video", "ass"]
    assert names(burn=False, sidecar=["vtt"]) == ["vtt"]
