"""Addresses that a request names: refused before anything is accepted, as far as their spelling
tells.
"""

from api.http.problems import invalid_field
from core.platform.egress.rules import OutboundRules


def check_webhook_url(rules: OutboundRules, field: str, url: str | None) -> None:
    """Raises ProblemError. No name is looked up: what it means is judged at each try, when it
    counts.
    """
    reason = rules.url_refusal(url) if url is not None else None
    if reason is not None:
        raise invalid_field(field, reason)
