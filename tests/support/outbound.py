"""Rules for tests whose receivers and file servers are on this machine: it is let in by name,
nothing else is.
"""

from core.platform.egress.client import Outbound
from core.platform.egress.rules import OutboundRules
from core.webhooks.sender import WebhookHttpSettings

LOCAL = OutboundRules(allowed_private_hosts=frozenset({("127.0.0.1", None)}))
LOCAL_HTTP = WebhookHttpSettings(outbound=Outbound(LOCAL))
