"""`users set-webhook`: the default endpoint of an account."""

import argparse
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.common import Arguments, add_actor
from core.domain.ids import UserId
from core.platform.crypto.sealing import Sealer
from core.platform.urls import webhook_url
from core.store.accounts.audit import record
from core.store.database import Connection
from core.store.webhooks.endpoints import set_webhook_url

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage] - it has no public name

NOWHERE = "none"


def add_set_webhook(verbs: "Verbs") -> None:
    """Adds the command to those of `users`."""
    command = verbs.add_parser(
        "set-webhook", help="where an account hears of its budget's thresholds"
    )
    command.add_argument("user", metavar="USER", help="user id (usr_…)")
    command.add_argument(
        "url", metavar="URL", type=_address, help="http or https; none: nothing is sent"
    )
    add_actor(command)
    command.set_defaults(command=_set_webhook)


async def _set_webhook(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    url: str | None = arguments.url or None
    if not await set_webhook_url(conn, UserId(arguments.user), url):
        raise LookupError(f"no user {arguments.user}")
    # The path and the query of such an address are often its secret.
    host = None if url is None else urlsplit(url).hostname
    await record(conn, arguments.actor, "users set-webhook", arguments.user, {"host": host})
    return {"userId": arguments.user, "webhookUrl": url}


def _address(text: str) -> str:
    """An empty text stands for none."""
    if text == NOWHERE:
        return ""
    try:
        return webhook_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
