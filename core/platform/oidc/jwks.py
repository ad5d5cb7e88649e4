"""The public keys of an issuer of tokens: read over HTTP, kept for a while, read again when a key
is missing.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, cast

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from core.platform.observability.logging import get_logger
from core.platform.settings.oidc import trusted_url

ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA"})
"""All are of public keys: with a symmetric one, whoever reads the issuer's keys could sign."""
MIN_RSA_BITS = 2048
DISCOVERY_PATH = "/.well-known/openid-configuration"
MAX_DOCUMENT_BYTES = 256 * 1024
FETCH_SECONDS = 5.0
FRESH_SECONDS = 300.0
"""After that they are read again: a key that the issuer has withdrawn is accepted for so long."""
STALE_SECONDS = 86_400.0
"""Without an answer of the issuer's, the last one counts for so long: its outage is not ours."""
REFETCH_SECONDS = 10.0
"""At most so often for keys that are not known: anybody can make up a token of one."""
RETRY_SECONDS = 1.0
"""The same, while no keys are known at all."""

log = get_logger(__name__)


class KeysUnreachableError(Exception):
    """The issuer's keys cannot be read now, so nothing can be said of a token."""


class _DocumentError(ValueError):
    """The issuer answered, but not as an issuer does."""


class IssuerKeys:
    def __init__(self, http: httpx.AsyncClient, issuer: str, jwks_url: str | None) -> None:
        self._http = http
        self._issuer, self._jwks_url = issuer, jwks_url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at: float | None = None
        self._tried_at = float("-inf")
        self._failed = False
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, issuer: str, jwks_url: str | None) -> AsyncGenerator["IssuerKeys"]:
        async with httpx.AsyncClient(
            timeout=FETCH_SECONDS, headers={"Accept": "application/json"}
        ) as http:
            keys = cls(http, issuer, jwks_url)
            try:
                yield keys
            finally:
                await keys._stop()

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """None: the issuer has no such key that we accept. Raises KeysUnreachableError."""
        age = self._age_seconds()
        if age > STALE_SECONDS or kid not in self._keys:
            await self._read_again()
            if self._age_seconds() > STALE_SECONDS or (kid not in self._keys and self._failed):
                raise KeysUnreachableError
        elif age > FRESH_SECONDS:
            self._begin_reading()  # nobody waits for it
        return self._keys.get(kid)

    def _age_seconds(self) -> float:
        return float("inf") if self._read_at is None else time.monotonic() - self._read_at

    async def _read_again(self) -> None:
        self._begin_reading()
        if self._reading is not None:
            await asyncio.shield(self._reading)  # whoever goes away does not end it for the others

    def _begin_reading(self) -> None:
        """One at a time, and not too often."""
        pause = REFETCH_SECONDS if self._keys else RETRY_SECONDS
        if self._reading is None and time.monotonic() - self._tried_at >= pause:
            self._tried_at = time.monotonic()
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._done)

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._reading = None

    async def _stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                document = await self._document(self._jwks_url or await self._discovered())
            keys = usable_keys(document)
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            self._failed = True
            log.warning(
                "the issuer's keys cannot be read", reason=str(error) or type(error).__name__
            )
            return
        self._keys, self._read_at, self._failed = keys, time.monotonic(), False
        log.info("the issuer's keys were read", number=len(keys))

    async def _discovered(self) -> str:
        document = await self._document(self._issuer.rstrip("/") + DISCOVERY_PATH)
        if document.get("issuer") != self._issuer:
            raise _DocumentError("its discovery document is of another issuer")
        return trusted_url(str(document.get("jwks_uri")))

    async def _document(self, url: str) -> dict[str, Any]:
        body = b""
        async with self._http.stream("GET", url) as answer:
            if answer.status_code != HTTPStatus.OK:
                raise _DocumentError(f"answered with {answer.status_code}")
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise _DocumentError(f"answered with more than {MAX_DOCUMENT_BYTES} bytes")
        document = json.loads(body)
        if not isinstance(document, dict):
            raise _DocumentError("did not answer with an object")
        return cast("dict[str, Any]", document)


def usable_keys(document: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """By their id. What is there for anything else than signing, or with less than we accept, is
    left out.
    """
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise _DocumentError("has no list of keys")
    found = (_usable_key(item) for item in cast("list[object]", listed))
    return {key.key_id: key for key in found if key is not None and key.key_id is not None}


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
