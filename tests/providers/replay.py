"""Recordings: a provider's responses and their expected interpretation."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from core.providers.registry import OWN_KEY_PROVIDERS
from tests.providers.wire import Line, Wire, serving

FOLDER = Path(__file__).parent / "recordings"

# Required of every vendor; other recordings depend on the vendor's API.
REQUIRED = frozenset(
    {"create_accepted", "create_unauthorized", "create_no_credit", "create_throttled", "create_invalid",
     "create_gateway_error", "status_running", "status_unknown", "status_completed", "status_failed",
     "status_moderated", "status_cancelled", "status_empty", "status_not_found", "status_throttled", "find_match",
     "find_nothing", "find_second_page", "find_rewritten_input", "find_unavailable", "cancel_running", "cancel_ended",
     "cancel_not_found", "callback_valid", "check_accepted", "check_refused", "check_unavailable"}
)  # fmt: skip

WITHOUT_JOBS = frozenset(
    {"status_failed", "status_moderated", "status_cancelled", "status_empty", "cancel_running", "cancel_ended",
     "cancel_not_found", "callback_valid"}
)  # fmt: skip
"""What a vendor does not have whose create call delivers the result."""
NOT_APPLICABLE = {"elevenlabs": WITHOUT_JOBS}
# A server of the operator's own has no account, no list, and no key to sign with.
_OWN_SERVER = frozenset(
    {"create_accepted", "create_invalid", "create_busy", "create_setting_up", "create_gateway_error", "status_running",
     "status_ended", "status_starting", "status_unavailable", "find_running", "find_ended", "find_unavailable",
     "cancel_running", "cancel_ended"}
)  # fmt: skip

Recording = dict[str, Any]


def required(vendor: str) -> frozenset[str]:
    if vendor not in OWN_KEY_PROVIDERS:
        return _OWN_SERVER
    return REQUIRED - NOT_APPLICABLE.get(vendor, frozenset())


def names(vendor: str, operation: str = "") -> list[str]:
    return sorted(path.stem for path in (FOLDER / vendor).glob(f"{operation}*.json"))


def load(vendor: str, name: str) -> Recording:
    return json.loads((FOLDER / vendor / f"{name}.json").read_text())


@asynccontextmanager
async def replaying(
    recording: Recording, sent: dict[str, Any] | None = None
) -> AsyncGenerator[Wire]:
    """Respond to each call with its next recorded exchange.

    `sent` replaces the placeholders that echo a create call.
    """
    waiting = list(recording["exchanges"])

    async def script(line: Line) -> None:
        while True:
            request = await line.read()
            call = f"{request.method} {request.path}"
            exchange = next((item for item in waiting if item["request"] == call), None)
            if exchange is None:
                await line.answer(418, {"error": f"no exchange recorded for {call}"})
                continue
            waiting.remove(exchange)
            body = _with_placeholders_replaced(exchange["body"], wire.url, sent or {})
            raw = body.encode() if isinstance(body, str) else body
            await line.answer(exchange["status"], raw, exchange["headers"])

    async with serving(script) as wire:
        yield wire
        assert not waiting, f"exchanges not used: {[item['request'] for item in waiting]}"


def _with_placeholders_replaced(value: Any, base_url: str, sent: dict[str, Any]) -> Any:
    """Return the value with its placeholders replaced.

    {base}: address of the replay. {sent}, {sent.name}: the create call's body, or a member of it.
    {sent:prompt=x}: the body with one value changed.
    """
    if isinstance(value, dict):
        return {
            name: _with_placeholders_replaced(item, base_url, sent)
            for name, item in value.items()  # pyright: ignore[reportUnknownVariableType]  # JSON
        }
    if isinstance(value, list):
        return [_with_placeholders_replaced(item, base_url, sent) for item in value]  # pyright: ignore[reportUnknownVariableType]  # JSON
    if not isinstance(value, str):
        return value
    if not value.startswith("{sent"):
        return value.replace("{base}", base_url)
    path, _, change = value[1:-1].partition(":")
    echo = sent[path.removeprefix("sent.")] if "." in path else sent
    name, equals, other = change.partition("=")
    return {**echo, name: other} if equals else echo
