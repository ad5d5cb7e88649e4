# pyright: reportUnknownMemberType=false
# (Pillow and PyAV are typed only in part.)
"""The produced pictures and videos, decoded."""

import io
import itertools
import time

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from sandbox.files import renderer as media
from tests.sandbox.process import SEEDANCE, Sandbox


def decoded(content: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(content), "r") as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two frames, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_picture_has_its_size_and_format(image_format: str) -> None:
    content = media.picture(
        prompt="a red kite", width=640, height=360, seed=1, image_format=image_format
    )
    image = Image.open(io.BytesIO(content))
    assert (image.size, image.format) == ((640, 360), image_format.upper())


def test_picture_shows_the_prompt_and_repeats_with_its_seed() -> None:
    def drawn(prompt: str, seed: int) -> bytes:
        return media.picture(prompt=prompt, width=512, height=512, seed=seed, image_format="png")

    assert drawn("a red kite", 1) == drawn("a red kite", 1)
    assert drawn("a red kite", 1) != drawn("a blue kite", 1)
    assert drawn("a red kite", 1) != drawn("a red kite", 2)


@pytest.mark.parametrize("prompt", ["", "x" * 500, "a\u0000b", "漢字 🎈", "word " * 100, "\ud800"])
def test_picture_accepts_any_prompt(prompt: str) -> None:
    assert media.picture(
        prompt=prompt, width=256, height=144, seed=1, image_format="jpeg"
    ).startswith(b"\xff\xd8")


def test_video_has_the_requested_length_and_size_and_moves(sandbox: Sandbox) -> None:
    sandbox.set(tiny_media=False)
    image = sandbox.fal_result(
        sandbox.submit(prompt="a red kite", image_size="landscape_16_9")
    ).json()
    order = {
        "prompt": "fly",
        "image_url": image["images"][0]["url"],
        "duration": "2",
        "resolution": "720p",
    }
    result = sandbox.fal_result(sandbox.submit(SEEDANCE, **order)).json()
    content = sandbox.client.get(result["video"]["url"]).content
    assert len(content) == result["video"]["file_size"]
    assert content.find(b"moov") < content.find(b"mdat"), "the index comes first"
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.duration is not None
        assert stream.time_base is not None
        assert (stream.duration * stream.time_base, stream.average_rate) == (2, 24)
    frames = decoded(content)
    assert len(frames) == 48
    assert {frame.size for frame in frames} == {(1280, 720)}
    assert all(difference(one, other) > 0.05 for one, other in itertools.pairwise(frames)), (
        "a still frame"
    )
    still = Image.open(io.BytesIO(sandbox.client.get(image["images"][0]["url"]).content))
    assert difference(frames[0], still.convert("RGB").resize((1280, 720))) < 12, (
        "it begins with the input picture"
    )
    assert difference(frames[0], frames[-1]) > 5


def test_five_seconds_of_720p_use_little_cpu() -> None:
    started = time.process_time()
    assert (
        len(
            decoded(media.video(source=None, prompt="a", width=1280, height=720, seconds=5, seed=1))
        )
        == 120
    )
    assert time.process_time() - started < 12  # about 2.5 s on an idle core; this one is shared


def test_tiny_video_keeps_the_requested_length_and_shape(sandbox: Sandbox) -> None:
    order = {"prompt": "fly", "duration": 7, "resolution": "720p", "aspect_ratio": "9:16"}
    done = sandbox.predicted(sandbox.predict("bytedance/seedance-1-pro", input=order))
    content = sandbox.client.get(done["output"]).content
    frames = decoded(content)
    assert (len(frames), frames[0].size) == (7 * 24, (64, 114))
    assert len(content) < 100_000
