"""The settings of each process, joined from the groups that it needs.

A variable's name is the field's name in capitals.
"""

from core.platform.settings.api import (
    ApiSettings,
    FileRetentionSettings,
    LimitSettings,
    OpenAISettings,
    ServerSettings,
)
from core.platform.settings.assets import AssetSettings
from core.platform.settings.base import LogSettings
from core.platform.settings.console import ConsoleSettings, TemporalUiSettings
from core.platform.settings.egress import OutboundSettings
from core.platform.settings.encryption import CodecSettings, PayloadSettings, SecuritySettings
from core.platform.settings.media import MediaSettings
from core.platform.settings.oidc import OidcSettings
from core.platform.settings.providers import ProviderSettings
from core.platform.settings.stores import DatabaseSettings, StorageSettings
from core.platform.settings.temporal import TemporalSettings, WorkerVersionSettings
from core.platform.settings.tracing import TracingSettings
from core.platform.settings.worker import AlarmSettings, RetentionSettings, WorkerSettings


# `--help` lists the fields of the last base first.
class ApiProcess(
    LogSettings,
    TracingSettings,
    OutboundSettings,
    SecuritySettings,
    OidcSettings,
    ProviderSettings,
    StorageSettings,
    PayloadSettings,
    TemporalSettings,
    DatabaseSettings,
    LimitSettings,
    FileRetentionSettings,
    AssetSettings,
    OpenAISettings,
    ConsoleSettings,
    TemporalUiSettings,
    ServerSettings,
    ApiSettings,
):
    """`python -m api`."""


class WorkerProcess(
    LogSettings,
    TracingSettings,
    OutboundSettings,
    SecuritySettings,
    ProviderSettings,
    StorageSettings,
    PayloadSettings,
    WorkerVersionSettings,
    TemporalSettings,
    DatabaseSettings,
    LimitSettings,
    RetentionSettings,
    AlarmSettings,
    MediaSettings,
    WorkerSettings,
):
    """`python worker.py`."""


class ReplayProcess(LogSettings, SecuritySettings, PayloadSettings, TemporalSettings):
    """`python worker.py replay`."""


class MigrateProcess(LogSettings, DatabaseSettings):
    """`python -m core.store.migrate`."""


class AdminProcess(LogSettings, SecuritySettings, DatabaseSettings):
    """`python -m cli`, which logs only errors unless LOG_LEVEL is set."""


class OperatorConsoleProcess(AdminProcess, TemporalUiSettings, TemporalSettings):
    """`python -m cli console`."""

    @property
    def temporal_workflows_url(self) -> str | None:
        """Return the address of workflows in the Temporal Web UI, to which an id is appended."""
        if self.temporal_ui_url is None:
            return None
        return (
            f"{self.temporal_ui_url}/namespaces/{self.temporal_namespace or 'default'}/workflows/"
        )


class BackupCheckProcess(LogSettings, StorageSettings, DatabaseSettings):
    """`python -m cli backup-check`."""


class CodecProcess(LogSettings, SecuritySettings, CodecSettings):
    """`python -m api.codec`."""
