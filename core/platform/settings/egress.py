"""Settings of requests to URLs from users and providers, see core/platform/egress/rules.py."""

from typing import Annotated

import httpx
from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from core.platform.egress.rules import OutboundRules, host_and_port
from core.platform.settings.base import Settings, split_commas


class OutboundSettings(Settings):
    """Permitted private hosts and the egress proxy; the same for API and worker."""

    allowed_private_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_commas)] = (
        Field(
            default=(),
            description="private hosts that webhooks and file downloads may use (comma-separated, each host:port)",
            examples=["localhost:9000,10.0.0.5:9000"],
        )
    )
    egress_proxy_url: SecretStr | None = Field(
        default=None,
        description="HTTP proxy for webhooks and file downloads, which must refuse private addresses; default: none",
        examples=["http://user:password@egress.example.com:3128"],
    )

    @field_validator("allowed_private_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            host_and_port(host)
        return value

    @field_validator("egress_proxy_url")
    @classmethod
    def _proxy(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            url = httpx.URL(value.get_secret_value()) if value is not None else None
        except httpx.InvalidURL:
            raise ValueError("is not a URL") from None
        if url is not None and (
            url.scheme != "http" or not url.host or url.path not in ("", "/") or url.query
        ):
            raise ValueError("must be an http:// address of a host, without a path")
        return value

    def outbound_rules(self) -> OutboundRules:
        proxy = self.egress_proxy_url
        return OutboundRules(
            allowed_private_hosts=frozenset(
                host_and_port(host) for host in self.allowed_private_hosts
            ),
            egress_proxy_url=proxy.get_secret_value() if proxy is not None else None,
        )
