"""The models as data: their prices by unit, and that every model can be ordered."""

from decimal import Decimal

import pytest

from sandbox.models.catalogue import MODELS, find_model
from sandbox.models.fields import MEDIA_ROLES, Role, by_role, violations
from sandbox.models.model import Model, Provider
from sandbox.models.orders import Facts
from sandbox.settings import Json

FILES: dict[Role, Facts] = {
    "image": Facts(medium="image", width=1280, height=720),
    "end_image": Facts(medium="image", width=1280, height=720),
    "video": Facts(medium="video", width=1280, height=720, seconds=4.0, frames=96),
    "audio": Facts(medium="audio", seconds=3.5),
}


def least_input(model: Model) -> Json:
    """Return an input with the required fields alone."""
    values: Json = {}
    for name, spec in model.fields.items():
        if not spec.required:
            continue
        text = spec.choices[0] if spec.choices else "https://host/file"
        values[name] = [text] if spec.kind == "list" else text
    return values


def of(provider: Provider, name: str) -> Model:
    model = find_model(provider, name)
    assert model is not None
    return model


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_least_input_has_a_price(model: Model) -> None:
    body = least_input(model)
    assert violations(model.fields, body) == []
    named = {role for role, value in by_role(model.fields, body).items() if value}
    files: dict[Role, Facts] = {role: FILES[role] for role in MEDIA_ROLES if role in named}
    order = model.fitted(model.order(body), files)
    assert model.price(order).nano_usd > 0
    if model.makes == "image":
        assert min(order.width, order.height) > 0
    if model.makes == "video":
        assert order.seconds > 0
    if model.makes == "transcript":
        assert order.seconds == 3.5


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_choice_of_an_output_can_be_ordered(model: Model) -> None:
    least = least_input(model)
    named = by_role(model.fields, least)
    files: dict[Role, Facts] = {role: FILES[role] for role in MEDIA_ROLES if named.get(role)}
    for name, spec in model.fields.items():
        for value in spec.choices if spec.role not in {None, *MEDIA_ROLES} else ():
            order = model.fitted(model.order(least | {name: value}), files)
            assert model.price(order).nano_usd > 0, (name, value)


def test_names_are_unique_by_vendor() -> None:
    assert len({(model.provider, model.name) for model in MODELS}) == len(MODELS) >= 60


@pytest.mark.parametrize(
    ("name", "changes", "files", "units", "nano_usd"),
    [
        ("fal-ai/flux/schnell", {"num_images": 2, "image_size": {"width": 1025, "height": 1000}}, {}, 4, 12_000_000),
        ("fal-ai/nano-banana", {"num_images": 3}, {}, 3, 119_400_000),
        ("fal-ai/kling-video/v2.5-turbo/standard/image-to-video", {"duration": "10"}, {}, 10, 420_000_000),
        ("fal-ai/veo3.1/lite", {"generate_audio": False, "resolution": "1080p", "duration": "6s"}, {}, 6, 300_000_000),
        ("fal-ai/veo3.1/fast/first-last-frame-to-video", {"resolution": "4k"}, {}, 8, 2_800_000_000),
        ("fal-ai/minimax/hailuo-2.3/standard/text-to-video", {"duration": "10"}, {}, 1, 560_000_000),
        ("fal-ai/bytedance/seedance/v1.5/pro/text-to-video", {}, {}, 108_000, 259_200_000),
        ("fal-ai/bytedance/seedance/v1.5/pro/text-to-video", {"generate_audio": False}, {}, 108_000, 129_600_000),
        ("fal-ai/elevenlabs/tts/turbo-v2.5", {"text": "x" * 1001}, {}, "1.001", 50_050_000),
        ("fal-ai/elevenlabs/speech-to-text/scribe-v2", {}, {"audio": 60.0}, 1, 8_000_000),
        ("fal-ai/elevenlabs/speech-to-text/scribe-v2", {}, {"audio": 60.1}, 2, 16_000_000),
        ("veed/lipsync", {}, {"audio": 121.0, "video": 200.0}, 3, 1_200_000_000),
        ("fal-ai/sync-lipsync/v2", {}, {"audio": 3.5, "video": 2.0}, 2, 100_000_000),
        ("fal-ai/sync-lipsync/v2", {"sync_mode": "loop"}, {"audio": 3.5, "video": 2.0}, 4, 200_000_000),
        ("veed/fabric-1.0", {"resolution": "480p"}, {"audio": 3.0}, 3, 240_000_000),
        ("veed/fabric-1.0", {"resolution": "720p"}, {"audio": 3.2}, 4, 600_000_000),
        ("pixelcut/video-background-removal", {}, {}, 4, 88_000_000),
        ("fal-ai/topaz/upscale/image", {"upscale_factor": 4}, {}, 1, 80_000_000),
        ("fal-ai/topaz/upscale/video", {}, {"video": 4.0}, 4, 320_000_000),
        ("fal-ai/seedvr/upscale/image", {"upscale_factor": 3}, {}, 9, 9_000_000),
    ],
)  # fmt: skip
def test_price_by_unit(
    name: str, changes: Json, files: dict[Role, float], units: int | str, nano_usd: int
) -> None:
    model = of("fal", name)
    body = least_input(model) | changes
    named = by_role(model.fields, body)
    used: dict[Role, Facts] = {role: FILES[role] for role in MEDIA_ROLES if named.get(role)}
    for role, seconds in files.items():
        facts = FILES[role]
        used[role] = Facts(
            medium=facts.medium, width=facts.width, height=facts.height, seconds=seconds, frames=facts.frames
        )  # fmt: skip
    price = model.price(model.fitted(model.order(body), used))
    assert (price.units, price.nano_usd) == (Decimal(units), nano_usd)
