"""What an ended job has cost."""

from contracts.jobs import JobReport
from contracts.prices import price_from_json
from providers.port import Cost, Model, ModelInputs, Provider
from providers.pricing import at_price
from store.jobs import SendRecord


def real_cost(provider: Provider, model: Model, send: SendRecord, report: JobReport) -> Cost:
    """At the price that the job was quoted by, whatever the price book says by now.

    Raises TypeError, ValueError: what was stored cannot be read or priced.
    """
    return provider.cost(at_price(model, price_from_json(send.price)), ModelInputs(**send.inputs), report)
