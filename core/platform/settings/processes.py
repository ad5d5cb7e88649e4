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
from core.platform.settings.console import ConsoleSettings
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


class BackupCheckProcess(LogSettings, StorageSettings, DatabaseSettings):
    """`python -m cli backup-check`."""


class CodecProcess(LogSettings, SecuritySettings, CodecSettings):
    """`python -m api.codec`."""
