"""Import of `addSubtitles`."""

from collections.abc import Mapping
from typing import Final

from core.domain.media.content import MediaKind
from core.ordering.errors import FaultCode
from core.ordering.importing.conversion import Conversion
from core.ordering.importing.reading import Fields, Node, NoteCode
from core.ordering.importing.steps import Draft

_VIDEO: Final = frozenset({MediaKind.VIDEO})
_TRANSCRIPT: Final = frozenset({MediaKind.TRANSCRIPT})
_OLD_STYLES: Final[Mapping[str, Mapping[str, object]]] = {
    "default": {},
    "minimal": {"preset": "minimal"},
    "bold": {"fontWeight": "bold"},
}
_BOX: Final = 3
_NUMBERS: Final = ("alignment", "fontWeight")
"""Settings that Synthome also takes as text with digits."""


def captions(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `addSubtitles` with a list of words or the output of a transcribe job."""
    video = conversion.source(draft, fields, "videoUrl", "video", kinds=_VIDEO)
    if video is not None:
        draft.put("video", *video)
    _words(conversion, draft, fields)
    style = fields.take("style")
    if style is not None:
        _style(conversion, draft, style)
    language = fields.take("language")
    if language is not None:
        draft.put("language", language.value, language)
    fields.refuse_rest(("videoUrl", "transcript", "style", "language"))


def _words(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    transcript = fields.take("transcript", "captions")
    if transcript is not None and isinstance(transcript.value, list):
        words = [_word(draft, place, entry) for place, entry in enumerate(transcript.entries())]
        draft.put("words", words, transcript)
        return
    if transcript is None:
        node = _waited_for(conversion, draft)
        if node is None:
            conversion.report.refuse(
                draft.job.params.pointer,
                "has no transcript: give a list of words, or the output of a transcribe job",
                FaultCode.MISSING,
            )
        return
    file = conversion.file(transcript, draft)
    if file is None:
        return
    if "url" in file:
        conversion.report.refuse(
            transcript.pointer,
            "must be a list of words or the output of a transcribe job. Put the words of the file "
            "at this address into the list",
            FaultCode.NOT_SUPPORTED,
        )
        return
    draft.put("words", file, transcript)


def _waited_for(conversion: Conversion, draft: Draft) -> Node | None:
    """Use the transcript that the job waits for."""
    for node in draft.job.waits_for:
        job = conversion.jobs.get(str(node.value))
        if job is not None and job.makes in _TRANSCRIPT:
            draft.reads.add(job.name)
            draft.put("words", {"step": job.name}, node)
            conversion.report.note(
                node.pointer,
                NoteCode.SOURCE_CHOSEN,
                "is used as transcript, which the job does not name",
            )
            return node
    return None


def _word(draft: Draft, place: int, node: Node) -> object:
    """Return a word in our form; another value stays for the validation."""
    draft.fields[f"params/words/{place}"] = node.pointer
    if not isinstance(node.value, Mapping):
        return node.value
    named = {name: member.value for name, member in node.members().items()}
    if "word" in named:
        named.setdefault("text", named.pop("word"))
    return named


def _style(conversion: Conversion, draft: Draft, node: Node) -> None:
    style: dict[str, object] = {}
    draft.put("style", style, node)
    if isinstance(node.value, str) and node.value in _OLD_STYLES:
        style.update(_OLD_STYLES[node.value])
        return
    fields = Fields(node, conversion.report)
    fields.ignore("borderRadius", "boxes have square corners, in Synthome as well")
    primary = fields.take("color", "primaryColor")
    if primary is not None:
        _set(draft, style, "color", primary)
    border = fields.take("borderStyle")
    for name, member in fields.rest():
        _set(draft, style, name, member)
    if border is not None:
        _border(conversion, style, border)


def _border(conversion: Conversion, style: dict[str, object], node: Node) -> None:
    """Apply the kind of border: here, a background colour makes the box."""
    has_box = "backgroundColor" in style
    if (node.value == _BOX) is has_box:
        return
    if node.value == _BOX:
        style["backgroundColor"] = style.get("outlineColor", "#000000")
        detail = "makes a box, which has the colour of the outline, as in Synthome"
    else:
        del style["backgroundColor"]
        detail = "makes no box, so the backgroundColor is left out, as in Synthome"
    conversion.report.note(node.pointer, NoteCode.CHANGED, detail)


def _set(draft: Draft, style: dict[str, object], name: str, node: Node) -> None:
    value = node.value
    if name in _NUMBERS and isinstance(value, str) and value.isdecimal() and len(value) <= 3:
        value = int(value)
    style[name] = value
    draft.fields[f"params/style/{name}"] = node.pointer
