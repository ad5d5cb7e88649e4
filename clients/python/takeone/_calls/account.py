"""Calls about models, usage, API keys, provider keys and the health of the service."""

from collections.abc import Mapping
from typing import Any

from takeone._calls import values
from takeone._core.calls import Call, Repeat, path
from takeone.models.account import (
    DeletedProviderKey,
    Key,
    KeyList,
    MonthUsage,
    NewKey,
    ProviderKey,
    ProviderKeyList,
    TestedProviderKey,
)
from takeone.models.base import Model
from takeone.models.catalogue import Health, ImportedPlan, ModelList, Readiness


def list_models() -> Call[ModelList]:
    return Call("GET", "/api/models", ModelList)


def plan_schema() -> Call[Model]:
    return Call("GET", "/api/plans/schema", Model)


def import_plan(
    synthome: Mapping[str, Any], models: Mapping[str, str] | None
) -> Call[ImportedPlan]:
    # The plan is sent as it is: its names and nulls belong to another service.
    fields = {"synthome": dict(synthome)} | ({"models": dict(models)} if models else {})
    return Call("POST", "/api/plans/import", ImportedPlan, body=fields)


def usage(month: str | None) -> Call[MonthUsage]:
    return Call("GET", "/api/usage", MonthUsage, query=values.query({"month": month}))


def list_keys() -> Call[KeyList]:
    return Call("GET", "/api/keys", KeyList)


def create_key(fields: Mapping[str, object]) -> Call[NewKey]:
    return Call("POST", "/api/keys", NewKey, body=values.body(fields), repeat=Repeat.NEVER)


def current_key() -> Call[Key]:
    return Call("GET", "/api/keys/current", Key)


def set_spend_limit(key_id: str, limit: Mapping[str, Any] | None) -> Call[Key]:
    new = values.spend_limit(limit) if limit is not None else None
    return Call("PATCH", path("/api/keys/{}", key_id), Key, body={"spendLimit": new})


def revoke_key(key_id: str) -> Call[None]:
    return Call("DELETE", path("/api/keys/{}", key_id))


def list_provider_keys() -> Call[ProviderKeyList]:
    return Call("GET", "/api/provider-keys", ProviderKeyList)


def set_provider_key(provider: str, key: str) -> Call[ProviderKey]:
    return Call("PUT", path("/api/provider-keys/{}", provider), ProviderKey, body={"key": key})


def delete_provider_key(provider: str) -> Call[DeletedProviderKey]:
    return Call("DELETE", path("/api/provider-keys/{}", provider), DeletedProviderKey)


def test_provider_key(provider: str) -> Call[TestedProviderKey]:
    return Call("POST", path("/api/provider-keys/{}/test", provider), TestedProviderKey)


def live() -> Call[Health]:
    return Call("GET", "/healthz", Health)


def ready() -> Call[Readiness]:
    return Call("GET", "/readyz", Readiness)
