"""Files that attack the engine, against the real program. Each attack works without its guard."""

import asyncio
import struct
import subprocess
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.domain.media.content import MediaKind
from core.media.engine import launcher
from core.media.engine.child import Ended, Isolation, Limits, raise_for_end, run_child
from core.media.engine.engine import Engine
from core.media.engine.program import find_program
from core.media.engine.workspace import EngineWorkspace
from core.media.operations.port import Command, CommandInput, InputFile, OperationError, Probe

SECRET = b"the content of another file"
LIMITS = Limits(memory_bytes=2 * 1024**3, cpu_seconds=20, file_bytes=64 * 1024**2)


def input_file(path: Path, format_name: str) -> InputFile:
    """Return a file as if the probe had taken it for this format."""
    return InputFile(
        path=path, sha256="", probe=Probe(kind=MediaKind.VIDEO, format_name=format_name, seconds=1)
    )


def copied(source: InputFile, output: Path) -> Command:
    return Command(
        inputs=(CommandInput(file=source),),
        options=("-map", "0", "-c", "copy", "-f", "nut"),
        output=output,
        seconds=1,
    )


async def ffmpeg(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program without any guard."""
    program = (await find_program(None)).path
    return await asyncio.to_thread(
        subprocess.run,
        (program, "-nostdin", "-v", "error", *arguments),
        capture_output=True,
        check=False,
    )


async def run_alone(
    *arguments: str,
    folder: Path,
    limits: Limits = LIMITS,
    isolation: Isolation = Isolation.NONE,
) -> Ended:
    program = str((await find_program(None)).path)
    return await run_child(
        (program, "-nostdin", "-loglevel", "level+info", *arguments),
        folder=folder,
        environment={},
        limits=limits,
        isolation=isolation,
        on_seconds=lambda _: None,
    )


def raise_for(ended: Ended, folder: Path, limits: Limits = LIMITS) -> None:
    raise_for_end(ended, limits=limits, folder=folder, disk_is_full=False)


# ---- playlists


def lists(secret: Path) -> dict[str, str]:
    return {
        "concat": f"ffconcat version 1.0\nfile {secret.name}\n",
        "hls": (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret.as_uri()}\n#EXT-X-ENDLIST\n"
        ),
    }


@pytest.fixture
def secret(workspace: EngineWorkspace) -> Path:
    """Return a film with a text in it, in the same folder as the attacking file."""
    path = workspace.folder / "secret.wav"
    sound = SECRET.ljust(48_000, b"\0")
    head = struct.pack(
        "<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, 48_000, 96_000, 2, 16, b"data", len(sound)
    )
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 4 + len(head) + len(sound)) + b"WAVE" + head + sound
    )
    return path


@pytest.mark.parametrize("name", ["concat", "hls"])
async def test_list_named_mp4_is_refused(
    name: str, engine: Engine, workspace: EngineWorkspace, secret: Path
) -> None:
    attack = workspace.folder / "x.mp4"
    attack.write_text(lists(secret)[name])
    with pytest.raises(OperationError, match="no supported format"):
        await engine.check(attack, MediaKind.VIDEO)


@pytest.mark.parametrize("name", ["concat", "hls"])
@pytest.mark.parametrize("form", ["mov", "matroska"])
async def test_list_reads_no_other_file_past_the_check(
    name: str, form: str, workspace: EngineWorkspace, secret: Path
) -> None:
    attack, output = workspace.folder / "x.mp4", workspace.folder / "out.nut"
    attack.write_text(lists(secret)[name])
    with pytest.raises(OperationError):
        await workspace.run(copied(input_file(attack, form), output))
    assert not output.exists() or SECRET not in output.read_bytes()


async def test_list_reads_another_file_without_the_guard(
    workspace: EngineWorkspace, secret: Path
) -> None:
    attack, output = workspace.folder / "x.mp4", workspace.folder / "out.nut"
    attack.write_text(lists(secret)["concat"])
    await ffmpeg("-i", str(attack), "-c", "copy", str(output))
    assert SECRET in output.read_bytes()


# ---- the network


@asynccontextmanager
async def listener() -> AsyncGenerator[tuple[int, list[str]]]:
    """Yield the port of a server on this machine, and the connections that it got."""
    connections: list[str] = []

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append("one")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], connections


@pytest.mark.parametrize(
    ("isolation", "reason"),
    [
        (Isolation.USER, "unreachable"),
        (Isolation.NETWORK, "unreachable"),
        (Isolation.CALLS, "not permitted"),
    ],
)
async def test_child_reaches_no_server(isolation: Isolation, reason: str, tmp_path: Path) -> None:
    async with listener() as (port, connections):
        arguments = ("-i", f"tcp://127.0.0.1:{port}", "-f", "null", "-")
        await run_alone(*arguments, folder=tmp_path)
        assert connections, "the attack must work without isolation"
        connections.clear()
        ended = await run_alone(*arguments, folder=tmp_path, isolation=isolation)
        if ended.exit_code == launcher.FAILED:
            pytest.skip(f"this machine forbids the layer: {ended.log}")
        assert ended.exit_code != 0
        assert reason in ended.log
        assert connections == []


def test_this_machine_has_a_layer_against_the_network(engine: Engine) -> None:
    assert engine.isolation is not Isolation.NONE


async def test_list_may_name_no_protocol(engine: Engine, workspace: EngineWorkspace) -> None:
    """The whitelist of protocols refuses an address even where namespaces are forbidden."""
    workspace.isolation = Isolation.NONE
    attack = workspace.folder / "x.m3u8"
    async with listener() as (port, connections):
        attack.write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n"
            f"http://127.0.0.1:{port}/x.ts\n#EXT-X-ENDLIST\n"
        )
        protocols = ("-protocol_whitelist", "file,http,tcp")
        await ffmpeg(*protocols, "-i", str(attack), "-f", "null", "-")
        assert connections, "the attack must work without the guard"
        connections.clear()
        with pytest.raises(OperationError):
            await workspace.run(copied(input_file(attack, "hls"), workspace.folder / "out.nut"))
        assert connections == []


# ---- too much


def huge_png(side: int) -> bytes:
    """Return a small file with a picture of this many pixels on each side."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


async def test_picture_with_too_many_pixels_is_refused(
    engine: Engine, workspace: EngineWorkspace
) -> None:
    attack = workspace.folder / "x.png"
    attack.write_bytes(huge_png(14_000))
    assert attack.stat().st_size < 100_000
    with pytest.raises(OperationError, match="14000 x 14000 pixels; the limit is 40000000"):
        await engine.check(attack, MediaKind.IMAGE)
    with pytest.raises(OperationError):
        await workspace.run(
            Command(
                inputs=(CommandInput(file=input_file(attack, "png_pipe")),),
                filters="[0:v]scale=16:16[picture]",
                options=("-map", "[picture]"),
                output=workspace.folder / "out.png",
                seconds=0,
            )
        )


async def test_processor_time_is_limited(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=LIMITS.memory_bytes, cpu_seconds=1, file_bytes=1024**2)
    ended = await run_alone(
        "-f",
        "lavfi",
        "-i",
        "mandelbrot=size=640x360",
        "-f",
        "null",
        "-",
        folder=tmp_path,
        limits=limits,
    )
    with pytest.raises(OperationError, match="more than 1 s of processor time"):
        raise_for(ended, tmp_path, limits)


async def test_size_of_an_output_is_limited(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=LIMITS.memory_bytes, cpu_seconds=20, file_bytes=1024**2)
    ended = await run_alone(
        "-f",
        "lavfi",
        "-i",
        "color=size=640x480",
        "-c:v",
        "rawvideo",
        "-f",
        "nut",
        "out.nut",
        folder=tmp_path,
        limits=limits,
    )
    with pytest.raises(OperationError, match="more than 1 MiB"):
        raise_for(ended, tmp_path, limits)
    assert (tmp_path / "out.nut").stat().st_size <= limits.file_bytes


async def test_memory_is_limited(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=512 * 1024**2, cpu_seconds=20, file_bytes=1024**2)
    ended = await run_alone(
        "-f",
        "lavfi",
        "-i",
        "color=size=8000x8000:duration=1",
        "-c:v",
        "libx264",
        "-f",
        "null",
        "-",
        folder=tmp_path,
        limits=limits,
    )
    with pytest.raises(OperationError, match="512 MiB of memory"):
        raise_for(ended, tmp_path, limits)


async def test_log_of_a_run_is_bounded(tmp_path: Path) -> None:
    ended = await run_alone(
        "-f",
        "lavfi",
        "-i",
        "color=size=16x16:rate=1200:duration=1,showinfo",
        "-f",
        "null",
        "-",
        folder=tmp_path,
    )
    assert ended.exit_code == 0
    assert len(ended.log) == 256 * 1024
