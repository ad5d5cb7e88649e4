"""Request and response bodies of API keys and their spend limits."""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from api.http.schemas import RequestBody, ResponseBody, Time, Usd
from core.domain.money import NanoUsd, nano_usd, usd_text
from core.domain.scopes import USUAL_SCOPES, Scope
from core.store.accounts.users import KeyEntry
from core.store.money import key_spending as store

MAX_EXPIRES_DAYS: Final = 36_500


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must have printable characters, and not only spaces")
    return value


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Scopes = Annotated[
    tuple[Annotated[Scope, Field(strict=False)], ...],
    Field(strict=False, min_length=1, max_length=len(Scope)),
]


Dollars = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", examples=["5"])]


class NewSpendLimit(RequestBody):
    """The most that orders with a key may hold and cost together, in US dollars.

    daily: per day. monthly: per calendar month. Both in UTC; at least one is needed.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("daily", "monthly")
            ]
        }
    )

    daily: Dollars | None = None
    monthly: Dollars | None = None

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if self.daily is None and self.monthly is None:
            raise ValueError("needs daily, monthly or both")
        return self

    def stored(self) -> store.SpendLimit:
        return store.SpendLimit(
            daily_nano_usd=nano_usd(self.daily) if self.daily is not None else None,
            monthly_nano_usd=nano_usd(self.monthly) if self.monthly is not None else None,
        )


class NewKeyRequest(RequestBody):
    """The name of the new key, and what it may be used for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "dashboard", "scopes": ["read"], "expiresDays": 90},
                {"name": "agent", "spendLimit": {"daily": "5", "monthly": "50"}},
            ]
        }
    )

    name: Name = Field(description="Distinguishes keys in lists.")
    scopes: Scopes = Field(
        tuple(sorted(USUAL_SCOPES)),
        description="Only scopes that the credential of this request has.",
    )
    expires_days: Annotated[int, Field(ge=1, le=MAX_EXPIRES_DAYS)] | None = Field(
        None, description="Days until the key expires. Default: it does not expire."
    )
    spend_limit: NewSpendLimit | None = Field(
        None,
        description="What orders with this key may cost. Not for keys with the scope `admin`. "
        "Default: no limit but the account's budget.",
    )


class ChangeKeyRequest(RequestBody):
    """The new spend limit of a key."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"spendLimit": {"daily": "5", "monthly": "50"}}]}
    )

    spend_limit: NewSpendLimit | None = Field(
        description="Replaces the whole limit: what is left out has no limit. null: no limit."
    )


class SpendLimit(ResponseBody):
    """What orders with a key may cost per day and per month (UTC); null: no limit."""

    daily: Usd | None
    monthly: Usd | None


class PeriodSpending(ResponseBody):
    """held: reserved for open bills. settled: billed. left: what may still be held.

    limit, left: null without a limit. resetsAt: when the next period starts.
    """

    limit: Usd | None
    held: Usd
    settled: Usd
    left: Usd | None
    resets_at: Time


class KeySpending(ResponseBody):
    """What was ordered with a key today and in this month (UTC), by the time of the hold."""

    day: PeriodSpending
    month: PeriodSpending


class Key(ResponseBody):
    """An API key, without its secret.

    prefix: the characters after `tko_`. madeBy: the key id or token subject that created the key;
    null: an operator did. lastUsedAt: to the minute. spendLimit: null for no limit.
    """

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    made_by: str | None
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None
    spend_limit: SpendLimit | None
    spending: KeySpending


class KeyList(ResponseBody):
    data: list[Key]


class NewKey(ResponseBody):
    """apiKey: the key itself, which no other response contains."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    api_key: Annotated[str, Field(repr=False)]
    created_at: Time
    expires_at: Time | None
    spend_limit: SpendLimit | None


def key_answer(entry: KeyEntry, spending: store.KeySpending) -> Key:
    day, month = spending.day, spending.month
    limit = store.SpendLimit(
        daily_nano_usd=day.limit_nano_usd, monthly_nano_usd=month.limit_nano_usd
    )
    return Key(
        id=entry.key_id,
        name=entry.name,
        prefix=entry.prefix,
        scopes=entry.scopes,
        made_by=entry.made_by,
        created_at=entry.created_at,
        expires_at=entry.expires_at,
        revoked_at=entry.revoked_at,
        last_used_at=entry.last_used_at,
        spend_limit=limit_answer(limit),
        spending=KeySpending(day=_period(day), month=_period(month)),
    )


def limit_answer(limit: store.SpendLimit) -> SpendLimit | None:
    if not limit.is_set:
        return None
    return SpendLimit(daily=_usd(limit.daily_nano_usd), monthly=_usd(limit.monthly_nano_usd))


def _period(spending: store.PeriodSpending) -> PeriodSpending:
    return PeriodSpending(
        limit=_usd(spending.limit_nano_usd),
        held=usd_text(spending.held_nano_usd),
        settled=usd_text(spending.settled_nano_usd),
        left=_usd(spending.left_nano_usd),
        resets_at=spending.resets_at,
    )


def _usd(amount: NanoUsd | None) -> str | None:
    return None if amount is None else usd_text(amount)
