"""`users link`, `unlink`, `identities`: which subjects of an issuer's tokens speak for a user."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from cli.common import Arguments, add_actor, plain_text
from core.domain.ids import UserId
from core.platform.crypto.sealing import Sealer
from core.store.accounts.audit import record
from core.store.accounts.identities import link_identity, list_identities, unlink_identity
from core.store.accounts.users import lock_limits
from core.store.database import Connection
from core.store.operator import RefusedError, camel

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage] - it has no public name


def add_identities(verbs: "Verbs") -> None:
    """Adds the commands to those of `users`."""
    link = verbs.add_parser("link", help="accept tokens of an issuer's subject as this user's")
    link.add_argument("user", metavar="USER", help="user id (usr_…)")
    _add_subject(link)
    link.set_defaults(command=_link)
    unlink = verbs.add_parser("unlink", help="refuse tokens of an issuer's subject from now on")
    _add_subject(unlink)
    unlink.set_defaults(command=_unlink)
    listing = verbs.add_parser(
        "identities", help="the subjects whose tokens are accepted as this user's"
    )
    listing.add_argument("user", metavar="USER", help="user id (usr_…)")
    listing.set_defaults(command=_list)


def _add_subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--issuer", required=True, type=plain_text, help="as in the token's claim iss"
    )
    parser.add_argument(
        "--subject", required=True, type=plain_text, help="as in the token's claim sub"
    )
    add_actor(parser)


async def _link(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    identity = await link_identity(
        conn, arguments.issuer, arguments.subject, UserId(arguments.user)
    )
    if identity.user_id != arguments.user:
        raise RefusedError(f"this subject is linked to {identity.user_id}: unlink it first")
    detail = {"issuer": identity.issuer, "subject": identity.subject}
    await record(conn, arguments.actor, "users link", identity.user_id, detail)
    return {"userId": identity.user_id, **detail}


async def _unlink(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    detail = {"issuer": arguments.issuer, "subject": arguments.subject}
    user_id = await unlink_identity(conn, arguments.issuer, arguments.subject)
    if user_id is None:
        raise LookupError(f"nobody is linked to {arguments.subject} of {arguments.issuer}")
    await record(conn, arguments.actor, "users unlink", user_id, detail)
    return {"userId": user_id, **detail}


async def _list(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    await lock_limits(conn, UserId(arguments.user))  # that there is such a user
    return [
        {camel(name): value for name, value in asdict(identity).items()}
        for identity in await list_identities(conn, UserId(arguments.user))
    ]
