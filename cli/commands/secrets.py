"""`takeone-admin secrets`: which master key seals the secrets at rest, and its rotation."""

from typing import Annotated

import typer

from cli.options import MAX_COUNT, Actor, AsJson
from cli.output import Shown, show
from cli.session import ExitCode, session_of
from core.platform.crypto.sealing import Sealer
from core.store.accounts.audit import record
from core.store.secrets.rotation import BATCH, SecretCount, count_secrets, rotate_secrets

app = typer.Typer(help="Count and rotate the secrets at rest.", no_args_is_help=True)


@app.command()
async def status(context: typer.Context, *, as_json: AsJson = False) -> Shown:
    """Count the secrets that each key of ENCRYPTION_KEYS seals."""
    sealer = session_of(context).sealer
    async with session_of(context).database() as database:
        counts = await count_secrets(database)
    used = {count.key_id for count in counts}
    report = {
        "newest": sealer.newest_id,
        "keys": [
            {
                "keyId": key_id,
                "configured": key_id in sealer.key_ids,
                "sealed": sum(count.number for count in counts if count.key_id == key_id),
            }
            for key_id in [*sealer.key_ids, *sorted(used.difference(sealer.key_ids))]
        ],
        "toRotate": _to_rotate(sealer, counts),
        "kinds": [
            {"kind": count.kind, "keyId": count.key_id, "sealed": count.number} for count in counts
        ],
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
    sealer = session_of(context).sealer
    async with session_of(context).database() as database:
        to_rotate = _to_rotate(sealer, await count_secrets(database))
        if to_rotate:  # written first, so that an interrupted rotation is in the log, too
            async with database.as_system() as conn:
                detail = {"toRotate": to_rotate}
                await record(conn, actor, "secrets rotate", sealer.newest_id, detail)
        result = await rotate_secrets(database, sealer, batch=batch)
    report = {
        "newest": sealer.newest_id,
        "rotated": result.rotated,
        "left": result.left,
        "broken": result.broken,
        "examples": [
            {
                "kind": secret.kind,
                "owner": secret.owner_id,
                "id": secret.secret_id,
                "reason": secret.reason,
            }
            for secret in result.examples
        ],
    }
    return show(report, as_json, code=ExitCode.FAILED if result.left else ExitCode.DONE)


def _to_rotate(sealer: Sealer, counts: list[SecretCount]) -> int:
    return sum(count.number for count in counts if count.key_id != sealer.newest_id)
