"""The output to produce: built from an input, and fitted to the files that the input names."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from sandbox.models.fields import Role

Kind = Literal[
    "image", "video", "audio", "transcript", "cutout", "lip-sync", "talking-head", "upscale"
]
Medium = Literal["image", "video", "audio", "transcript"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The measures of a fetched file. seconds, frames: 0 for a picture."""

    medium: Medium
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The output to produce, with every default filled in.

    prompt: also the text of speech. seconds, frames: of the output; 0 until the files that decide
    them are measured.
    """

    kind: Kind
    makes: Medium
    prompt: str = ""
    seed: int | None = None
    width: int = 0
    height: int = 0
    count: int = 1
    file_format: str = "png"
    seconds: float = 0
    frames: int = 0
    resolution: str = ""
    # True: the source picture's shape decides; width and height are an estimate until it is loaded
    follows_source: bool = False
    sound: bool = False
    scale: float = 1.0
    speed: float = 1.0
    background: str = "transparent"
    timestamps: bool = False
    loops: bool = False  # a lip-synced video repeats until the audio ends, instead of being cut
    files: Mapping[Role, Facts] = field(default_factory=dict[Role, Facts], compare=False)

    def fitted(self, files: Mapping[Role, Facts]) -> "Order":
        """Return the order with the sizes and lengths that follow from its measured files."""
        order = replace(self, files=files)
        picture, video, audio = files.get("image"), files.get("video"), files.get("audio")
        shape = video or picture
        if self.kind in {"cutout", "upscale", "lip-sync"} and shape is not None:
            width, height = (round(side * self.scale) for side in (shape.width, shape.height))
            order = replace(order, width=width, height=height, seconds=shape.seconds, frames=shape.frames)  # fmt: skip
        if self.kind == "lip-sync" and video is not None and audio is not None:
            seconds = audio.seconds if self.loops else min(video.seconds, audio.seconds)
            order = replace(order, seconds=seconds)
        if self.kind in {"talking-head", "transcript"} and audio is not None:
            order = replace(order, seconds=audio.seconds)
        return order
