"""Ids: a prefix that shows the kind, then a UUIDv7 in hex, so that ids sort by creation time."""

from datetime import date
from hashlib import sha256
from typing import NewType

from uuid_utils import uuid7

UserId = NewType("UserId", str)
KeyId = NewType("KeyId", str)
ExecutionId = NewType("ExecutionId", str)
JobId = NewType("JobId", str)
AssetId = NewType("AssetId", str)
ChargeId = NewType("ChargeId", str)
EventId = NewType("EventId", str)
EndpointId = NewType("EndpointId", str)
ProviderKeyId = NewType("ProviderKeyId", str)
TemplateId = NewType("TemplateId", str)
ProviderJobId = NewType("ProviderJobId", str)
"""The provider's id of a job, without a prefix of this service."""


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


def following_job_id(job_id: JobId) -> JobId:
    """Return the id of the job that an alternative model gets after this job.

    It is always the same, so a recovery finds such a job by the id of the job before it. It sorts
    directly after that id, whatever the clock of the process is.
    """
    prefix, _, digits = job_id.partition("_")
    return JobId(f"{prefix}_{int(digits, 16) + 1:032x}")


def new_asset_id() -> AssetId:
    return AssetId(_new("asset_"))


def new_charge_id() -> ChargeId:
    return ChargeId(_new("chg_"))


def new_event_id() -> EventId:
    return EventId(_new("evt_"))


def new_endpoint_id() -> EndpointId:
    return EndpointId(_new("end_"))


def new_provider_key_id() -> ProviderKeyId:
    return ProviderKeyId(_new("pkey_"))


def new_template_id() -> TemplateId:
    return TemplateId(_new("tpl_"))


def new_secret_id() -> str:
    return _new("sec_")


def derived_event_id(execution_id: ExecutionId, generation: int) -> EventId:
    """Return the id of the event of a generation's end.

    It is always the same, so a second end after a database restore sends no second event.
    """
    return EventId(_derived("evt_", execution_id, str(generation)))


def approval_event_id(job_id: JobId) -> EventId:
    """Return the id of the event of an approval that waits. It is always the same."""
    return EventId(_derived("evt_", job_id, "approval"))


def threshold_event_id(user_id: UserId, month: date, measure: str, percent: int) -> EventId:
    """Return the id of the event of a month's threshold.

    It is always the same, so a database restore does not send the event a second time.
    """
    return EventId(_derived("evt_", user_id, f"{month:%Y-%m}/{measure}/{percent}"))


def derived_asset_id(job_id: JobId, output_number: int) -> AssetId:
    """Return the id of an output file of a job.

    It is always the same, so a file recorded again after a database restore keeps its address.
    """
    return AssetId(_derived("asset_", job_id, str(output_number)))


def _derived(prefix: str, parent: str, name: str) -> str:
    """Return a UUIDv7 with the time of the parent's id and a hash as its 74 random bits."""
    time_digits = parent.rpartition("_")[2][:12]
    bits = int.from_bytes(sha256(f"{prefix}{parent}/{name}".encode()).digest()[:10], "big")
    variant = 0x8000 | bits & 0x3FFF
    random_digits = f"7{bits >> 14 & 0xFFF:03x}{variant:04x}{bits >> 26 & 0xFFFFFFFFFFFF:012x}"
    return f"{prefix}{time_digits}{random_digits}"
