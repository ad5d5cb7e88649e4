"""Settings of OpenID Connect bearer tokens."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from core.platform.settings.base import Settings
from core.platform.urls import checked_url, reach


def trusted_url(value: str) -> str:
    """Return an address whose responses can be trusted: https, or on this machine.

    Raises ValueError for any other address.
    """
    checked_url(value)
    if urlsplit(value).scheme != "https" and reach(value) != "loopback":
        raise ValueError(
            "must be an https:// address, because a modified response could impersonate any user"
        )
    return value


# The issuer must equal the claim `iss` exactly, including a trailing slash.
TrustedUrl = Annotated[str, AfterValidator(trusted_url)]


class OidcSettings(Settings):
    """OpenID Connect bearer tokens, in addition to API keys; off without OIDC_ISSUER."""

    oidc_issuer: TrustedUrl | None = Field(
        default=None,
        description="issuer of accepted bearer tokens, equal to their claim iss; default: only API keys are accepted",
    )
    oidc_audience: str | None = Field(
        default=None,
        description="audience that tokens must have in their claim aud",
        validate_default=True,
    )
    oidc_jwks_url: TrustedUrl | None = Field(
        default=None,
        description="address of the issuer's public keys; default: from its discovery document",
    )
    oidc_user_claim: str | None = Field(
        default=None,
        description="claim that contains the user id (usr_…); default: none, subjects are linked by an operator",
    )

    oidc_client_id: str | None = Field(
        default=None,
        description="client id of the web console at the issuer; default: none, the console takes tokens and keys",
    )
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="secret of that client; default: a public client with PKCE"
    )

    @field_validator("oidc_client_id")
    @classmethod
    def _has_issuer(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("oidc_issuer") is None:
            raise ValueError("has no effect without OIDC_ISSUER")
        return value

    @field_validator("oidc_audience")
    @classmethod
    def _needed(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("oidc_issuer") is not None:
            raise ValueError(
                "not set: without an audience, tokens issued for other services would be accepted"
            )
        return value
