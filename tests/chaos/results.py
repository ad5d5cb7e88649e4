"""Results of the rounds by case."""

from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.cases import Case
from tests.chaos.judge import Finding


@dataclass(slots=True, kw_only=True)
class CaseResult:
    """Results of one case so far.

    trials: executions that were at the point when the fault came. fired: spoiled reads by fault.
    """

    case: Case
    findings: list[Finding] = field(default_factory=list[Finding])
    recovered_seconds: list[float] = field(default_factory=list[float])
    since_restart_seconds: list[float] = field(default_factory=list[float])
    rounds: int = 0
    phases: Counter[str] = field(default_factory=Counter[str])
    fired: Counter[str] = field(default_factory=Counter[str])
    voids: list[str] = field(default_factory=list[str])
    broken: list[str] = field(default_factory=list[str])

    @property
    def trials(self) -> int:
        return len(self.findings)

    @property
    def is_red(self) -> bool:
        return bool(self.broken) or any(finding.is_red for finding in self.findings)
