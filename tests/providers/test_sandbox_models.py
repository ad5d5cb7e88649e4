"""Every model of the catalogue against the sandbox's own description of it, without a server."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace

import pytest

from core.domain.media.containers.facts import MediaFacts
from core.domain.plans import Scalar, StepKind
from core.providers.inputs import InputsError
from core.providers.models import InputType, Model, ModelInputs
from core.providers.port import Provider
from core.providers.registry import Providers
from sandbox.models.catalogue import find_model
from sandbox.models.fields import MEDIA_ROLES, Role, by_role, violations
from sandbox.models.model import Model as VendorModel
from sandbox.models.model import Provider as Vendor
from sandbox.models.orders import Facts
from sandbox.settings import Json, as_object
from tests.providers.wire import OFFLINE, full_inputs, settings

PICTURE = Facts(medium="image", width=1280, height=720)
FILES: dict[Role, Facts] = {
    "image": PICTURE,
    "end_image": PICTURE,
    "video": Facts(medium="video", width=1280, height=720, seconds=4.0, frames=96),
    "audio": Facts(medium="audio", seconds=3.5),
}
VENDORS: tuple[Vendor, ...] = ("fal", "replicate")


@pytest.fixture
async def catalogue() -> AsyncGenerator[Providers]:
    async with Providers.open(settings(OFFLINE)) as providers:
        yield providers


def described(catalogue: Providers) -> Iterator[tuple[Provider, Model, VendorModel]]:
    for kind in StepKind:
        for provider, model in catalogue.models(kind):
            for vendor in VENDORS:
                if vendor == provider.name:
                    sold = find_model(vendor, model.id)
                    assert sold is not None, f"the sandbox does not sell {model.id}"
                    yield provider, model, sold


def requests(model: Model) -> Iterator[ModelInputs]:
    """Yield inputs with each choice of each parameter, and with and without each file."""
    yield full_inputs(model)
    for item in model.inputs:
        values: tuple[Scalar | None, ...] = item.choices
        if not item.required and item.default is None:
            values = (*values, None)
        for value in values:
            try:
                yield full_inputs(model, **{item.name: value})  # pyright: ignore[reportArgumentType]  # a table of inputs
            except InputsError:  # another input needs this one
                continue


def measured(model: Model, inputs: ModelInputs) -> ModelInputs:
    """Return the inputs with the facts of the files that the sandbox measures here."""
    media = {
        item.name: replace(inputs.media[item.name], facts=_facts(item.type))
        for item in model.inputs
        if item.name in inputs.media
    }
    return replace(inputs, media=media)


def _facts(kind: InputType) -> MediaFacts:
    file = {InputType.IMAGE: FILES["image"], InputType.VIDEO: FILES["video"]}.get(kind, FILES["audio"])  # fmt: skip
    rate = file.frames / file.seconds if file.frames else None
    return MediaFacts(
        width=file.width or None, height=file.height or None, duration_seconds=file.seconds or None,
        frame_rate=rate,
    )  # fmt: skip


def body_of(provider: Provider, model: Model, inputs: ModelInputs) -> Json:
    body = dict(provider.create_request(model, inputs, None).body)
    return (as_object(body.get("input")) or {}) if provider.name == "replicate" else body


async def test_every_request_of_the_catalogue_is_valid(catalogue: Providers) -> None:
    """A misspelt field would be ignored by the vendor; here it is an error."""
    for provider, model, sold in described(catalogue):
        for inputs in requests(model):
            body = body_of(provider, model, inputs)
            assert violations(sold.fields, body) == [], (model.id, body)
            assert set(body) <= set(sold.fields), model.id


async def test_hold_covers_the_price_of_every_request(catalogue: Providers) -> None:
    for provider, model, sold in described(catalogue):
        for inputs in (measured(model, each) for each in requests(model)):
            body = body_of(provider, model, inputs)
            named = by_role(sold.fields, body)
            files: dict[Role, Facts] = {role: FILES[role] for role in MEDIA_ROLES if named.get(role)}  # fmt: skip
            price = sold.price(sold.fitted(sold.order(body), files))
            worst = provider.quote(model, inputs).worst_nano_usd
            assert 0 < price.nano_usd <= worst, (model.id, body)
