"""The positions at which a worker is killed: a checkpoint of a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.film.plan import MEDIA, PAID

RENDERING: Final = "rendering"
"""Not a moment on a connection: ffmpeg is at work, and has begun its output."""
TELLING: Final = "telling"
"""The step's files are stored and recorded, and Temporal does not have the activity's end."""

PAID_POINTS: Final = (
    "commit:intent",
    "committed:intent",
    "create:sent",
    "create:answered",
    "commit:answer",
    "committed:answer",
    "commit:settle",
    "committed:settle",
    "put:sent",
    "put:answered",
    "commit:asset",
    "committed:asset",
    TELLING,
)
MEDIA_POINTS: Final = (
    "commit:media-start",
    "committed:media-start",
    "commit:content",
    "committed:content",
    RENDERING,
    "put:sent",
    "put:answered",
    "commit:asset",
    "committed:asset",
    TELLING,
)


@dataclass(frozen=True, slots=True)
class Position:
    """A checkpoint of a step."""

    step: str
    point: str

    def __str__(self) -> str:
        return f"{self.step} {self.point}"


POSITIONS: Final = (
    *(Position(step, point) for step in PAID for point in PAID_POINTS),
    *(Position(step, point) for step in MEDIA for point in MEDIA_POINTS),
)


_LOST_DELIVERY: Final = Position("voice", "committed:answer")
_AFTER_LOST_DELIVERY: Final = frozenset(
    Position("voice", point) for point in ("commit:asset", "committed:asset", TELLING)
)
"""The answer of a speech has its files, which are recorded with its cost. Only a worker that was
killed before that leaves them to be stored by themselves.
"""


def with_earlier(positions: Sequence[Position]) -> set[Position]:
    """Return positions with those at which a worker must be killed before they exist."""
    earlier = {_LOST_DELIVERY} if _AFTER_LOST_DELIVERY.intersection(positions) else set[Position]()
    return {*positions, *earlier}


def itineraries(positions: Sequence[Position], per_film: int) -> list[list[Position]]:
    """Divide positions among films, so that each film meets its own far apart."""
    films = -(-len(positions) // per_film)
    return [list(positions[number::films]) for number in range(films)]


def evenly(positions: Sequence[Position], count: int) -> list[Position]:
    """Return so many of them, spread over all steps and checkpoints."""
    count = min(count, len(positions))
    return [positions[number * len(positions) // count] for number in range(count)]
