"""Take the sound out of a film, or convert a sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.film import sounds
from core.media.operations.film.encoding import (
    REPRODUCIBLE,
    SAMPLE_RATE,
    SOUND,
    SOUND_BIT_RATE,
    mp4_options,
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
    Workspace,
)
from core.media.operations.references import Reference
from core.media.operations.single.source import SOURCE, sound_graph, source_of

MONO_BIT_RATE: Final = "96k"
_NO_SOUND: Final = "The video has no sound."


class SoundFormat(StrEnum):
    MP3 = "mp3"
    M4A = "m4a"
    WAV = "wav"


@dataclass(frozen=True, slots=True)
class Encoding:
    """codec: of ffmpeg. container: its options. is_lossy: whether it has a bit rate."""

    codec: str
    container: tuple[str, ...]
    is_lossy: bool = True


ENCODINGS: Final[Mapping[SoundFormat, Encoding]] = {
    SoundFormat.MP3: Encoding("libmp3lame", ("-f", "mp3")),
    SoundFormat.M4A: Encoding("aac", mp4_options(sound_only=True)),
    SoundFormat.WAV: Encoding("pcm_s16le", ("-f", "wav"), is_lossy=False),
}


class ExtractAudioParameters(OperationParameters):
    """The parameters of extract-audio. mono: the mean of both channels in one."""

    source: Reference
    format: SoundFormat = SoundFormat.MP3
    mono: bool = False


class ExtractAudio:
    """Take the sound out. It is as long as the film, so its times are those of the film."""

    kind: ClassVar[OperationKind] = OperationKind.EXTRACT_AUDIO
    schema_number: ClassVar[int] = 1
    parameters = ExtractAudioParameters

    def accepts(self, parameters: ExtractAudioParameters, pointer: str) -> frozenset[MediaKind]:
        return frozenset({MediaKind.VIDEO, MediaKind.AUDIO})

    def outputs(
        self, parameters: ExtractAudioParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        return (Output(name="audio", kind=MediaKind.AUDIO),)

    def expect(
        self, parameters: ExtractAudioParameters, inputs: Mapping[str, Expected]
    ) -> Expected:
        return Expected(kind=MediaKind.AUDIO, seconds=inputs[SOURCE].seconds, has_sound=True)

    def faults(
        self, parameters: ExtractAudioParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Fault]:
        silent = inputs[SOURCE].has_sound is False
        return (Fault(pointer=SOURCE, message=_NO_SOUND),) if silent else ()

    async def render(
        self,
        parameters: ExtractAudioParameters,
        inputs: Mapping[str, InputFile],
        workspace: Workspace,
    ) -> Sequence[OutputFile]:
        file, probe = source_of(inputs)
        if probe.audio_stream is None:
            raise OperationError(_NO_SOUND, pointer=SOURCE)
        encoding = ENCODINGS[parameters.format]
        channels = 1 if parameters.mono else 2
        rate = MONO_BIT_RATE if parameters.mono else SOUND_BIT_RATE
        mixed = "pan=mono|c0=0.5*c0+0.5*c1" if parameters.mono else "anull"
        path = workspace.folder / f"sound.{parameters.format}"
        await workspace.run(
            Command(
                inputs=[CommandInput(file=file)],
                filters=sound_graph(probe, sounds.samples(probe.seconds), then=mixed),
                options=[
                    *("-map", SOUND, "-c:a", encoding.codec),
                    *(("-b:a", rate) if encoding.is_lossy else ()),
                    *("-ar", str(SAMPLE_RATE), "-ac", str(channels)),
                    *REPRODUCIBLE,
                    *encoding.container,
                ],
                output=path,
                seconds=probe.seconds,
            )
        )
        return (OutputFile(name="audio", path=path),)
