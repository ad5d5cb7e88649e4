"""API keys, provider keys and usage."""

import datetime as dates
from datetime import datetime
from typing import Literal

from pydantic import Field

from takeone.models.base import Model, Money

Scope = Literal["read", "generate", "admin"] | str


class SpendLimit(Model):
    """What orders with a key may cost per day and per month in UTC. None: no limit."""

    daily: Money | None
    monthly: Money | None


class PeriodSpending(Model):
    """What was ordered with a key in a period. limit, left: None without a limit."""

    limit: Money | None
    held: Money
    settled: Money
    left: Money | None
    resets_at: datetime


class KeySpending(Model):
    """What was ordered with a key today and in this month, in UTC."""

    day: PeriodSpending
    month: PeriodSpending


class Key(Model):
    """An API key, without its secret. spend_limit: None for no limit."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    made_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    spend_limit: SpendLimit | None
    spending: KeySpending


class KeyList(Model):
    """The API keys of the account."""

    data: list[Key]


class NewKey(Model):
    """A new API key. api_key: the key itself, which no other answer contains."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    api_key: str = Field(repr=False)
    created_at: datetime
    expires_at: datetime | None
    spend_limit: SpendLimit | None


class ProviderKey(Model):
    """An own key at a provider, without its secret. hint: its last four characters."""

    id: str
    provider: str
    version: int
    state: str
    hint: str
    open_jobs: int
    created_at: datetime
    replaced_at: datetime | None
    deleted_at: datetime | None
    tested_at: datetime | None
    test_outcome: str | None


class ProviderKeyList(Model):
    """The own keys of the account that are in use."""

    data: list[ProviderKey]


class DeletedProviderKey(Model):
    """A deleted own key. erased: False while jobs that were bought with it are open."""

    id: str
    provider: str
    erased: bool


class TestedProviderKey(Model):
    """The result of a test. outcome: `accepted`, `refused` or `unreachable`."""

    __test__ = False
    id: str
    provider: str
    outcome: str


class MoneyUsage(Model):
    """limit, left: None without a limit."""

    limit: Money | None
    held: Money
    settled: Money
    left: Money | None


class VideoUsage(Model):
    """Videos in progress and completed. limit, left: None without a limit."""

    limit: int | None
    held: int
    settled: int
    left: int | None


class DailyUsage(Model):
    """Usage of the orders that were accepted on a day in UTC."""

    date: dates.date
    held: Money
    settled: Money
    videos_held: int
    videos_settled: int


class ModelUsage(Model):
    """Usage of one model. jobs: purchases, including released ones."""

    provider: str
    model: str
    jobs: int
    held: Money
    settled: Money


class Threshold(Model):
    """A part of a monthly limit that has been reached."""

    kind: str
    percent: int
    reached_at: datetime


class MonthUsage(Model):
    """The usage of a calendar month in UTC. media_seconds: processor time, free of charge."""

    month: str
    resets_at: datetime
    currency: str = "USD"
    usd: MoneyUsage
    videos: VideoUsage
    by_day: list[DailyUsage]
    by_model: list[ModelUsage]
    media_seconds: float
    media_seconds_limit: int | None = None
    thresholds: list[Threshold]
