"""The result and error of an ended execution, as the API and webhooks present them."""

from collections.abc import Sequence
from typing import Any

from core.domain.failures import Failure
from core.domain.media.containers.facts import MediaFacts
from core.domain.money import usd_text
from core.domain.plans import StepKind
from core.store.files.assets import StepAsset
from core.store.money.charges import ExecutionMoney
from core.webhooks.asset_links import AssetLinks


def result_json(assets: Sequence[StepAsset], links: AssetLinks) -> dict[str, Any]:
    """Return every asset with its stable URL.

    `videoUrl` and `imageUrl` are those of the plan's result; without one, the last of their kind.
    """
    listed = [
        {
            "id": item.asset.asset_id,
            "step": item.step,
            "kind": item.asset.kind,
            "url": links.address(item.asset.asset_id, item.asset.object_key),
            "contentType": item.asset.content_type,
            "sizeBytes": item.asset.size_bytes,
            "sha256": item.asset.sha256,
            "media": _media_json(item.asset.media) if item.asset.media else None,
        }
        for item in assets
    ]
    results = {item.asset.asset_id for item in assets if item.is_result}
    # A result of several files is represented by its first file, other steps by their last.
    urls = {entry["kind"]: entry["url"] for entry in listed if entry["id"] not in results}
    urls |= {entry["kind"]: entry["url"] for entry in reversed(listed) if entry["id"] in results}
    return {
        "videoUrl": urls.get(StepKind.VIDEO),
        "imageUrl": urls.get(StepKind.IMAGE),
        "assets": listed,
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
