"""Parts of the queries of panels.

Rates are over $__rate_interval, which Grafana sets. Panels take `max by` over processes, since only
the worker that leads exports the gauges of the reconciler.
"""

from typing import Final

NO_FAILURES: Final = "no such failure yet"


def rate(metric: str, labels: str = "") -> str:
    """Return the growth of a counter per second."""
    return f"rate({metric}{labels}[$__rate_interval])"


def ratio(part: str, whole: str) -> str:
    """Return a ratio that is absent, not NaN, while nothing happens."""
    return f"{part} / ({whole} > 0)"


def quantile(quantile: float, metric: str, *, by: str = "", labels: str = "") -> str:
    """Return a quantile of a histogram. by: the labels that are kept."""
    names = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({quantile}, sum by ({names}) ({rate(f'{metric}_bucket', labels)}))"
