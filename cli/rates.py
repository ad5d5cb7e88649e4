"""`keys set-rate`: how many requests one API key may send, where it is not what the
settings say.
"""

import argparse

from cli.common import Arguments, add_actor, whole_number
from core.domain.ids import KeyId
from core.platform.crypto.sealing import Sealer
from core.store.accounts.audit import record
from core.store.accounts.rate_limit import KeyRates, lock_key_rates, set_key_rates
from core.store.database import Connection

DEFAULT, NONE = "default", "none"
_UNCHANGED = -1
"""Not given: no number that could be."""


def add_set_rate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="key id (key_…)")
    for name, what in (("writes", "that start, spend or change something"), ("reads", "that read")):
        parser.add_argument(
            f"--{name}",
            metavar="N",
            type=_rate,
            default=_UNCHANGED,
            help=f"requests {what}: a number, {NONE} (no limit) or {DEFAULT} (what the settings say); "
            "not given: unchanged",
        )
    add_actor(parser)
    parser.set_defaults(command=_set_rate)


def _rate(text: str) -> int | None:
    """As it is kept: None for the default, 0 for no limit."""
    if text == DEFAULT:
        return None
    if text == NONE:
        return 0
    try:
        return whole_number(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from 1 on, nor {NONE}, nor {DEFAULT}"
        ) from None


async def _set_rate(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    key_id = KeyId(arguments.key)
    old = await lock_key_rates(conn, key_id)
    rates = KeyRates(
        writes=old.writes if arguments.writes == _UNCHANGED else arguments.writes,
        reads=old.reads if arguments.reads == _UNCHANGED else arguments.reads,
    )
    await set_key_rates(conn, key_id, rates)
    await record(
        conn,
        arguments.actor,
        "keys set-rate",
        key_id,
        {"from": rates_json(old), "to": rates_json(rates)},
    )
    return {"keyId": key_id, **rates_json(rates)}


def rates_json(rates: KeyRates) -> dict[str, int | str]:
    return {"rateWrites": _shown(rates.writes), "rateReads": _shown(rates.reads)}


def _shown(rate: int | None) -> int | str:
    return DEFAULT if rate is None else rate or NONE
