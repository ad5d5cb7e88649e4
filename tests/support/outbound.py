"""Outbound rules for tests: receivers and file servers on this machine are allowed by name."""

from core.platform.egress.client import Outbound
from core.platform.egress.rules import OutboundRules
from core.webhooks.sender import WebhookHttpSettings


class _LocalRules(OutboundRules):
    """The tests' servers listen on free ports, so every port of 127.0.0.1 is listed."""

    def lists(self, host: str, port: int) -> bool:
        return host == "127.0.0.1"


LOCAL = _LocalRules()
LOCAL_HTTP = WebhookHttpSettings(outbound=Outbound(LOCAL))
