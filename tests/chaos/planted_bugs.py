"""The planted bugs, as replacements of texts in the product.

A bug that a second safeguard hides is not planted: a resumed zombie process sends late only if the
time-outs of its database connection and of its activity allow it, which is a race that it mostly
loses. Those safeguards have tests of their own.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A replacement of text.

    file: relative to the root of the sources.
    """

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A planted bug.

    cases: names in cases.py or planted_cases.py that must turn red. needs_fault: whether orders
    without a fault end as usual, which is checked first.
    """

    name: str
    what: str
    edits: tuple[Edit, ...]
    cases: tuple[str, ...]
    needs_fault: bool = True


_LOG: Final = "log = get_logger(__name__)\n"
_CHECKED: Final = "                self.serial_watch.check(known, intent.serial)\n"
_SENT_BEFORE: Final = (
    "                _SENT[ref.job_id] = await self._send(ref, intent, boot_seconds())\n"
)
_SENT: Final = "        result = await self._send(ref, intent, began)\n"
_CLAIMED: Final = '        cancelled = row["cancel_requested_at"] is not None\n'
_BEGUN_ANEW: Final = """\
        await conn.execute(
            "UPDATE jobs SET state = 'waiting', provider_job_id = NULL, deadline_at = NULL"
            " WHERE execution_id = $1 AND state IN ('submitting', 'unknown', 'submitted')",
            ref.execution_id,
        )
"""
_NOT_FOUND: Final = "    404: FailureCode.PROVIDER_MODEL_UNAVAILABLE,\n"
_IF_NOT_WAITING: Final = (
    "        if job.state is not JobState.WAITING:\n            return await sent_already"
)
_IF_KNOWN: Final = (
    "        if job.state is JobState.SUBMITTED or job.state.ended:\n"
    "            return await sent_already"
)
_IF_ENDED: Final = "        if job.state.ended:\n            return await sent_already"
_MISSING: Final = """\
    \"""The provider does not serve the file now (403, 404 …).\"""

    retryable_for_minutes = True
"""
_UNKNOWN: Final = """\
    \"""The body is empty or of no known media type, for example a file server's HTML page.\"""

    retryable_for_minutes = True
"""
_WHERE_WAITING: Final = "j.state = 'waiting' AND j.send_number = $2 - 1"

BUGS: Final = (
    Bug(
        name="resend-on-lost-answer",
        what="a read time-out or a dropped connection is taken for not accepted, as most HTTP clients' retries do",
        edits=(
            Edit(
                file="core/providers/http/create_outcome.py",
                old="        if sent.bytes_left:\n",
                new="        if sent.bytes_left and sent.note not in "
                '("ReadTimeout", "ReadError", "RemoteProtocolError"):\n',
            ),
        ),
        cases=("cut-after-billing-quiet",),
    ),
    Bug(
        name="new-send-per-attempt",
        what="Temporal retries the submit, and the submit sends whenever it is asked",
        edits=(
            Edit(
                file="core/platform/temporal/policies.py",
                old="ONCE: Final = RetryPolicy(maximum_attempts=1)",
                new="ONCE: Final = RetryPolicy(maximum_attempts=5)",
            ),
            Edit(file="core/jobs/submission/submit.py", old=_IF_NOT_WAITING, new=_IF_KNOWN),
            Edit(file="core/store/jobs/sends.py", old=_WHERE_WAITING, new="j.send_number = $2 - 1"),
        ),
        cases=("worker-after-billing-quiet",),
    ),
    Bug(
        name="post-before-commit",
        what="the paid call is made inside the intent's transaction: a worker killed there leaves no trace of it",
        edits=(
            Edit(file="core/jobs/submission/submit.py", old=_LOG, new=_LOG + "_SENT = {}\n"),
            Edit(file="core/jobs/submission/submit.py", old=_CHECKED, new=_CHECKED + _SENT_BEFORE),
            Edit(
                file="core/jobs/submission/submit.py",
                old=_SENT,
                new=_SENT.replace("await", "_SENT.pop(ref.job_id, None) or await"),
            ),
        ),
        cases=("worker-after-billing-quiet",),
    ),
    Bug(
        name="settled-twice",
        what="a settlement has an operation id of its own each time, and looks at no state",
        edits=(
            Edit(
                file="core/jobs/settlement.py",
                old="    if not job.state.ended and not resend:\n        settled = ",
                new="    if not resend:\n        settled = ",
            ),
            Edit(
                file="core/store/money/settlement.py",
                old="from core.domain.ids import ChargeId, JobId",
                new="from core.domain.ids import ChargeId, JobId, new_charge_id",
            ),
            Edit(
                file="core/store/money/settlement.py",
                old='    if charge["state"] != ChargeState.HELD:\n        if',
                new="    if False:\n        if",
            ),
            Edit(
                file="core/store/money/settlement.py",
                old='operation_id=f"{kind}/{charge_id}"',
                new='operation_id=f"{kind}/{new_charge_id()}"',
            ),
            Edit(
                file="core/store/money/settlement.py",
                old='    if charge["state"] != ChargeState.HELD:\n        return',
                new="    if False:\n        return",
            ),
            # Otherwise the CHECKs of the counters would find it.
            Edit(
                file="core/store/money/budget_counters.py",
                old="SET held_nano_usd = held_nano_usd - $3::bigint,",
                new="SET held_nano_usd = greatest(0, held_nano_usd - $3::bigint),",
            ),
            Edit(
                file="core/store/money/budget_counters.py",
                old="SET held_nano_usd = s.held_nano_usd - $3::bigint,",
                new="SET held_nano_usd = greatest(0, s.held_nano_usd - $3::bigint),",
            ),
            Edit(
                file="core/store/money/daily_spending_cap.py",
                old="SET held_nano_usd = d.held_nano_usd - $2::bigint,",
                new="SET held_nano_usd = greatest(0, d.held_nano_usd - $2::bigint),",
            ),
        ),
        cases=("cut-after-settle",),
        # A wait that begins after its job is settled is completed by a second settlement.
        needs_fault=False,
    ),
    Bug(
        name="no-state-in-where",
        what="a send begins whatever state the job is in: another run of the workflow buys again",
        edits=(
            Edit(file="core/jobs/submission/submit.py", old=_IF_NOT_WAITING, new=_IF_ENDED),
            Edit(file="core/store/jobs/sends.py", old=_WHERE_WAITING, new="j.send_number = $2 - 1"),
        ),
        cases=("workflows-reset",),
    ),
    Bug(
        name="409-is-a-refusal",
        what="a 409 is taken for a refusal",
        edits=(
            Edit(
                file="core/providers/http/create_outcome.py",
                old=_NOT_FOUND,
                new=_NOT_FOUND + "    409: FailureCode.PROVIDER_RATE_LIMITED,\n",
            ),
        ),
        cases=("billed-409",),
    ),
    Bug(
        name="500-is-a-refusal",
        what="a server error is taken for a refusal",
        edits=(
            Edit(
                file="core/providers/http/create_outcome.py",
                old="    429: FailureCode.PROVIDER_RATE_LIMITED,\n}",
                new="    429: FailureCode.PROVIDER_RATE_LIMITED,\n    500: FailureCode.PROVIDER_UNAVAILABLE,\n}",
            ),
        ),
        cases=("billed-500",),
    ),
    Bug(
        name="bought-by-run",
        what="what another run of the workflow began is begun again: a reset buys again",
        edits=(
            Edit(
                file="core/store/executions/executions.py", old=_CLAIMED, new=_CLAIMED + _BEGUN_ANEW
            ),
        ),
        cases=("workflows-reset",),
    ),
    Bug(
        name="request-key-not-used",
        what="a request that is repeated with its Idempotency-Key is a new request",
        edits=(
            Edit(
                file="api/orders/accept.py",
                old="        idempotency_key=idempotency_key(idempotency_header, operation, body=body),\n",
                new="        idempotency_key=None,\n",
            ),
        ),
        cases=("api-before-202",),
    ),
    Bug(
        name="event-id-per-try",
        what="every try to deliver a webhook has an id of its own",
        edits=(
            Edit(
                file="core/webhooks/signing.py",
                old="            secret, event_id, int(time.time())",
                new='            secret, f"evt_{time.time_ns():032x}", int(time.time())',
            ),
        ),
        cases=("worker-during-webhook",),
    ),
    Bug(
        name="failover-after-unknown",
        what="a send of unknown outcome is taken for a refusal, after which the next model is bought",
        edits=(
            Edit(
                file="core/jobs/submission/submit_results.py",
                old="outcome=SubmitOutcome.UNKNOWN, provider=ProviderSignal.UNKNOWN\n",
                new="outcome=SubmitOutcome.REFUSED, provider=ProviderSignal.NEUTRAL,\n"
                "            failure=Failure.of(FailureCode.PROVIDER_REJECTED_INPUT),\n",
            ),
        ),
        cases=("cut-after-billing-alternative",),
    ),
    Bug(
        name="absent-at-once",
        what="a list that does not show the send decides at once, not after the horizon",
        edits=(
            Edit(
                file="core/jobs/lookups/absence.py",
                old="past_at = sent_at + horizon_seconds\n",
                new="past_at = sent_at + horizon_seconds - 6\n",
            ),
        ),
        cases=("cut-after-billing-hidden",),
    ),
    Bug(
        name="failed-read-fails-the-job",
        what="an error status of the result's read is taken for a failure of the job",
        edits=(
            Edit(
                file="core/providers/vendors/fal/wire.py",
                old="    if not error_confirmed:\n        raise unavailable(result)\n",
                new="",
            ),
        ),
        cases=("result-504", "result-400"),
    ),
    Bug(
        name="missing-is-expired",
        what="the first 404 of a file is taken for its deletion",
        edits=(
            Edit(
                file="core/domain/media/content.py",
                old=_MISSING,
                new=_MISSING.replace("True", "False"),
            ),
        ),
        cases=("file-404",),
    ),
    Bug(
        name="page-is-the-file",
        what="an HTML page in place of a file is taken for a wrong file",
        edits=(
            Edit(
                file="core/domain/media/content.py",
                old=_UNKNOWN,
                new=_UNKNOWN.replace("True", "False"),
            ),
        ),
        cases=("file-html",),
    ),
    Bug(
        name="half-a-file-is-stored",
        what="a file is stored without a check that it is complete",
        edits=(
            Edit(
                file="core/store/files/job_files.py",
                old="            whole.read(joined(head, chunks)),\n",
                new="            joined(head, chunks),\n",
            ),
        ),
        cases=("file-half",),
    ),
    Bug(
        name="lease-of-an-hour",
        what="the jobs that a killed worker was reading are not looked at by another one",
        edits=(
            Edit(
                file="core/jobs/waiting/poller.py",
                old="LEASE_SECONDS: Final = 10.0",
                new="LEASE_SECONDS: Final = 3600.0",
            ),
        ),
        cases=("worker-while-waiting-quiet",),
    ),
    Bug(
        name="completed-once",
        what="the end of a wait is given to Temporal once, by the process that stored it",
        edits=(
            Edit(
                file="core/jobs/waiting/poller.py",
                old="                next_look_seconds=COMPLETED_AGAIN_SECONDS,\n",
                new="                next_look_seconds=3600.0,\n",
            ),
        ),
        cases=("worker-after-report-slow",),
    ),
)
