"""Placements in numbers, and what layers promise before their files exist."""

from fractions import Fraction

import pytest
from pydantic import TypeAdapter, ValidationError

from core.domain.media.content import MediaKind
from core.media.operations.film.canvas import Size
from core.media.operations.layers.operation import Layers
from core.media.operations.layers.parameters import LayersParameters
from core.media.operations.layers.placement import Filling, Placement, box_of, parse, place
from core.media.operations.port import Expected, Seconds
from core.media.operations.references import references_in

OPERATION = Layers()
CANVAS, WIDE, TALL = Size(1280, 720), Size(1920, 1080), Size(1080, 1920)
PLACEMENT: TypeAdapter[Placement] = TypeAdapter(Placement)
MEDIA = {"step": "clip"}


@pytest.mark.parametrize(
    ("placement", "source", "spot"),
    [
        ("full", WIDE, (0, 0, 1280, 720)),
        ("full", TALL, (438, 0, 404, 720)),
        ("fill", TALL, (0, 0, 1280, 720)),
        ("center", Size(400, 200), (440, 260, 400, 200)),
        ("center", TALL, (438, 0, 404, 720)),
        ("pip", WIDE, (940, 520, 320, 180)),
        ("picture-in-picture", WIDE, (940, 520, 320, 180)),
        ("w-1/4 bottom-right", WIDE, (960, 540, 320, 180)),
        ("  W-1/2   TOP ", WIDE, (320, 0, 640, 360)),
        ("h-1/3 left", WIDE, (0, 240, 426, 240)),
        ("w-1/2 h-1/2 top-right", WIDE, (640, 0, 640, 360)),
        ("bottom-center", Size(400, 200), (440, 520, 400, 200)),
        ("bottom-left", Size(400, 200), (0, 520, 400, 200)),
        ({"width": 300, "position": {"x": 0, "y": 50}}, WIDE, (0, 50, 300, 168)),
        ({"width": "50%", "position": {"x": "100%", "y": "0%"}}, WIDE, (640, 0, 640, 360)),
        (
            {"width": 320, "padding": 40, "position": {"x": "100%", "y": "100%"}},
            WIDE,
            (920, 500, 320, 180),
        ),
        ({"width": 300, "aspectRatio": "1:1"}, WIDE, (490, 210, 300, 300)),
        ({"width": 200, "height": 100, "position": {"x": -50, "y": 0}}, WIDE, (-50, 0, 178, 100)),
    ],
)
def test_placement_gives_these_pixels(
    placement: object, source: Size, spot: tuple[int, int, int, int]
) -> None:
    placed = place(box_of(PLACEMENT.validate_python(placement)), source, CANVAS, None)
    actual = (placed.x, placed.y, placed.shown.width, placed.shown.height)
    assert actual == pytest.approx(spot, abs=1)
    assert all(number % 2 == 0 for number in actual)


def test_filling_crops_or_stretches_into_the_box() -> None:
    box = parse("w-1/2 h-full left")
    cropped = place(box, WIDE, CANVAS, Filling.CROP)
    assert (cropped.shown, cropped.scaled) == (Size(640, 720), Size(1280, 720))
    stretched = place(box, WIDE, CANVAS, Filling.STRETCH)
    assert (stretched.shown, stretched.scaled) == (Size(640, 720), Size(640, 720))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "w-1/0",
        "w-5/4",
        "w-1/4 w-1/2",
        "top left",
        "(W-w)/2",
        "w-1/4 bottom-right; movie=/etc/passwd",
        {"width": 0},
        {"width": "101%"},
        {"width": "iw/2"},
        {"height": -4},
        {"position": {"x": "left"}},
        {"position": {"x": 5000}},
        {"width": 100, "aspectRatio": "0:1"},
        {"top": 3},
    ],
)
def test_other_placements_are_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        PLACEMENT.validate_python(wrong)


def test_refusal_names_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="'middle' is not allowed here; allowed: full, fill"):
        parse("w-1/4 middle")


def test_fractions_are_exact() -> None:
    assert parse("w-1/3").width is not None
    assert parse("w-1/3").width.share == Fraction(1, 3)  # pyright: ignore[reportOptionalMemberAccess]


def film(seconds: float) -> Expected:
    length = Seconds(low=seconds / 2, expected=seconds, worst=seconds * 2)
    return Expected(
        kind=MediaKind.VIDEO,
        seconds=length,
        width=640,
        height=361,
        frame_rate=29.97,
        has_sound=True,
    )


PICTURE = Expected(kind=MediaKind.IMAGE, width=900, height=900)
VOICE = Expected(kind=MediaKind.AUDIO, seconds=film(3).seconds)


def plan(*items: dict[str, object], **rest: object) -> LayersParameters:
    published = [item if "timeline" in item else {"media": MEDIA, **item} for item in items]
    return LayersParameters.model_validate({"items": published, **rest})


def inputs(parameters: LayersParameters, *each: Expected) -> dict[str, Expected]:
    pointers = [pointer for pointer, _ in references_in(parameters)]
    return dict(zip(pointers, each, strict=True))


TIMELINE: dict[str, object] = {
    "timeline": [{"media": MEDIA, "duration": 2}, {"media": MEDIA}, {"media": MEDIA}]
}


@pytest.mark.parametrize(
    ("parameters", "files", "seconds"),
    [
        (plan({}, {}), (film(4), film(9)), 4),
        (plan({}, {"main": True}), (film(4), film(9)), 9),
        (plan({}, {"main": True, "start": 1}), (film(4), film(9)), 10),
        (plan({}, {"main": True, "end": 5}), (film(4), film(9)), 5),
        (plan({}, {}, duration=2.5), (film(4), film(9)), 2.5),
        (plan({}, {}), (PICTURE, film(3)), 3),
        (plan({}, TIMELINE), (film(4), PICTURE, PICTURE, film(3)), 6),
    ],
)
def test_leading_layer_decides_the_length(
    parameters: LayersParameters, files: tuple[Expected, ...], seconds: float
) -> None:
    made = OPERATION.expect(parameters, inputs(parameters, *files))
    assert made.seconds is not None
    assert made.seconds.expected == pytest.approx(seconds, abs=0.02)
    assert made.kind is MediaKind.VIDEO


def test_size_and_rate_follow_the_first_layer_and_video() -> None:
    parameters = plan({}, {})
    made = OPERATION.expect(parameters, inputs(parameters, PICTURE, film(3)))
    assert (made.width, made.height, made.has_sound) == (900, 900, True)
    assert made.frame_rate == pytest.approx(30_000 / 1001)
    odd = OPERATION.expect(plan({}), {"items/0/media": film(3)})
    assert (odd.width, odd.height) == (640, 360)


@pytest.mark.parametrize(
    ("parameters", "files", "pointer"),
    [
        (plan({}), (PICTURE,), "duration"),
        (plan({}, {"main": True}), (film(4), PICTURE), "items/1/main"),
        (plan({}, {}), (film(4), VOICE), "items/1/media"),
        (plan({}, {"start": 8.5}), (film(4), film(9)), "items/1/start"),
        (
            plan({}, {"timeline": [{"media": MEDIA, "start": 2}], "end": 1}),
            (film(4), PICTURE),
            "items/1/timeline/0/start",
        ),
    ],
)
def test_fault_names_its_field(
    parameters: LayersParameters, files: tuple[Expected, ...], pointer: str
) -> None:
    faults = OPERATION.faults(parameters, inputs(parameters, *files))
    assert [fault.pointer for fault in faults][:1] == [pointer]


@pytest.mark.parametrize(
    "wrong",
    [
        {"media": MEDIA, "timeline": [{"media": MEDIA}]},
        {},
        {"media": MEDIA, "start": 2, "end": 2},
        {"media": MEDIA, "similarity": 0},
        {"media": MEDIA, "opacity": 1.5},
        {"media": MEDIA, "chromaKeyColor": "0x00ff00,movie=x"},
        {"media": MEDIA, "loop": True, "fit": "extend"},
        {"timeline": [{"media": MEDIA}], "loop": True},
        {"timeline": []},
    ],
)
def test_wrong_layer_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LayersParameters.model_validate({"items": [wrong]})


def test_two_main_layers_are_refused() -> None:
    with pytest.raises(ValidationError, match="at most one"):
        plan({"main": True}, {"main": True})
