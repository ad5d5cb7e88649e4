"""An example of an alert, for `promtool test rules`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Series = Mapping[str, str]
"""Values by series in promtool's notation, a minute apart: `0x3 1x30` is four times 0, then 31
times 1.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Series with which an alert is quiet, and series with which it is active.

    at: when both are looked at. summary, labels: of the active alert. absent: the summary that the
    alert has without any series; None: it is quiet then, because another alert reports that.
    """

    quiet: Series
    firing: Series
    summary: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    absent: str | None = None
    absent_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    at: str = "30m"
