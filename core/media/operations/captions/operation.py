"""`captions`: spoken words drawn on the frames of a video, and as text files."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.fonts.packaged import SANS, family_of
from core.media.operations.captions.ass import ass_file
from core.media.operations.captions.grouping import Caption, group
from core.media.operations.captions.layout import Page
from core.media.operations.captions.parameters import CaptionsParameters
from core.media.operations.captions.sidecars import srt_file, vtt_file
from core.media.operations.captions.words import MAX_TRANSCRIPT_BYTES, Word, place, read_transcript
from core.media.operations.film import pictures, sounds
from core.media.operations.film.canvas import (
    Canvas,
    Size,
    choose_canvas,
    film_rate,
    film_seconds,
    film_size,
)
from core.media.operations.film.encoding import PICTURE, SOUND, film_options
from core.media.operations.port import (
    Command,
    Expected,
    Fault,
    InputFile,
    OperationError,
    Output,
    OutputFile,
    Probe,
    Workspace,
)
from core.media.operations.references import Reference

_VIDEO: Final = "video"
_ASS: Final = "ass"
_NO_WORDS: Final = (
    "has no words with times. Name a transcript: the output of a transcript step, the output "
    '"words" of an audio step, or a list of words.'
)


class Captions:
    """Shows words while they are spoken."""

    kind: ClassVar[OperationKind] = OperationKind.CAPTIONS
    schema_number: ClassVar[int] = 1
    parameters: type[CaptionsParameters] = CaptionsParameters

    def accepts(self, parameters: CaptionsParameters, pointer: str) -> frozenset[MediaKind]:
        """Return the kinds; sound and video are accepted as words only for a better error."""
        if pointer == _VIDEO:
            return frozenset({MediaKind.VIDEO})
        return frozenset({MediaKind.TRANSCRIPT, MediaKind.AUDIO, MediaKind.VIDEO})

    def outputs(
        self, parameters: CaptionsParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        """Return the video, if captions are burned in, and the text files."""
        video = (Output(name=_VIDEO, kind=MediaKind.VIDEO),) if parameters.burn else ()
        return (*video, *(Output(name=name, kind=MediaKind.TEXT) for name in parameters.sidecar))

    def expect(self, parameters: CaptionsParameters, inputs: Mapping[str, Expected]) -> Expected:
        """Return a video of the same length and size, at a constant frame rate."""
        if not parameters.burn:
            return Expected(kind=MediaKind.TEXT)
        video = inputs[_VIDEO]
        size = None
        if video.width is not None and video.height is not None:
            size = film_size(Size(video.width, video.height), MediaKind.VIDEO)
        return Expected(
            kind=MediaKind.VIDEO,
            seconds=video.seconds,
            width=size.width if size else None,
            height=size.height if size else None,
            frame_rate=float(film_rate(video.frame_rate)) if video.frame_rate else None,
            has_sound=video.has_sound,
        )

    def faults(
        self, parameters: CaptionsParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Fault]:
        """Return whether the words are a file without words: this step does not transcribe."""
        words = inputs.get("words")
        if words is None or words.kind is MediaKind.TRANSCRIPT:
            return ()
        return (Fault(pointer="words", message=_NO_WORDS),)

    async def render(
        self,
        parameters: CaptionsParameters,
        inputs: Mapping[str, InputFile],
        workspace: Workspace,
    ) -> Sequence[OutputFile]:
        """Write the text files, and draw one of them on the frames."""
        video = inputs[_VIDEO]
        film = _film_of(pictures.probe_of(video))
        texts = await asyncio.to_thread(_texts, parameters, inputs, film, workspace)
        paths = {name: workspace.folder / f"captions.{name}" for name in texts}
        for name, path in paths.items():
            path.write_text(texts[name], encoding="utf-8")
        made = [OutputFile(name=name, path=paths[name]) for name in parameters.sidecar]
        if parameters.burn:
            made.insert(0, await _burned(video, film, workspace, has_captions=_ASS in texts))
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Film:
    """The captioned film."""

    canvas: Canvas
    frames: int

    @property
    def seconds(self) -> float:
        return self.canvas.seconds(self.frames)


def _film_of(probe: Probe) -> _Film:
    canvas = choose_canvas([probe])
    return _Film(canvas=canvas, frames=canvas.frames(film_seconds(probe)))


def _texts(
    parameters: CaptionsParameters,
    inputs: Mapping[str, InputFile],
    film: _Film,
    workspace: Workspace,
) -> dict[str, str]:
    """Return the text files by name; without words none is drawn on the frames."""
    words, language = _words(parameters, inputs)
    placed, outside = place(words, shift=parameters.shift or 0.0, seconds=film.seconds)
    if outside:
        workspace.warn(
            f"words: {outside} of {len(words)} words are spoken before or after the film, which "
            f"lasts {film.seconds:.2f} s, and are not shown."
        )
    if not placed:
        workspace.warn("words: there are no words in the film, so it has no captions.")
    style = parameters.style
    family = family_of(style.font_family)
    if family is None:
        workspace.warn(
            f'style/fontFamily: the font "{style.font_family}" is not available; {SANS} is used.'
        )
    size = film.canvas.size
    page = Page(width=size.width, height=size.height, style=style, family=family or SANS)
    captions: list[Caption] = group(placed, style, page.fits)
    texts: dict[str, str] = {}
    if _ASS in parameters.sidecar or (parameters.burn and captions):
        texts[_ASS] = ass_file(captions, page, film.canvas.frame_rate, language)
    if "srt" in parameters.sidecar:
        texts["srt"] = srt_file(captions)
    if "vtt" in parameters.sidecar:
        texts["vtt"] = vtt_file(captions)
    return texts


def _words(
    parameters: CaptionsParameters, inputs: Mapping[str, InputFile]
) -> tuple[list[Word], str | None]:
    if not isinstance(parameters.words, Reference):
        words = [
            Word(text=word.text, start=word.start, end=word.end, speaker=word.speaker)
            for word in parameters.words
        ]
        return words, parameters.language
    file = inputs["words"]
    if file.probe is not None:
        raise OperationError(f"words {_NO_WORDS}", pointer="words")
    with file.path.open("rb") as transcript:
        words, language = read_transcript(transcript.read(MAX_TRANSCRIPT_BYTES + 1))
    return words, parameters.language or language


async def _burned(
    video: InputFile, film: _Film, workspace: Workspace, *, has_captions: bool
) -> OutputFile:
    probe, canvas = pictures.probe_of(video), film.canvas
    drawn = f",ass=filename=captions.{_ASS}" if has_captions else ""
    filters = (
        f"[0:{probe.video_stream}]{pictures.at_rate(canvas)},{pictures.scaled(probe, canvas.size)},"
        f"{pictures.lasting(film.frames)}{drawn}{PICTURE}"
    )
    has_sound = probe.audio_stream is not None
    if has_sound:
        length = canvas.samples(film.frames)
        filters += (
            f";\n[0:{probe.audio_stream}]{sounds.stereo(probe)},{sounds.lasting(length)}{SOUND}"
        )
    path = workspace.folder / "captioned.mp4"
    await workspace.run(
        Command(
            inputs=[pictures.decoded(video)],
            filters=filters,
            options=film_options(
                is_final=workspace.is_final, frame_rate=canvas.frame_rate, has_sound=has_sound
            ),
            output=path,
            seconds=film.seconds,
        )
    )
    return OutputFile(name=_VIDEO, path=path)
