"""The settings of users who come with a token of somebody else's (OpenID Connect)."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from core.platform.settings.base import Settings
from core.platform.urls import checked_url, reach


def trusted_url(value: str) -> str:
    """An address that what is read there can be believed of: https, or on this machine; unchanged.
    Else ValueError.
    """
    checked_url(value)
    if urlsplit(value).scheme != "https" and reach(value) != "loopback":
        raise ValueError(
            "must be an https:// address: whoever could change its answers could be any user"
        )
    return value


# An issuer is compared letter by letter with what tokens say: a slash at its end belongs to it.
TrustedUrl = Annotated[str, AfterValidator(trusted_url)]


class OidcSettings(Settings):
    """Tokens of an OpenID Connect issuer, as a second way in beside API keys. Without OIDC_ISSUER
    there is none.
    """

    oidc_issuer: TrustedUrl | None = Field(
        default=None,
        description="issuer of tokens that are accepted beside API keys, as in their claim iss",
    )
    oidc_audience: str | None = Field(
        default=None, description="what tokens must name in their claim aud", validate_default=True
    )
    oidc_jwks_url: TrustedUrl | None = Field(
        default=None,
        description="the issuer's public keys; default: what its discovery document says",
    )
    oidc_user_claim: str | None = Field(
        default=None,
        description="claim that holds the user id (usr_…); default: none, subjects are linked (cli users link)",
    )

    @field_validator("oidc_audience")
    @classmethod
    def _needed(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("oidc_issuer") is not None:
            raise ValueError(
                "not set: without it, a token that was made for any other service would be accepted"
            )
        return value
