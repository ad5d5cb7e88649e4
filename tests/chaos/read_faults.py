"""Faults of the provider for the random mix: of its reads, and of the answers with speech.

All are transient: they end within the time for which the product repeats a read, so every execution
must complete and pay once.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.chaos.testbed import Testbed

TIMES: Final = 3
"""The number of answers that one fault spoils; reads are repeated until their deadline."""
MISSING_TIMES: Final = 8
"""Answers without the file: four tries of one file, since each try reads it twice."""


def _of(
    operations: tuple[str, ...], fault: str, *, times: int = TIMES, **params: Any
) -> Iterator[Mapping[str, Any]]:
    for operation in operations:
        yield {"operation": operation, "fault": fault, "times": times, "params": params}


_RESULT: Final = ("result",)
_JOB: Final = ("status", "result")
_READS: Final = ("status", "result", "list")
_FILE: Final = ("file",)

# No spoiled read may decide anything: not that a job failed, nor that nothing was billed.
READ_FAULTS: Final[tuple[Mapping[str, Any], ...]] = (
    *_of(_RESULT, "error_5xx_before_accept", times=1, status=504),
    *_of(_RESULT, "refuse", times=1, status=400),
    *_of(_READS, "error_5xx_before_accept", status=500),
    *_of(_READS, "error_5xx_before_accept", status=503),
    *_of(_READS, "error_5xx_before_accept", status=504),
    *_of(_RESULT, "refuse", status=400),
    *_of(_READS, "refuse", status=403),
    *_of(_READS, "refuse", status=404),
    *_of(_JOB, "refuse_429", retry_after="1000000000"),
    *_of(_READS, "html_answer", status=200),
    *_of(_READS, "html_answer", status=502),
    *_of(_READS, "malformed_json"),
    *_of(_READS, "drop_after_accept"),
)

# No spoiled file may lose the file. Permanent faults are left out: `expired_file`, 410, and media
# of another kind.
FILE_FAULTS: Final[tuple[Mapping[str, Any], ...]] = (
    *_of(_FILE, "refuse", times=MISSING_TIMES, status=404),
    *_of(_FILE, "refuse", times=MISSING_TIMES, status=403),
    *_of(_FILE, "error_5xx_before_accept", status=503),
    *_of(_FILE, "drop_after_accept"),
    *_of(_FILE, "html_answer", status=200),
    *(
        fault
        for form in ("html", "magic", "empty", "truncated", "cut", "without_index")
        for fault in _of(_FILE, "wrong_bytes", form=form)
    ),
    *(
        fault
        for value in ("aws-chunked", "utf-8", "gzip", "br", "zstd")
        for fault in _of(_FILE, "file_encoding", value=value)
    ),
    *_of(_FILE, "slow_file", seconds_per_chunk=1),
)

_CREATE: Final = ("create",)
LATE_IN_HISTORY_SECONDS: Final = 3.0

# Speech is in the answer of the paid call, so each of these spoils a purchase.
SPEECH_FAULTS: Final[tuple[Mapping[str, Any], ...]] = tuple(
    {**fault, "provider": "elevenlabs"}
    for fault in (
        *_of(_CREATE, "drop_before_accept", times=1),
        *_of(_CREATE, "drop_after_accept", times=1),
        *_of(_CREATE, "answer_502_after_accept", times=1, status=502),
        *_of(_CREATE, "cut_body", times=1, after="head"),
        *_of(_CREATE, "cut_body", times=1, after="middle"),
        *_of(_CREATE, "unlisted", times=1, seconds=LATE_IN_HISTORY_SECONDS),
    )
)

LOST_ANSWER: Final[Mapping[str, Any]] = {
    "operation": "create",
    "fault": "drop_after_accept",
    "times": TIMES,
    "params": {},
}
"""Added with each fault of a list, which is read only to look up a send without an answer.

There are several such sends, because a callback often reveals the id of one before its look-up.
"""
LOST_SPEECH: Final[Mapping[str, Any]] = SPEECH_FAULTS[1]
"""Added with a late entry in the history, which is looked up only for a send without an answer."""

PURCHASES = """
SELECT DISTINCT substring(e.webhook_url FROM 'chaos-[0-9]{6}') AS token, j.step_name AS step
FROM executions AS e JOIN jobs AS j ON j.execution_id = e.execution_id
WHERE j.provider_job_id = ANY($1::text[])
"""


def name_of(fault: Mapping[str, Any]) -> str:
    """Return one word for a fault, for the schedule and the report."""
    detail = "/".join(str(value) for value in fault["params"].values())
    once = "once" if fault["times"] == 1 else ""
    provider = str(fault.get("provider", "*")).replace("*", "")
    return "/".join(filter(None, (provider, fault["operation"], fault["fault"], detail, once)))


@dataclass(slots=True, kw_only=True)
class SpoiledReads:
    """The read faults added to the sandbox, and the answers that they spoiled.

    added: faults by name. fired: spoiled answers by name. paths: of the spoiled requests.
    A restart of the sandbox discards its faults and their records, so `look` is called often.
    """

    testbed: Testbed
    added: Counter[str] = field(default_factory=Counter[str])
    paths: dict[str, str] = field(default_factory=dict[str, str])
    _counts: dict[tuple[int, str], tuple[str, int]] = field(
        default_factory=dict[tuple[int, str], tuple[str, int]]
    )

    @property
    def fired(self) -> Counter[str]:
        fired = Counter[str]()
        for name, count in self._counts.values():
            fired[name] += count
        return +fired

    async def add(self, fault: Mapping[str, Any]) -> None:
        """Add a fault, unless the sandbox is down or stopped."""
        faults = [fault]
        if fault["operation"] == "list":
            faults.append(LOST_ANSWER)
        elif fault["fault"] == "unlisted":
            faults.append(LOST_SPEECH)
        async with self._client(timeout_seconds=2) as http:
            for one in faults:
                try:
                    (await http.post("/faults", json=dict(one))).raise_for_status()
                except httpx.TransportError:
                    return
                self.added[name_of(one)] += 1

    async def look(self) -> None:
        """Record what has fired, unless the sandbox is down or stopped."""
        start = self._starts()
        async with self._client(timeout_seconds=2) as http:
            try:
                answer = (await http.get("/faults")).raise_for_status()
            except httpx.TransportError:
                return
        if start != self._starts():
            return
        for fault in answer.json()["faults"]:
            self._counts[start, fault["id"]] = name_of(fault), fault["fired"]
            # The fault of a job has its id in place of a request's path.
            self.paths |= {
                one.get("path") or one["provider_job_id"]: fault["operation"]
                for one in fault["fired_at"]
            }

    async def purchases(self) -> dict[tuple[str, str], str]:
        """Return the operation that was spoiled by token and step.

        A list belongs to no single step, so it is left out.
        """
        if not self.paths:
            return {}
        async with self._client(timeout_seconds=20) as http:
            jobs: list[Mapping[str, Any]] = (await http.get("/jobs")).json()["jobs"]
        job_of = {output["name"]: job["id"] for job in jobs for output in job["outputs"]}
        found: dict[tuple[str, str], str] = {}
        for path, operation in self.paths.items():
            names = path.split("/")
            rows = await self.testbed.rows(PURCHASES, [job_of.get(name, name) for name in names])
            found |= {(row["token"], row["step"]): operation for row in rows}
        return found

    def _starts(self) -> int:
        return sum(incident.name == "Sandbox" for incident in self.testbed.incidents)

    def _client(self, *, timeout_seconds: float) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.testbed.control_url,
            trust_env=False,
            verify=False,
            timeout=timeout_seconds,
        )
