"""What an ended job has cost."""

from core.domain.messages.jobs import JobReport
from core.domain.prices import price_from_json
from core.providers.port import Cost, Model, ModelInputs, Provider
from core.providers.pricing import at_price
from core.store.jobs.jobs import SendRecord


def real_cost(provider: Provider, model: Model, send: SendRecord, report: JobReport) -> Cost:
    """At the price that the job was quoted by, whatever the price book says by now.

    Raises TypeError, ValueError: what was stored cannot be read or priced.
    """
    return provider.cost(
        at_price(model, price_from_json(send.price)), ModelInputs(**send.inputs), report
    )
