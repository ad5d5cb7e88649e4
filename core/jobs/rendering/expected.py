"""What is known of files: before they are read, after they are read, and of what was made."""

from typing import Final

from core.domain.media.content import MediaKind
from core.jobs.rendering.inputs import StoredInput
from core.media.operations.port import Expected, OperationError, Probe, Seconds

DECODED_KINDS: Final = frozenset({MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.AUDIO})
"""The other kinds are text, which no decoder reads."""
SECONDS_TOLERANCE: Final = 0.5
SECONDS_TOLERANCE_SHARE: Final = 0.02


def expected_of_stored(stored: StoredInput) -> Expected:
    """Return what the stored headers of a file state."""
    facts = stored.facts
    if facts is None:
        return Expected(kind=stored.kind)
    return Expected(
        kind=stored.kind,
        seconds=_exactly(facts.duration_seconds),
        width=facts.width,
        height=facts.height,
        frame_rate=facts.frame_rate,
        has_sound=facts.has_audio,
    )


def expected_of_probe(probe: Probe) -> Expected:
    """Return what a decoder found in a file."""
    still = probe.kind is MediaKind.IMAGE
    return Expected(
        kind=probe.kind,
        seconds=None if still else _exactly(probe.seconds),
        width=probe.width or None,
        height=probe.height or None,
        frame_rate=probe.frame_rate or None,
        has_sound=probe.audio_stream is not None,
    )


def check_made(probe: Probe, expected: Expected) -> None:
    """Raise OperationError if a made file is not what its step makes of its inputs."""
    if probe.kind is not expected.kind:
        raise OperationError(f"The step made a file of kind {probe.kind}, not {expected.kind}.")
    if expected.seconds is not None:
        slack = SECONDS_TOLERANCE + SECONDS_TOLERANCE_SHARE * expected.seconds.worst
        if not expected.seconds.low - slack <= probe.seconds <= expected.seconds.worst + slack:
            raise OperationError(
                f"The step made {probe.seconds:.2f} s; expected were "
                f"{expected.seconds.expected:.2f} s. An input file may be damaged."
            )
    for side, made, planned in (
        ("width", probe.width, expected.width),
        ("height", probe.height, expected.height),
    ):
        if planned is not None and made != planned:
            raise OperationError(f"The file that was made has a {side} of {made}, not {planned}.")


def _exactly(seconds: float | None) -> Seconds | None:
    return None if seconds is None else Seconds(low=seconds, expected=seconds, worst=seconds)
