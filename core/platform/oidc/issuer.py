"""Tokens of somebody who vouches for our users: JWTs of an OpenID Connect issuer, verified with its
published keys.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import jwt

from core.domain.ids import UserId
from core.domain.scopes import USUAL_SCOPES, Scope
from core.platform.oidc.jwks import IssuerKeys
from core.platform.settings.oidc import OidcSettings

MAX_TOKEN_CHARS = 8192
MAX_SUBJECT_CHARS = 255
"""As OpenID Connect bounds it."""
CLOCK_SKEW_SECONDS = 30
"""How far the issuer's clock may differ from ours: a token is accepted for so long after its end.
"""

_TYPES: Final = frozenset({"jwt", "at+jwt"})
"""Of a header's `typ`, if there: not a token that says something else, like a logout."""
_REQUIRED: Final = ["iss", "aud", "sub", "exp"]
_USER_ID = re.compile(r"usr_[0-9a-f]{32}", re.ASCII)
_SCOPES: Final[Mapping[str, Scope]] = {scope.value: scope for scope in Scope}


class TokenRefusedError(Exception):
    """The token is none that this issuer gave out for us, or its time is not now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """What a verified token says. user_id: for whom, where the issuer names our users itself."""

    issuer: str
    subject: str
    user_id: UserId | None
    scopes: frozenset[Scope]


class Issuer:
    def __init__(
        self, *, issuer: str, audience: str, user_claim: str | None, keys: IssuerKeys
    ) -> None:
        self._issuer, self._audience, self._user_claim = issuer, audience, user_claim
        self._keys = keys

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: OidcSettings) -> AsyncGenerator["Issuer | None"]:
        """None where no issuer is set. Asks nothing before the first token comes."""
        issuer, audience = settings.oidc_issuer, settings.oidc_audience
        if issuer is None or audience is None:
            yield None
            return
        async with IssuerKeys.open(issuer, settings.oidc_jwks_url) as keys:
            yield cls(
                issuer=issuer, audience=audience, user_claim=settings.oidc_user_claim, keys=keys
            )

    async def verify(self, token: str) -> Vouched:
        """Raises TokenRefusedError, or KeysUnreachableError where it cannot be known."""
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenRefusedError("too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise TokenRefusedError("no header") from error
        kind = str(header.get("typ", "JWT")).lower().removeprefix("application/")
        kid = header.get("kid")
        if kind not in _TYPES or not isinstance(kid, str):
            raise TokenRefusedError("another kind of token, or of no key")
        key = await self._keys.find(kid)
        if key is None:
            raise TokenRefusedError("of a key that the issuer does not have")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],  # the key's own, never the token's
                issuer=self._issuer,
                audience=self._audience,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": _REQUIRED},
            )
        except (jwt.PyJWTError, OverflowError) as error:
            raise TokenRefusedError(type(error).__name__) from error
        return self._read(claims)

    def _read(self, claims: Mapping[str, Any]) -> Vouched:
        subject: str = claims["sub"]
        if not subject or len(subject) > MAX_SUBJECT_CHARS or not subject.isprintable():
            raise TokenRefusedError("no usable subject")
        user_id = None
        if self._user_claim is not None:
            named = claims.get(self._user_claim)
            if not isinstance(named, str) or not _USER_ID.fullmatch(named):
                raise TokenRefusedError("names no user")
            user_id = UserId(named)
        return Vouched(
            issuer=self._issuer, subject=subject, user_id=user_id, scopes=_scopes(claims)
        )


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """Those of ours among its own; what an application needs, if it says nothing of scopes."""
    named = claims.get("scope")
    named = claims.get("scp") if named is None else named
    if named is None:
        return USUAL_SCOPES
    words = named.split() if isinstance(named, str) else named
    if not isinstance(words, list):
        return frozenset()
    return frozenset(
        _SCOPES[word]
        for word in cast("list[object]", words)
        if isinstance(word, str) and word in _SCOPES
    )
