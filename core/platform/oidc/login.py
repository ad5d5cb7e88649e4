"""Log in at an OIDC issuer with a browser: the authorization code flow with PKCE."""

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import httpx

from core.platform.key_cache import CacheLimits, KeyCache, KeysUnavailableError
from core.platform.observability.logging import get_logger
from core.platform.oidc.discovery import read_discovery, read_document
from core.platform.settings.oidc import OidcSettings, trusted_url

FETCH_SECONDS: Final = 10.0
SCOPE: Final = "openid"
LIMITS: Final = CacheLimits(
    refresh_after_seconds=300.0, max_age_seconds=86_400.0, first_pause_seconds=1.0
)
_SECRET_BYTES: Final = 32

log = get_logger(__name__)


class TokenRefusedError(Exception):
    """The token was not issued for this service by this issuer, or it is not valid now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginAttempt:
    """What the browser keeps from the beginning of a login to its end, and no other browser has."""

    state: str = field(repr=False)
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)

    @classmethod
    def new(cls) -> "LoginAttempt":
        state, verifier, nonce = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))
        return cls(state=state, verifier=verifier, nonce=nonce)

    @classmethod
    def parse(cls, text: str) -> "LoginAttempt | None":
        """Return the attempt with this text, or None."""
        parts = text.split(".")
        if len(parts) != 3 or not all(parts):
            return None
        return cls(state=parts[0], verifier=parts[1], nonce=parts[2])

    @property
    def text(self) -> str:
        return f"{self.state}.{self.verifier}.{self.nonce}"

    @property
    def challenge(self) -> str:
        """The hash of the verifier; the issuer gets the verifier itself later (RFC 7636)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def has_state(self, state: str) -> bool:
        return hmac.compare_digest(self.state.encode(), state.encode())

    def has_nonce(self, nonce: str) -> bool:
        return hmac.compare_digest(self.nonce.encode(), nonce.encode())


class Login:
    """The client of this service at the issuer."""

    def __init__(
        self, http: httpx.AsyncClient, issuer: str, client_id: str, client_secret: str | None
    ) -> None:
        self.client_id = client_id
        self._http, self._issuer, self._secret = http, issuer, client_secret
        self._discovery = KeyCache(self._fetch, LIMITS, clock=time.monotonic)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: OidcSettings) -> AsyncGenerator["Login | None"]:
        """Return None without a client. The issuer is contacted at the first login."""
        issuer, client_id, secret = (
            settings.oidc_issuer,
            settings.oidc_client_id,
            settings.oidc_client_secret,
        )
        if issuer is None or client_id is None:
            yield None
            return
        async with httpx.AsyncClient(
            timeout=FETCH_SECONDS, headers={"Accept": "application/json"}
        ) as http:
            login = cls(http, issuer, client_id, secret.get_secret_value() if secret else None)
            try:
                yield login
            finally:
                await login._discovery.close()

    def is_issuer(self, name: str) -> bool:
        """Return whether an answer's parameter `iss` names the issuer (RFC 9207)."""
        return name == self._issuer

    async def address(self, attempt: LoginAttempt, redirect_url: str) -> str:
        """Return where the browser goes. Raise KeysUnavailableError."""
        endpoint = await self._endpoint("authorization_endpoint")
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.client_id,
                "redirect_uri": redirect_url,
                "scope": SCOPE,
                "state": attempt.state,
                "nonce": attempt.nonce,
                "code_challenge": attempt.challenge,
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"

    async def id_token(self, attempt: LoginAttempt, code: str, redirect_url: str) -> str:
        """Exchange a code for an ID token, which is not verified here.

        Raise TokenRefusedError, or KeysUnavailableError.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_url,
            "code_verifier": attempt.verifier,
        }
        auth = None
        if self._secret is None:
            form["client_id"] = self.client_id
        else:  # every issuer of secrets supports Basic (RFC 6749, section 2.3.1)
            auth = (quote(self.client_id, safe=""), quote(self._secret, safe=""))
        endpoint = await self._endpoint("token_endpoint")
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                answer = await read_document(self._http, "POST", endpoint, data=form, auth=auth)
        except (httpx.HTTPError, TimeoutError) as error:
            raise KeysUnavailableError(type(error).__name__) from None
        except (ValueError, RecursionError) as error:
            raise TokenRefusedError(str(error)) from None
        return str(answer.get("id_token"))

    async def _endpoint(self, name: str) -> str:
        document: dict[str, Any] = await self._discovery.current()
        try:
            return trusted_url(str(document.get(name)))
        except ValueError:
            raise KeysUnavailableError(f"the discovery document has no usable {name}") from None

    async def _fetch(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await read_discovery(self._http, self._issuer)
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            log.warning("issuer_discovery.fetch_failed", reason=reason)
            raise KeysUnavailableError(reason) from None
