"""Faults of the provider's reads for the random mix: status, result, list and file."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

TIMES: Final = 3
"""The number of answers that one fault spoils; reads are repeated until their deadline."""


def _of(operations: tuple[str, ...], fault: str, **params: Any) -> Iterator[Mapping[str, Any]]:
    for operation in operations:
        yield {"operation": operation, "fault": fault, "times": TIMES, "params": params}


_RESULT: Final = ("result",)
_JOB: Final = ("status", "result")
_READS: Final = ("status", "result", "list")

# No spoiled read may decide anything: not that a job failed, nor that nothing was billed.
READ_FAULTS: Final[tuple[Mapping[str, Any], ...]] = (
    *_of(_READS, "error_5xx_before_accept", status=500),
    *_of(_READS, "error_5xx_before_accept", status=503),
    *_of(_READS, "error_5xx_before_accept", status=504),
    *_of(_RESULT, "refuse", status=400),
    *_of(_RESULT, "refuse", status=403),
    *_of(_RESULT, "refuse", status=404),
    *_of(_JOB, "refuse_429", retry_after="1000000000"),
    *_of(_READS, "html_answer", status=200),
    *_of(_READS, "html_answer", status=502),
    *_of(_READS, "malformed_json"),
    *_of(_READS, "drop_after_accept"),
    *_of(("file",), "slow_file", seconds_per_chunk=1),
)


def name_of(fault: Mapping[str, Any]) -> str:
    """Return one word for a fault, for the schedule and the report."""
    detail = "/".join(str(value) for value in fault["params"].values())
    return "/".join(filter(None, (fault["operation"], fault["fault"], detail)))


async def add(control_url: str, fault: Mapping[str, Any]) -> bool:
    """Add a fault to the sandbox. Return False if the sandbox is down or stopped."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=2) as http:
        try:
            (await http.post(f"{control_url}/faults", json=dict(fault))).raise_for_status()
        except httpx.TransportError:
            return False
    return True


async def count_fired(control_url: str) -> tuple[int, int]:
    """Return how often faults fired and how many there are, since the sandbox last started."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as http:
        answer = (await http.get(f"{control_url}/faults")).raise_for_status()
    faults: list[Mapping[str, Any]] = answer.json()["faults"]
    return sum(fault["fired"] for fault in faults), len(faults)
