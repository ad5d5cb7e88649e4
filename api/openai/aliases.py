"""Other names of video models on /v1, which the operator sets for programs of OpenAI's users."""

from collections.abc import Mapping

from core.domain.plans import StepKind
from core.providers.registry import Providers

SETTING = "OPENAI_MODEL_ALIASES"


def checked_aliases(aliases: Mapping[str, str], providers: Providers) -> Mapping[str, str]:
    """Return the aliases: the model of each name.

    Raise ValueError for a name that a model has, and for a model that makes no video. A model that
    only users with their own keys can order is allowed.
    """
    everything = providers.for_user(providers.known_names)
    models = {model.id for _, model in everything.models(StepKind.VIDEO)}
    for name, model in aliases.items():
        if everything.find_model(name) is not None:
            raise ValueError(f"{SETTING}: {name} is the name of a model. Choose another name")
        if model not in models:
            raise ValueError(
                f"{SETTING}: {name} means {model}, which is no video model. "
                f"Choose one of: {', '.join(sorted(models))}"
            )
    return dict(aliases)
