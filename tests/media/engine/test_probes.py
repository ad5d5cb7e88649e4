"""What the probe reports of real files, and which it refuses."""

import asyncio
import subprocess
from pathlib import Path
from typing import Final

import pytest

from core.domain.media.content import MediaKind
from core.media.engine import probes
from core.media.engine.engine import Engine
from core.media.engine.errors import EngineError
from core.media.engine.probes import probe_file
from core.media.engine.program import find_program
from core.media.engine.workspace import EngineWorkspace
from core.media.operations.port import Command, CommandInput, InputFile, OperationError, Probe
from core.platform.settings.media import MediaSettings

PICTURE: Final = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=1")
SOUND: Final = ("-f", "lavfi", "-i", "sine=sample_rate=48000:duration=1")
H264: Final = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
SETTINGS: Final = MediaSettings()


async def make(path: Path, *arguments: str) -> Path:
    program = (await find_program(None)).path
    command = (program, "-nostdin", "-v", "error", *arguments, path)
    await asyncio.to_thread(subprocess.run, command, check=True)
    return path


async def checked(path: Path, **changes: object) -> Probe:
    """Return what the engine reports of an input. changes: other limits."""
    settings = SETTINGS.model_copy(update=changes)
    return await probe_file(path, settings, kind=None, is_own=False)


@pytest.mark.parametrize(("angle", "shown"), [(90, (64, 96)), (180, (96, 64)), (270, (64, 96))])
async def test_turned_film_has_its_size_as_shown(
    angle: int, shown: tuple[int, int], tmp_path: Path
) -> None:
    stored = await make(tmp_path / "stored.mp4", *PICTURE, *H264)
    turned = ("-display_rotation", str(360 - angle), "-i", str(stored), "-c", "copy")
    probe = await checked(await make(tmp_path / "turned.mp4", *turned))
    assert probe.rotation == angle
    assert (probe.width, probe.height) == shown


async def test_wide_pixels_widen_the_shown_size(tmp_path: Path) -> None:
    probe = await checked(await make(tmp_path / "a.mp4", *PICTURE, "-vf", "setsar=4/3", *H264))
    assert probe.sample_aspect_ratio == pytest.approx(4 / 3)
    assert (probe.width, probe.height) == (128, 64)


async def test_alpha_of_webm_survives_a_run(workspace: EngineWorkspace) -> None:
    """The usual decoder of VP9 would drop it."""
    source = await make(
        workspace.folder / "a.webm",
        *("-f", "lavfi", "-i", "color=red@0.5:size=64x64:duration=0.2,format=yuva420p"),
        *("-c:v", "libvpx-vp9"),
    )
    probe = await checked(source)
    assert probe.has_alpha
    output = workspace.folder / "alpha.png"
    await workspace.run(
        Command(
            inputs=(CommandInput(file=InputFile(path=source, sha256="", probe=probe)),),
            filters="[0:v]alphaextract,format=gray[alpha]",
            options=("-map", "[alpha]", "-frames:v", "1"),
            output=output,
            seconds=0,
        )
    )
    raw = await make(workspace.folder / "alpha.gray", "-i", str(output), "-f", "rawvideo")
    assert {abs(value - 127) < 4 for value in raw.read_bytes()} == {True}


async def test_late_sound_has_a_start(tmp_path: Path) -> None:
    late = (*PICTURE, "-itsoffset", "0.5", *SOUND, *H264, "-c:a", "aac")
    probe = await checked(await make(tmp_path / "a.mp4", *late))
    assert probe.sound_start_seconds == pytest.approx(0.5, abs=0.03)
    assert probe.sound_seconds == pytest.approx(1, abs=0.03)
    assert probe.seconds == pytest.approx(1.5, abs=0.03)


@pytest.mark.parametrize(
    ("name", "codec", "format_name"),
    [
        ("a.mp3", "libmp3lame", "mp3"),
        ("a.wav", "pcm_s16le", "wav"),
        ("a.ogg", "libvorbis", "ogg"),
        ("a.flac", "flac", "flac"),
        ("a.m4a", "aac", "mov"),
    ],
)
async def test_length_of_sound_is_measured(
    name: str, codec: str, format_name: str, tmp_path: Path
) -> None:
    probe = await checked(await make(tmp_path / name, *SOUND, "-c:a", codec))
    assert (probe.kind, probe.format_name) == (MediaKind.AUDIO, format_name)
    assert (probe.channels, probe.sample_rate) == (1, 48_000)
    assert probe.sound_seconds == probe.seconds == pytest.approx(1, abs=0.03)


async def test_length_does_not_come_from_the_header(tmp_path: Path) -> None:
    """A recording that was never finished states no duration."""
    live = ("-c:v", "libvpx", "-deadline", "realtime", "-f", "webm", "-live", "1")
    probe = await checked(await make(tmp_path / "a.webm", *PICTURE, *live))
    assert probe.seconds == pytest.approx(1, abs=0.01)
    assert probe.frames == 25
    assert probe.frame_rate == pytest.approx(25, rel=0.02)


async def test_cover_of_a_song_is_no_picture(tmp_path: Path) -> None:
    cover = await make(tmp_path / "cover.png", *PICTURE, "-frames:v", "1")
    song = (*SOUND, "-i", str(cover), "-map", "0", "-map", "1", "-c:a", "libmp3lame")
    path = await make(tmp_path / "a.mp3", *song, "-c:v", "copy")
    assert (await checked(path)).video_stream is None


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
async def test_still_picture_has_no_length(name: str, tmp_path: Path) -> None:
    probe = await checked(await make(tmp_path / name, *PICTURE, "-frames:v", "1"))
    assert (probe.kind, probe.width, probe.height) == (MediaKind.IMAGE, 96, 64)
    assert (probe.seconds, probe.frame_rate, probe.frames) == (0, 0, 1)


async def test_video_without_picture_is_refused_as_video(engine: Engine, tmp_path: Path) -> None:
    path = await make(tmp_path / "a.mp4", *SOUND, "-c:a", "aac")
    assert (await engine.check(path, None)).kind is MediaKind.AUDIO
    with pytest.raises(OperationError, match="sound but no picture"):
        await engine.check(path, MediaKind.VIDEO)


async def test_file_of_another_kind_is_refused(engine: Engine, tmp_path: Path) -> None:
    path = await make(tmp_path / "a.mp4", *SOUND, "-c:a", "libmp3lame", "-f", "mp3")
    with pytest.raises(OperationError, match=r"The file is audio/mpeg, not a video\."):
        await engine.check(path, MediaKind.VIDEO)


async def test_damaged_files_are_refused(engine: Engine, tmp_path: Path) -> None:
    whole = (await make(tmp_path / "whole.mp4", *PICTURE, *H264)).read_bytes()
    path = tmp_path / "a.mp4"
    for content in (whole[:200], whole[:48] + bytes(len(whole) - 48)):
        path.write_bytes(content)
        with pytest.raises(OperationError, match="cannot be decoded"):
            await engine.check(path, MediaKind.VIDEO)
    path.write_bytes(b"")
    with pytest.raises(OperationError, match="empty"):
        await engine.check(path, MediaKind.VIDEO)


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", EngineError),
        ("time.sleep(60)", EngineError),
        ("os.kill(os.getpid(), signal.SIGXCPU)", OperationError),
        ("sys.exit(1)", OperationError),
    ],
)
async def test_probe_ended_from_outside_is_no_verdict(
    ends: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"import os, signal, sys, time\n{ends}\n")
    monkeypatch.setattr(probes, "PROGRAM", program)
    monkeypatch.setattr(probes, "PROBE_SECONDS", 3.0 if error is OperationError else 0.5)
    with pytest.raises(error) as raised:
        await checked(await make(tmp_path / "a.mp4", *PICTURE, *H264))
    assert type(raised.value) is error


async def test_limits_are_named(tmp_path: Path) -> None:
    film = await make(tmp_path / "a.mp4", *PICTURE, *SOUND, *H264, "-c:a", "aac")
    for name, value, message in (
        ("media_max_input_seconds", 0, "The file has 1.0 s; the limit is 0 s"),
        ("media_max_pixels", 96 * 64 - 1, "96 x 64 pixels; the limit is 6143"),
        ("media_max_bytes", 1, "the limit is 0 MiB"),
    ):
        with pytest.raises(OperationError, match=message):
            await checked(film, **{name: value})
    assert await checked(film)


async def test_extreme_files_are_refused(tmp_path: Path) -> None:
    fast = ("-f", "lavfi", "-i", "color=size=16x16:rate=240:duration=0.1")
    path = await make(tmp_path / "fast.mp4", *fast, *H264)
    with pytest.raises(OperationError, match="240 frames a second; the limit is 120"):
        await checked(path)
    wide = ("-f", "lavfi", "-i", "color=size=3200x16:rate=25:duration=0.1", "-vf", "setsar=4/3")
    path = await make(tmp_path / "wide.mp4", *wide, *H264)
    with pytest.raises(OperationError, match="4267 x 16 pixels as shown"):
        await checked(path)
    loud = ("-f", "lavfi", "-i", "anullsrc=channel_layout=9.1.6:duration=0.1")
    path = await make(tmp_path / "many.wav", *loud)
    with pytest.raises(OperationError, match="16 channels; the limit is 8"):
        await checked(path)


async def test_own_files_have_further_formats(workspace: EngineWorkspace) -> None:
    path = await make(workspace.folder / "a.mkv", *PICTURE, "-c:v", "ffv1")
    assert (await workspace.probe(path)).seconds == pytest.approx(1, abs=0.01)
    with pytest.raises(OperationError, match="no supported format"):
        await checked(path)
