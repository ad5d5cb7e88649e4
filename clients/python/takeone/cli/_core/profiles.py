"""Profiles: the address of a service and an API key by name, in one file of the user."""

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast

import click

from takeone.cli._core import values
from takeone.cli._core.exits import Exit, StopError

if sys.version_info >= (3, 11):
    from tomllib import loads
else:
    from tomli import loads

DEFAULT: Final = "default"
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
CONFIRM_ABOVE: Final = Decimal(1)
"""US dollars. `generate` asks before an order that may cost more."""
FIELDS: Final = ("base_url", "api_key", "confirm_above")


@dataclass(frozen=True)
class Profile:
    """The settings of one command."""

    name: str
    base_url: str | None
    api_key: str | None = field(repr=False)
    confirm_above: Decimal = CONFIRM_ABOVE


@dataclass
class ProfileFile:
    """The content of the file. current: the profile that is used where none is named."""

    current: str = DEFAULT
    profiles: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])


def path() -> Path:
    """Return the path of the file, in the configuration folder of the platform."""
    return Path(click.get_app_dir("takeone")) / "config.toml"


def read() -> ProfileFile:
    """Return the content of the file; an empty one if there is no file."""
    place = path()
    try:
        content: dict[str, Any] = loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ProfileFile()
    except (ValueError, UnicodeError) as error:
        raise StopError(Exit.USAGE, f"{place} is not valid TOML: {error}") from error
    profiles: object = content.get("profiles", {})
    if not isinstance(profiles, Mapping):
        raise StopError(Exit.USAGE, f"{place}: [profiles] must have a table for each profile.")
    current: object = content.get("current")
    tables = cast("Mapping[str, object]", profiles)
    return ProfileFile(
        current=current if isinstance(current, str) else DEFAULT,
        profiles={name: _texts(table) for name, table in tables.items()},
    )


def _texts(table: object) -> dict[str, str]:
    if not isinstance(table, Mapping):
        return {}
    return {name: str(value) for name, value in cast("Mapping[str, object]", table).items()}


def write(content: ProfileFile) -> None:
    """Write the file, readable by the user only. A reader never sees a part of it."""
    place = path()
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(".part", f"{place.name}.", place.parent)  # mode 0600
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(_toml(content))
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _toml(content: ProfileFile) -> str:
    lines = [
        "# Written by `takeone login` and `takeone config`.",
        _entry("current", content.current),
    ]
    for name, settings in content.profiles.items():
        lines += ["", f"[profiles.{_text(name)}]"]
        lines += [_entry(key, value) for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def _entry(key: str, value: str) -> str:
    return f"{key if NAME.fullmatch(key) else _text(key)} = {_text(value)}"


def _text(value: str) -> str:
    """Return a basic string of TOML."""
    escaped = re.sub(r'[\x00-\x1f\x7f"\\]', lambda match: f"\\u{ord(match[0]):04x}", value)
    return f'"{escaped}"'


def check_name(name: str) -> str:
    """Return the name of a profile, or stop with what is allowed."""
    if not NAME.fullmatch(name):
        raise StopError(Exit.USAGE, "A profile's name has up to 40 letters, digits, - and _.")
    return name


def choose(name: str | None) -> Profile:
    """Return the settings of a command.

    name: of --profile, whose values win over the environment. Without it, TAKEONE_API_KEY and
    TAKEONE_BASE_URL win over the profile of TAKEONE_PROFILE, or the current one.
    """
    content = read()
    named = name or os.environ.get("TAKEONE_PROFILE")
    chosen = named or content.current
    stored = content.profiles.get(chosen)
    if stored is None and named:
        known = ", ".join(content.profiles) or "none yet"
        raise StopError(
            Exit.AUTHENTICATION,
            f"There is no profile {chosen!r} (profiles: {known}). "
            f"Create it: takeone login --profile {chosen}",
        )
    stored = stored or {}
    outer: Mapping[str, str] = {} if name else os.environ
    own_url = stored.get("base_url", "").rstrip("/")
    base_url = outer.get("TAKEONE_BASE_URL", "").rstrip("/") or own_url
    own_key = outer.get("TAKEONE_API_KEY")
    if not own_key and stored.get("api_key") and base_url != own_url:
        raise StopError(
            Exit.AUTHENTICATION,
            f"TAKEONE_BASE_URL is not the address of the profile {chosen!r}, whose API key is not "
            "sent there. Set TAKEONE_API_KEY as well, or choose a profile with --profile.",
        )
    return Profile(
        chosen,
        base_url or None,
        own_key or stored.get("api_key"),
        values.amount(stored.get("confirm_above", str(CONFIRM_ABOVE)), "confirm_above"),
    )
