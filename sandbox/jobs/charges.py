"""What a job costs: a success, a cancelled run, and the faults that change the bill."""

import math
from decimal import Decimal

from sandbox.jobs.store import Job
from sandbox.models.catalogue import find_model
from sandbox.models.fields import Role, violations
from sandbox.models.model import Model
from sandbox.models.orders import Facts
from sandbox.models.prices import Price


def model_of(job: Job) -> Model:
    model = find_model(job.provider, job.model)
    if model is None:
        raise LookupError(f"job {job.id} has the model {job.model}, which is no longer offered")
    return model


def is_blackened(job: Job) -> bool:
    """Return whether fal replaces this moderated picture with a charged black one."""
    params = job.fault("moderated")
    is_fal_picture = job.provider == "fal" and "has_nsfw_concepts" in model_of(job).also
    return params is not None and is_fal_picture and params.get("form", "nsfw") == "nsfw"


def price_of(job: Job) -> int:
    """Return the price of a success, or 0 for input that the model will reject.

    A price that follows from a file's length is not known before the file is fetched.
    """
    model = model_of(job)
    if violations(model.fields, job.input):
        return 0
    return model.price(model.order(job.input)).nano_usd


def billed(job: Job, price: Price) -> tuple[float, int]:
    """Return units and nano-USD (rounded up) of a success, multiplied by any `bill_factor`."""
    params = job.fault("bill_factor")
    if params is None:
        return _shown(price.units), price.nano_usd
    factor = Decimal(params["factor"])
    return _shown(price.units * factor), math.ceil(price.nano_usd * factor)


def charge_for_run(job: Job) -> tuple[float | None, int]:
    """Return the charge of a cancelled run: the full price on Replicate, nothing elsewhere.

    Replicate does not publish its rule; this is the worst one.
    """
    model = model_of(job)
    if job.provider != "replicate" or job.started_at is None:
        return None, 0
    price = model.price(model.fitted(model.order(job.input), _facts(job)))
    return _shown(price.units), price.nano_usd


def _facts(job: Job) -> dict[Role, Facts]:
    """Return the measures of the files that were fetched, of each role's first file."""
    facts: dict[Role, Facts] = {}
    for record in job.fetched:
        facts.setdefault(
            record["role"],
            Facts(
                medium="video" if record["frames"] else "audio" if record["seconds"] else "image",
                width=record["width"], height=record["height"], seconds=record["seconds"],
                frames=record["frames"],
            ),
        )  # fmt: skip
    return facts


def _shown(units: Decimal) -> float:
    return int(units) if units == int(units) else float(units)
