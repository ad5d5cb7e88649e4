"""OIDC issuer settings: complete or absent; plain HTTP only for a loopback address."""

import pytest
from pydantic import ValidationError

from core.platform.settings.oidc import OidcSettings


def _load(**settings: str) -> OidcSettings:
    return OidcSettings.model_validate(settings)


def test_oidc_is_off_by_default() -> None:
    assert _load().oidc_issuer is None


@pytest.mark.parametrize(
    "issuer",
    ["https://ada.eu.auth0.example/", "https://issuer.example/realms/a", "http://127.0.0.1:8080"],
)
def test_oidc_issuer_is_kept_unchanged(issuer: str) -> None:
    assert _load(oidc_issuer=issuer, oidc_audience="takeone").oidc_issuer == issuer


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"oidc_issuer": "https://issuer.example"}, "oidc_audience"),
        ({"oidc_issuer": "http://issuer.example", "oidc_audience": "takeone"}, "oidc_issuer"),
        ({"oidc_issuer": "http://issuer.internal", "oidc_audience": "takeone"}, "oidc_issuer"),
        ({"oidc_issuer": "issuer.example", "oidc_audience": "takeone"}, "oidc_issuer"),
        ({"oidc_issuer": "https://issuer.example?x=1", "oidc_audience": "takeone"}, "oidc_issuer"),
        (
            {
                "oidc_issuer": "https://issuer.example",
                "oidc_audience": "takeone",
                "oidc_jwks_url": "http://issuer.example/keys",
            },
            "oidc_jwks_url",
        ),
    ],
    ids=str,
)
def test_incomplete_or_insecure_oidc_settings_are_rejected(
    settings: dict[str, str], named: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        _load(**settings)
    assert [error["loc"] for error in refused.value.errors()] == [(named,)]
