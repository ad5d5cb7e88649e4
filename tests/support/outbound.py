"""Outbound rules for tests: receivers and file servers on this machine are allowed by name."""

from core.platform.egress.client import Outbound
from core.platform.egress.rules import OutboundRules
from core.webhooks.sender import WebhookHttpSettings

LOCAL = OutboundRules(allowed_private_hosts=frozenset({("127.0.0.1", None)}))
LOCAL_HTTP = WebhookHttpSettings(outbound=Outbound(LOCAL))
