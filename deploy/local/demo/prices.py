"""The highest possible price of one video, calculated before anything is started or bought."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from pydantic import SecretStr

from core.domain.plans import StepKind
from core.platform.settings.providers import ProviderSettings
from core.providers.port import ModelInputs
from core.providers.registry import Providers
from deploy.local.config import ProviderKeys
from deploy.local.servers.process import LocalError

NANO = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPrice:
    step: str
    provider: str
    model: str
    usd: Decimal


def video_price(
    keys: ProviderKeys, *, prompt: str, duration_seconds: int, resolution: str
) -> list[StepPrice]:
    """Return the highest price of each step with the default models.

    The prices come from the product's price book; no request is sent.
    """
    return asyncio.run(_prices(keys, prompt, duration_seconds, resolution))


async def _prices(
    keys: ProviderKeys, prompt: str, duration_seconds: int, resolution: str
) -> list[StepPrice]:
    settings = ProviderSettings(
        fal_key=SecretStr(keys.fal_key), replicate_api_token=SecretStr(keys.replicate_api_token)
    )
    priced: list[StepPrice] = []
    async with Providers.open(settings) as providers:
        for kind in (StepKind.IMAGE, StepKind.VIDEO):
            offer = providers.default_model(kind)
            if offer is None:
                raise LocalError(f"No enabled model makes a {kind}")
            provider, model = offer
            inputs = ModelInputs(
                prompt=prompt,
                duration_seconds=duration_seconds
                if kind is StepKind.VIDEO
                else model.default_duration_seconds,
                resolution=resolution if kind is StepKind.VIDEO else model.default_resolution,
                aspect_ratio=model.default_aspect_ratio,
                seed=None,
            )
            nano = provider.quote(model, inputs).worst_nano_usd
            priced.append(
                StepPrice(
                    step=str(kind), provider=provider.name, model=model.id, usd=Decimal(nano) / NANO
                )
            )
    return priced
