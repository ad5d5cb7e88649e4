"""`secrets`: which master key seals what, and sealing it anew under the newest."""

import argparse
import json

from cli.common import Arguments, Told, add_actor, whole_number
from core.platform.crypto.sealing import SecretBox
from core.store.accounts.audit import record
from core.store.database import Database
from core.store.secrets.sealed_columns import BATCH, SealedCount, count_sealed, renew_all


async def _status(database: Database, box: SecretBox, _arguments: Arguments) -> object:
    counts = await count_sealed(database)
    used = {count.key_id for count in counts}
    return {
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


def _count_json(count: SealedCount) -> dict[str, object]:
    return {
        "column": count.place,
        "keyId": count.key_id,
        "version": count.version,
        "sealed": count.number,
    }


async def _rotate(database: Database, box: SecretBox, arguments: Arguments) -> object:
    """Written down before it begins: a run that is stopped was one, too."""
    found = sum(count.number for count in await count_sealed(database) if not count.is_done(box))
    if found:
        async with database.as_system() as conn:
            await record(
                conn, arguments.actor, "secrets rotate", box.newest_id, {"toRotate": found}
            )
    done = await renew_all(database, box, batch=arguments.batch)
    said = {
        "newest": box.newest_id,
        "renewed": done.renewed,
        "left": done.left,
        "broken": done.broken,
        "examples": [
            {"column": column, "id": row_id, "reason": reason}
            for column, row_id, reason in done.examples
        ],
    }
    return Told(code=1 if done.left else 0, text=json.dumps(said, indent=2, ensure_ascii=False))


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
