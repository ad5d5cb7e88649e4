"""What every media operation takes: `python -m tests.bench.media`.

Makes sources of 720p and 30 frames a second, runs each operation as the result of a plan, and
prints wall and processor seconds per second of output, and the memory of ffmpeg, as a Markdown
table. The last cases merge a minute of 1080p and caption it.
"""

import argparse
import asyncio
import resource
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psutil

from core.domain.plans import OperationKind
from core.media.engine.engine import Engine
from core.media.operations.port import Command, InputFile
from core.media.operations.references import references_in
from core.media.operations.registry import OPERATIONS
from core.platform.settings.media import MediaSettings
from tests.bench.servers import machine
from tests.bench.tables import table

SECONDS: Final = 10
MUSIC_SECONDS: Final = 30
WATCH_SECONDS: Final = 0.02
_PICTURE: Final = f"rate=30:duration={SECONDS},noise=alls=6:allf=t:all_seed=1"
_SOUND: Final = "sine=frequency=440:sample_rate=48000"
_ENCODED: Final = (
    *("-map", "[picture]", "-map", "[sound]", "-c:v", "libx264", "-preset", "veryfast"),
    # A key frame every two seconds, and at no other time.
    *("-crf", "20", "-pix_fmt", "yuv420p", "-g", "60", "-sc_threshold", "0", "-c:a", "aac"),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """An operation to measure. files: the source of each reference, in their order.

    aim: most wall seconds per second of output on two processors. aim_mib: most memory. kept: under
    which name a later case uses the output.
    """

    name: str
    kind: OperationKind
    published: Mapping[str, object]
    files: Sequence[str] = ("film",)
    aim: float | None = None
    aim_mib: int | None = None
    kept: str | None = None


FILE: Final = {"asset": "asset_1"}
MINUTE: Final = 60
CLIPS: Final = 6
MOST_MIB: Final = 1024
COPY_AIM: Final = 0.02


def words(seconds: int) -> list[dict[str, object]]:
    """Return two words for each second."""
    return [
        {"text": f"word{number}", "start": number / 2, "end": number / 2 + 0.4}
        for number in range(2 * seconds)
    ]


CASES: Final = (
    Case(
        name="merge, three clips with a crossfade",
        kind=OperationKind.MERGE,
        published={
            "items": [{"media": FILE}] * 3,
            "transition": {"type": "fade", "duration": 0.5},
        },
        files=("film", "film", "film"),
    ),
    Case(
        name="merge, three equal clips (copied)",
        kind=OperationKind.MERGE,
        published={"items": [{"media": FILE}] * 3},
        files=("film", "film", "film"),
        aim=COPY_AIM,
    ),
    Case(
        name="merge, a clip with music (copied)",
        kind=OperationKind.MERGE,
        published={"items": [{"media": FILE}, {"media": FILE, "volume": 0.4, "duck": True}]},
        files=("film", "music"),
        aim=COPY_AIM,
    ),
    Case(
        name="layers, picture in picture",
        kind=OperationKind.LAYERS,
        published={"items": [{"media": FILE, "main": True}, {"media": FILE, "placement": "pip"}]},
        files=("film", "film"),
    ),
    Case(
        name="captions, word by word",
        kind=OperationKind.CAPTIONS,
        published={"video": FILE, "words": words(SECONDS), "style": {"preset": "tiktok"}},
        aim=0.5,
    ),
    Case(
        name="reframe, crop",
        kind=OperationKind.REFRAME,
        published={"source": FILE, "aspectRatio": "9:16", "mode": "crop"},
    ),
    Case(
        name="reframe, blur",
        kind=OperationKind.REFRAME,
        published={"source": FILE, "aspectRatio": "9:16"},
    ),
    Case(
        name="trim, exact",
        kind=OperationKind.TRIM,
        published={"source": FILE, "start": 0.5, "end": 9.5},
    ),
    Case(
        name="trim, exact, at key frames (copied)",
        kind=OperationKind.TRIM,
        published={"source": FILE, "start": 2, "end": 10},
        aim=COPY_AIM,
    ),
    Case(
        name="trim, copy",
        kind=OperationKind.TRIM,
        published={"source": FILE, "start": 0.5, "end": 9.5, "copy": True},
        aim=COPY_AIM,
    ),
    Case(name="loudness", kind=OperationKind.LOUDNESS, published={"source": FILE}),
    Case(name="extract-audio", kind=OperationKind.EXTRACT_AUDIO, published={"source": FILE}),
    Case(name="poster at 5 s", kind=OperationKind.POSTER, published={"source": FILE, "at": 5}),
    Case(name="poster, best", kind=OperationKind.POSTER, published={"source": FILE}),
    Case(name="preview, WebP", kind=OperationKind.PREVIEW, published={"source": FILE}),
    Case(
        name="preview, GIF",
        kind=OperationKind.PREVIEW,
        published={"source": FILE, "format": "gif"},
    ),
    Case(
        name="preview, MP4",
        kind=OperationKind.PREVIEW,
        published={"source": FILE, "format": "mp4"},
    ),
)
MINUTE_CASES: Final = (
    Case(
        name="merge, six clips with crossfades, a minute of 1080p",
        kind=OperationKind.MERGE,
        published={
            "items": [{"media": FILE}] * CLIPS,
            "transition": {"type": "fade", "duration": 0.1},
        },
        files=("film",) * CLIPS,
        aim_mib=MOST_MIB,
        kept="minute",
    ),
    Case(
        name="captions of that minute",
        kind=OperationKind.CAPTIONS,
        published={"video": FILE, "words": words(MINUTE), "style": {"preset": "tiktok"}},
        files=("minute",),
        aim_mib=MOST_MIB,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a run took. output_seconds: of the file, or of its source for a still picture.

    peak_bytes: the most memory of all its processes together.
    """

    output_seconds: float
    wall_seconds: float
    processor_seconds: float
    peak_bytes: int


async def watch_memory(peak: list[int]) -> None:
    """Note the memory of all child processes, until it is cancelled."""
    own = psutil.Process()
    while True:
        resident = 0
        for child in own.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                resident += child.memory_info().rss
        peak.append(resident)
        await asyncio.sleep(WATCH_SECONDS)


async def make_sources(engine: Engine, folder: Path, size: str) -> Mapping[str, InputFile]:
    """Return a film and music, checked."""
    graphs = {
        "film": f"testsrc2=size={size}:{_PICTURE}[picture];{_SOUND}:duration={SECONDS}[sound]",
        "music": f"{_SOUND}:duration={MUSIC_SECONDS}[sound]",
    }
    made: dict[str, InputFile] = {}
    for name, graph in graphs.items():
        is_film = name == "film"
        path = folder / ("film.mp4" if is_film else "music.m4a")
        async with engine.workspace(
            inputs_bytes=0, seconds=MUSIC_SECONDS, is_final=True
        ) as workspace:
            output = workspace.folder / path.name
            await workspace.run(
                Command(
                    inputs=(),
                    filters=graph,
                    options=_ENCODED if is_film else ("-map", "[sound]", "-c:a", "aac"),
                    output=output,
                    seconds=MUSIC_SECONDS,
                )
            )
            path.write_bytes(output.read_bytes())
        made[name] = InputFile(path=path, sha256="", probe=await engine.check(path, None))
    return made


async def measure(engine: Engine, case: Case, files: dict[str, InputFile], folder: Path) -> Measure:
    """Run an operation once. folder: for an output that is kept, which is added to the files."""
    operation = OPERATIONS[case.kind]
    parameters = operation.parameters.model_validate(case.published)
    pointers = [pointer for pointer, _ in references_in(parameters)]
    inputs = {pointer: files[name] for pointer, name in zip(pointers, case.files, strict=True)}
    async with engine.workspace(
        inputs_bytes=sum(file.path.stat().st_size for file in inputs.values()),
        seconds=MINUTE,
        is_final=True,
    ) as workspace:
        peak = [0]
        watching = asyncio.create_task(watch_memory(peak))
        started, before = time.perf_counter(), _children_seconds()
        first, *_ = await operation.render(parameters, inputs, workspace)
        wall_seconds = time.perf_counter() - started
        processor_seconds = _children_seconds() - before
        watching.cancel()
        probe = await workspace.probe(first.path)
        if case.kept is not None:
            path = folder / f"{case.kept}.mp4"
            first.path.rename(path)
            files[case.kept] = InputFile(path=path, sha256="", probe=probe)
        return Measure(
            output_seconds=probe.seconds or SECONDS,
            wall_seconds=wall_seconds,
            processor_seconds=processor_seconds,
            peak_bytes=max(peak),
        )


def _children_seconds() -> float:
    """Return the processor time of all ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


HEAD: Final = (
    "operation", "wall s", "CPU s", "wall s per s", "CPU s per s", "most MiB", "aim",
)  # fmt: skip


def row(case: Case, best: Measure) -> list[str]:
    """Return a row of the table."""
    wall, mib = best.wall_seconds / best.output_seconds, best.peak_bytes / 1024**2
    aims: list[str] = []
    if case.aim is not None:
        aims.append(f"{case.aim:g} wall s per s {'✓' if wall <= case.aim else '✗'}")
    if case.aim_mib is not None:
        aims.append(f"{case.aim_mib} MiB {'✓' if mib <= case.aim_mib else '✗'}")
    return [
        case.name,
        f"{best.wall_seconds:.2f}",
        f"{best.processor_seconds:.2f}",
        f"{wall:.3f}",
        f"{best.processor_seconds / best.output_seconds:.3f}",
        f"{mib:.0f}",
        ", ".join(aims),
    ]


def write(line: str) -> None:
    """Write a line to standard output at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def run_cases(
    cases: Sequence[Case], *, rounds: int, size: str, only: str
) -> AsyncGenerator[list[str]]:
    """Yield a row for each case: of its round with the least wall time."""
    chosen = [case for case in cases if only in case.name or case.kept]
    if not chosen:
        return
    with TemporaryDirectory() as name:
        engine = await Engine.start(MediaSettings(media_scratch_folder=Path(name, "scratch")))
        try:
            files = dict(await make_sources(engine, Path(name), size))
            for case in chosen:
                measures = [await measure(engine, case, files, Path(name)) for _ in range(rounds)]
                yield row(case, min(measures, key=lambda one: one.wall_seconds))
        finally:
            engine.close()


async def main(rounds: int, size: str, only: str, *, minute: bool) -> None:
    """Print the table."""
    rows: list[list[str]] = []
    async for cells in run_cases(CASES, rounds=rounds, size=size, only=only):
        rows.append(cells)
        write(f"  {' | '.join(cells)}")
    if minute:
        async for cells in run_cases(MINUTE_CASES, rounds=1, size="1920x1080", only=only):
            rows.append(cells)
            write(f"  {' | '.join(cells)}")
    write(f"\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}, sources {size}\n")
    write(table(HEAD, rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.media", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--size", default="1280x720", help="of the sources")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with this in their name")
    parser.add_argument("--no-minute", action="store_true", help="without the minute of 1080p")
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.size, given.only, minute=not given.no_minute))
