"""Field types of a webhook: its URL and its signing secret."""

import base64
import binascii
import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from api.http.problems.documents import invalid_field
from core.platform.egress.rules import OutboundRules
from core.platform.urls import MAX_URL_CHARS, webhook_url

MIN_DIFFERENT_BYTES = 8
_WHSEC = "whsec_"


def _webhook_secret(value: str) -> str:
    key = value.encode()
    if value.startswith(_WHSEC):
        try:
            key = decoded = base64.b64decode(value.removeprefix(_WHSEC), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("begins with whsec_, so base64 must follow") from None
        if not 24 <= len(decoded) <= 64:
            raise ValueError("must have 24 to 64 bytes after whsec_")
    elif not 16 <= len(value) <= 256:
        raise ValueError("must be whsec_ with base64, or a text of 16 to 256 characters")
    if len(set(key)) < MIN_DIFFERENT_BYTES or key in (key + key)[1:-1]:
        raise ValueError("is easy to guess: use a random secret, for example openssl rand -hex 32")
    return value


# Set by the sender, or about the connection or the body.
_RESERVED = frozenset(
    {
        *("host", "content-length", "content-type", "content-encoding", "transfer-encoding"),
        *("connection", "keep-alive", "upgrade", "te", "trailer", "expect", "proxy-connection"),
        *("proxy-authorization", "accept-encoding", "user-agent", "x-webhook-signature"),
    }
)
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[!-~](?:[ -~]{0,2046}[!-~])?")
MAX_HEADERS = 10


def _webhook_headers(value: dict[str, str]) -> dict[str, str]:
    """Return the headers with names in lower case. The errors contain no value."""
    names = [name.lower() for name in value]
    if len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
        raise ValueError("must have valid header names, each once")
    if any(name in _RESERVED or name.startswith("webhook-") for name in names):
        raise ValueError("has a header that is set by the sender, for example content-type")
    if not all(map(_VALUE.fullmatch, value.values())):
        raise ValueError("must have values of 1 to 2048 printable ASCII characters")
    return dict(zip(names, value.values(), strict=True))


WebhookHeaders = Annotated[
    dict[str, str],
    Field(max_length=MAX_HEADERS),
    AfterValidator(_webhook_headers),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_HEADERS,
            "propertyNames": {"pattern": f"^{_NAME.pattern}$"},
            "additionalProperties": {"type": "string", "pattern": f"^{_VALUE.pattern}$"},
        }
    ),
]
WebhookUrl = Annotated[str, Field(max_length=MAX_URL_CHARS), AfterValidator(webhook_url)]
WebhookSecret = Annotated[str, Field(max_length=256), AfterValidator(_webhook_secret)]


def check_webhook_url(rules: OutboundRules, field: str, url: str | None) -> None:
    """Raise ProblemError if the outbound rules refuse the URL.

    The host name is not resolved: it is resolved and checked again at every delivery attempt.
    """
    refusal = rules.url_refusal(url) if url is not None else None
    if refusal is not None:
        raise invalid_field(field, refusal)
