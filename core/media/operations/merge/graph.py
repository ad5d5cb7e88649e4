"""The filter graph of a merged film."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.media.operations.film import pictures, sounds
from core.media.operations.film.canvas import Canvas, Size
from core.media.operations.film.encoding import PICTURE, SOUND
from core.media.operations.film.pictures import Fit, probe_of
from core.media.operations.merge.parameters import (
    ImageMotion,
    MergeParameters,
    TransitionType,
)
from core.media.operations.merge.timeline import Clip, Sound, Timeline
from core.media.operations.port import CommandInput, InputFile, Probe

_XFADE = {
    TransitionType.FADE: "fade",
    TransitionType.FADE_BLACK: "fadeblack",
    TransitionType.FADE_WHITE: "fadewhite",
    TransitionType.DISSOLVE: "dissolve",
    TransitionType.WIPE_LEFT: "wipeleft",
    TransitionType.WIPE_RIGHT: "wiperight",
    TransitionType.WIPE_UP: "wipeup",
    TransitionType.WIPE_DOWN: "wipedown",
    TransitionType.SLIDE_LEFT: "slideleft",
    TransitionType.SLIDE_RIGHT: "slideright",
    TransitionType.SLIDE_UP: "slideup",
    TransitionType.SLIDE_DOWN: "slidedown",
}
MOTION_ZOOM = 0.15
"""How much larger a moving picture becomes."""


@dataclass(slots=True)
class Graph:
    """Inputs and filter text that are collected part by part."""

    files: Mapping[str, InputFile]
    inputs: list[CommandInput] = field(default_factory=list[CommandInput])
    parts: list[str] = field(default_factory=list[str])

    def open(self, pointer: str, options: tuple[str, ...] = ()) -> tuple[int, Probe]:
        """Add an input and return its number and its probe."""
        file = self.files[pointer]
        self.inputs.append(CommandInput(file=file, options=options))
        return len(self.inputs) - 1, probe_of(file)

    def open_written(self, path: Path, options: tuple[str, ...] = ()) -> int:
        """Add a file that an earlier command wrote and return its number."""
        self.inputs.append(CommandInput(file=path, options=options))
        return len(self.inputs) - 1

    @property
    def text(self) -> str:
        return ";\n".join(self.parts)


def has_sound(timeline: Timeline, files: Mapping[str, InputFile]) -> bool:
    """Return whether a film has a sound track: it needs an audible item."""
    return bool(timeline.sounds) or clips_have_sound(timeline, files)


def clips_have_sound(timeline: Timeline, files: Mapping[str, InputFile]) -> bool:
    return any(_is_audible(clip, files) for clip in timeline.clips)


def _is_audible(clip: Clip, files: Mapping[str, InputFile]) -> bool:
    probe = probe_of(files[clip.source.pointer])
    return probe.audio_stream is not None and clip.source.item.volume > 0


def joined_clips(
    graph: Graph, timeline: Timeline, parameters: MergeParameters, canvas: Canvas, *, sounding: bool
) -> tuple[str, str | None]:
    """Add all clips one after the other and return the labels of their picture and sound."""
    for place, clip in enumerate(timeline.clips):
        _clip(graph, place, clip, parameters, canvas, sounding=sounding)
    runs = list(_runs(timeline.clips))
    picture, sound, frames = _concatenated(graph, timeline.clips, runs[0], canvas, sounding)
    for run in runs[1:]:
        before = timeline.clips[run[0] - 1]
        next_picture, next_sound, length = _concatenated(
            graph, timeline.clips, run, canvas, sounding
        )
        start = frames - before.overlap
        graph.parts.append(
            f"{picture}{next_picture}xfade=transition={_XFADE[before.transition]}"
            f":duration={pictures.number(before.overlap / canvas.frame_rate)}"
            f":offset={pictures.number(start / canvas.frame_rate)}[x{run[0]}]"
        )
        picture, frames = f"[x{run[0]}]", start + length
        if sound and next_sound:
            overlap = canvas.samples(before.overlap)
            graph.parts.append(
                f"{sound}{next_sound}acrossfade=ns={overlap}:c1=qsin:c2=qsin[y{run[0]}]"
            )
            sound = f"[y{run[0]}]"
    return picture, sound


def joined_sounds(graph: Graph, timeline: Timeline, canvas: Canvas) -> str:
    """Add the sounds of all clips, between which there is no transition, and return their label."""
    for place, clip in enumerate(timeline.clips):
        number, probe = graph.open(clip.source.pointer, _begin(clip))
        _clip_sound(graph, place, clip, canvas, number, probe)
    if len(timeline.clips) == 1:
        return "[a0]"
    sources = "".join(f"[a{place}]" for place in range(len(timeline.clips)))
    graph.parts.append(f"{sources}concat=n={len(timeline.clips)}:v=0:a=1[joined]")
    return "[joined]"


def _runs(clips: Sequence[Clip]) -> Iterator[list[int]]:
    """Yield the numbers of clips between which there is no transition."""
    run: list[int] = []
    for place, clip in enumerate(clips):
        run.append(place)
        if clip.overlap or place + 1 == len(clips):
            yield run
            run = []


def _concatenated(
    graph: Graph, clips: Sequence[Clip], run: list[int], canvas: Canvas, sounding: bool
) -> tuple[str, str | None, int]:
    frames = sum(clips[place].frames for place in run)
    first = run[0]
    if len(run) == 1:
        return f"[v{first}]", f"[a{first}]" if sounding else None, frames
    sources = "".join(f"[v{place}][a{place}]" if sounding else f"[v{place}]" for place in run)
    sound = f"[b{first}]" if sounding else ""
    time_base = f"settb=expr={canvas.frame_rate.denominator}/{canvas.frame_rate.numerator}"
    graph.parts.append(
        f"{sources}concat=n={len(run)}:v=1:a={int(sounding)}[c{first}]{sound};\n"
        f"[c{first}]{time_base}[w{first}]"
    )
    return f"[w{first}]", sound or None, frames


def _clip(
    graph: Graph,
    place: int,
    clip: Clip,
    parameters: MergeParameters,
    canvas: Canvas,
    *,
    sounding: bool,
) -> None:
    """Add a clip as [v…], exactly as long as its frames, and its sound as [a…], as long."""
    item = clip.source.item
    options = _begin(clip)
    is_short = not clip.source.is_still and clip.frames > canvas.frames(clip.source.left)
    if parameters.fit is Fit.LOOP and is_short:
        options += ("-stream_loop", "-1")
    number, probe = graph.open(clip.source.pointer, options)
    moves = clip.source.is_still and parameters.image_motion is not ImageMotion.NONE
    size = canvas.size
    if moves:
        size = Size(2 * size.width, 2 * size.height)
    graph.parts.append(
        f"[{number}:{probe.video_stream}]{pictures.at_rate(canvas)}[r{place}];\n"
        + pictures.resized(f"[r{place}]", f"[s{place}]", probe, size, parameters.resize)
    )
    end = (
        _motion(parameters.image_motion, clip.frames, canvas)
        if moves
        else pictures.lasting(clip.frames)
    )
    fades = pictures.faded(canvas, clip.frames, item.fade_in, item.fade_out)
    graph.parts.append(f"[s{place}]{end}{fades}[v{place}]")
    if sounding:
        _clip_sound(graph, place, clip, canvas, number, probe)


def _begin(clip: Clip) -> tuple[str, ...]:
    """Return the options of an input that begins with the clip."""
    item = clip.source.item
    return ("-ss", pictures.number(item.start)) if item.start and not clip.source.is_still else ()


def _clip_sound(
    graph: Graph, place: int, clip: Clip, canvas: Canvas, number: int, probe: Probe
) -> None:
    """Add the sound of a clip as [a…], to the sample as long as its frames."""
    item, length = clip.source.item, canvas.samples(clip.frames)
    if not _is_audible(clip, graph.files):
        graph.parts.append(sounds.silence(length, f"[a{place}]"))
        return
    fades = sounds.faded(length, item.fade_in, item.fade_out)
    graph.parts.append(
        f"[{number}:{probe.audio_stream}]{sounds.stereo(probe)},{sounds.lasting(length)}"
        f"{sounds.louder(item.volume)}{fades}[a{place}]"
    )


def _motion(motion: ImageMotion, frames: int, canvas: Canvas) -> str:
    """Return a chain from one frame of twice the size to a moving picture.

    The double size halves the steps in which the picture moves.
    """
    last = max(1, frames - 1)
    zoom = {
        ImageMotion.ZOOM_IN: f"1+{MOTION_ZOOM}*on/{last}",
        ImageMotion.ZOOM_OUT: f"{1 + MOTION_ZOOM}-{MOTION_ZOOM}*on/{last}",
    }.get(motion, f"{1 + MOTION_ZOOM}")
    x = f"(iw-iw/zoom)*on/{last}" if motion is ImageMotion.PAN else "(iw-iw/zoom)/2"
    return (
        f"trim=end_frame=1,zoompan=z='{zoom}':x='{x}':y='(ih-ih/zoom)/2':d={frames}"
        f":s={canvas.size.width}x{canvas.size.height}:fps={canvas.rate},{pictures.lasting(frames)}"
    )


def film(
    graph: Graph,
    timeline: Timeline,
    parameters: MergeParameters,
    canvas: Canvas,
    picture: str,
    sound: str | None,
) -> None:
    """Add the end of the film's graph: its whole length, the sounds, the fades."""
    fades = pictures.faded(canvas, timeline.frames, parameters.fade_in, parameters.fade_out)
    graph.parts.append(f"{picture}{pictures.lasting(timeline.frames)}{fades}{PICTURE}")
    mix(graph, timeline.sounds, sound, canvas.samples(timeline.frames), parameters)


def mix(
    graph: Graph,
    placed: Sequence[Sound],
    clips_sound: str | None,
    length: int,
    parameters: MergeParameters,
) -> None:
    """Add the sounds, each as long as the whole film, to the sound of the clips."""
    speech: list[str] = []
    music: list[str] = []
    if clips_sound:
        graph.parts.append(f"{clips_sound}{sounds.lasting(length)}[film]")
        speech.append("[film]")
    for place, sound in enumerate(placed):
        _place(graph, place, sound, length)
        (music if sound.source.item.duck else speech).append(f"[o{place}]")
    if not speech and not music:
        return
    if speech and music:
        graph.parts += [
            sounds.mixed(speech, "[speech]"),
            "[speech]asplit=2[voice][key]",
            sounds.mixed(music, "[music]"),
            sounds.ducked("[music]", "[key]", "[quiet]"),
            sounds.mixed(["[voice]", "[quiet]"], "[mix]"),
        ]
    else:
        graph.parts.append(sounds.mixed(speech or music, "[mix]"))
    fades = sounds.faded(length, parameters.fade_in, parameters.fade_out)
    graph.parts.append(sounds.limited("[mix]", f"{fades},{sounds.lasting(length)}{SOUND}"))


def _place(graph: Graph, place: int, sound: Sound, film_length: int) -> None:
    item = sound.source.item
    number, probe = graph.open(sound.source.pointer)
    if sound.repeats:
        size = sounds.samples(sound.source.left)
        part = (
            f"{sounds.cut(item.start, sound.source.left)},aloop=loop=-1:size={size},"
            f"{sounds.cut(sound.skipped, sound.seconds)}"
        )
    else:
        part = sounds.cut(item.start + sound.skipped, sound.seconds)
    length = sounds.samples(sound.seconds)
    graph.parts.append(
        f"[{number}:{probe.audio_stream}]{sounds.stereo(probe)},{part},{sounds.lasting(length)}"
        f"{sounds.louder(item.volume)}{sounds.faded(length, item.fade_in, item.fade_out)},"
        f"{sounds.delayed(sound.at)},{sounds.lasting(film_length)}[o{place}]"
    )
