"""The table of a run: one row for each step."""

from collections.abc import Mapping, Sequence
from statistics import mean

from tests.chaos.film.plan import MEDIA, STEPS
from tests.chaos.film.positions import Position
from tests.chaos.film.traps import Held
from tests.chaos.film.verdicts import Film

HEAD = ("step", "positions", "killed at", "films", "extra paid", "computed again", "other bytes",
        "runs per film", "")  # fmt: skip


def table(
    positions: Sequence[Position],
    fired: Sequence[Held],
    films: Mapping[int, Film],
    reference: Film,
) -> list[tuple[str, ...]]:
    """Return the rows. A film counts for each step at which a worker was killed under it."""
    rows: list[tuple[str, ...]] = [HEAD]
    for step in STEPS:
        mine = [one for one in fired if one.position.step == step]
        reached = {one.position for one in mine}
        numbers = {one.film for one in mine} & films.keys()
        found = [films[number] for number in sorted(numbers)]
        faults = [film for film in found if film.faults(reference)]
        rows.append(
            (
                step,
                str(sum(position.step == step for position in positions)),
                str(len(reached)),
                str(len(found)),
                str(sum(film.extra_paid(step, reference) for film in found)),
                str(sum(film.again[step] for film in found)),
                str(
                    sum(
                        name.startswith(f"{step}/")
                        for film in found
                        for name in film.other_bytes(reference)
                    )
                ),
                f"{mean(film.computed[step] for film in found):.1f}"
                if found and step in MEDIA
                else "-",
                "RED" if faults else "ok" if reached else "-",
            )
        )
    return rows


def table_text(rows: Sequence[tuple[str, ...]]) -> str:
    """Return the rows with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines)
