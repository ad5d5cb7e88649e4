"""Rules for tests whose receivers and file servers are on this machine: it is let in by name, nothing else is."""

from activities.webhook_http import WebhookHttpSettings
from runtime.outbound import Outbound
from runtime.outbound_rules import OutboundRules

LOCAL = OutboundRules(allowed_private_hosts=frozenset({("127.0.0.1", None)}))
LOCAL_HTTP = WebhookHttpSettings(outbound=Outbound(LOCAL))
