"""Runs of ffmpeg in a workspace: their bytes, their log, their progress and their end."""

import re
from pathlib import Path

import pytest

from core.domain.media.content import MediaKind
from core.media.engine.child import Isolation
from core.media.engine.commands import command_line
from core.media.engine.engine import Engine
from core.media.engine.workspace import EngineWorkspace
from core.media.operations.port import Command, CommandInput, InputFile, OperationError
from core.platform.settings.media import MediaSettings

FILM = (
    "testsrc2=size=160x120:rate=25:duration=1[picture];"
    "sine=frequency=440:sample_rate=48000:duration=1[sound]"
)
ENCODED = (
    *("-map", "[picture]", "-map", "[sound]", "-c:v", "libx264", "-preset", "ultrafast"),
    *("-pix_fmt", "yuv420p", "-c:a", "aac"),
)


def film(output: Path) -> Command:
    return Command(inputs=(), filters=FILM, options=ENCODED, output=output, seconds=1)


async def made_film(workspace: EngineWorkspace) -> InputFile:
    path = workspace.folder / "film.mp4"
    await workspace.run(film(path))
    return InputFile(path=path, sha256="", probe=await workspace.probe(path))


async def test_same_command_gives_identical_bytes(engine: Engine) -> None:
    made: list[bytes] = []
    for _ in range(2):
        async with engine.workspace(inputs_bytes=0, seconds=1, is_final=True) as workspace:
            output = workspace.folder / "film.mp4"
            await workspace.run(film(output))
            made.append(output.read_bytes())
    assert made[0] == made[1]
    assert re.search(rb"Lav[cf]\d", made[0]) is None, "the version of a library is in the file"


@pytest.mark.parametrize("isolation", [Isolation.CALLS, Isolation.NONE])
async def test_weaker_isolation_makes_the_same_file(
    isolation: Isolation, workspace: EngineWorkspace
) -> None:
    first, second = workspace.folder / "first.mp4", workspace.folder / "second.mp4"
    await workspace.run(film(first))
    workspace.isolation = isolation
    await workspace.run(film(second))
    assert first.read_bytes() == second.read_bytes()


async def test_probe_reports_what_was_made(workspace: EngineWorkspace) -> None:
    probe = (await made_film(workspace)).probe
    assert probe is not None
    assert (probe.kind, probe.format_name) == (MediaKind.VIDEO, "mov")
    assert (probe.width, probe.height, probe.frame_rate, probe.frames) == (160, 120, 25, 25)
    assert (probe.video_codec, probe.audio_codec, probe.sample_rate) == ("h264", "aac", 48_000)
    assert probe.seconds == pytest.approx(1, abs=0.03)


async def test_every_input_has_its_guards(workspace: EngineWorkspace) -> None:
    """Two layers refuse other protocols, so no attack shows that one of them is missing."""
    source = await made_film(workspace)
    command = Command(inputs=[CommandInput(file=source)] * 2, output=None, seconds=1)
    assert source.probe is not None
    arguments = command_line(
        command,
        program=workspace.program,
        folder=workspace.folder,
        graph=workspace.folder / "graph.txt",
        probes=[source.probe] * 2,
        threads=1,
        max_pixels=1000,
    )
    guards = (
        *("-protocol_whitelist", "file", "-format_whitelist", "mov", "-f", "mov"),
        *("-max_pixels", "1000", "-threads", "1", "-i", "file:film.mp4"),
    )
    assert " ".join(guards * 2) in " ".join(arguments)


async def test_measuring_run_returns_the_log(workspace: EngineWorkspace) -> None:
    source = await made_film(workspace)
    log = await workspace.run(
        Command(
            inputs=(CommandInput(file=source),),
            filters="[0:a]volumedetect[sound]",
            options=("-map", "[sound]"),
            output=None,
            seconds=1,
        )
    )
    assert "mean_volume" in log


async def test_progress_never_falls_and_is_below_1(engine: Engine) -> None:
    shares: list[float] = []
    async with engine.workspace(
        inputs_bytes=0, seconds=1, is_final=False, on_progress=shares.append
    ) as workspace:
        for name in ("a.mp4", "b.mp4"):
            await workspace.run(film(workspace.folder / name))
    assert len(shares) >= 2
    assert shares == sorted(shares)
    assert 0 < shares[-1] < 1


async def test_failed_command_names_its_reason_without_paths(workspace: EngineWorkspace) -> None:
    source = await made_film(workspace)
    command = Command(
        inputs=(CommandInput(file=source),),
        filters="[0:v]overlay[picture]",
        options=("-map", "[picture]"),
        output=workspace.folder / "out.mp4",
        seconds=1,
    )
    with pytest.raises(OperationError) as caught:
        await workspace.run(command)
    assert str(caught.value).startswith("The media program reports: ")
    assert str(workspace.folder.parent) not in str(caught.value)


async def test_output_over_the_limit_is_refused_before_the_run(tmp_path: Path) -> None:
    settings = MediaSettings(media_scratch_folder=tmp_path, media_max_output_seconds=2)
    engine = await Engine.start(settings)
    try:
        async with engine.workspace(inputs_bytes=0, seconds=3, is_final=False) as workspace:
            output = workspace.folder / "film.mp4"
            command = Command(inputs=(), filters=FILM, options=ENCODED, output=output, seconds=3)
            with pytest.raises(OperationError, match="the limit is 2 s"):
                await workspace.run(command)
    finally:
        engine.close()


async def test_folder_is_deleted_and_warnings_stay(engine: Engine) -> None:
    async with engine.workspace(inputs_bytes=0, seconds=1, is_final=False) as workspace:
        (workspace.folder / "file").write_bytes(b"x")
        workspace.warn("The transition is shorter than requested.")
        workspace.warn("The transition is shorter than requested.")
    assert not workspace.folder.exists()
    assert workspace.warnings == ["The transition is shorter than requested."]


async def test_key_names_program_fonts_and_threads(engine: Engine, tmp_path: Path) -> None:
    other = await Engine.start(MediaSettings(media_threads=2, media_scratch_folder=tmp_path))
    other.close()
    assert engine.key != other.key
    assert engine.key.split(".")[:2] == other.key.split(".")[:2]
