"""The result and error of an ended execution, as the API and webhooks present them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.domain.failures import Failure
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.money import usd_text
from core.domain.plans import RESULT, StepOutput
from core.store.files.assets import StepAsset
from core.store.money.charges import ExecutionMoney
from core.webhooks.asset_links import AssetLinks

NO_OUTPUTS: Final[Mapping[str, StepOutput]] = {}


def result_json(
    assets: Sequence[StepAsset],
    links: AssetLinks,
    outputs: Mapping[str, StepOutput] = NO_OUTPUTS,
) -> dict[str, Any]:
    """Return every asset with its stable URL.

    `url` and `contentType` are those of the first file of the plan's result. The URLs by kind, such
    as `videoUrl`, are those of the plan's result; without one, the last of their kind. `posterUrl`
    is null until the poster is made. outputs: the named results of the plan, to which the result
    itself is added as `result`; one whose optional step failed is null.
    """
    numbers = {(item.step, item.asset.output_number): item.asset.asset_id for item in assets}
    # A chosen file is that of its own step.
    first_of = {item.asset.asset_id: item for item in reversed(assets)}
    listed = [asset_json(item, links) for item in assets if first_of[item.asset.asset_id] is item]
    results = {item.asset.asset_id for item in assets if item.is_result}
    # A result of several files is represented by its first file, other steps by their last.
    urls = {entry["kind"]: entry["url"] for entry in listed if entry["id"] not in results}
    urls |= {entry["kind"]: entry["url"] for entry in reversed(listed) if entry["id"] in results}
    first = next((entry for entry in listed if entry["id"] in results), None)
    by_id = {entry["id"]: entry for entry in listed}
    return {
        "url": first["url"] if first else None,
        "contentType": first["contentType"] if first else None,
        **{f"{kind}Url": urls.get(kind) for kind in MediaKind},
        "posterUrl": None,
        "outputs": {
            RESULT: first,
            **{
                name: by_id.get(numbers.get((output.step, output.output), ""))
                for name, output in outputs.items()
            },
        },
        "assets": listed,
    }


def asset_json(item: StepAsset, links: AssetLinks) -> dict[str, Any]:
    """Return a stored file of a step with its stable URL."""
    return {
        "id": item.asset.asset_id,
        "step": item.step,
        "kind": item.asset.kind,
        "url": links.address(item.asset.asset_id, item.asset.object_key),
        "contentType": item.asset.content_type,
        "sizeBytes": item.asset.size_bytes,
        "sha256": item.asset.sha256,
        "media": _media_json(item.asset.media) if item.asset.media else None,
    }


def _media_json(media: MediaFacts) -> dict[str, Any]:
    return {
        "width": media.width,
        "height": media.height,
        "durationSeconds": media.duration_seconds,
        "frameRate": media.frame_rate,
        "codec": media.codec,
        "hasAudio": media.has_audio,
        "faststart": media.faststart,
    }


def error_json(failure: Failure, money: ExecutionMoney) -> dict[str, Any]:
    """Return a failure. `spent`: what providers billed although the execution failed."""
    return {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
        "spent": usd_text(money.settled_nano_usd),
    }
