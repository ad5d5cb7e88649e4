"""Loading and describing settings. Only entry points load them; importing reads nothing."""

import sys
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from core.platform.settings.base import ENV_FILE, Settings

S = TypeVar("S", bound=Settings)


def load(settings: type[S]) -> S:
    """Read the settings of a process from the environment and `.env`.

    On missing or wrong settings, write one line each to stderr and exit with code 2.
    """
    loaded = read(settings)
    if isinstance(loaded, settings):
        return loaded
    sys.stderr.write("".join(f"{line}\n" for line in loaded))
    raise SystemExit(2)


def read(settings: type[S]) -> S | list[str]:
    """Read the settings of a process, or return one line for each missing or wrong setting."""
    try:
        return settings()
    except ValidationError as error:
        return _explain(settings, error)
    except (OSError, UnicodeDecodeError) as error:
        return [f"{ENV_FILE}: cannot be read ({type(error).__name__})"]


def describe_settings(settings: type[Settings]) -> str:
    """Return the variables of a process with default and meaning, for `--help`."""
    lines = [f"Settings: environment variables, or {ENV_FILE} in the working directory.", ""]
    for name, field in settings.model_fields.items():
        lines += [f"  {name.upper()}{_default_note(field)}", f"      {field.description}"]
    return "\n".join(lines)


def secret_values(settings: Settings) -> list[str]:
    """Return the secret values in the settings, which `configure_logging` removes from logs."""
    secrets = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    parts = [part.strip() for secret in secrets for part in secret.split(",")]
    passwords = [_password(secret) for secret in secrets if "://" in secret]
    return [*secrets, *parts, *passwords, *map(unquote, passwords)]


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:  # not an address after all
        return ""


def _default_note(field: FieldInfo) -> str:
    if field.is_required():
        return "  (required)"
    default: object = field.get_default()
    return "" if default in (None, ()) else f"  [{default}]"


def _explain(settings: type[Settings], error: ValidationError) -> list[str]:
    # The input is omitted because it may be a secret.
    return [
        _explain_one(
            str(problem["loc"][0]),
            settings.model_fields[str(problem["loc"][0])],
            problem["type"],
            problem["msg"],
        )
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _explain_one(name: str, field: FieldInfo, kind: str, message: str) -> str:
    example = f", for example {name.upper()}={field.examples[0]}" if field.examples else ""
    if kind == "missing":
        return f"{name.upper()}: not set. Set it to: {field.description}{example}"
    problem = message.removeprefix("Value error, ")
    return f"{name.upper()}: {problem}. Meaning: {field.description}{example}"
