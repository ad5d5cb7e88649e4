"""The public keys of an OIDC issuer: discovery, download, and the keys that are accepted."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from core.platform.key_cache import CacheLimits, Clock, KeyCache, KeysUnavailableError
from core.platform.observability.logging import get_logger
from core.platform.oidc.discovery import DocumentError, read_discovery, read_document
from core.platform.settings.oidc import trusted_url

ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA"})
"""Public-key algorithms only: with a symmetric key, every reader of the key set could sign."""
MIN_RSA_BITS: Final = 2048
FETCH_SECONDS: Final = 5.0
LIMITS: Final = CacheLimits(
    refresh_after_seconds=300.0,  # how long a key that the issuer has withdrawn is accepted
    max_age_seconds=86_400.0,  # how long an outage of the issuer is bridged
    pause_seconds=10.0,
    first_pause_seconds=1.0,
)

log = get_logger(__name__)


class IssuerKeys:
    """The keys of one issuer, by their id."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        issuer: str,
        jwks_url: str | None,
        *,
        fetch_seconds: float,
        clock: Clock,
    ) -> None:
        self._http = http
        self._issuer, self._jwks_url = issuer, jwks_url
        self._fetch_seconds = fetch_seconds
        self._cache = KeyCache(self._fetch, LIMITS, clock=clock)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        issuer: str,
        jwks_url: str | None,
        *,
        fetch_seconds: float = FETCH_SECONDS,
        clock: Clock = time.monotonic,
    ) -> AsyncGenerator["IssuerKeys"]:
        """jwks_url: default, from the issuer's discovery document."""
        async with httpx.AsyncClient(
            timeout=FETCH_SECONDS, headers={"Accept": "application/json"}
        ) as http:
            keys = cls(http, issuer, jwks_url, fetch_seconds=fetch_seconds, clock=clock)
            try:
                yield keys
            finally:
                await keys._cache.close()

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """Return the key, or None if the issuer has no such key that is accepted.

        Raise KeysUnavailableError.
        """
        keys: dict[str, jwt.PyJWK] | None = await self._cache.current()
        if kid not in keys:
            keys = await self._cache.newer_than(keys)
        return keys.get(kid) if keys is not None else None

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        try:
            async with asyncio.timeout(self._fetch_seconds):
                document = await read_document(
                    self._http, "GET", self._jwks_url or await self._discovered()
                )
            keys = usable_keys(document)
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            log.warning("issuer_keys.fetch_failed", reason=reason)
            raise KeysUnavailableError(reason) from None
        log.info("issuer_keys.fetched", keys=len(keys))
        return keys

    async def _discovered(self) -> str:
        document = await read_discovery(self._http, self._issuer)
        return trusted_url(str(document.get("jwks_uri")))


def usable_keys(document: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """Return the keys by their id, without those that are private, weak or not for signing."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise DocumentError("the document has no list of keys")
    keys = (_usable_key(item) for item in cast("list[object]", listed))
    return {key.key_id: key for key in keys if key is not None and key.key_id is not None}


def _usable_key(item: object) -> jwt.PyJWK | None:
    if not isinstance(item, dict):
        return None
    parameters = cast("dict[str, Any]", item)
    if (
        parameters.get("use", "sig") != "sig"
        or not isinstance(parameters.get("kid"), str)
        or "d" in parameters
    ):
        return None
    try:
        key = jwt.PyJWK(parameters)
    except (jwt.PyJWTError, TypeError, ValueError):
        return None
    too_short = isinstance(key.key, RSAPublicKey) and key.key.key_size < MIN_RSA_BITS
    return key if key.algorithm_name in ALGORITHMS and not too_short else None
