"""Verify OIDC bearer tokens against the issuer's JWKS."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import jwt

from core.domain.ids import UserId
from core.domain.scopes import USUAL_SCOPES, Scope
from core.platform.oidc.jwks import IssuerKeys
from core.platform.oidc.login import Login, LoginAttempt, TokenRefusedError
from core.platform.settings.oidc import OidcSettings

MAX_TOKEN_CHARS = 8192
MAX_SUBJECT_CHARS = 255
"""The limit of OpenID Connect."""
CLOCK_SKEW_SECONDS = 30
"""Accepted difference between the issuer's clock and ours."""

_TYPES: Final = frozenset({"jwt", "at+jwt"})
"""Accepted values of the header `typ`; a logout token, for example, has another."""
_REQUIRED: Final = ["iss", "aud", "sub", "exp"]
_USER_ID = re.compile(r"usr_[0-9a-f]{32}", re.ASCII)
_SCOPES: Final[Mapping[str, Scope]] = {scope.value: scope for scope in Scope}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIdentity:
    """The claims of a verified token. user_id: only if the issuer's tokens contain our user ids."""

    issuer: str
    subject: str
    user_id: UserId | None
    scopes: frozenset[Scope]


class Issuer:
    """login: where users log in with a browser, or None."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        user_claim: str | None,
        keys: IssuerKeys,
        login: Login | None = None,
    ) -> None:
        self._issuer, self._audience, self._user_claim = issuer, audience, user_claim
        self._keys = keys
        self.login = login

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: OidcSettings) -> AsyncGenerator["Issuer | None"]:
        """Return None if no issuer is set. The issuer is contacted when the first token arrives."""
        issuer, audience = settings.oidc_issuer, settings.oidc_audience
        if issuer is None or audience is None:
            yield None
            return
        async with (
            IssuerKeys.open(issuer, settings.oidc_jwks_url) as keys,
            Login.open(settings) as login,
        ):
            yield cls(
                issuer=issuer,
                audience=audience,
                user_claim=settings.oidc_user_claim,
                keys=keys,
                login=login,
            )

    async def verify(self, token: str) -> TokenIdentity:
        """Return the identity. Raise TokenRefusedError, or KeysUnavailableError."""
        return self._read(await self._claims(token, self._audience))

    async def log_in(self, attempt: LoginAttempt, code: str, redirect_url: str) -> TokenIdentity:
        """Exchange the code of a login for the identity of the user who has logged in.

        Raise TokenRefusedError, or KeysUnavailableError. The code is used up.
        """
        if self.login is None:
            raise TokenRefusedError("no client")
        token = await self.login.id_token(attempt, code, redirect_url)
        client_id = self.login.client_id
        claims = await self._claims(token, client_id)
        nonce = str(claims.get("nonce"))
        if not attempt.has_nonce(nonce) or claims.get("azp", client_id) != client_id:
            raise TokenRefusedError("issued for another login")
        return self._read(claims)

    async def _claims(self, token: str, audience: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenRefusedError("too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise TokenRefusedError("no valid header") from error
        kind = str(header.get("typ", "JWT")).lower().removeprefix("application/")
        kid = header.get("kid")
        if kind not in _TYPES or not isinstance(kid, str):
            raise TokenRefusedError("wrong token type, or no key id")
        key = await self._keys.find(kid)
        if key is None:
            raise TokenRefusedError("unknown key id")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],  # of the key; the token's own value is not trusted
                issuer=self._issuer,
                audience=audience,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": _REQUIRED},
            )
        except (jwt.PyJWTError, OverflowError) as error:
            raise TokenRefusedError(type(error).__name__) from error
        return claims

    def _read(self, claims: Mapping[str, Any]) -> TokenIdentity:
        subject: str = claims["sub"]
        if not subject or len(subject) > MAX_SUBJECT_CHARS or not subject.isprintable():
            raise TokenRefusedError("no usable subject")
        user_id = None
        if self._user_claim is not None:
            value = claims.get(self._user_claim)
            if not isinstance(value, str) or not _USER_ID.fullmatch(value):
                raise TokenRefusedError("no user id")
            user_id = UserId(value)
        return TokenIdentity(
            issuer=self._issuer, subject=subject, user_id=user_id, scopes=_scopes(claims)
        )


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """Return the scopes of this service in the token, or the usual ones without a scope claim.

    Only U+0020 separates scopes (RFC 6749).
    """
    claim = claims.get("scope")
    claim = claims.get("scp") if claim is None else claim
    if claim is None:
        return USUAL_SCOPES
    words = claim.split(" ") if isinstance(claim, str) else claim
    if not isinstance(words, list):
        return frozenset()
    return frozenset(
        _SCOPES[word]
        for word in cast("list[object]", words)
        if isinstance(word, str) and word in _SCOPES
    )
