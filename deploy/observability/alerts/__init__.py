"""The alerts, in the order in which an operator asks."""

from typing import Final

from deploy.observability.alerts import money, parts, spending, work
from deploy.observability.objectives import BURN_ALERTS

ALERTS: Final = (*money.ALERTS, *spending.ALERTS, *work.ALERTS, *parts.ALERTS, *BURN_ALERTS)
