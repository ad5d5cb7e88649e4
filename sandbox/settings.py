"""What the sandbox is started with (Options) and what can be changed while it runs (Settings)."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def as_object(value: Any) -> Json | None:
    """A JSON value, if it is an object."""
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] # JSON keys are strings


DEFAULT_WEBHOOK_SECRET = "whsec_c2FuZGJveC1yZXBsaWNhdGUtd2ViaG9vay1zZWNyZXQ="  # noqa: S105 # public on purpose: local runs verify with it
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Changeable by `PUT /__control/settings`; back to the start values on reset. Times
    in seconds.
    """

    image_seconds: float = 1.0
    video_seconds: float = 4.0
    submit_seconds: float = 0.0
    queue_seconds: float = (
        0.2  # the part of the latency a job waits before it runs; at most half of it
    )
    history_lag_seconds: float = 0.0  # how late lists and history learn of a job
    history_hides_running: bool = True  # fal's history: unfinished requests are not shown
    list_hides_running: bool = False  # Replicate's list: likewise (the vendor's does show them)
    history_hidden: bool = False  # lists and history answer, and show nothing
    # fal: 7 days, Replicate: 1 hour, unless set here for both
    result_life_seconds: float | None = None
    # Replicate removes input, output and logs after an hour; fal its payloads after 30 days
    data_life_seconds: float | None = None
    callbacks: bool = True
    callback_retry_seconds: list[float] = field(default_factory=lambda: [1.0, 2.0, 4.0, 8.0, 16.0])
    callback_timeout_seconds: float = 15.0
    tiny_media: bool = (
        False  # 64 pixels wide, cached; durations, prices and billed units stay as asked
    )
    fal_validates_at_submit: bool = (
        False  # the real queue accepts anything, and the model refuses it
    )
    replicate_creates_per_minute: int = 0  # 0: no limit; the vendor's is 600
    revoked_keys: tuple[str, ...] = ()  # answered with 401, of whatever account


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    host: str
    port: int
    data_dir: Path
    public_url: str | None
    fal_key: str | None
    replicate_token: str | None
    replicate_webhook_secret: str
    tls_cert: Path | None
    tls_key: Path | None
    settings: Settings


class SettingsError(ValueError):
    """A setting that doesn't exist, or has the wrong type."""


def changed(settings: Settings, changes: Json) -> Settings:
    """Settings with the named ones replaced. Raises SettingsError; then nothing is changed."""
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
    raise SettingsError(f"setting {name!r} can't be {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A stand-in for fal's queue API and Replicate's predictions API, on HTTP, with a bill "
        "of its own and faults on command. See sandbox/README.md.",
        epilog="Each option can also be given as an environment variable, named in its line.",
    )
    env = os.environ.get
    add = parser.add_argument
    add("--host", default=env("SANDBOX_HOST", "127.0.0.1"), help="SANDBOX_HOST (127.0.0.1)")
    add("--port", type=int, default=env("SANDBOX_PORT", "8090"), help="SANDBOX_PORT (8090)")
    add(
        "--data-dir",
        type=Path,
        default=env("SANDBOX_DATA_DIR", "var/sandbox"),
        help="jobs, files and the bill; SANDBOX_DATA_DIR (var/sandbox)",
    )
    add(
        "--public-url",
        default=env("SANDBOX_PUBLIC_URL"),
        help="start of the addresses in answers; SANDBOX_PUBLIC_URL (the Host header of the request)",
    )
    add(
        "--image-seconds",
        type=float,
        default=env("SANDBOX_IMAGE_SECONDS", "1.0"),
        help="latency of an image; SANDBOX_IMAGE_SECONDS (1.0)",
    )
    add(
        "--video-seconds",
        type=float,
        default=env("SANDBOX_VIDEO_SECONDS", "4.0"),
        help="latency of a video; SANDBOX_VIDEO_SECONDS (4.0)",
    )
    add(
        "--submit-seconds",
        type=float,
        default=env("SANDBOX_SUBMIT_SECONDS", "0.0"),
        help="latency of the answer to a create call; SANDBOX_SUBMIT_SECONDS (0.0)",
    )
    add(
        "--settings",
        default=env("SANDBOX_SETTINGS", "{}"),
        metavar="JSON",
        help="start values of any settings, as for PUT /__control/settings; SANDBOX_SETTINGS (none)",
    )
    add(
        "--fal-key",
        default=env("SANDBOX_FAL_KEY"),
        help="if given, other fal keys get 401; SANDBOX_FAL_KEY (any non-empty key is taken)",
    )
    add(
        "--replicate-token",
        default=env("SANDBOX_REPLICATE_TOKEN"),
        help="if given, other Replicate tokens get 401; SANDBOX_REPLICATE_TOKEN (any non-empty one)",
    )
    add(
        "--replicate-webhook-secret",
        default=env("SANDBOX_REPLICATE_WEBHOOK_SECRET", DEFAULT_WEBHOOK_SECRET),
        help=f"signs Replicate callbacks; SANDBOX_REPLICATE_WEBHOOK_SECRET ({DEFAULT_WEBHOOK_SECRET})",
    )
    add(
        "--tls-cert",
        type=Path,
        default=env("SANDBOX_TLS_CERT"),
        help="PEM file; SANDBOX_TLS_CERT (no TLS)",
    )
    add(
        "--tls-key",
        type=Path,
        default=env("SANDBOX_TLS_KEY"),
        help="PEM file; SANDBOX_TLS_KEY (no TLS)",
    )
    return parser


def options_from(arguments: Sequence[str]) -> Options:
    """Options from the command line, else from the environment. Ends the process on wrong ones."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.tls_cert is None) != (given.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    for name in ("image_seconds", "video_seconds", "submit_seconds"):
        if getattr(given, name) < 0:
            parser.error(f"--{name.replace('_', '-')} can't be negative")
    seconds = {
        name: getattr(given, name) for name in ("image_seconds", "video_seconds", "submit_seconds")
    }
    try:
        settings = changed(Settings(**seconds), as_object(json.loads(given.settings)) or {})
    except ValueError as error:
        parser.error(f"--settings: {error}")
    if not given.replicate_webhook_secret.startswith("whsec_"):
        parser.error("--replicate-webhook-secret must start with whsec_")
    return Options(
        host=given.host,
        port=given.port,
        data_dir=given.data_dir,
        public_url=given.public_url.rstrip("/") if given.public_url else None,
        fal_key=given.fal_key or None,
        replicate_token=given.replicate_token or None,
        replicate_webhook_secret=given.replicate_webhook_secret,
        tls_cert=given.tls_cert,
        tls_key=given.tls_key,
        settings=settings,
    )
