"""The command line of a run: what an operation demands, and every guard around it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from core.media.engine.program import Program
from core.media.operations.port import Command, CommandInput, InputFile, Probe

_ALPHA_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""ffmpeg's own decoders of these drop the transparency of WebM."""
_EXTRA_SECONDS: Final = 2.0
_EXTRA_SHARE: Final = 1.05


def command_line(
    command: Command,
    *,
    program: Program,
    folder: Path,
    graph: Path,
    probes: Sequence[Probe],
    threads: int,
    max_pixels: int,
) -> tuple[str, ...]:
    """Return the arguments of a run. probes: of the inputs, in their order.

    graph: the file of the filter graph, which must exist if the command has one. Decoders and
    encoders have a fixed number of threads and filters one, because other numbers give other bytes.
    """
    inputs = zip(command.inputs, probes, strict=True)
    return (
        str(program.path),
        *("-nostdin", "-hide_banner", "-nostats", "-benchmark", "-loglevel", "level+info"),
        *("-progress", "pipe:1", "-stats_period", "0.5"),
        *("-filter_threads", "1", "-filter_complex_threads", "1"),
        *(
            argument
            for source, probe in inputs
            for argument in _input(source, probe, folder, threads, max_pixels)
        ),
        *((program.graph_option, _name(graph, folder)) if command.filters else ()),
        *_output(command, folder, threads),
    )


def _input(
    source: CommandInput, probe: Probe, folder: Path, threads: int, max_pixels: int
) -> Iterator[str]:
    path = source.file.path if isinstance(source.file, InputFile) else source.file
    yield from ("-protocol_whitelist", "file", "-format_whitelist", probe.format_name)
    yield from ("-f", probe.format_name, "-max_pixels", str(max_pixels))
    yield from ("-threads", str(threads))
    decoder = _ALPHA_DECODERS.get(probe.video_codec)
    if probe.has_alpha and decoder:
        yield from ("-c:v", decoder)
    yield from source.options
    yield from ("-i", f"file:{_name(path, folder)}")


def _output(command: Command, folder: Path, threads: int) -> Iterator[str]:
    yield from ("-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1")
    yield from ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
    yield from ("-threads", str(threads))
    yield from ("-t", f"{command.seconds * _EXTRA_SHARE + _EXTRA_SECONDS:.3f}")
    yield from command.options
    if command.output is None:
        yield from ("-f", "null", "-")
    else:
        yield from ("-y", f"file:{_name(command.output, folder)}")


def _name(path: Path, folder: Path) -> str:
    """Return a path as the child sees it, which works in the folder."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path.absolute())
