"""What a merge promises before its files exist: kinds, lengths, and every fault with its place."""

from typing import cast

import pytest
from pydantic import ValidationError

from core.domain.media.content import MediaKind
from core.media.operations.merge.operation import Merge
from core.media.operations.merge.parameters import MergeParameters
from core.media.operations.port import Expected, Seconds
from core.media.operations.references import references_in

OPERATION = Merge()


def expected(kind: str, seconds: float | None = None, **facts: object) -> Expected:
    length = None
    if seconds is not None:
        length = Seconds(low=seconds / 2, expected=seconds, worst=seconds * 2)
    return Expected(kind=MediaKind(kind), seconds=length, **facts)  # pyright: ignore[reportArgumentType]


VIDEO = expected("video", 4, width=1280, height=720, frame_rate=25.0, has_sound=False)
PORTRAIT = expected("image", width=3000, height=4001)
VOICE = expected("audio", 6, has_sound=True)


def plan(*items: dict[str, object], **rest: object) -> MergeParameters:
    published = [{"media": {"step": f"s{place}"}, **item} for place, item in enumerate(items)]
    return MergeParameters.model_validate({"items": published, **rest})


def inputs(*each: Expected) -> dict[str, Expected]:
    return {f"items/{place}/media": one for place, one in enumerate(each)}


def test_references_are_keyed_by_their_pointers() -> None:
    pointers = [pointer for pointer, _ in references_in(plan({}, {}))]
    assert pointers == ["items/0/media", "items/1/media"]


def test_film_has_the_length_of_its_clips_without_overlaps() -> None:
    parameters = plan({}, {}, {"duration": 3}, transition={"type": "fade", "duration": 0.5})
    film = OPERATION.expect(parameters, inputs(VIDEO, VIDEO, PORTRAIT))
    assert film.seconds is not None
    assert film.seconds.low == pytest.approx(2 + 2 + 3 - 1, abs=0.05)
    assert film.seconds.worst == pytest.approx(8 + 8 + 3 - 1, abs=0.05)
    assert (film.kind, film.width, film.height) == (MediaKind.VIDEO, 1280, 720)
    assert (film.frame_rate, film.has_sound) == (25, False)


@pytest.mark.parametrize(
    ("fit", "sound", "seconds"),
    [
        ("extend", {"offset": 1}, 7),
        ("cut", {"offset": 1}, 4),
        ("loop", {}, 6),
        ("extend", {"offset": -3}, 4),
        ("extend", {"duration": 2, "offset": 3}, 5),
        ("extend", {"loop": True}, 4),
        ("extend", {"duck": True, "offset": 2}, 4),
    ],
)
def test_sound_makes_the_film_longer_as_fit_allows(
    fit: str, sound: dict[str, object], seconds: float
) -> None:
    film = OPERATION.expect(plan({}, sound, fit=fit), inputs(VIDEO, VOICE))
    assert film.seconds is not None
    assert film.seconds.expected == pytest.approx(seconds, abs=0.001)
    assert film.has_sound is True


def test_sounds_alone_become_a_sound() -> None:
    parameters, each = plan({}, {"offset": 2, "duration": 9}), inputs(VOICE, VOICE)
    assert [(o.name, o.kind) for o in OPERATION.outputs(parameters, each)] == [
        ("audio", MediaKind.AUDIO)
    ]
    sound = OPERATION.expect(parameters, each)
    assert (sound.kind, sound.seconds) == (
        MediaKind.AUDIO,
        Seconds(low=5, expected=8, worst=12),
    )


def test_large_first_picture_gives_a_film_of_ordinary_size() -> None:
    film = OPERATION.expect(plan({"duration": 2}), inputs(PORTRAIT))
    assert (film.width, film.height, film.frame_rate) == (1440, 1920, 30)


def test_one_given_side_keeps_the_shape() -> None:
    film = OPERATION.expect(plan({}, height=360), inputs(VIDEO))
    assert (film.width, film.height) == (640, 360)


def test_unknown_file_has_a_wide_estimate() -> None:
    film = OPERATION.expect(plan({}), inputs(Expected(kind=MediaKind.VIDEO)))
    assert film.seconds == Seconds(low=1, expected=30, worst=600)
    assert (film.width, film.frame_rate, film.has_sound) == (None, None, None)


def test_type_decides_which_kinds_are_accepted() -> None:
    parameters = plan({}, {"type": "audio"}, {"type": "image"})
    accepted = [OPERATION.accepts(parameters, f"items/{n}/media") for n in range(3)]
    assert accepted == [
        {MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.AUDIO},
        {MediaKind.AUDIO, MediaKind.VIDEO},
        {MediaKind.IMAGE},
    ]


@pytest.mark.parametrize(
    ("item", "file", "pointer"),
    [
        ({"offset": 1}, VIDEO, "items/0/offset"),
        ({"loop": True}, VIDEO, "items/0/loop"),
        ({"duck": True}, PORTRAIT, "items/0/duck"),
        ({"start": 1}, PORTRAIT, "items/0/start"),
        ({"duration": 61}, PORTRAIT, "items/0/duration"),
        ({"start": 8}, VIDEO, "items/0/start"),
        ({"transition": {"type": "fade"}}, VOICE, "items/0/transition"),
        ({"offset": -12}, VOICE, "items/0/offset"),
        ({"type": "audio"}, VIDEO, "items/0/media"),
        ({"type": "video"}, VOICE, "items/0/media"),
        ({}, expected("video", 0), "items/0/media"),
    ],
)
def test_fault_names_its_field(item: dict[str, object], file: Expected, pointer: str) -> None:
    faults = OPERATION.faults(plan(item), inputs(file))
    assert [fault.pointer for fault in faults] == [pointer]
    assert faults[0].message


def test_all_faults_are_found_at_once() -> None:
    faults = OPERATION.faults(plan({"offset": 1}, {"start": 99}), inputs(VIDEO, VOICE))
    assert [fault.pointer for fault in faults] == ["items/0/offset", "items/1/start"]


WRONG: list[dict[str, object]] = [
    {"items": []},
    {"items": [{}] * 51},
    {"items": [{"volume": 2.1}]},
    {"items": [{"duration": 0.05}]},
    {"items": [{"offset": 901}]},
    {"items": [{"eval": "1"}]},
    {"items": [{}], "transition": {"type": "cut,drawtext"}},
    {"items": [{}], "transition": {"type": "fade", "duration": 2.5}},
    {"items": [{}], "width": 8},
    {"items": [{}], "fps": float("nan")},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_shape_or_range_is_refused(wrong: dict[str, object]) -> None:
    items = [
        {"media": {"step": "clip"}, **item}
        for item in cast("list[dict[str, object]]", wrong["items"])
    ]
    with pytest.raises(ValidationError):
        MergeParameters.model_validate({**wrong, "items": items})
