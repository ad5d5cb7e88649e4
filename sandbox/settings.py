"""Start options of the sandbox and the settings that can change while it runs."""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def as_object(value: Any) -> Json | None:
    """Return a JSON value if it is an object."""
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] # JSON keys are strings


DEFAULT_WEBHOOK_SECRET = "whsec_c2FuZGJveC1yZXBsaWNhdGUtd2ViaG9vay1zZWNyZXQ="  # noqa: S105 # public: local runs verify with it
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that `PUT /__control/settings` changes and a reset restores. Times in seconds."""

    image_seconds: float = 1.0
    video_seconds: float = 4.0
    submit_seconds: float = 0.0
    queue_seconds: float = 0.2  # the part of the latency spent queued; at most half of it
    history_lag_seconds: float = 0.0  # delay until a job appears in lists and history
    history_hides_running: bool = True  # fal's history: unfinished requests are not shown
    list_hides_running: bool = False  # the same for Replicate's list (the vendor's shows them)
    history_hidden: bool = False  # lists and history return empty pages
    # The provider's clock, in Date headers and in lists, is this much behind the machine's.
    clock_behind_seconds: float = 0.0
    # For both vendors; None: 7 days for fal, 1 hour for Replicate.
    result_life_seconds: float | None = None
    # None: Replicate removes input, output and logs after 1 hour, fal its payloads after 30 days.
    data_life_seconds: float | None = None
    callbacks: bool = True
    callback_retry_seconds: list[float] = field(default_factory=lambda: [1.0, 2.0, 4.0, 8.0, 16.0])
    callback_timeout_seconds: float = 15.0
    # Files are 64 pixels wide and cached; durations, prices and billed units do not change.
    tiny_media: bool = False
    # False: like the real queue, accept any input and let the model reject it.
    fal_validates_at_submit: bool = False
    replicate_creates_per_minute: int = 0  # 0: no limit; the vendor's limit is 600
    speech_seconds: float = 0.5
    elevenlabs_discount: float = 1.0  # credits per published credit; 0.55 was measured
    elevenlabs_usd_per_credit: float = 0.0  # the plan's price; 0: billed by the price list
    elevenlabs_concurrent: int = 0  # running create calls; 0: no limit
    elevenlabs_denied_voices: tuple[str, ...] = ()  # listed; speech with them is refused with 403
    revoked_keys: tuple[str, ...] = ()  # rejected with 401, for every account


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The start options, from the command line or the environment."""

    host: str
    port: int
    control_host: str
    control_port: int
    data_dir: Path
    public_url: str | None
    fal_key: str | None
    replicate_token: str | None
    elevenlabs_key: str | None
    replicate_webhook_secret: str
    tls_cert: Path | None
    tls_key: Path | None
    settings: Settings


class SettingsError(ValueError):
    """The setting does not exist or the value has the wrong type."""


def with_changes(settings: Settings, changes: Json) -> Settings:
    """Return the settings with these changes. Raise SettingsError if any of them is invalid."""
    known = {item.name: item for item in fields(Settings)}
    checked: Json = {}
    for name, value in changes.items():
        if name not in known:
            raise SettingsError(f"unknown setting {name!r}; known: {', '.join(known)}")
        checked[name] = _checked(name, value, getattr(Settings(), name))
    return replace(settings, **checked)


def _checked(name: str, value: Any, example: Any) -> Any:
    if isinstance(example, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(example, list):
        if isinstance(value, list) and all(_is_number(item) for item in value):  # pyright: ignore[reportUnknownVariableType] # JSON
            return [float(item) for item in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] # JSON
    elif isinstance(example, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):  # pyright: ignore[reportUnknownVariableType] # JSON
            return tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] # JSON
    elif value is None and example is None:
        return None
    elif isinstance(value, int | float) and _is_number(value) and value >= 0:
        return int(value) if isinstance(example, int) else float(value)
    raise SettingsError(f"setting {name!r} cannot be {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Option, type, default and help; the environment variable is SANDBOX_ and the option's name.
OPTIONS: tuple[tuple[str, Callable[[str], Any], str | None, str], ...] = (
    ("--host", str, "127.0.0.1", "SANDBOX_HOST (127.0.0.1)"),
    ("--port", int, "8090", "SANDBOX_PORT (8090)"),
    ("--control-host", str, "127.0.0.1", "SANDBOX_CONTROL_HOST (127.0.0.1)"),
    ("--control-port", int, None,
     "port of the control routes, which need no key; SANDBOX_CONTROL_PORT (one above --port)"),
    ("--data-dir", Path, "var/sandbox",
     "jobs, files and the bill; SANDBOX_DATA_DIR (var/sandbox)"),
    ("--public-url", str, None,
     "start of the addresses in responses; SANDBOX_PUBLIC_URL (the Host header of the request)"),
    ("--image-seconds", float, "1.0", "latency of an image; SANDBOX_IMAGE_SECONDS (1.0)"),
    ("--video-seconds", float, "4.0", "latency of a video; SANDBOX_VIDEO_SECONDS (4.0)"),
    ("--submit-seconds", float, "0.0",
     "latency of the response to a create call; SANDBOX_SUBMIT_SECONDS (0.0)"),
    ("--settings", str, "{}",
     "initial settings as a JSON object, as for PUT /__control/settings; SANDBOX_SETTINGS (none)"),
    ("--fal-key", str, None,
     "if set, other fal keys get 401; SANDBOX_FAL_KEY (any non-empty key is valid)"),
    ("--replicate-token", str, None,
     "if set, other Replicate tokens get 401; SANDBOX_REPLICATE_TOKEN (any non-empty token)"),
    ("--elevenlabs-key", str, None,
     "if set, other ElevenLabs keys get 401; SANDBOX_ELEVENLABS_KEY (any non-empty key is valid)"),
    ("--replicate-webhook-secret", str, DEFAULT_WEBHOOK_SECRET,
     f"signs Replicate callbacks; SANDBOX_REPLICATE_WEBHOOK_SECRET ({DEFAULT_WEBHOOK_SECRET})"),
    ("--tls-cert", Path, None, "PEM file; SANDBOX_TLS_CERT (no TLS)"),
    ("--tls-key", Path, None, "PEM file; SANDBOX_TLS_KEY (no TLS)"),
)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A stand-in for fal's queue API, Replicate's predictions API and ElevenLabs' speech API "
        "over HTTP, with its own bill and with faults on request. See sandbox/README.md.",
        epilog="Each option can also be set by the environment variable in its line.",
    )
    for option, kind, default, text in OPTIONS:
        variable = f"SANDBOX_{option.removeprefix('--').replace('-', '_').upper()}"
        parser.add_argument(
            option, type=kind, default=os.environ.get(variable, default), help=text,
            metavar="JSON" if option == "--settings" else None,
        )  # fmt: skip
    return parser


def options_from(arguments: Sequence[str]) -> Options:
    """Return the options from the command line, else the environment. Exit on invalid options."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.control_port is None:
        parsed.control_port = parsed.port + 1 if parsed.port else 0
    if parsed.port and parsed.control_port == parsed.port:
        parser.error("--control-port and --port must differ: the control routes need no key")
    if (parsed.tls_cert is None) != (parsed.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    for name in ("image_seconds", "video_seconds", "submit_seconds"):
        if getattr(parsed, name) < 0:
            parser.error(f"--{name.replace('_', '-')} cannot be negative")
    seconds = {
        name: getattr(parsed, name) for name in ("image_seconds", "video_seconds", "submit_seconds")
    }
    try:
        settings = with_changes(Settings(**seconds), as_object(json.loads(parsed.settings)) or {})
    except ValueError as error:
        parser.error(f"--settings: {error}")
    if not parsed.replicate_webhook_secret.startswith("whsec_"):
        parser.error("--replicate-webhook-secret must start with whsec_")
    return Options(
        host=parsed.host,
        port=parsed.port,
        control_host=parsed.control_host,
        control_port=parsed.control_port,
        data_dir=parsed.data_dir,
        public_url=parsed.public_url.rstrip("/") if parsed.public_url else None,
        fal_key=parsed.fal_key or None,
        replicate_token=parsed.replicate_token or None,
        elevenlabs_key=parsed.elevenlabs_key or None,
        replicate_webhook_secret=parsed.replicate_webhook_secret,
        tls_cert=parsed.tls_cert,
        tls_key=parsed.tls_key,
        settings=settings,
    )
