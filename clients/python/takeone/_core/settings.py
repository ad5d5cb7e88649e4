"""What a client is opened with: the address of the service, the API key and limits of time."""

import os
import re
from dataclasses import dataclass, field, replace
from typing import Final

from httpx import URL, InvalidURL, Timeout

from takeone._version import VERSION
from takeone.errors import ConfigurationError

TIMEOUT_SECONDS: Final = 60.0
CONNECT_SECONDS: Final = 10.0
RETRIES: Final = 2
LONGEST_RETRY_AFTER_SECONDS: Final = 60.0
USER_AGENT: Final = f"takeone-python/{VERSION}"


@dataclass(frozen=True)
class Settings:
    """The settings of a client. retries: how often a call is sent again after a failure."""

    api_key: str = field(repr=False)
    base_url: str
    timeout: Timeout
    retries: int

    def for_look(self, seconds: float) -> "Settings":
        """Return the settings of a request within a wait, which is not repeated by itself."""
        limits = self.timeout.as_dict()
        bounded = {name: min(limit or seconds, seconds) for name, limit in limits.items()}
        return replace(self, retries=0, timeout=Timeout(**bounded))


def make_settings(
    api_key: str | None, base_url: str | None, timeout: float, retries: int
) -> Settings:
    """Return the settings. What is not given comes from the environment."""
    key = (api_key or os.environ.get("TAKEONE_API_KEY", "")).strip()
    url = (base_url or os.environ.get("TAKEONE_BASE_URL", "")).strip()
    if not key:
        raise ConfigurationError("There is no API key. Pass api_key, or set TAKEONE_API_KEY.")
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigurationError(
            "The API key has a space or a character that no key has. Copy it again."
        )
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(
            "There is no address of the service. Pass base_url, or set TAKEONE_BASE_URL, for "
            "example to http://127.0.0.1:8080, where `make up` serves it."
        )
    if not _is_address(url):
        raise ConfigurationError(
            f"{url!r} is not the address of a service. It has a host, perhaps a port and a path, "
            "and no query; for example http://127.0.0.1:8080."
        )
    return Settings(
        api_key=key,
        base_url=url.rstrip("/"),
        timeout=Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        retries=retries,
    )


def _is_address(url: str) -> bool:
    try:
        parts = URL(url)
    except InvalidURL:
        return False
    return bool(parts.host) and not parts.query and not parts.fragment
