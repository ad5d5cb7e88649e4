"""Bring a sound, or the sound of a film, to a loudness."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.film import pictures, sounds
from core.media.operations.film.copying import is_plain
from core.media.operations.film.encoding import (
    REPRODUCIBLE,
    SAMPLE_RATE,
    SOUND,
    film_options,
    mp4_options,
    sound_file_options,
    sound_options,
)
from core.media.operations.port import (
    Command,
    CommandInput,
    Expected,
    Fault,
    InputFile,
    OperationError,
    OperationParameters,
    Output,
    OutputFile,
    Probe,
    Workspace,
)
from core.media.operations.references import Reference
from core.media.operations.single.source import (
    SOURCE,
    expected_film,
    film_graph,
    own_canvas,
    same_kind,
    sound_graph,
    source_of,
)

UNCHANGED: Final = "anull"
SILENCE_LUFS: Final = -70.0
"""Sound that is as quiet has no loudness by EBU R 128."""
SHORTEST_MEASURED_SECONDS: Final = 3.0
"""A shorter sound is measured in repetition."""
TOLERANCE: Final = 0.3
"""In LU: limited peaks take loudness with them, so the level is raised until this is left."""
MOST_TRIES: Final = 4
RAISE: Final = 1.5
"""For each missing LU in dB: the limiter takes a part of every raise."""
PEAK_MARGIN: Final = 0.3
"""In dB: how far encoding may raise a limited peak."""
_OVERSAMPLED: Final = 4 * SAMPLE_RATE
"""A limiter at this rate sees the peaks between samples."""
_METER: Final = "ebur128=peak=true:framelog=quiet"
_INTEGRATED: Final = re.compile(r"\bI: +(\S+) LUFS")
_PEAK: Final = re.compile(r"\bPeak: +(\S+) dBFS")


class LoudnessParameters(OperationParameters):
    """The parameters of loudness.

    target: in LUFS, integrated over the file; -14 is usual in social media. true_peak: in dBTP.
    mode: the sound is measured first, then its level is changed by a constant.
    """

    source: Reference
    target: Annotated[float, Field(ge=-31, le=-9)] = -16.0
    true_peak: Annotated[float, Field(ge=-9, le=0)] = -1.5
    mode: Literal["two-pass"] = "two-pass"


@dataclass(frozen=True, slots=True)
class Measure:
    """integrated: in LUFS. peak: in dBTP. Both may be -inf."""

    integrated: float
    peak: float

    @property
    def is_silent(self) -> bool:
        return not isfinite(self.integrated) or self.integrated <= SILENCE_LUFS


class Loudness:
    """Change the level of a sound by a constant; limit its peaks only if they would be too high.

    A picture that is already as every output is copied.
    """

    kind: ClassVar[OperationKind] = OperationKind.LOUDNESS
    schema_number: ClassVar[int] = 1
    parameters = LoudnessParameters

    def accepts(self, parameters: LoudnessParameters, pointer: str) -> frozenset[MediaKind]:
        return frozenset({MediaKind.VIDEO, MediaKind.AUDIO})

    def outputs(
        self, parameters: LoudnessParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        return same_kind(inputs)

    def expect(self, parameters: LoudnessParameters, inputs: Mapping[str, Expected]) -> Expected:
        return expected_film(inputs[SOURCE])

    def faults(
        self, parameters: LoudnessParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Fault]:
        return ()

    async def render(
        self, parameters: LoudnessParameters, inputs: Mapping[str, InputFile], workspace: Workspace
    ) -> Sequence[OutputFile]:
        file, probe = source_of(inputs)
        change = await _change_of(file, probe, parameters, workspace)
        path = await _encode(file, probe, change, workspace)
        return (OutputFile(name=probe.kind.value, path=path),)


async def _change_of(
    file: InputFile, probe: Probe, parameters: LoudnessParameters, workspace: Workspace
) -> str:
    """Return the chain that changes the level; it changes nothing for silence."""
    if probe.audio_stream is None:
        workspace.warn("The source has no sound, so its loudness was not changed.")
        return UNCHANGED
    measured = await _measure(file, probe, UNCHANGED, workspace)
    if measured.is_silent:
        workspace.warn("The sound is silent, so its loudness was not changed.")
        return UNCHANGED
    gain = parameters.target - measured.integrated
    if measured.peak + gain <= parameters.true_peak:
        return f"volume={pictures.number(gain)}dB"
    change, missing = UNCHANGED, 0.0
    for _ in range(MOST_TRIES):
        change = _limited(gain, parameters.true_peak)
        measured = await _measure(file, probe, change, workspace)
        missing = parameters.target - measured.integrated
        if abs(missing) <= TOLERANCE:
            return change
        gain += RAISE * missing
    workspace.warn(
        f"The loudness is {parameters.target - missing:.1f} LUFS instead of "
        f"{parameters.target:g}: more would need peaks over {parameters.true_peak:g} dBTP."
    )
    return change


def _limited(gain: float, true_peak: float) -> str:
    """Return a chain that changes the level and keeps the peaks under a limit, both in dB."""
    limit = 10 ** ((true_peak - PEAK_MARGIN) / 20)
    return (
        f"volume={pictures.number(gain)}dB,aresample={_OVERSAMPLED},"
        f"alimiter=limit={pictures.number(limit)}:attack=5:release=50:level=0:latency=1,"
        f"aresample={SAMPLE_RATE}"
    )


async def _measure(file: InputFile, probe: Probe, change: str, workspace: Workspace) -> Measure:
    """Return the loudness after a change."""
    length = sounds.samples(probe.seconds)
    seconds = max(probe.seconds, SHORTEST_MEASURED_SECONDS)
    repeated = ""
    if length < sounds.samples(SHORTEST_MEASURED_SECONDS):
        repeated = f"aloop=loop=-1:size={length},{sounds.cut(0, seconds)},"
    log = await workspace.run(
        Command(
            inputs=[CommandInput(file=file)],
            filters=sound_graph(probe, length, then=f"{repeated}{change},{_METER}"),
            options=("-map", SOUND),
            output=None,
            seconds=seconds,
        )
    )
    integrated, peak = _INTEGRATED.findall(log), _PEAK.findall(log)
    if not integrated or not peak:
        raise OperationError("The loudness of the sound cannot be measured.", pointer=SOURCE)
    return Measure(float(integrated[-1]), float(peak[-1]))


async def _encode(file: InputFile, probe: Probe, change: str, workspace: Workspace) -> Path:
    length = sounds.samples(probe.seconds)
    if probe.kind is MediaKind.AUDIO:
        path = workspace.folder / "levelled.m4a"
        graph, options = sound_graph(probe, length, then=change), sound_file_options()
    else:
        path = workspace.folder / "levelled.mp4"
        graph, options = _film(probe, change, is_final=workspace.is_final)
    await workspace.run(
        Command(
            inputs=[CommandInput(file=file)],
            filters=graph,
            options=options,
            output=path,
            seconds=probe.seconds,
        )
    )
    return path


def _film(probe: Probe, change: str, *, is_final: bool) -> tuple[str, Sequence[str]]:
    """Return the graph and the options of a film with changed sound, if it has any."""
    has_sound = probe.audio_stream is not None
    canvas = own_canvas(probe)
    frames = canvas.frames(probe.seconds)
    graphs: list[str] = []
    if has_sound:
        length = sounds.samples(probe.seconds) if is_plain(probe) else canvas.samples(frames)
        graphs.append(sound_graph(probe, length, then=change))
    if is_plain(probe):
        encoded = ("-map", SOUND, *sound_options()) if has_sound else ()
        picture = ("-map", f"0:{probe.video_stream}", "-c:v", "copy")
        return ";".join(graphs), (*picture, *encoded, *REPRODUCIBLE, *mp4_options())
    graphs.append(film_graph(probe, canvas))
    options = film_options(is_final=is_final, frame_rate=canvas.frame_rate, has_sound=has_sound)
    return ";".join(graphs), options
