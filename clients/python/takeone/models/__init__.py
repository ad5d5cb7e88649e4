"""Results of calls, with types. Members that are new in the service are kept."""

from takeone.models.account import (
    DeletedProviderKey,
    Key,
    KeySpending,
    MonthUsage,
    NewKey,
    PeriodSpending,
    ProviderKey,
    SpendLimit,
    TestedProviderKey,
)
from takeone.models.assets import Asset
from takeone.models.base import Model, Page
from takeone.models.catalogue import Health, ImportedPlan, ImportNote, OfferedModel, Readiness
from takeone.models.events import AccountEvent, EventData, Progress
from takeone.models.executions import (
    AcceptedData,
    ApprovalOption,
    Approved,
    Cancelled,
    Cost,
    Deleted,
    ExecutionData,
    Failure,
    Job,
    Result,
    ResultFile,
    RetriedData,
    WaitingFor,
)
from takeone.models.problems import FieldError
from takeone.models.quotes import Quote, QuotedJob, QuoteWarning
from takeone.models.templates import Price, Template, TemplateSummary
from takeone.models.webhooks import (
    Endpoint,
    LoggedWebhook,
    Resent,
    RotatedSecret,
    WebhookDetail,
)

__all__ = [
    "AcceptedData",
    "AccountEvent",
    "ApprovalOption",
    "Approved",
    "Asset",
    "Cancelled",
    "Cost",
    "Deleted",
    "DeletedProviderKey",
    "Endpoint",
    "EventData",
    "ExecutionData",
    "Failure",
    "FieldError",
    "Health",
    "ImportNote",
    "ImportedPlan",
    "Job",
    "Key",
    "KeySpending",
    "LoggedWebhook",
    "Model",
    "MonthUsage",
    "NewKey",
    "OfferedModel",
    "Page",
    "PeriodSpending",
    "Price",
    "Progress",
    "ProviderKey",
    "Quote",
    "QuoteWarning",
    "QuotedJob",
    "Readiness",
    "Resent",
    "Result",
    "ResultFile",
    "RetriedData",
    "RotatedSecret",
    "SpendLimit",
    "Template",
    "TemplateSummary",
    "TestedProviderKey",
    "WaitingFor",
    "WebhookDetail",
]
