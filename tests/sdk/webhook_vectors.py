"""Webhooks for the verification of every client: what is accepted, and what is refused and why."""

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from standardwebhooks.webhooks import Webhook

NOW: Final = 1_795_900_000
ENCODED: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
UNPADDED: Final = f"whsec_{base64.b64encode(bytes(25)).decode().rstrip('=')}"
PLAIN: Final = "ein schlüssel, as the account's own text"
BODY: Final = json.dumps(
    {"id": "evt_1", "type": "endpoint.test", "timestamp": "2026-11-22T21:17:40.123Z", "text": "ü"},
    ensure_ascii=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """A received webhook. refused: words of the error; None: it is accepted."""

    name: str
    body: str = BODY
    headers: dict[str, str]
    secrets: list[str]
    now: float = NOW
    refused: str | None = None


def headers(secret: str = ENCODED, body: str = BODY, **changed: str) -> dict[str, str]:
    """Return the headers that the reference implementation makes, some of them changed."""
    key = secret if secret.startswith("whsec_") else secret.encode()
    signature = Webhook(key).sign("evt_1", datetime.fromtimestamp(NOW, UTC), body)
    made = {"id": "evt_1", "timestamp": str(NOW), "signature": signature, **changed}
    return {f"webhook-{name}": text for name, text in made.items()}


def _signature(secret: str = ENCODED) -> str:
    return headers(secret)["webhook-signature"]


def _accepted() -> Iterator[Vector]:
    for name, secret in (("encoded", ENCODED), ("unpadded", UNPADDED), ("plain", PLAIN)):
        padded = secret + "=" * (2 if name == "unpadded" else 0)
        yield Vector(name=f"{name} secret", headers=headers(padded), secrets=[secret])
    yield Vector(name="second of two secrets", headers=headers(), secrets=[PLAIN, ENCODED])
    several = f"v2,abc v1,bm90IHRoaXMgb25l {_signature()}"
    yield Vector(
        name="last of three signatures", headers=headers(signature=several), secrets=[ENCODED]
    )
    mixed = {name.title(): text for name, text in headers().items()}
    yield Vector(name="names of headers in any case", headers=mixed, secrets=[ENCODED])
    for age in (-300, 300):
        yield Vector(name=f"{age} s old", headers=headers(), secrets=[ENCODED], now=NOW + age)


def _refused() -> Iterator[Vector]:
    def case(name: str, refused: str, **members: Any) -> Vector:
        plain: dict[str, Any] = {"headers": headers(), "secrets": [ENCODED], **members}
        return Vector(name=name, refused=refused, **plain)

    yield case("changed body", "not signed", body=BODY.replace("evt_1", "evt_2"))
    yield case("changed id", "not signed", headers=headers(id="evt_2"))
    yield case("changed time", "not signed", headers=headers(timestamp=str(NOW + 1)))
    yield case("another secret", "not signed", secrets=[PLAIN])
    yield case("no secrets", "not signed", secrets=[])
    for signature in ("v1,", "v1", "v1,!!!", _signature().replace("v1,", "v2,"), "v1,YQ=="):
        yield case(f"signature {signature[:8]}", "not signed", headers=headers(signature=signature))
    for age in (-300.4, 300.4, 86_400):
        yield case(f"{age} s old", "300 are allowed", now=NOW + age)
    for timestamp in ("", f" {NOW}", f"+{NOW}", "1_795_900_000", f"{NOW}.0", "1" * 30, "\u0661"):
        name = "malformed" if timestamp else "lacks"
        yield case(f"time {timestamp!r}", name, headers=headers(timestamp=timestamp))
    for name, value in headers().items():
        rest = {other: text for other, text in headers().items() if text != value}
        yield case(f"without {name}", f"lacks the header {name}", headers=rest)
    for secret in ("", "whsec_"):
        yield case(f"secret {secret!r}", "secret is empty", secrets=[secret])
    for secret in ("whsec_!!!!", "whsec_ü", "whsec_a"):
        yield case(f"secret {secret!r}", "not base64", secrets=[secret])
    for body in ("[]", "{}", "evt_1", '{"id": 1, "type": "endpoint.test"}', '{"id": "evt_1"}'):
        yield case(f"body {body}", "not an event", body=body, headers=headers(body=body))


VECTORS: Final = [*_accepted(), *_refused()]


def as_json() -> str:
    """Return the vectors for clients in other languages."""
    return json.dumps([asdict(vector) for vector in VECTORS])
