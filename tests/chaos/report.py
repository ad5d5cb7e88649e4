"""The table of results, and the statistical bound that they allow."""

from collections import Counter
from collections.abc import Sequence
from math import comb
from statistics import median

from tests.chaos.cases import Phase
from tests.chaos.judge import Finding
from tests.chaos.results import CaseResult

HEAD = ("fault", "trials", "extra paid", "lost", "stuck", "dup. events", "not completed", "ledger minus bill, nano-USD",
        "recovery median/max s", "after restart median/max s", "")  # fmt: skip


def upper_bound(failures: int, trials: int, confidence: float = 0.95) -> float:
    """Return the one-sided upper bound of a probability (Clopper-Pearson); 3/n without failures."""
    if trials == 0 or failures >= trials:
        return 1.0
    low, high = failures / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        at_most = sum(
            comb(trials, k) * middle**k * (1 - middle) ** (trials - k) for k in range(failures + 1)
        )
        low, high = (middle, high) if at_most > 1 - confidence else (low, middle)
    return high


def _spread(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.1f} / {max(seconds):.1f}" if seconds else "-"


def _row(
    name: str, findings: Sequence[Finding], spreads: tuple[str, str], verdict: str
) -> tuple[str, ...]:
    return (
        name,
        str(len(findings)),
        str(sum(finding.extra for finding in findings)),
        str(sum(finding.lost for finding in findings)),
        str(sum(bool(finding.stuck) for finding in findings)),
        str(sum(finding.duplicates for finding in findings)),
        str(sum(bool(finding.failed or finding.broken) for finding in findings)),
        str(sum(abs(finding.difference_nano_usd) for finding in findings)),
        *spreads,
        verdict,
    )


def table_rows(
    results: Sequence[CaseResult], bystanders: Sequence[Finding]
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for result in results:
        verdict = "RED" if result.is_red else "VOID" if not result.trials else "ok"
        spreads = (_spread(result.recovered_seconds), _spread(result.since_restart_seconds))
        rows.append(_row(result.case.name, result.findings, spreads, verdict))
    red = any(finding.is_red for finding in bystanders)
    rows.append(_row("(bystanders)", bystanders, ("-", "-"), "RED" if red else "ok"))
    everything = [finding for result in results for finding in result.findings]
    recovered = [seconds for result in results for seconds in result.recovered_seconds]
    restarted = [seconds for result in results for seconds in result.since_restart_seconds]
    rows.append(_row("all faults", everything, (_spread(recovered), _spread(restarted)), ""))
    return rows


def as_text(rows: Sequence[tuple[str, ...]]) -> str:
    short = (
        "fault",
        "trials",
        "extra",
        "lost",
        "stuck",
        "dup",
        "failed",
        "ledger-bill",
        "recovery s",
        "restarted s",
        "",
    )
    widths = [max(len(row[column]) for row in [short, *rows]) for column in range(len(short))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in [short, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(rows: Sequence[tuple[str, ...]], note: str) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [HEAD, ("---",) * len(HEAD), *rows]]
    return "\n".join([*lines, "", note, ""])


def progress(results: Sequence[CaseResult]) -> str:
    """Return the judged results so far as one line."""
    findings = [finding for result in results for finding in result.findings]
    faults, extra = (
        sum(result.phases.total() for result in results),
        sum(finding.extra for finding in findings),
    )
    red = sum(finding.is_red for finding in findings)
    return f"{faults} fault-injected paid steps judged, {extra} extra paid, {red} red"


def conclusion(results: Sequence[CaseResult]) -> str:
    """Return the number of faults and the bound that follows."""
    findings = [finding for result in results for finding in result.findings]
    phases = sum((result.phases for result in results), Counter[str]())
    executions = len({finding.order.token for finding in findings})
    paid_twice = sum(bool(finding.extra) for finding in findings)
    faults = phases.total()
    bound = upper_bound(paid_twice, faults)
    return (
        f"{faults} fault-injected paid steps, {paid_twice} of them paid more than once: with 95 % confidence "
        f"fewer than {100 * bound:.2g} % are. In {executions} executions; where the step was when its fault came: "
        + ", ".join(f"{phase} {phases[phase]}" for phase in Phase)
        + "."
    )
