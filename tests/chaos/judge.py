"""The judge, which uses independent evidence only.

Evidence: the sandbox's bill, the receiver's log, the object store, and the database at rest (open
bills, holds, the ledger).
"""

import asyncio
import contextlib
import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx

from core.store.database import Database
from core.store.money.reports.ledger_check import list_findings
from core.store.money.reports.provider_bill import Key, compare_bill
from tests.chaos.bill import BillReader
from tests.chaos.cases import Phase
from tests.chaos.control import control
from tests.chaos.load import Mailbox, Order
from tests.chaos.testbed import Testbed

REST_SECONDS = 60.0

EXECUTIONS = """
SELECT e.execution_id, e.status, e.error, e.result,
       substring(e.webhook_url FROM 'chaos-[0-9]{6}') AS token,
       coalesce((SELECT sum(amount_nano_usd) FROM ledger_entries AS l WHERE l.execution_id = e.execution_id
                 AND l.kind IN ('settled', 'overage', 'orphan', 'adjustment')), 0)::bigint AS ledger,
       coalesce((SELECT sum(CASE WHEN kind = 'held' THEN amount_nano_usd ELSE -amount_nano_usd END)
                 FROM ledger_entries AS l WHERE l.execution_id = e.execution_id
                 AND l.kind IN ('held', 'settled', 'released')), 0)::bigint AS held,
       (SELECT count(*) FROM charges AS c WHERE c.execution_id = e.execution_id AND c.state = 'held') AS open_charges,
       (SELECT count(*) FROM jobs AS j WHERE j.execution_id = e.execution_id
        AND j.state NOT IN ('completed', 'failed', 'cancelled')) AS open_jobs,
       (SELECT count(*) FROM webhooks AS w WHERE w.execution_id = e.execution_id AND w.state = 'pending') AS pending,
       ARRAY(SELECT j.job_id FROM jobs AS j WHERE j.execution_id = e.execution_id)
       || ARRAY(SELECT j.provider_job_id FROM jobs AS j WHERE j.execution_id = e.execution_id
                AND j.provider_job_id IS NOT NULL)
       || ARRAY(SELECT w.event_id FROM webhooks AS w WHERE w.execution_id = e.execution_id)
       || ARRAY(SELECT a.object_key FROM assets AS a WHERE a.execution_id = e.execution_id) AS names,
       ARRAY(SELECT coalesce(s.outcome, 'none') FROM sends AS s JOIN jobs AS j ON j.job_id = s.job_id
             WHERE j.execution_id = e.execution_id ORDER BY s.sent_at) AS sends,
       ARRAY(SELECT extract(epoch FROM s.sent_at)::float8 FROM sends AS s JOIN jobs AS j ON j.job_id = s.job_id
             WHERE j.execution_id = e.execution_id ORDER BY s.sent_at) AS sent_at
FROM executions AS e
WHERE substring(e.webhook_url FROM 'chaos-[0-9]{6}') = ANY($1::text[])
"""
TOKENS = """
SELECT DISTINCT substring(e.webhook_url FROM 'chaos-[0-9]{6}') AS token
FROM executions AS e JOIN jobs AS j ON j.execution_id = e.execution_id
WHERE e.execution_id = ANY($1::text[]) OR j.job_id = ANY($1::text[]) OR j.provider_job_id = ANY($1::text[])
"""
OPEN_STEPS = """
SELECT substring(e.webhook_url FROM 'chaos-[0-9]{6}') AS token, j.step_name AS step,
       bool_or(j.state = 'submitted') AS answered
FROM executions AS e JOIN jobs AS j ON j.execution_id = e.execution_id
WHERE j.state IN ('submitting', 'unknown', 'submitted')
GROUP BY 1, 2
"""
BUDGETS_HELD = "SELECT coalesce(sum(held_nano_usd + held_videos), 0)::bigint AS held FROM budgets"


@dataclass(slots=True, kw_only=True)
class Finding:
    """The result of one order.

    names: every id that may identify it on a connection. sends: the outcome and time (wall clock)
    of each, in order.
    """

    order: Order
    extra: int = 0
    lost: bool = False
    stuck: list[str] = field(default_factory=list[str])
    duplicates: int = 0
    failed: str = ""
    broken: list[str] = field(default_factory=list[str])
    bill_nano_usd: int = 0
    ledger_nano_usd: int = 0
    names: frozenset[str] = frozenset()
    sends: tuple[tuple[float, str], ...] = ()
    first_webhook_at: float | None = None

    @property
    def difference_nano_usd(self) -> int:
        return self.ledger_nano_usd - self.bill_nano_usd

    @property
    def is_red(self) -> bool:
        return bool(
            self.extra
            or self.lost
            or self.stuck
            or self.duplicates
            or self.failed
            or self.broken
            or self.difference_nano_usd
        )

    def sent_again(self, held_at: list[float]) -> list[str]:
        """Return the held sends that a graceful stop lost.

        Steps are bought in sequence, so the lost send is the last one before the stop; another
        fault may have affected the others.
        """
        outcomes = {
            next((out for sent_at, out in reversed(self.sends) if sent_at <= at), "none")
            for at in held_at
        }
        return [
            f"{self.order.token}: a graceful stop left a send {outcome}"
            for outcome in outcomes - {"accepted"}
        ]

    def explain(self) -> str:
        """Return one line for a person."""
        said = [
            f"{self.extra} extra paid" if self.extra else "",
            "lost" if self.lost else "",
            f"stuck ({', '.join(self.stuck)})" if self.stuck else "",
            f"{self.duplicates} more event ids" if self.duplicates else "",
            f"not completed ({self.failed})" if self.failed else "",
            *self.broken,
            f"ledger minus bill {self.difference_nano_usd}" if self.difference_nano_usd else "",
        ]
        sends = f" sends: {' '.join(outcome for _, outcome in self.sends)}"
        return (
            f"{self.order.token} ({self.order.kind.name}) {self.order.execution_id}: "
            + "; ".join(filter(None, said))
            + sends
        )


@dataclass(slots=True)
class Judge:
    testbed: Testbed
    mailbox: Mailbox
    bill: BillReader
    _file_sizes: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    _reading_sizes: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def judge(
        self, orders: list[Order], *, rest_seconds: float = REST_SECONDS
    ) -> list[Finding]:
        """Wait, up to a limit, for the database to be at rest, and return the orders' findings."""
        rows = await self._at_rest(orders, rest_seconds)
        lines = await self.bill.by_token()
        self.mailbox.look()
        found = [self._judge(order, rows[order.token], lines[order.token]) for order in orders]
        sizes = [await self._produced_sizes(lines[order.token]) for order in orders]
        # Hundreds of concurrent files wait longer for a connection than a single file may take.
        async with httpx.AsyncClient(
            trust_env=False, verify=False, timeout=httpx.Timeout(20, pool=None)
        ) as http:
            await asyncio.gather(
                *(
                    _check_files(http, finding, rows[finding.order.token], produced)
                    for finding, produced in zip(found, sizes, strict=True)
                )
            )
        return found

    async def _produced_sizes(self, lines: list[dict[str, Any]]) -> frozenset[int]:
        """Return the sizes of the files that these lines of the bill paid for."""
        names = [line["provider_job_id"] for line in lines]
        async with self._reading_sizes:
            if not self._file_sizes.keys() >= set(names):
                jobs = (await control("GET", f"{self.testbed.control_url}/jobs"))["jobs"]
                self._file_sizes |= {
                    job["id"]: frozenset(output["bytes"] for output in job["outputs"])
                    for job in jobs
                    if job["outputs"]
                }
        none = frozenset[int]()
        return none.union(*(self._file_sizes.get(name, none) for name in names))

    async def tokens_of(self, names: list[str]) -> set[str]:
        """Return the prompt tokens of execution ids, job ids or tokens seen on a connection."""
        rows = await self.testbed.rows(TOKENS, names)
        return {row["token"] for row in rows} | {
            name for name in names if name.startswith("chaos-")
        }

    async def open_steps(self) -> dict[tuple[str, str], Phase]:
        """Return token and name of every paid step with a committed intent and no cost.

        Empty if the database cannot be read.
        """
        rows: list[dict[str, Any]] = []
        with contextlib.suppress(
            OSError, TimeoutError, asyncpg.PostgresError
        ):  # the database itself may be down
            rows = await asyncio.wait_for(self.testbed.rows(OPEN_STEPS), 1)
        return {
            (row["token"], row["step"]): Phase.BOUGHT if row["answered"] else Phase.PAYING
            for row in rows
        }

    async def held_in_budgets(self) -> int:
        """Return all money and videos still held: 0 at rest."""
        return (await self.testbed.rows(BUDGETS_HELD))[0]["held"]

    async def ledger_findings(self) -> list[str]:
        """Return the findings of `ledger check` over all rows and against the sandbox's bill.

        A database at rest has no finding.
        """
        billed: dict[Key, int] = {
            (line["provider"], line["provider_job_id"]): line["billed_nano_usd"]
            for line in await self.bill.lines()
        }
        async with (
            Database.open(self.testbed.environment["DATABASE_URL"], max_connections=1) as database,
            database.reading_all() as conn,
        ):
            findings = await list_findings(conn)
            bill = await compare_bill(conn, billed)
        said = [f"{one.check}: {one.target}: {one.text}" for one in (*findings, *bill.findings)]
        return [*said, *(f"open: {line}" for line in bill.open)]

    async def _at_rest(
        self, orders: list[Order], seconds: float
    ) -> dict[str, list[dict[str, Any]]]:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for row in await self.testbed.rows(EXECUTIONS, [order.token for order in orders]):
                rows[row["token"]].append(row)
            restless = any(_is_restless(row) for found in rows.values() for row in found)
            if not restless or loop.time() > until:
                return rows
            await asyncio.sleep(0.5)

    def _judge(
        self, order: Order, rows: list[dict[str, Any]], lines: list[dict[str, Any]]
    ) -> Finding:
        finding = Finding(order=order, bill_nano_usd=sum(line["billed_nano_usd"] for line in lines))
        # A send that failed at no cost may be repeated, for example while the storage was down.
        models = [line["model"] for line in lines if line["billed"] or line["state"] != "failed"]
        finding.extra = len(models) - min(len(set(models)), order.kind.paid)
        if order.execution_id is None:
            finding.broken += [f"never accepted: {order.refused}"]
        if len(rows) > 1:
            finding.broken += [f"{len(rows)} rows for one request"]
        for row in rows:
            self._judge_row(finding, row, len(set(models)))
        if not rows and order.execution_id is not None:
            finding.lost = True
        if not rows:
            finding.extra = len(models)
        return finding

    def _judge_row(self, finding: Finding, row: dict[str, Any], steps_paid: int) -> None:
        ended = row["status"] in ("completed", "failed", "cancelled")
        finding.lost |= not ended
        finding.names |= {row["execution_id"], finding.order.token, *row["names"]}
        finding.sends = tuple(zip(row["sent_at"], row["sends"], strict=True))
        finding.ledger_nano_usd += row["ledger"]
        if not ended:
            finding.stuck.append(row["status"])
        elif row["status"] != "completed":
            finding.failed = f"{row['status']}: {json.loads(row['error'])['code'] if row['error'] else 'no error'}"
        elif steps_paid != finding.order.kind.paid:
            finding.broken.append(f"completed with {steps_paid} paid steps")
        for name in ("open_charges", "open_jobs", "pending", "held"):
            if ended and row[name]:
                finding.stuck.append(f"{name} {row[name]}")
        self._judge_webhooks(finding, row["execution_id"], ended=ended)

    def _judge_webhooks(self, finding: Finding, execution_id: str, *, ended: bool) -> None:
        arrivals = self.mailbox.of.get(execution_id, [])
        finding.duplicates += max(0, len({arrival.event_id for arrival in arrivals}) - 1)
        if len({arrival.body for arrival in arrivals}) > 1:
            finding.broken.append("webhook bodies differ")
        delivered = self.mailbox.delivered(execution_id)
        if delivered is not None:
            finding.first_webhook_at = delivered.at
        elif ended:
            finding.stuck.append("no webhook")


def _is_restless(row: dict[str, Any]) -> bool:
    if row["status"] in ("queued", "running"):
        return True
    return bool(row["open_charges"] or row["open_jobs"] or row["pending"])


async def _check_files(
    http: httpx.AsyncClient,
    finding: Finding,
    rows: list[dict[str, Any]],
    produced_sizes: frozenset[int],
) -> None:
    """Check that the object store has every file of the result, byte for byte.

    produced_sizes: of the files as the provider made them; a part of one is no result. A transcript
    must have all words.
    """
    for row in rows:
        if row["status"] != "completed" or not row["result"]:
            continue
        assets: list[dict[str, Any]] = json.loads(row["result"])["assets"]
        kind = finding.order.kind
        if not any(asset["kind"] == kind.makes for asset in assets):
            finding.broken.append(f"no {kind.makes} in the result")
        for asset in assets:
            try:
                answer = await http.get(asset["url"])
            except httpx.HTTPError as error:
                finding.broken.append(
                    f"{asset['kind']} file cannot be read: {type(error).__name__}"
                )
                continue
            if (
                answer.status_code != 200
                or hashlib.sha256(answer.content).hexdigest() != asset["sha256"]
            ):
                finding.broken.append(
                    f"{asset['kind']} file is not what was promised ({answer.status_code})"
                )
            elif asset["kind"] == "transcript":  # a file of the product's own form
                if len(json.loads(answer.content)["words"]) != kind.words:
                    finding.broken.append("transcript file has not all words")
            elif len(answer.content) not in produced_sizes:
                finding.broken.append(f"{asset['kind']} file is not what the provider made")
