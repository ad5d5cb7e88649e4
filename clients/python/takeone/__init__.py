"""Takeone: prompt in, finished video out, every step paid for once."""

from takeone._async.client import AsyncTakeone
from takeone._async.handles import Accepted as AsyncAccepted
from takeone._async.handles import Execution as AsyncExecution
from takeone._async.handles import Retried as AsyncRetried
from takeone._default import compose
from takeone._plans.approvals import approval
from takeone._plans.media import (
    captions,
    extract_audio,
    layers,
    loudness,
    merge,
    poster,
    preview,
    reframe,
    trim,
)
from takeone._plans.nodes import (
    Node,
    Output,
    audio_model,
    image_model,
    optional,
    video_model,
)
from takeone._plans.plan import Composition
from takeone._plans.steps import (
    generate_audio,
    generate_image,
    generate_video,
    lip_sync,
    remove_background,
    step,
    talking_head,
    transcribe,
    upscale,
)
from takeone._plans.variables import Variable, fill, variable
from takeone._sync.client import Takeone
from takeone._sync.handles import Accepted, Execution, Retried
from takeone._version import VERSION
from takeone.errors import TakeoneError

__all__ = [
    "VERSION",
    "Accepted",
    "AsyncAccepted",
    "AsyncExecution",
    "AsyncRetried",
    "AsyncTakeone",
    "Composition",
    "Execution",
    "Node",
    "Output",
    "Retried",
    "Takeone",
    "TakeoneError",
    "Variable",
    "approval",
    "audio_model",
    "captions",
    "compose",
    "extract_audio",
    "fill",
    "generate_audio",
    "generate_image",
    "generate_video",
    "image_model",
    "layers",
    "lip_sync",
    "loudness",
    "merge",
    "optional",
    "poster",
    "preview",
    "reframe",
    "remove_background",
    "step",
    "talking_head",
    "transcribe",
    "trim",
    "upscale",
    "variable",
    "video_model",
]
