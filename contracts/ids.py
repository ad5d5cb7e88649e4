"""Ids: a prefix that shows the kind, and a UUIDv7 in hex, so that ids sort by the time they were made."""

from typing import NewType

from uuid_utils import uuid7

UserId = NewType("UserId", str)
KeyId = NewType("KeyId", str)
ExecutionId = NewType("ExecutionId", str)
JobId = NewType("JobId", str)
AssetId = NewType("AssetId", str)
ChargeId = NewType("ChargeId", str)
EventId = NewType("EventId", str)
ProviderJobId = NewType("ProviderJobId", str)
"""The id a provider gave to a job. Theirs, so no prefix of ours."""


def _new(prefix: str) -> str:
    return prefix + uuid7().hex


def new_user_id() -> UserId:
    return UserId(_new("usr_"))


def new_key_id() -> KeyId:
    return KeyId(_new("key_"))


def new_execution_id() -> ExecutionId:
    return ExecutionId(_new("exec_"))


def new_job_id() -> JobId:
    return JobId(_new("job_"))


def new_asset_id() -> AssetId:
    return AssetId(_new("asset_"))


def new_charge_id() -> ChargeId:
    return ChargeId(_new("chg_"))


def new_event_id() -> EventId:
    return EventId(_new("evt_"))
