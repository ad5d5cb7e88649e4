"""The page of all models, from the catalogues of the providers."""

import asyncio
from collections.abc import Iterator, Sequence

from pydantic import SecretStr
from pydantic.alias_generators import to_camel

from core.domain.plans import Scalar, StepKind
from core.domain.prices import Price, Unit
from core.ordering.planning.step_requests import public_name
from core.platform.settings.providers import ProviderSettings
from core.providers.models import Input, Model
from core.providers.registry import PROVIDER_NAMES, Providers
from docs.generate.markdown import code, codes, page, paragraph, table

INTRO = """\
Every model that this version can buy, by kind of step; the first of each kind is used by a request
that names none. `GET /api/models` lists those that your account can order now, with the same
inputs, limits and prices: a provider is offered if the service or you have a key for it. An input
in bold is required. Prices are what the provider publishes, read on the day that is named; a model
or a choice without such a price is not offered. The seconds are how long a job usually takes."""

UNITS = {
    "image": "image",
    "video": "video",
    "megapixel": "megapixel of each image, rounded up",
    "second": "second of the result, rounded up",
    "minute": "started minute",
    "frame_block": "started block of 30 frames",
    "token": "token: height x width x frames / 1024",
    "character": "character of the text",
    "thousand_characters": "thousand characters of the text, with fractions",
    "credit": "credit of the provider's plan",
    "run": "run of a model, whatever its size",
    "gpu_second": "second of a GPU",
}

TITLES = {
    StepKind.IMAGE: "Images: from text, and edits of images",
    StepKind.VIDEO: "Videos: from text, and from images",
    StepKind.AUDIO: "Speech",
    StepKind.TRANSCRIPT: "Transcription",
    StepKind.CUTOUT: "Cutout: without the background",
    StepKind.LIP_SYNC: "Lip-sync",
    StepKind.TALKING_HEAD: "Talking head",
    StepKind.UPSCALE: "Upscaling",
}

HELD = """\
The highest possible price of a step is held when the order is accepted. Where the price depends on
the length or size of a file of yours, the file decides. Where it depends on the result of another
step, the longest file that the model takes is held, and the difference is released when the step
has ended."""

NEVER_BILLED = """\
## What is never billed

- A request that is refused (any 4xx), a quote, and everything that is read.
- A step whose create request the provider refused or certainly never received.
- A step that failed at the provider, where the provider charges nothing for failures: fal bills
  results only, Replicate no failed prediction. A moderated request is a failure, except for an
  image that fal delivers blackened: it is billed.
- A step that was cancelled before it began to run, and one that fal dropped because it had not
  started before its deadline.
- Waiting, look-ups, callbacks, polling, downloads, storage and webhooks.
- A step that a retry reuses: what has been bought is not bought again.

A Replicate prediction that is cancelled while it runs is billed. An unknown outcome keeps its hold
until it is settled by evidence. [Money](../explanation/money.md) has the rules."""


def render() -> str:
    """Return the page: the units, one table for each kind, and what costs nothing."""
    units = [(code(unit.value), UNITS[unit.value]) for unit in Unit]
    return page(
        "Models",
        INTRO,
        *asyncio.run(_sections()),
        "## Units of prices\n\n" + table(("unit", "one"), units),
        paragraph(HELD),
        NEVER_BILLED,
    )


async def _sections() -> list[str]:
    key = SecretStr("docs:docs")  # it is never sent
    settings = ProviderSettings(fal_key=key, replicate_api_token=key)
    async with Providers.open(settings) as providers:
        catalogue = providers.for_user(PROVIDER_NAMES)
        return [_section(kind, catalogue) for kind in StepKind]


def _section(kind: StepKind, catalogue: Providers) -> str:
    rows = [
        (
            code(model.id),
            provider.name,
            ", ".join(_input(item) for item in model.inputs),
            ", ".join(dict.fromkeys(output.kind.value for output in model.outputs)),
            "; ".join(_prices(model)),
            str(model.usual_seconds),
        )
        for provider, model in catalogue.models(kind)
    ]
    columns = ("model", "provider", "inputs", "makes", "price in USD", "seconds")
    return f"## {TITLES[kind]}\n\nKind {code(kind.value)}.\n\n" + table(columns, rows)


def _input(item: Input) -> str:
    name = code(to_camel(public_name(item.name)))
    name = f"**{name}**" if item.required else name
    limits = _limits(item)
    return f"{name} ({limits})" if limits else name


def _limits(item: Input) -> str:
    if item.type.media is not None:
        seconds = "" if item.maximum is None else f", {item.minimum or 0:g} to {item.maximum:g} s"
        return item.type.value + seconds
    if item.choices:
        return _choices(item.choices)
    if item.maximum is not None and item.name != "seed":
        return f"{item.minimum or 0:g} to {item.maximum:g}"
    return "" if item.max_length is None else f"at most {item.max_length} characters"


def _choices(choices: Sequence[Scalar]) -> str:
    """Return the choices, consecutive numbers as a range."""
    whole = [choice for choice in choices if isinstance(choice, int)]
    if len(whole) > 3 and tuple(choices) == tuple(range(whole[0], whole[-1] + 1)):
        return f"{whole[0]} to {whole[-1]}"
    return f"{len(choices)} choices" if len(choices) > 14 else ", ".join(map(str, choices))


def _prices(model: Model) -> Iterator[str]:
    for price in model.prices:
        yield f"{price.unit_usd_text} per {code(price.unit.value)}{_condition(price)}"
    sources = dict.fromkeys(f"{price.source}, {price.read_on}" for price in model.prices)
    yield f"source: {' and '.join(sources)}"


def _condition(price: Price) -> str:
    if not price.when:
        return ""
    return " at " + codes(
        f"{to_camel(public_name(name))} {value}" for name, value in price.when.items()
    )
