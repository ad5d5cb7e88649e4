"""The highest possible price of one video, calculated before anything is started or bought."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from pydantic import SecretStr

from core.ordering.errors import InvalidFieldsError
from core.ordering.planning.plan import VideoRequest, plan_video
from core.platform.settings.providers import ProviderSettings
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
    request = VideoRequest(prompt=prompt, duration_seconds=duration_seconds, resolution=resolution)
    async with Providers.open(settings) as providers:
        try:
            planned = plan_video(providers, request)
        except InvalidFieldsError as error:
            faults = ", ".join(f"{fault.field} {fault.detail}" for fault in error.errors)
            raise LocalError(f"No enabled models make this video: {faults}") from None
    return [
        StepPrice(
            step=cost.step.name,
            provider=cost.step.provider,
            model=cost.step.model,
            usd=Decimal(cost.nano_usd) / NANO,
        )
        for cost in planned.worst_costs
    ]
