"""`takeone-admin secrets`: which master key seals the secrets at rest, and its rotation."""

from typing import Annotated

import typer

from cli.options import MAX_COUNT, Actor, AsJson
from cli.output import Shown, show
from cli.session import ExitCode, session_of
from core.store.accounts.audit import record
from core.store.secrets.sealed_columns import BATCH, SealedCount, count_sealed, renew_all

app = typer.Typer(help="Count and rotate the secrets at rest.", no_args_is_help=True)


@app.command()
async def status(context: typer.Context, *, as_json: AsJson = False) -> Shown:
    """Count the secrets that each key of ENCRYPTION_KEYS seals."""
    box = session_of(context).secret_box
    async with session_of(context).database() as database:
        counts = await count_sealed(database)
    used = {count.key_id for count in counts}
    report = {
        "newest": box.newest_id,
        "keys": [
            {
                "keyId": key_id,
                "configured": key_id in box.key_ids,
                "sealed": sum(count.number for count in counts if count.key_id == key_id),
            }
            for key_id in [*box.key_ids, *sorted(used.difference(box.key_ids))]
        ],
        "toRotate": sum(count.number for count in counts if not count.is_done(box)),
        "columns": [_count_json(count) for count in counts],
    }
    return show(report, as_json)


@app.command(epilog="Exit code 1: some secrets could not be rotated.")
async def rotate(
    context: typer.Context,
    *,
    batch: Annotated[
        int,
        typer.Option("--batch", metavar="N", min=1, max=MAX_COUNT, help="Secrets per transaction."),
    ] = BATCH,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Seal every secret again under the first key of ENCRYPTION_KEYS.

    It may be interrupted and repeated, and may run while the API and the workers run.
    """
    box = session_of(context).secret_box
    async with session_of(context).database() as database:
        counts = await count_sealed(database)
        to_rotate = sum(count.number for count in counts if not count.is_done(box))
        if to_rotate:  # written first, so that an interrupted rotation is in the log, too
            async with database.as_system() as conn:
                detail = {"toRotate": to_rotate}
                await record(conn, actor, "secrets rotate", box.newest_id, detail)
        done = await renew_all(database, box, batch=batch)
    report = {
        "newest": box.newest_id,
        "renewed": done.renewed,
        "left": done.left,
        "broken": done.broken,
        "examples": [
            {"column": column, "id": row_id, "reason": reason}
            for column, row_id, reason in done.examples
        ],
    }
    return show(report, as_json, code=ExitCode.FAILED if done.left else ExitCode.DONE)


def _count_json(count: SealedCount) -> dict[str, object]:
    return {
        "column": count.place,
        "keyId": count.key_id,
        "version": count.version,
        "sealed": count.number,
    }
