"""What this worker can ask of a job's provider: its key may have been taken out of the settings meanwhile."""

from providers.port import Model, Provider
from providers.registry import Providers
from runtime.logging import get_logger
from store.jobs import JobRecord

log = get_logger(__name__)


def offered(providers: Providers, job: JobRecord) -> Provider | None:
    """None: the provider is not on offer. Nothing can be asked; the job's deadline still ends it."""
    if job.provider not in providers.names:
        log.warning("the provider of a job is not on offer", job_id=job.job_id, provider=job.provider)
        return None
    return providers.provider(job.provider)


def offered_model(providers: Providers, job: JobRecord) -> Model | None:
    """The job's model as its own provider offers it; another provider may have one of the same name."""
    found = providers.find_model(job.model, job.provider)
    return found[1] if found is not None else None
