"""`jobs`, `submits` and `audit`: what an operator reads and does when the product cannot know by
itself.
"""

import argparse
from typing import Any

from cli.common import Arguments, add_actor, exact_usd, plain_text, whole_number
from core.domain.ids import JobId, UserId
from core.domain.money import NANO_PER_USD, NanoUsd, usd_text
from core.platform.crypto.sealing import Sealer
from core.store.accounts.audit import list_audit, record
from core.store.accounts.users import lock_limits
from core.store.database import Connection
from core.store.jobs.cases import STATES, get_case, list_cases
from core.store.jobs.manual_changes import (
    Adoption,
    Booked,
    adopt_by_hand,
    release_by_hand,
    settle_by_hand,
)
from core.store.jobs.submit_pauses import (
    ALL,
    list_pauses,
    pause,
    provider_scope,
    resume,
    user_scope,
)
from core.store.money.refunds import refund_by_hand
from core.store.operator import RefusedError, row_json
from core.store.recovery.restore_marker import DATABASE_BEHIND

SURE_NANO_USD = NanoUsd(10_000 * NANO_PER_USD)
"""One job that cost more is rather a slip of the hand: it wants --yes."""
SECONDS_PER_MINUTE = 60
THEN = {
    Adoption.SUBMITTED: "its execution goes on with it; if that has ended, the sweep ends and settles it",
    Adoption.LATE: "it had been given up: the sweep settles its bill",
    Adoption.ORPHAN: "its job does not use it: the sweep ends it, and books it as an orphan",
    Adoption.ALREADY: "it is adopted already: the job has this id; jobs show says how it stands",
}
HAS_PROVIDER = "SELECT EXISTS (SELECT FROM steps WHERE provider = $1)"


async def _list(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    return await list_cases(
        conn,
        arguments.state,
        provider=arguments.provider,
        older_than_seconds=(arguments.older_than or 0) * SECONDS_PER_MINUTE,
        limit=arguments.limit,
    )


async def _show(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    return await get_case(conn, JobId(arguments.job))


async def _adopt(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    adopted = await adopt_by_hand(
        conn, JobId(arguments.job), arguments.provider_job_id, send=arguments.send
    )
    done = {
        "providerJobId": arguments.provider_job_id,
        "send": adopted.send,
        "outcome": adopted.outcome,
    }
    if adopted.outcome is Adoption.ORPHAN:
        done["orphanJobId"] = adopted.job_id
    if adopted.changed:
        await record(
            conn, arguments.actor, "jobs adopt", arguments.job, done | {"note": arguments.note}
        )
    return {
        "jobId": arguments.job,
        "changed": adopted.changed,
        **done,
        "then": THEN[adopted.outcome],
    }


async def _settle(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    if arguments.usd > SURE_NANO_USD and not arguments.yes:
        raise RefusedError(
            f"{usd_text(arguments.usd)} USD for one job: if that is meant, say --yes"
        )
    booked = await settle_by_hand(conn, JobId(arguments.job), arguments.usd, sure=arguments.yes)
    return await _booked_json(conn, arguments, "jobs settle", booked)


async def _release(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    booked = await release_by_hand(conn, JobId(arguments.job))
    return await _booked_json(conn, arguments, "jobs release", booked)


async def _booked_json(
    conn: Connection, arguments: Arguments, action: str, booked: Booked
) -> object:
    money = {
        "heldUsd": usd_text(booked.held_nano_usd),
        "settledUsd": usd_text(booked.settled_nano_usd),
        "outcome": "released: never accepted, nothing paid"
        if booked.released
        else "settled as assumed",
    }
    if booked.changed:
        await record(conn, arguments.actor, action, arguments.job, money | {"note": arguments.note})
    return {"jobId": arguments.job, "changed": booked.changed, **money}


async def _refund(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    if arguments.usd == 0:
        raise RefusedError("a refund of nothing is none")
    refunded = await refund_by_hand(
        conn, JobId(arguments.job), arguments.usd, reference=arguments.reference
    )
    money = {
        "settledUsd": usd_text(refunded.settled_nano_usd),
        "refundedUsd": usd_text(refunded.refunded_nano_usd),
    }
    if refunded.changed:
        detail = {
            "usd": usd_text(arguments.usd),
            "reference": arguments.reference,
            "reason": arguments.reason,
        }
        await record(conn, arguments.actor, "jobs refund", arguments.job, detail | money)
    return {"jobId": arguments.job, "changed": refunded.changed, **money}


async def _pause(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    known = arguments.provider is None or await conn.fetchval(HAS_PROVIDER, arguments.provider)
    if not known and not arguments.yes:
        raise RefusedError(
            f"no step has ever named a provider {arguments.provider}: if that is meant, say --yes"
        )
    scope = await _scope(conn, arguments)
    changed = await pause(conn, scope, arguments.reason)
    if changed:
        await record(conn, arguments.actor, "submits pause", scope, {"reason": arguments.reason})
    return {"scope": scope, "changed": changed, "paused": await _pauses_json(conn)}


async def _resume(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    scope = await _scope(conn, arguments)
    reasons = {entry.scope: entry.reason for entry in await list_pauses(conn)}
    if reasons.get(scope) == DATABASE_BEHIND:
        raise RefusedError(
            "the database has gone back to the past: only `python worker.py recover` ends this pause"
        )
    changed = await resume(conn, scope)
    if changed:
        await record(
            conn, arguments.actor, "submits resume", scope, {"reasonOfThePause": reasons.get(scope)}
        )
    return {"scope": scope, "changed": changed, "paused": await _pauses_json(conn)}


async def _show_pauses(conn: Connection, _box: Sealer, _arguments: Arguments) -> object:
    return await _pauses_json(conn)


async def _pauses_json(conn: Connection) -> list[dict[str, Any]]:
    return [
        {"scope": entry.scope, "reason": entry.reason, "since": entry.created_at}
        for entry in await list_pauses(conn)
    ]


async def _scope(conn: Connection, arguments: Arguments) -> str:
    if arguments.provider is not None:
        return provider_scope(arguments.provider)
    if arguments.user is None:
        return ALL
    await lock_limits(conn, UserId(arguments.user))  # that there is such a user
    return user_scope(UserId(arguments.user))


async def _list_audit(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    entries = await list_audit(conn, target=arguments.target, limit=arguments.limit)
    return [
        row_json(
            {
                "at": e.at,
                "actor": e.actor,
                "action": e.action,
                "target": e.target,
                "detail": e.detail,
            }
        )
        for e in entries
    ]


def add_jobs(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = verbs.add_parser("list", help="jobs whose fate or bill is open, the oldest first")
    listing.add_argument(
        "--state", choices=STATES, help="default: unknown, open bills and unpaid orphans"
    )
    listing.add_argument("--provider", metavar="NAME", type=plain_text)
    listing.add_argument(
        "--older-than", metavar="MIN", type=whole_number, help="minutes since the last send"
    )
    listing.add_argument(
        "--limit", metavar="N", type=whole_number, default=100, help="default: 100"
    )
    listing.set_defaults(command=_list)
    show = _add_job(
        verbs, "show", "everything about a job: sends, callbacks, money, what was done by hand"
    )
    show.set_defaults(command=_show)
    adopt = _add_job(
        verbs, "adopt", "say which job of the provider an unknown or given-up send became"
    )
    adopt.add_argument("provider_job_id", metavar="PROVIDER_JOB_ID", help="the provider's own id")
    adopt.add_argument(
        "--send",
        metavar="N",
        type=whole_number,
        help="for which of its sends; default: the current one",
    )
    _add_note(adopt, _adopt)
    settle = _add_job(verbs, "settle", "book the open bill of an ended job by hand, as assumed")
    settle.add_argument(
        "--usd",
        metavar="X",
        type=exact_usd,
        required=True,
        help="what it cost; 0: nothing was bought",
    )
    settle.add_argument(
        "--yes", action="store_true", help="also above 10000, also if the provider has an id for it"
    )
    _add_note(settle, _settle)
    refund = _add_job(verbs, "refund", "book what the provider gave back of a bill that is settled")
    refund.add_argument(
        "usd", metavar="USD", type=exact_usd, help="how much: exact, to the nano-dollar"
    )
    refund.add_argument(
        "--reason", metavar="TEXT", type=plain_text, required=True, help="for the audit log"
    )
    refund.add_argument(
        "--reference",
        metavar="TEXT",
        type=plain_text,
        help="the provider's own for it; each further one needs its own",
    )
    add_actor(refund)
    refund.set_defaults(command=_refund)
    _add_note(
        _add_job(verbs, "release", "give back the hold of a job that the provider never accepted"),
        _release,
    )


def _add_job(verbs: Any, verb: str, meaning: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = verbs.add_parser(verb, help=meaning, description=meaning)
    command.add_argument("job", metavar="JOB", help="job id (job_…)")
    return command


def _add_note(parser: argparse.ArgumentParser, command: object) -> None:
    parser.add_argument("--note", metavar="TEXT", type=plain_text, help="why, for the audit log")
    add_actor(parser)
    parser.set_defaults(command=command)


def add_submits(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for verb, meaning, command in (
        ("pause", "begin no paid call from now on; what was sent goes on", _pause),
        ("resume", "let paid calls begin again", _resume),
    ):
        change = verbs.add_parser(verb, help=meaning, description=meaning)
        scope = change.add_mutually_exclusive_group()
        scope.add_argument(
            "--provider", metavar="NAME", type=plain_text, help="only of this provider"
        )
        scope.add_argument(
            "--user", metavar="USER", help="only of this user (usr_…); neither: of everybody"
        )
        if command is _pause:
            change.add_argument("--reason", metavar="TEXT", type=plain_text, required=True)
            change.add_argument(
                "--yes", action="store_true", help="also a provider that was never used"
            )
        add_actor(change)
        change.set_defaults(command=command)
    verbs.add_parser("show", help="what is paused, and why").set_defaults(command=_show_pauses)


def add_audit(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = verbs.add_parser("list", help="what was done by hand, the latest first")
    listing.add_argument(
        "--target", metavar="ID", help="only what was done to this job, user, key or scope"
    )
    listing.add_argument(
        "--limit", metavar="N", type=whole_number, default=100, help="default: 100"
    )
    listing.set_defaults(command=_list_audit)
