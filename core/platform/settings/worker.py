"""Settings of the worker process."""

from typing import Annotated

from pydantic import Field

from core.platform.settings.api import FileRetentionSettings, PublicAddressSettings
from core.platform.settings.base import Days, Port, Settings, Slots


class WorkerSettings(PublicAddressSettings):
    """The worker's listeners and its slots per task queue."""

    metrics_host: str = Field(default="127.0.0.1", description="address of the metrics listeners")
    metrics_port: Port = Field(default=9102, description="port of /metrics; 0: none")
    sdk_metrics_port: Port = Field(
        default=9103, description="port of the Temporal SDK's own /metrics; 0: none"
    )
    execution_slots: Slots = Field(
        default=100, description="concurrent workflow tasks and short database activities"
    )
    submit_slots: Slots = Field(
        default=20,
        description="concurrent create requests and cancels per provider, and as many with users' "
        "own keys; up to half of each wait for the end of a job whose model is quick",
    )
    wait_slots: Slots | None = Field(
        default=None,
        description="no effect: waits for providers occupy no slots; accepted for older settings",
    )
    asset_slots: Slots = Field(
        default=20, description="concurrent file transfers, limited by bandwidth"
    )
    webhook_slots: Slots = Field(
        default=200,
        description="concurrent webhook attempts; a slow receiver occupies a slot for 15 s",
    )


class AlarmSettings(Settings):
    """Alarms of users, for the operator."""

    user_spend_alarm_usd: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=50,
        description="US dollars in an hour from which a user is reported whose orders cost more "
        "than on any of the last seven days; 0: none",
    )


class RetentionSettings(FileRetentionSettings):
    """How many days other data is kept. Ledger, charges and ids are always kept."""

    retention_days_sends: Days = Field(
        default=None, description="days after which create requests are erased; default: kept"
    )
    retention_days_callbacks: Days = Field(
        default=None, description="days after which callbacks are deleted; default: kept"
    )
    retention_days_webhooks: Days = Field(
        default=None,
        description="days from its end after which a webhook is deleted, with its body and attempts; default: kept",
    )
    retention_days_webhook_attempts: Days = Field(
        default=None, description="days after which webhook attempts are deleted; default: kept"
    )
    retention_days_uploads: Days = Field(
        default=None,
        description="days after which an uploaded file that no open execution uses is deleted; default: kept",
    )
