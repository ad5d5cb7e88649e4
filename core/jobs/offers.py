"""What a job's provider offers, whoever's key it is bought with: to price and to word a request no
key is needed.
"""

from core.providers.port import Model, Provider
from core.providers.registry import Providers
from core.store.jobs.jobs import JobRecord


def known_model(providers: Providers, job: JobRecord) -> tuple[Provider, Model] | None:
    """The job's model as its own provider offers it; another provider may have one of the same
    name.

    The adapter may have no key: it prices and words, and is asked nothing. None: this version knows
    no such model.
    """
    provider = providers.known(job.provider)
    model = (
        next((model for model in provider.models if model.id == job.model), None)
        if provider is not None
        else None
    )
    return (provider, model) if provider is not None and model is not None else None
