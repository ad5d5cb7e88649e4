"""Takeone: prompt in, finished video out, every step paid for once.

    from takeone import Takeone

    with Takeone() as client:  # with TAKEONE_BASE_URL and TAKEONE_API_KEY of the environment
        order = client.executions.generate_video(prompt="a paper boat", duration=5)
        order.wait().download("boat.mp4")

`Takeone` and `AsyncTakeone` are the clients. `compose` and the builders, such as `generate_image`,
`merge` and `captions`, make films of several steps. `takeone.errors` has every error,
`takeone.models` the types of results, and `takeone.webhooks.verify` verifies received webhooks.
"""

from takeone import errors, models, webhooks
from takeone._async.client import AsyncTakeone
from takeone._async.handles import Accepted as AsyncAccepted
from takeone._async.handles import Event as AsyncEvent
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
from takeone._sync.handles import Accepted, Event, Execution, Retried
from takeone._version import VERSION
from takeone.errors import TakeoneError

__all__ = [
    "VERSION",
    "Accepted",
    "AsyncAccepted",
    "AsyncEvent",
    "AsyncExecution",
    "AsyncRetried",
    "AsyncTakeone",
    "Composition",
    "Event",
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
    "errors",
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
    "models",
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
    "webhooks",
]
