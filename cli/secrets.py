"""`secrets`: which master key seals what, and sealing it anew under the newest."""

import argparse
import json

from cli.common import Arguments, Told, add_actor, whole_number
from core.platform.crypto.sealing import Sealer
from core.store.accounts.audit import record
from core.store.database import Database
from core.store.secrets.rotation import BATCH, SecretCount, count_secrets, rotate_secrets


async def _status(database: Database, sealer: Sealer, _arguments: Arguments) -> object:
    counts = await count_secrets(database)
    used = {count.key_id for count in counts}
    return {
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


def _to_rotate(sealer: Sealer, counts: list[SecretCount]) -> int:
    return sum(count.number for count in counts if count.key_id != sealer.newest_id)


async def _rotate(database: Database, sealer: Sealer, arguments: Arguments) -> object:
    """Rotate, and write the audit entry first: an interrupted run is in the log, too."""
    to_rotate = _to_rotate(sealer, await count_secrets(database))
    if to_rotate:
        async with database.as_system() as conn:
            await record(
                conn,
                arguments.actor,
                "secrets rotate",
                sealer.newest_id,
                {"toRotate": to_rotate},
            )
    result = await rotate_secrets(database, sealer, batch=arguments.batch)
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
    return Told(code=1 if result.left else 0, text=json.dumps(report, indent=2, ensure_ascii=False))


def add_secrets(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    status = verbs.add_parser(
        "status", help="how many secrets are sealed with which key of ENCRYPTION_KEYS"
    )
    status.set_defaults(on_database=_status)
    meaning = (
        "seal every secret anew under the first of ENCRYPTION_KEYS; safe to stop, to repeat and to run while all else "
        "runs; exit code 1: some are left"
    )
    rotate = verbs.add_parser("rotate", help=meaning, description=meaning)
    rotate.add_argument(
        "--batch",
        metavar="N",
        type=whole_number,
        default=BATCH,
        help=f"secrets in one transaction; default: {BATCH}",
    )
    add_actor(rotate)
    rotate.set_defaults(on_database=_rotate)
