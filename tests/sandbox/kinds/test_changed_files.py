# pyright: reportUnknownMemberType=false
# (Pillow and PyAV are typed only in part.)
"""Edits, cutouts, lip-sync, talking heads and upscaling: the files that come out."""

import io

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from sandbox.files import encoding, renderer
from sandbox.files.speech import tone
from tests.sandbox.kinds.calls import (
    billed,
    clip,
    content,
    fal,
    lengths,
    picture,
    replicate,
    voice,
)
from tests.sandbox.process import Sandbox


def alpha_of_first_frame(file: bytes) -> dict[str, int]:
    """Return the opacity of a corner and of the middle. The usual decoder drops it."""
    with av.open(io.BytesIO(file), "r") as container:
        stream = container.streams.video[0]
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        packet = next(packet for packet in container.demux(stream) if packet.size)
        plane = decoder.decode(packet)[0].planes[3]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType] # a video frame
        alpha, width = bytes(plane), plane.line_size  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        middle = stream.height // 2 * width + stream.width // 2  # pyright: ignore[reportUnknownVariableType]
    return {"corner": alpha[0], "middle": alpha[middle]}


def test_picture_cutout_is_a_png_with_alpha(quick: Sandbox) -> None:
    result = fal(quick, "fal-ai/bria/background/remove", image_url=picture(quick))
    assert billed(quick) == (1, 18_000_000)
    image = Image.open(io.BytesIO(content(quick, result["image"]["url"])))
    assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (64, 36))
    assert (result["image"]["width"], result["image"]["height"]) == image.size
    alpha = image.getchannel("A")
    assert (alpha.getpixel((0, 0)), alpha.getpixel((32, 18))) == (0, 255)


def test_video_cutout_is_a_webm_with_alpha(quick: Sandbox) -> None:
    result = fal(quick, "pixelcut/video-background-removal", video_url=clip(quick))
    assert billed(quick) == (4, 88_000_000)  # 96 frames
    assert result["video"]["content_type"] == "video/webm"
    file = content(quick, result["video"]["url"])
    alpha = alpha_of_first_frame(file)
    assert alpha["corner"] < 20
    assert alpha["middle"] > 235
    with av.open(io.BytesIO(file), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 96


def test_video_cutout_on_a_colour_is_an_mp4(quick: Sandbox) -> None:
    result = fal(
        quick, "bria/video/background-removal/v3", video_url=clip(quick), background_color="Green",
        output_container_and_codec="mp4_h264",
    )  # fmt: skip
    assert billed(quick) == (4, 200_000_000)
    _, frame = next(encoding.frames_of(content(quick, result["video"]["url"])))
    red, green, blue = ImageStat.Stat(frame.crop((0, 0, 4, 4))).mean
    assert green > 80 > max(red, blue)


@pytest.mark.parametrize(
    ("model", "order", "seconds"),
    [
        ("sync/lipsync-2-pro", {"sync_mode": "cut_off"}, 3.5),
        ("sync/lipsync-2-pro", {"sync_mode": "loop"}, 9.5),
    ],
)
def test_lip_sync_lasts_as_long_as_its_sound(
    quick: Sandbox, model: str, order: dict[str, str], seconds: float
) -> None:
    text = "It never asks." if seconds < 4 else "It never asks where the wind comes from. " * 3
    sound = voice(quick, text)
    spoken = lengths(content(quick, sound))["audio"]
    done = replicate(quick, model, video=clip(quick), audio=sound, **order)
    found = lengths(content(quick, done["output"]))
    expected = spoken if order["sync_mode"] == "loop" else min(spoken, 4.0)
    assert found["video"] == pytest.approx(expected, abs=0.05)
    assert found["audio"] == pytest.approx(expected, abs=0.05)
    assert billed(quick)[0] == done["metrics"]["video_output_duration_seconds"]


def test_talking_head_lasts_as_long_as_its_audio(quick: Sandbox) -> None:
    sound = voice(quick)
    result = fal(
        quick, "fal-ai/kling-video/ai-avatar/v2/pro", image_url=picture(quick), audio_url=sound
    )
    assert billed(quick) == (4, 460_000_000)
    assert result["duration"] == 3.5
    found = lengths(content(quick, result["video"]["url"]))
    assert found["video"] == pytest.approx(3.5, abs=0.05)
    assert found["audio"] == pytest.approx(3.5, abs=0.05)


def test_upscaled_picture_is_larger_by_the_factor(quick: Sandbox) -> None:
    result = fal(
        quick, "fal-ai/topaz/upscale/image", image_url=picture(quick), upscale_factor=3, output_format="png"
    )  # fmt: skip
    image = Image.open(io.BytesIO(content(quick, result["image"]["url"])))
    assert (image.format, image.size) == ("PNG", (192, 108))
    assert billed(quick) == (1, 80_000_000)


def test_upscaled_video_is_larger_by_the_factor(quick: Sandbox) -> None:
    result = fal(quick, "fal-ai/topaz/upscale/video", video_url=clip(quick))
    with av.open(io.BytesIO(content(quick, result["video"]["url"])), "r") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (128, 72, 96)
    assert billed(quick) == (4, 40_000_000)


@pytest.mark.parametrize(("sound", "nano_usd"), [(True, 200_000_000), (False, 120_000_000)])
def test_video_has_sound_as_ordered(quick: Sandbox, sound: bool, nano_usd: int) -> None:
    url = clip(quick, generate_audio=sound)
    assert billed(quick) == (4, nano_usd)
    found = lengths(content(quick, url))
    assert ("audio" in found, found["video"]) == (sound, 4.0)


def test_edited_picture_takes_the_shape_of_its_source(quick: Sandbox) -> None:
    result = fal(quick, "fal-ai/flux-pro/kontext", prompt="blue", image_url=picture(quick))
    assert (result["images"][0]["width"], result["images"][0]["height"]) == (1344, 768)
    done = replicate(
        quick, "google/nano-banana-2", prompt="blue", image_input=[picture(quick)],
        aspect_ratio="match_input_image", resolution="2K",
    )  # fmt: skip
    assert content(quick, done["output"])
    assert billed(quick) == (1, 101_000_000)
    assert (quick.jobs()[-1]["outputs"][0]["width"], quick.jobs()[-1]["outputs"][0]["height"]) == (
        2688,
        1536,
    )


def test_video_fades_into_its_end_picture() -> None:
    start, end = (
        renderer.picture(prompt="", width=64, height=36, seed=seed, image_format="png")
        for seed in (1, 2)
    )
    video = renderer.video(
        source=start, end=end, prompt="", width=64, height=36, seconds=0.5, seed=1, samples=tone(0.5)
    )  # fmt: skip
    frames = [image for _, image in encoding.frames_of(video)]
    assert len(frames) == 12
    assert distance(frames[0], start) < distance(frames[0], end)
    assert distance(frames[-1], end) < 8 < distance(frames[-1], start)
    assert lengths(video)["audio"] == pytest.approx(0.5, abs=0.05)


def distance(frame: Image.Image, picture: bytes) -> float:
    """Return the mean difference of a frame and a picture, 0 to 255."""
    other = renderer.decoded(picture).convert("RGB")
    return sum(ImageStat.Stat(ImageChops.difference(frame, other)).mean) / 3
