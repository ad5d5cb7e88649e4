"""Import of jobs that models do from text: videos, pictures, speech."""

from collections.abc import Collection, Mapping
from typing import Final

from pydantic.alias_generators import to_camel

from core.domain.plans import Scalar, StepKind
from core.ordering.errors import FaultCode
from core.ordering.importing.conversion import Conversion
from core.ordering.importing.reading import Fields, Node
from core.ordering.importing.steps import Draft

_NAMES: Final[Mapping[str, str]] = {
    "startImage": "image",
    "start_image": "image",
    "image_url": "image",
    "imageUrl": "image",
    "image_input": "image",
    "image_urls": "image",
    "last_frame_image": "endImage",
    "end_image_url": "endImage",
    "audio_url": "audio",
    "audioUrl": "audio",
    "languageCode": "language",
    "language_code": "language",
    "voiceId": "voice",
    "voice_id": "voice",
}
"""Our name of a parameter, where it differs by more than its spelling."""
_FILES: Final = frozenset({"image", "endImage", "audio", "video"})
_FORMATS: Final = ("outputFormat", "output_format", "format", "syncMode", "sync_mode")
_FORMAT: Final = "the service chooses the format of files"
_HEAD_WORDS: Final = ("prompt", "duration", "aspectRatio", "aspect_ratio", "seed", "cameraMotion")
_HEAD: Final = "veed/fabric"
"""Begins the names of models that Synthome has among those of videos, and that make heads."""


def video(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `generate`: a video, or a talking head for a model that makes these."""
    model = conversion.choose_model(draft, fields)
    is_head = (draft.model or "").startswith(_HEAD) or (
        model is not None and model.kind is StepKind.TALKING_HEAD
    )
    fields.take("unified")
    if is_head:
        draft.kind = StepKind.TALKING_HEAD
        for name in _HEAD_WORDS:
            if model is None or not model.takes(name):
                fields.ignore(name, "the model does not take it, and Synthome never sent it")
    _camera(conversion, draft, fields)
    parameters(conversion, draft, fields)


def image(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `generateImage`, also one that edits pictures."""
    conversion.choose_model(draft, fields)
    for name in ("num_images", "numImages", "max_images", "maxImages"):
        fields.ignore(name, "every step makes one picture", when=(1,))
    parameters(conversion, draft, fields)


def speech(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `generateAudio`."""
    conversion.choose_model(draft, fields)
    parameters(conversion, draft, fields)


def _camera(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    motion = fields.take("cameraMotion")
    if motion is None or motion.value == "dynamic":
        return
    if motion.value == "fixed":
        draft.put("cameraFixed", True, motion)
        return
    conversion.report.refuse(
        motion.pointer, "must be fixed or dynamic", FaultCode.NOT_SUPPORTED, ("fixed", "dynamic")
    )


def parameters(
    conversion: Conversion, draft: Draft, fields: Fields, *, files: Collection[str] = _FILES
) -> None:
    """Convert the parameters that are left. Whether the model takes them is checked later."""
    for name in _FORMATS:
        fields.ignore(name, _FORMAT)
    for name, node in fields.rest():
        public = _NAMES.get(name) or (to_camel(name) if "_" in name else name)
        if public == "image" and isinstance(node.value, list):
            for place, entry in enumerate(node.entries()):
                put_file(conversion, draft, "image" if place == 0 else f"image{place + 1}", entry)
        elif public in files:
            put_file(conversion, draft, public, node)
        else:
            _put_value(conversion, draft, public, node)


def put_file(conversion: Conversion, draft: Draft, name: str, node: Node) -> None:
    """Set a parameter to the file that a value names."""
    file = conversion.file(node, draft)
    if file is not None:
        _put(conversion, draft, name, file, node)


def _put_value(conversion: Conversion, draft: Draft, name: str, node: Node) -> None:
    if isinstance(node.value, Scalar):
        _put(conversion, draft, name, node.value, node)
    else:
        conversion.report.refuse(node.pointer, "must be text, a number, true or false")


def _put(conversion: Conversion, draft: Draft, name: str, value: object, node: Node) -> None:
    if name in draft.params and draft.params[name] != value:
        other = draft.fields[f"params/{name}"].rpartition("/")[2]
        conversion.report.refuse(node.pointer, f"differs from {other}, which has the same meaning")
        return
    draft.put(name, value, node)
