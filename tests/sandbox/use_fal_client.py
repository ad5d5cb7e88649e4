"""A run of fal-client in its own process, because it reads its hosts at import.

The results are printed as JSON.
"""

import json
import sys
from typing import Any

import fal_client

FLUX = "fal-ai/flux/schnell"
SEEDANCE = "fal-ai/bytedance/seedance/v1/pro/image-to-video"


def main() -> dict[str, Any]:
    seen: dict[str, Any] = {}
    handle = fal_client.submit(FLUX, {"prompt": "a red kite", "seed": 7})
    kinds: list[str] = []
    for event in handle.iter_events(with_logs=True, interval=0.02):
        if type(event).__name__ not in kinds:
            kinds.append(type(event).__name__)
    seen["events"] = kinds
    seen["image"] = handle.get()
    seen["status_by_id"] = type(fal_client.status(FLUX, handle.request_id, with_logs=True)).__name__
    seen["result_by_id"] = fal_client.result(FLUX, handle.request_id) == seen["image"]
    seen["run"] = fal_client.run(FLUX, {"prompt": "at once"})
    order = {
        "prompt": "fly",
        "image_url": seen["image"]["images"][0]["url"],
        "duration": "3",
        "resolution": "480p",
    }
    updates: list[str] = []
    seen["video"] = fal_client.subscribe(
        SEEDANCE,
        order,
        with_logs=True,
        on_queue_update=lambda update: updates.append(type(update).__name__),
    )
    seen["updates"] = sorted(set(updates))
    try:
        fal_client.subscribe(SEEDANCE, {"prompt": "no picture"})
    except fal_client.FalClientHTTPError as error:
        seen["refused"] = {"status": error.status_code, "body": error.response.json()}
    cancelled = fal_client.submit(SEEDANCE, order)
    cancelled.cancel()
    try:
        cancelled.get()
    except fal_client.FalClientHTTPError as error:
        seen["cancelled"] = error.status_code
    return seen | kinds_of_models(seen["image"]["images"][0]["url"])


def kinds_of_models(picture: str) -> dict[str, Any]:
    """Return one output of each further kind of model."""

    def output(model: str, **order: Any) -> dict[str, Any]:
        return fal_client.subscribe(model, order)

    speech = output("fal-ai/elevenlabs/tts/turbo-v2.5", text="Who is it?", timestamps=True)
    clip = output("fal-ai/veo3.1/lite", prompt="fly", duration="4s")
    voice, video = speech["audio"]["url"], clip["video"]["url"]
    return {
        "speech": speech,
        "text_to_video": clip,
        "transcript": output("fal-ai/elevenlabs/speech-to-text/scribe-v2", audio_url=voice),
        "edit": output("fal-ai/nano-banana/edit", prompt="blue", image_urls=[picture]),
        "picture_cutout": output("fal-ai/bria/background/remove", image_url=picture),
        "video_cutout": output("pixelcut/video-background-removal", video_url=video),
        "lip_sync": output("fal-ai/sync-lipsync/v2", video_url=video, audio_url=voice),
        "talking_head": output("veed/fabric-1.0", image_url=picture, audio_url=voice, resolution="480p"),
        "upscale": output("fal-ai/topaz/upscale/image", image_url=picture),
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
