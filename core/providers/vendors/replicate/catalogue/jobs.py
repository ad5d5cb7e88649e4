"""What Replicate's models have in common: how long jobs run, and where their files are."""

from functools import partial
from typing import Final

from core.domain.media.content import MediaKind
from core.providers.entries import offered_model
from core.providers.models import OutputField

_SERVED_SECONDS: Final = 3600
"""By Replicate's page on data retention, read on 2026-11-22: files of API predictions are deleted
after an hour.
"""
PAGE: Final = "the model's page at Replicate"
READ_ON: Final = "2026-10-06"
"""When the pages of the models were read, unless an entry has a day of its own."""
VIDEO_SECONDS: Final = "metrics.video_output_duration_seconds"
"""Where a prediction reports the length of its video."""


def _output(kind: MediaKind) -> tuple[OutputField, ...]:
    return (OutputField(path="output", kind=kind),)


AUDIO: Final = _output(MediaKind.AUDIO)
quick_model: Final = partial(
    offered_model, outputs=_output(MediaKind.IMAGE), served_seconds=_SERVED_SECONDS, quick=True
)
video_model: Final = partial(
    offered_model, outputs=_output(MediaKind.VIDEO), served_seconds=_SERVED_SECONDS, quick=False
)
