"""Markdown tables, medians with their spread, and quantiles."""

from collections.abc import Sequence
from statistics import median


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = (tuple(head), ("---",) + ("---:",) * (len(head) - 1), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Return the median, with the smallest and the largest value if there are several."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    if share == 0.5:
        return median(ascending)
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))]
