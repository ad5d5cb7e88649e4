"""Panels: the service level objectives."""

from typing import Final

from deploy.observability.objectives import OBJECTIVES, Objective
from deploy.observability.table import Panel, Query, Row, Unit


def _panel(objective: Objective) -> Panel:
    return Panel(
        title=f"{objective.name}: share of errors",
        meaning=f"{objective.promise} The objective is {objective.target:.1%} in 30 days.",
        unit=Unit.RATIO,
        queries=tuple(
            Query(expr=objective.ratio(window), legend=window) for window in ("1h", "6h", "3d")
        ),
    )


ROW: Final = Row(title="Are the objectives met?", panels=tuple(map(_panel, OBJECTIVES)))
