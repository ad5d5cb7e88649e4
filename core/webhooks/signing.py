"""The headers of a webhook: signed at the moment of an attempt, with the endpoint's own headers."""

import json
import time

from core.domain.ids import EventId
from core.platform.crypto.sealing import Sealer, SealError
from core.platform.crypto.webhook_signatures import (
    UnusableSecretError,
    signature_headers,
    standard_webhooks_key,
)
from core.platform.observability.logging import get_logger
from core.store.webhooks.signing_secrets import SigningSecrets

log = get_logger(__name__)


class SigningError(Exception):
    """The secret is missing or unusable. The webhook is never sent unsigned."""


def sign_webhook(
    sealer: Sealer, event_id: EventId, body: bytes, secrets: SigningSecrets | None
) -> dict[str, str]:
    """Return the signature headers of now and the endpoint's own headers. Raises SigningError."""
    if secrets is None:
        log.error("webhook.signing_secret_missing", event_id=event_id)
        raise SigningError
    try:
        secret = secrets.current.open(sealer)
        previous = _previous_secret(sealer, event_id, secrets)
        own = secrets.headers.open(sealer) if secrets.headers is not None else "{}"
        headers: dict[str, str] = json.loads(own) | signature_headers(
            secret, event_id, int(time.time()), body, previous=previous
        )
    except (SealError, UnusableSecretError, UnicodeDecodeError) as problem:
        # The schedule retries it: an operator may restore a missing key.
        log.warning("webhook.signing_failed", event_id=event_id, reason=type(problem).__name__)
        raise SigningError from None
    return headers


def _previous_secret(sealer: Sealer, event_id: EventId, secrets: SigningSecrets) -> str | None:
    """Return the secret that is being replaced; None if it is missing or unusable.

    An unusable one must not prevent signing with the new secret.
    """
    if secrets.previous is None:
        return None
    try:
        previous = secrets.previous.open(sealer)
        standard_webhooks_key(previous)
    except (SealError, UnusableSecretError, UnicodeDecodeError) as problem:
        log.warning(
            "webhook.previous_secret_unusable", event_id=event_id, reason=type(problem).__name__
        )
        return None
    return previous
