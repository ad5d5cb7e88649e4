"""Quotes: what an order may cost, by the same plan, prices and code that hold and settle it."""

from core.domain.ids import UserId
from core.domain.plans import Parameters, Step
from core.domain.prices import Quote
from core.ordering.accept import check_webhook_url
from core.ordering.errors import ModelNotOfferedError
from core.ordering.planning.catalogue import get_catalogue
from core.ordering.planning.plan import PricedPlan, VideoRequest, plan_video, pricing_inputs
from core.ordering.services import OrderingServices
from core.providers.registry import Providers


async def quote_video(
    services: OrderingServices,
    user_id: UserId,
    request: VideoRequest,
    *,
    webhook_url: str | None = None,
) -> PricedPlan:
    """Return the priced plan of a request. Nothing is held, stored or started.

    Raises InvalidFieldsError. Budgets and other limits are not checked.
    """
    check_webhook_url(services.outbound, webhook_url)
    return plan_video(await get_catalogue(services, user_id), request)


def quote_step(catalogue: Providers, step: Step, parameters: Parameters) -> Quote:
    """Return today's quote of a step that was planned earlier.

    Raises ModelNotOfferedError if its model is no longer offered, or not with these parameters.
    """
    offer = catalogue.find_model(step.model, step.provider)
    if offer is None:
        raise ModelNotOfferedError(step)
    provider, model = offer
    try:
        return provider.quote(model, pricing_inputs(model, parameters))
    except ValueError:
        raise ModelNotOfferedError(step) from None
