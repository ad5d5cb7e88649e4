"""What a panel, an alert and an objective are: the columns of the table of this folder."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PREFIX: Final = "Takeone"
RUNBOOK: Final = "docs/how-to/answer-alerts.md"


class Job(StrEnum):
    """The `job` labels of the scrape configuration, which some queries need.

    SDK: the worker's second listener. TEMPORAL: a server with workers of its own, which exports the
    names of the SDK too.
    """

    API = "takeone-api"
    WORKER = "takeone-worker"
    SDK = "takeone-sdk"
    TEMPORAL = "temporal"


class Severity(StrEnum):
    """PAGE wakes a person. TICKET is read in the morning."""

    PAGE = "page"
    TICKET = "ticket"


class Unit(StrEnum):
    """Units of panels, as Grafana names them."""

    COUNT = "short"
    SECONDS = "s"
    RATIO = "percentunit"
    USD = "currencyUSD"
    PER_SECOND = "cps"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query of a panel. legend: the name of each line.

    may_be_empty: the reason why a service that works may return no series.
    """

    expr: str
    legend: str = ""
    may_be_empty: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel of the dashboard. meaning: what its reader learns."""

    title: str
    meaning: str
    unit: Unit
    queries: tuple[Query, ...]
    is_number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of panels, under a question that an operator asks."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert.

    measures: the queries that it compares. Each returns series while the service works, unless
    may_be_empty names a reason. expr: the comparison; by default the first measure and `above`.
    lasts: how long the comparison must hold. summary: one line, in which `{{ $value }}` is the
    value. reason: why this threshold. look: what shows the cause. act: what to do about it.
    commands: of `takeone-admin`, without the program's name.
    """

    name: str
    severity: Severity
    measures: tuple[str, ...]
    summary: str
    reason: str
    look: str
    act: str
    commands: tuple[str, ...]
    above: str = ""
    expr: str = ""
    lasts: str = "0s"
    may_be_empty: str = ""

    @property
    def full_name(self) -> str:
        return PREFIX + self.name

    @property
    def condition(self) -> str:
        """Return the expression that is true while the alert is active."""
        return self.expr or f"{self.measures[0]} > {self.above}"

    @property
    def runbook(self) -> str:
        """Return the address of the alert's section in the runbook."""
        return f"{RUNBOOK}#{self.full_name.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A query whose result Prometheus stores under a name. meaning: for the reader of the rules."""

    name: str
    expr: str
    meaning: str
    may_be_empty: str = ""
