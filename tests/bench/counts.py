"""Round trips of an execution: statements, transactions, calls to Temporal and history events.

Counts do not depend on the load of the machine, so they are the figure to compare changes by.
PostgreSQL logs every statement; a transaction that an idle stack makes, too, does not count.
Temporal counts every call; what an idle stack calls in the same time is subtracted.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from statistics import mean, median

import httpx

from core.store.jobs.jobs import GET_JOB
from tests.bench.cpu import CpuReading
from tests.bench.histories import count_events
from tests.bench.servers import Servers
from tests.bench.sides import Side
from tests.support.statement_log import Statement, logged_statements, transactions_of

IDLE_SECONDS = 20.0
SETTLE_SECONDS = 1.0
"""After the last webhook: its attempt is recorded and the workflows close."""
CALLS = re.compile(
    r'^service_requests\{(?=.*service_name="frontend").*operation="(\w+)".*\} ([\d.e+]+)$'
)
POLLS = ("PollWorkflowTaskQueue", "PollActivityTaskQueue", "PollNexusTaskQueue")
"""Calls that wait for work. Their number depends on the time, not on the executions."""
READ_JOB = " ".join(GET_JOB.split())[:200]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything since the servers were started, or since another reading."""

    at: float
    statements: list[Statement]
    calls: Counter[str]

    def since(self, before: "Reading") -> "Reading":
        return Reading(
            at=self.at - before.at,
            statements=self.statements[len(before.statements) :],
            calls=self.calls - before.calls,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one execution takes, on average, beyond an idle stack. cpu_ms: of all parts."""

    executions: int
    statements: float
    transactions: float
    job_reads: float
    calls: dict[str, float]
    events: tuple[float, float]
    seconds: float
    cpu_ms: float
    by_statement: dict[str, float]
    last: list[tuple[str, ...]]
    """The transactions of the last execution."""


async def count(servers: Servers, side: Side, *, executions: int) -> Counts:
    """Run executions one after another and count."""
    async with _logged(servers) as read:
        before = await read()
        await asyncio.sleep(IDLE_SECONDS)
        idle = (await read()).since(before)
        before, cpu = await read(), CpuReading.take(servers.pids)
        finished = [await side.run_one() for _ in range(executions - 1)]
        await asyncio.sleep(SETTLE_SECONDS)
        before_last = await read()
        finished.append(await side.run_one())
        await asyncio.sleep(SETTLE_SECONDS)
        spent = CpuReading.take(servers.pids).since(cpu)
        end = await read()
        used, last = end.since(before), end.since(before_last)
        events = [await count_events(servers.temporal, one) for one in finished]
    share = used.at / idle.at

    def per_execution(work: Counter[str], rest: Counter[str]) -> dict[str, float]:
        each = {name: (work[name] - share * rest[name]) / executions for name in {*work, *rest}}
        return {name: each[name] for name in sorted(each, key=lambda name: -each[name])}

    of_idle = set(transactions_of(idle.statements))
    made = [one for one in transactions_of(used.statements) if one not in of_idle]
    statements = {text: number / executions for text, number in Counter(chain(*made)).most_common()}
    calls = per_execution(used.calls, idle.calls)
    return Counts(
        executions=executions,
        statements=sum(statements.values()),
        transactions=sum(n for text, n in statements.items() if text.startswith("BEGIN")),
        job_reads=sum(n for text, n in statements.items() if text.startswith(READ_JOB)),
        calls={name: n for name, n in calls.items() if name not in POLLS and n > 0.05},
        events=(mean(first for first, _ in events), mean(second for _, second in events)),
        seconds=median(one.seconds for one in finished),
        cpu_ms=1000 * sum(spent.values()) / executions,
        by_statement=statements,
        last=[one for one in transactions_of(last.statements) if one not in of_idle],
    )


def report(counts: Counts) -> str:
    rows = {
        "statements": counts.statements,
        "transactions": counts.transactions,
        "reads of a job's row": counts.job_reads,
        "calls to Temporal, without polls": sum(counts.calls.values()),
        "history events, execution": counts.events[0],
        "history events, delivery": counts.events[1],
        "processor time of all parts, ms": counts.cpu_ms,
        "seconds, median": counts.seconds,
    }
    lines = [f"one execution of {counts.executions}, one in flight", ""]
    lines += [f"  {name:<36} {number:8.2f}" for name, number in rows.items()]
    lines += ["", *(f"  {number:6.2f} {name}" for name, number in counts.calls.items()), ""]
    lines += [f"  {number:6.2f} {text[:150]}" for text, number in counts.by_statement.items()]
    lines += ["", "transactions of the last execution:"]
    for transaction in counts.last:
        lines += ["", *(f"  {text[:150]}" for text in transaction)]
    return "\n".join(lines)


@asynccontextmanager
async def _logged(servers: Servers) -> AsyncGenerator[Callable[[], "asyncio.Future[Reading]"]]:
    """Log every statement, and yield what reads the totals."""
    log = servers.config.logs / "postgres.log"
    metrics_url = f"http://127.0.0.1:{servers.config.ports.temporal_metrics}/metrics"
    async with (
        logged_statements(servers.superuser_url, log) as statements,
        httpx.AsyncClient(trust_env=False, timeout=10) as http,
    ):

        async def read() -> Reading:
            answer = await http.get(metrics_url)
            return Reading(
                at=time.monotonic(),
                statements=statements(),
                calls=_calls(answer.raise_for_status().text),
            )

        yield lambda: asyncio.ensure_future(read())


def _calls(metrics: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in metrics.splitlines():
        match = CALLS.match(line)
        if match is not None:
            found[match.group(1)] += int(float(match.group(2)))
    return found
