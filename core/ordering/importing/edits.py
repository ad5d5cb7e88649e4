"""Import of jobs that change or read a file: cutouts, lip-sync, transcripts, new shapes."""

from typing import Final

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.ordering.errors import FaultCode
from core.ordering.importing.conversion import Conversion, Reference
from core.ordering.importing.generation import parameters, put_file
from core.ordering.importing.reading import Fields, Node, NoteCode
from core.ordering.importing.steps import Draft

SOURCE: Final = "source"
_VIDEO: Final = frozenset({MediaKind.VIDEO})
_IMAGE: Final = frozenset({MediaKind.IMAGE})
_SPOKEN: Final = frozenset({MediaKind.VIDEO, MediaKind.AUDIO})
_VIDEO_NAMES: Final = ("videoUrl", "video", "video_url", "input_video")
_BACKGROUNDS: Final = {
    "green-screen": "green",
    "alpha-mask": "mask",
    "foreground-mask": "transparent",
}
_GREEN_MODEL: Final = "bria/video/background-removal/v3"
"""Cuts out before a colour; the default model of videos makes the background transparent."""


def remove_background(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `removeBackground` of a video."""
    conversion.choose_model(draft, fields)
    _put_source(conversion, draft, fields, _VIDEO_NAMES, _VIDEO)
    output = fields.take("outputType", "output_type")
    if output is not None:
        background = _BACKGROUNDS.get(str(output.value))
        if background is None:
            conversion.report.refuse(
                output.pointer,
                f"must be one of {', '.join(_BACKGROUNDS)}",
                FaultCode.NOT_SUPPORTED,
                tuple(_BACKGROUNDS),
            )
        elif background != "transparent":
            draft.put("background", background, output)
            if draft.model is None:
                draft.model = _GREEN_MODEL
                draft.fields["model"] = output.pointer
                conversion.report.note(
                    output.pointer,
                    NoteCode.CHANGED,
                    f"is made by {_GREEN_MODEL}, as the job names no model",
                )
    parameters(conversion, draft, fields, files=())


def remove_image_background(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `removeImageBackground`."""
    conversion.choose_model(draft, fields)
    bare = fields.take("_imageJobDependency")
    if bare is not None:  # the id of a job, without the marker's prefix
        put_file(conversion, draft, SOURCE, Node(f"${bare.value}", bare.pointer))
    else:
        _put_source(conversion, draft, fields, ("image", "image_url", "imageUrl"), _IMAGE)
    parameters(conversion, draft, fields, files=())


def lip_sync(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `lipSync`."""
    conversion.choose_model(draft, fields)
    _put_source(conversion, draft, fields, _VIDEO_NAMES, _VIDEO)
    audio = fields.take("audioUrl", "audio", "audio_url")
    if audio is not None:
        put_file(conversion, draft, "audio", audio)
    parameters(conversion, draft, fields, files=())


def reframe(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `reframe`."""
    _put_source(conversion, draft, fields, _VIDEO_NAMES, _VIDEO)
    for name in ("aspectRatio", "mode"):
        node = fields.take(name)
        if node is not None:
            draft.put(name, node.value, node)
    fields.refuse_rest(("videoUrl", "aspectRatio", "mode"))


def transcribe(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `transcribe`. The sound of another step's video is taken out in a step of its own."""
    conversion.choose_model(draft, fields)
    source = conversion.source(
        draft, fields, *_VIDEO_NAMES, "audio", "audioUrl", "audio_url", kinds=_SPOKEN
    )
    if source is not None:
        file, node = source
        draft.put(SOURCE, _sound_of(conversion, draft, file, node), node)
    fields.ignore("language", "the language is detected", when=("None", "none", "auto"))
    fields.ignore("task", "transcripts are in the language of the sound", when=("transcribe",))
    for name in ("timestamp", "timestamps"):
        fields.ignore(name, "every transcript has times of words", when=("word",))
    fields.ignore("word_timestamps", "every transcript has times of words", when=(True,))
    for name in ("transcription", "batch_size"):
        fields.ignore(name, "it does not change the words")
    parameters(conversion, draft, fields, files=())


def _sound_of(conversion: Conversion, draft: Draft, file: Reference, node: Node) -> Reference:
    maker = file.get("step")
    if maker is None or conversion.makes(file) is MediaKind.AUDIO:
        return file  # of a video at an address, the sound is taken when the order is accepted
    name = conversion.new_name(f"{draft.name}-sound")
    sound = Draft(job=draft.job, name=name, kind=OperationKind.EXTRACT_AUDIO, makes=MediaKind.AUDIO)
    sound.put(SOURCE, file, node)
    sound.reads.add(str(maker))
    conversion.append(sound)
    draft.reads.add(name)
    conversion.report.note(
        node.pointer,
        NoteCode.STEP_ADDED,
        f"is read through the added step {name!r}: models receive the sound alone",
    )
    return {"step": name}


def _put_source(
    conversion: Conversion,
    draft: Draft,
    fields: Fields,
    names: tuple[str, ...],
    kinds: frozenset[MediaKind],
) -> None:
    source = conversion.source(draft, fields, *names, kinds=kinds)
    if source is not None:
        file, node = source
        draft.put(SOURCE, file, node)
