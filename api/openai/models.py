"""The video models of /v1, and other names that the operator sets for them."""

from collections.abc import Mapping

from core.domain.plans import StepKind
from core.ordering.planning.plan import IMAGE
from core.providers.models import Model
from core.providers.port import Provider
from core.providers.registry import Providers

SETTING = "OPENAI_MODEL_ALIASES"


def offered_models(catalogue: Providers) -> list[tuple[Provider, Model]]:
    """Return the models that an order may name, the default first: all that need no other file."""
    return [
        (provider, model)
        for provider, model in catalogue.models(StepKind.VIDEO)
        if not any(item.required and name != IMAGE for name, item in model.media_inputs.items())
    ]


def checked_aliases(aliases: Mapping[str, str], providers: Providers) -> Mapping[str, str]:
    """Return the aliases: the model of each name.

    Raise ValueError for a name that a model has, and for a model that makes no video. A model that
    only users with their own keys can order is allowed.
    """
    everything = providers.for_user(providers.known_names)
    models = {model.id for _, model in offered_models(everything)}
    for name, model in aliases.items():
        if everything.find_model(name) is not None:
            raise ValueError(f"{SETTING}: {name} is the name of a model. Choose another name")
        if model not in models:
            raise ValueError(
                f"{SETTING}: {name} means {model}, which is no video model. "
                f"Choose one of: {', '.join(sorted(models))}"
            )
    return dict(aliases)
