"""Passwords and keys of one local stack: created once, stored in its data folder with mode 0600."""

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from deploy.local.servers.process import LocalError

FILE_NAME = "local.json"


def _text() -> str:
    return secrets.token_hex(24)


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _signing_secret() -> str:
    return "whsec_" + _key()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LocalKeys:
    """Generated secrets of one local stack.

    They open nothing outside this machine: the sandbox accepts any provider key.
    """

    postgres_password: str = field(default_factory=_text)
    application_password: str = field(default_factory=_text)
    s3_access_key_id: str = field(default_factory=_text)
    s3_secret_access_key: str = field(default_factory=_text)
    encryption_key: str = field(default_factory=_key)
    sandbox_fal_key: str = field(default_factory=_text)
    sandbox_replicate_token: str = field(default_factory=_text)
    sandbox_webhook_secret: str = field(default_factory=_signing_secret)


def keep_keys(folder: Path) -> LocalKeys:
    """Return the keys of this folder, creating those that are missing.

    Raise LocalError if the folder has data but its keys are lost.
    """
    path = folder / FILE_NAME
    kept: dict[str, str] = {}
    if path.exists():
        kept = _read(path)
    elif (folder / "postgres").exists():
        raise LocalError(
            f"{path} is missing, and with it the keys of {folder}: restore it, or remove the folder"
        )
    names = {item.name for item in fields(LocalKeys)}
    keys = LocalKeys(**{name: value for name, value in kept.items() if name in names})
    if asdict(keys) != kept:
        _write(path, asdict(keys))
    return keys


def _read(path: Path) -> dict[str, str]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LocalError(
            f"{path} is damaged ({error}): restore a good copy, or remove its folder"
        ) from None


def _write(path: Path, values: dict[str, str]) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    new.replace(path)
