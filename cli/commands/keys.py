"""`takeone-admin keys`: a user's API keys, their rate limits and their spend limits."""

from dataclasses import asdict
from typing import Annotated, Final

import typer

from cli.options import (
    DEFAULT,
    MAX_COUNT,
    NONE,
    Actor,
    AsJson,
    KeyArgument,
    Limit,
    UserArgument,
    changed,
    limit_usd,
    name_text,
)
from cli.output import Shown, show
from cli.session import transaction
from core.domain.ids import KeyId, UserId
from core.domain.money import NanoUsd, usd_text
from core.domain.scopes import ALL_SCOPES, USUAL_SCOPES, Scope
from core.store.accounts.audit import record
from core.store.accounts.rate_limit import KeyRates, lock_key_rates, set_key_rates
from core.store.accounts.users import insert_api_key, list_api_keys, lock_limits, revoke_api_key
from core.store.money.key_spending import (
    NO_LIMIT,
    AdminKeyError,
    KeySpending,
    SpendLimit,
    list_key_spending,
    lock_spend_limit,
    set_spend_limit,
)
from core.store.operator import RefusedError, camel

NOT_FOR_ADMIN: Final = (
    "A key with the scope admin cannot have a spend limit: it could create a key without one. "
    "Create a key with --scope read --scope generate."
)

app = typer.Typer(help="Create, list, limit and revoke API keys.", no_args_is_help=True)


def _days(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= 36_500:
        raise typer.BadParameter(f"{text!r} is not a number of days from 1 to 36500")
    return int(text)


def _rate(text: str) -> Limit:
    """Read a rate in the form that is stored: None is the default, 0 is no limit."""
    if text == DEFAULT:
        return Limit(None)
    if text == NONE:
        return Limit(0)
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:8]) <= MAX_COUNT:
        raise typer.BadParameter(
            f"{text!r} is not a whole number from 1 to {MAX_COUNT}, {NONE} or {DEFAULT}"
        )
    return Limit(int(text))


_DAILY_USD = typer.Option(
    "--daily-usd", metavar="USD", parser=limit_usd, help="US dollars per day (UTC), or none."
)
_MONTHLY_USD = typer.Option(
    "--monthly-usd", metavar="USD", parser=limit_usd, help="US dollars per month (UTC), or none."
)
DailyUsd = Annotated[Limit | None, _DAILY_USD]
MonthlyUsd = Annotated[Limit | None, _MONTHLY_USD]


@app.command(epilog="Example: takeone-admin keys create usr_… --name dashboard --scope read")
async def create(
    context: typer.Context,
    user: UserArgument,
    *,
    name: Annotated[
        str, typer.Option("--name", parser=name_text, help="A name to tell keys apart.")
    ] = "key",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            "--scope",
            help="What the key may be used for; repeatable. Default: all; with a spend limit, read "
            "and generate.",
        ),
    ] = None,
    expires_days: Annotated[
        int | None,
        typer.Option("--expires-days", metavar="DAYS", parser=_days, help="Default: never."),
    ] = None,
    daily_usd: DailyUsd = None,
    monthly_usd: MonthlyUsd = None,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Create an API key. Prints the key once."""
    limit = _changed(NO_LIMIT, daily_usd, monthly_usd)
    scopes = frozenset(scope or (USUAL_SCOPES if limit.is_set else ALL_SCOPES))
    if limit.is_set and Scope.ADMIN in scopes:
        raise RefusedError(NOT_FOR_ADMIN)
    async with transaction(context) as conn:
        key = await insert_api_key(
            conn, UserId(user), name, scopes=scopes, expires_days=expires_days, spend_limit=limit
        )
        created = {
            "keyId": key.key_id,
            "name": name,
            "scopes": sorted(scopes),
            **_limit_json(limit),
        }
        await record(conn, actor, "keys create", user, {**created, "expiresDays": expires_days})
    return show({"userId": user, **created, "apiKey": key.key.text}, as_json)


@app.command("list")
async def list_all(context: typer.Context, user: UserArgument, *, as_json: AsJson = False) -> Shown:
    """List a user's API keys without their secrets; accepted keys come first."""
    async with transaction(context) as conn:
        await lock_limits(conn, UserId(user))  # raises LookupError for an unknown user
        spending = await list_key_spending(conn, UserId(user))
        rows = [
            {camel(name): value for name, value in asdict(entry).items()}
            | _rates_json(KeyRates(writes=entry.rate_writes, reads=entry.rate_reads))
            | _spending_json(spending[entry.key_id])
            for entry in await list_api_keys(conn, UserId(user))
        ]
    return show(rows, as_json)


@app.command("set-rate", epilog="Example: takeone-admin keys set-rate key_… --writes 500")
async def set_rate(
    context: typer.Context,
    key: KeyArgument,
    *,
    writes: Annotated[
        Limit | None,
        typer.Option(
            "--writes",
            metavar="N",
            parser=_rate,
            help="Requests per window that start, spend or change something: "
            f"a number, {NONE} (no limit) or {DEFAULT} (the setting).",
        ),
    ] = None,
    reads: Annotated[
        Limit | None,
        typer.Option("--reads", metavar="N", parser=_rate, help="The same for requests that read."),
    ] = None,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Set how many requests a key may send. A rate that is left out stays as it is."""
    key_id = KeyId(key)
    async with transaction(context) as conn:
        old = await lock_key_rates(conn, key_id)
        rates = KeyRates(writes=changed(writes, old.writes), reads=changed(reads, old.reads))
        await set_key_rates(conn, key_id, rates)
        detail = {"from": _rates_json(old), "to": _rates_json(rates)}
        await record(conn, actor, "keys set-rate", key_id, detail)
    return show({"keyId": key_id, **_rates_json(rates)}, as_json)


@app.command(
    "set-spend-limit", epilog="Example: takeone-admin keys set-spend-limit key_… --daily-usd 5"
)
async def set_limit(
    context: typer.Context,
    key: KeyArgument,
    *,
    daily_usd: DailyUsd = None,
    monthly_usd: MonthlyUsd = None,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Set what orders with a key may cost. A limit that is left out stays as it is."""
    async with transaction(context) as conn:
        locked = await lock_spend_limit(conn, KeyId(key))
        limit = _changed(locked.limit, daily_usd, monthly_usd)
        try:
            await set_spend_limit(conn, locked, limit)
        except AdminKeyError:
            raise RefusedError(NOT_FOR_ADMIN) from None
        detail = {"from": _limit_json(locked.limit), "to": _limit_json(limit)}
        await record(conn, actor, "keys set-spend-limit", key, detail)
    return show({"keyId": key, **_limit_json(limit)}, as_json)


@app.command()
async def revoke(
    context: typer.Context, key: KeyArgument, *, actor: Actor, as_json: AsJson = False
) -> Shown:
    """Refuse an API key from its next request on."""
    async with transaction(context) as conn:
        revoked_at = await revoke_api_key(conn, KeyId(key))
        if revoked_at is None:
            raise LookupError(f"no key {key}")
        await record(conn, actor, "keys revoke", key, {})
    return show({"keyId": key, "revokedAt": revoked_at}, as_json)


def _changed(limit: SpendLimit, daily: Limit | None, monthly: Limit | None) -> SpendLimit:
    return SpendLimit(
        daily_nano_usd=_amount(changed(daily, limit.daily_nano_usd)),
        monthly_nano_usd=_amount(changed(monthly, limit.monthly_nano_usd)),
    )


def _amount(nano_usd: int | None) -> NanoUsd | None:
    return None if nano_usd is None else NanoUsd(nano_usd)


def _limit_json(limit: SpendLimit) -> dict[str, str | None]:
    return {"dailyUsd": _usd(limit.daily_nano_usd), "monthlyUsd": _usd(limit.monthly_nano_usd)}


def _spending_json(spending: KeySpending) -> dict[str, str | None]:
    day, month = spending.day, spending.month
    return {
        "dailyUsd": _usd(day.limit_nano_usd),
        "heldTodayUsd": _usd(day.held_nano_usd),
        "settledTodayUsd": _usd(day.settled_nano_usd),
        "monthlyUsd": _usd(month.limit_nano_usd),
        "heldThisMonthUsd": _usd(month.held_nano_usd),
        "settledThisMonthUsd": _usd(month.settled_nano_usd),
    }


def _usd(nano_usd: int | None) -> str | None:
    return None if nano_usd is None else usd_text(nano_usd)


def _rates_json(rates: KeyRates) -> dict[str, int | str]:
    return {"rateWrites": _rate_text(rates.writes), "rateReads": _rate_text(rates.reads)}


def _rate_text(rate: int | None) -> int | str:
    return DEFAULT if rate is None else rate or NONE
