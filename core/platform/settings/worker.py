"""Settings of the worker process."""

from pydantic import Field

from core.platform.settings.api import PublicAddressSettings
from core.platform.settings.base import Port, Slots


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
        default=20, description="concurrent create requests and cancels per provider"
    )
    wait_slots: Slots = Field(
        default=2000,
        description="concurrent waits for provider jobs; a waiting job costs almost nothing",
    )
    asset_slots: Slots = Field(
        default=20, description="concurrent file transfers, limited by bandwidth"
    )
    webhook_slots: Slots = Field(
        default=200,
        description="concurrent webhook attempts; a slow receiver occupies a slot for 15 s",
    )
