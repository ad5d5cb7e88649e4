# pyright: reportUnknownMemberType=false
# The types of `av` do not cover packets.
"""Pictures that are copied without encoding: exactly the frames, at the times, of encoded ones."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import pytest

from core.media.operations.single.trim import Trim
from tests.media.inputs import clicks_at, counted, film, number_of
from tests.media.operations import sources
from tests.media.operations.conftest import Merger
from tests.media.operations.sources import clicks, frames_of, level, sound_of

RATE = 25


def encoded(path: Path) -> list[bytes]:
    """Return the encoded frames in the order of decoding."""
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size]


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as file:
        return [
            Fraction(frame.pts or 0) * Fraction(frame.time_base or 0)
            for frame in file.decode(video=0)
        ]


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return films of 50 counted frames with a key frame every ten; two have equal encoders."""
    folder = tmp_path_factory.mktemp("counting")
    frames = counted(50)
    plain = film(folder / "plain.mp4", frames, sound=clicks_at(2, 0.3, 1.1))
    return {
        "plain": plain,
        "silent": film(folder / "silent.mp4", frames[20:40]),
        "open": reencoded(plain, "open.mp4", "keyint=10:open-gop=1:bframes=2:b-adapt=0"),
        "other": reencoded(plain, "other.mp4", "keyint=10:bframes=0:ref=1"),
        "uneven": reencoded(
            plain, "uneven.mp4", "keyint=10", "-vf", "setpts=N/25/TB+eq(N\\,20)*0.016/TB"
        ),
    }


def reencoded(source: Path, name: str, parameters: str, *options: str) -> Path:
    return sources.ffmpeg(
        source.parent / name,
        *("-i", str(source), *options, "-c:v", "libx264", "-qp", "8", "-fps_mode", "passthrough"),
        *("-x264-params", f"scenecut=0:{parameters}", "-c:a", "copy"),
    )


@pytest.fixture
def merge(merged: Merger, counting: Mapping[str, Path]) -> Merger:
    merged.files = counting
    return merged


async def trimmed(merge: Merger, name: str, **published: object) -> Path:
    merge.inputs = {"source": await merge.input_file(name)}
    return await merge.made(Trim(), {"source": {"asset": "asset_1"}, **published})


def numbers(path: Path) -> list[int]:
    return [number_of(frame) for frame in frames_of(path)]


async def test_cut_between_key_frames_copies_the_picture(
    merge: Merger, counting: Mapping[str, Path]
) -> None:
    made = await trimmed(merge, "plain", start=0.4, end=1.2)
    assert encoded(made) == encoded(counting["plain"])[10:30]
    assert numbers(made) == list(range(10, 30))
    assert times(made) == [Fraction(number, RATE) for number in range(20)]
    assert clicks(sound_of(made)) == pytest.approx([0.7], abs=0.005)


@pytest.mark.parametrize(
    ("name", "start", "end", "shown"),
    [
        ("plain", 0.44, 1.2, range(11, 30)),
        ("plain", 0.4, 1.24, range(10, 31)),
        ("open", 0.4, 1.2, range(10, 30)),
    ],
    ids=["start between key frames", "end between key frames", "open groups"],
)
async def test_cut_that_needs_other_frames_is_encoded(
    merge: Merger, counting: Mapping[str, Path], name: str, start: float, end: float, shown: range
) -> None:
    made = await trimmed(merge, name, start=start, end=end)
    assert numbers(made) == list(shown)
    assert set(encoded(made)).isdisjoint(encoded(counting[name]))


async def test_clips_of_one_encoder_are_copied_one_after_the_other(
    merge: Merger, counting: Mapping[str, Path]
) -> None:
    made = await merge(
        {"file": "plain", "duration": 0.8},
        {"file": "silent"},
        {"file": "plain", "start": 0.8, "volume": 0.5},
    )
    plain, silent = encoded(counting["plain"]), encoded(counting["silent"])
    assert encoded(made) == [*plain[:20], *silent, *plain[20:]]
    assert numbers(made) == [*range(20), *range(20, 40), *range(20, 50)]
    assert times(made) == [Fraction(number, RATE) for number in range(70)]
    sound = sound_of(made)
    assert clicks(sound) == pytest.approx([0.3, 1.6 + 0.3], abs=0.005)
    assert level(sound, 0.85, 1.55) < -80


async def test_copied_film_has_its_own_sounds(merge: Merger) -> None:
    merge.files = {
        **merge.files,
        "click": sources.ffmpeg(merge.workspace.folder / "c.wav", *sources.click(0.25, 0.5)),
    }
    made = await merge({"file": "silent"}, {"file": "click", "offset": 0.2})
    assert clicks(sound_of(made)) == pytest.approx([0.45], abs=0.005)
    assert numbers(made) == list(range(20, 40))


@pytest.mark.parametrize("name", ["other", "uneven"])
async def test_clips_that_differ_are_encoded(
    merge: Merger, counting: Mapping[str, Path], name: str
) -> None:
    made = await merge({"file": "plain"}, {"file": name})
    assert set(encoded(made)).isdisjoint(encoded(counting["plain"]))
    assert numbers(made)[:50] == list(range(50))


async def test_copied_film_twice_has_identical_bytes(merge: Merger) -> None:
    made = [(await merge({"file": "plain"}, {"file": "silent"})).read_bytes() for _ in range(2)]
    assert made[0] == made[1]
    assert b"Lavf" not in made[0]


@pytest.mark.parametrize("change", [{"fadeIn": 0.2}, {"width": 32}, {"fps": 30}])
async def test_changed_picture_is_encoded(
    merge: Merger, counting: Mapping[str, Path], change: Mapping[str, object]
) -> None:
    made = await merge({"file": "silent"}, {"file": "silent"}, **change)
    assert set(encoded(made)).isdisjoint(encoded(counting["silent"]))
