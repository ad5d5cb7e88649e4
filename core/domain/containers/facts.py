"""What the headers of a file state about the picture and sound in it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """None: the format has no such fact, or the headers do not state it.

    width, height: in pixels. codec: of the picture, or of sound without a picture. faststart: the
    index of an MP4 comes before its frames, so that a player can start before the whole file is
    there.
    """

    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    frame_rate: float | None = None
    codec: str | None = None
    has_audio: bool | None = None
    faststart: bool | None = None
