"""The parameters of all routes: which name a user's object, and which name none."""

from collections.abc import Mapping
from typing import Final

NAMES: Final[Mapping[str, str]] = {
    "path execution_id": "execution",
    "path video_id": "execution",
    "path asset_id": "asset",
    "path event_id": "webhook",
    "path endpoint_id": "endpoint",
    "path key_id": "key",
    "query executionId": "execution",
    "query endpointId": "endpoint",
    "body endpointId": "endpoint",
    "path template_id": "template",
    "body template": "template",
    "body eventId": "webhook",
    "body plan.steps.params.*.asset": "asset",
    "body values.*.asset": "asset",
    "body image.asset": "asset",
    "body source.asset": "asset",
    "body endImage.asset": "asset",
    "body audio.asset": "asset",
}
"""The kind of user's object that a parameter names."""

CURSORS: Final[Mapping[str, str]] = {
    "GET /api/executions": "execution cursor",
    "GET /api/assets": "asset cursor",
    "GET /api/endpoints": "endpoint cursor",
    "GET /api/templates": "template cursor",
    "GET /api/webhooks": "webhook cursor",
    "POST /api/webhooks/resend": "webhook cursor",
}
"""A cursor carries the id of the last item."""
AN_ID_AS_CURSOR: Final = ("GET /v1/videos", "query after")
"""OpenAI's clients send the id of the last item itself."""
A_CURSOR: Final = ("query cursor", "body cursor")

PLAIN: Final = {
    "query limit", "query status", "query type", "query state", "query month",
    "query createdAfter", "query createdBefore", "query metadataKey", "query metadataValue",
    "query order", "query variant",
    "query download", "query source", "query after", "query ticket", "query latest", "header Last-Event-ID",
    "body headers",
    "body source", "body source.url", "body plan.steps.params.*.url",
    "body image", "body image.url", "body endImage", "body endImage.url", "body audio", "body audio.url",
    "body seconds", "body size", "body input_reference", "body input_reference.image_url",
    "body max_cost", "body image_model", "body aspect_ratio",
    "body negativePrompt", "body textToVideo",
    "body prompt", "body duration", "body resolution", "body aspectRatio", "body seed", "body imageModel",
    "body videoModel", "body webhook", "body webhookSecret", "body metadata", "body maxCost",
    "body acceptPossibleDoubleCost", "body name", "body scopes", "body expiresDays", "body key",
    "body spendLimit", "body spendLimit.daily", "body spendLimit.monthly",
    "body url", "body description", "body default", "body secret", "body overlapHours",
    "body from", "body to", "body state",
    "body model", "body text", "body voice", "body language", "body speed",
    "body stability", "body similarityBoost",
    "body plan", "body plan.version", "body plan.result", "body plan.steps", "body plan.steps.name",
    "body plan.steps.kind", "body plan.steps.model", "body plan.steps.models",
    "body plan.steps.provider", "body plan.steps.params",
    "body plan.steps.needs", "body plan.steps.params.*.step", "body plan.steps.params.*.output",
    "body values", "body values.*.url", "body plan.variables",
    *(f"body plan.variables.*.{name}" for name in ("type", "default", "description", "choices")),
    *(f"body plan.variables.*.{name}" for name in ("minLength", "maxLength", "minimum", "maximum")),
    "body plan.steps.params.*.var", "body plan.steps.params.*.fill", "body synthome", "body models",
    "body plan.steps.deadlineSeconds", "body plan.steps.reuse", "body plan.steps.count",
    "body step", "body option", "body reject",
    "body kind", "body delivery", "body number", "body durationMs", "body statusCode", "body error", "body excerpt",
    "body plan.steps.onFailure", "body plan.outputs", "body plan.outputs.*.step",
    "body plan.outputs.*.output",
}  # fmt: skip
"""Parameters that name no user's object."""

MODEL_DEPENDENT: Final = {
    "body source.asset", "body endImage.asset", "body audio.asset", "body values.*.asset",
}  # fmt: skip
"""Files that the example's model does not take, of whatever user."""

OF_PLANS: Final = ("body plan", "body values", "body template")

OWN_NAMES: Final[Mapping[str, str]] = {
    "header Idempotency-Key": "a key of hers",
    "path provider": "fal",
    "path model_id": "bytedance/seedance-1-pro",
}
"""Names chosen by each user, or on offer to each: the same text may mean different objects."""

NOT_FOR_USERS: Final = {"POST /callbacks/{provider}/{token}"}
"""Authorised by the signed address alone, see test_callbacks.py."""

NEEDS_FILES: Final = {"POST /api/assets", "POST /api/transcribe"}
"""Fetch a file, see test_asset_urls.py: the same content of two users is two assets."""

APPROVE: Final = "POST /api/executions/{execution_id}/approve"
"""Her execution has no approval step, which it answers only to her."""
OF_LISTENERS: Final = {
    "GET /api/endpoints/{endpoint_id}/stream",
    "POST /api/endpoints/{endpoint_id}/results",
}
"""Her endpoint has a URL and no listener; test_listening.py has one."""
DELETE_ASSET: Final = "DELETE /api/assets/{asset_id}"
DELETE_EXECUTION: Final = "DELETE /api/executions/{execution_id}"
