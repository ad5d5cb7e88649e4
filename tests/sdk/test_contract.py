"""The Python client and the OpenAPI document: a method for each operation, a type for each answer.

An operation that the client lacks gets a method in both clients and a line in CALLS; a member or
field that it lacks is added to its models, or to its bodies.
"""

import inspect
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import httpx
import pytest
from pydantic import BaseModel

from api.app import create_app
from api.events.schemas import Changed, ChangedWebhook, Progress
from api.services import Services
from takeone import AsyncTakeone, Takeone
from takeone._calls import bodies
from takeone._calls.values import camel
from takeone.models import (
    account,
    assets,
    base,
    catalogue,
    events,
    executions,
    quotes,
    templates,
    webhooks,
)
from tests.sdk.schema_samples import Samples, Schema
from tests.sdk.stream_server import frame

METHODS = ("get", "post", "put", "patch", "delete")
NOW = datetime(2026, 11, 29, tzinfo=UTC)
OFFER = webhooks.Offer(
    id="evt_1", type="execution.completed", delivery=1, number=1, body="{}", headers={}
)
_FOR_OPENAI = "OpenAI clients call these"
NOT_FOR_CLIENTS = {
    "receive_callback": "only providers send callbacks",
    "create_video": _FOR_OPENAI,
    "get_video": _FOR_OPENAI,
    "list_videos": _FOR_OPENAI,
    "delete_video": _FOR_OPENAI,
    "cancel_video": _FOR_OPENAI,
    "download_video": _FOR_OPENAI,
    "list_video_models": _FOR_OPENAI,
    "get_video_model": _FOR_OPENAI,
}


def first(events: Any, count: int) -> Any:
    """Return the first events of a stream: a list, or a coroutine of one."""

    async def collected() -> list[Any]:
        return [await anext(events) for _ in range(count)]

    return (
        collected() if hasattr(events, "__anext__") else list[Any](itertools.islice(events, count))
    )


CALLS: Mapping[str, Callable[[Any], Any]] = {
    "generate_video": lambda c: c.executions.generate_video(prompt="a kite"),
    "generate_image": lambda c: c.executions.generate_image(prompt="a kite"),
    "generate_audio": lambda c: c.executions.generate_audio(text="a kite"),
    "transcribe": lambda c: c.executions.transcribe(source="https://example.com/a.mp3"),
    "create_execution": lambda c: c.executions.create({"version": 1, "steps": []}),
    "get_execution": lambda c: c.executions.get("exec_1"),
    "list_own_executions": lambda c: c.executions.page(status=["failed"], created_after=NOW),
    "approve_execution": lambda c: c.executions.approve("exec_1", "choose", "clip-2"),
    "cancel_execution": lambda c: c.executions.cancel("exec_1"),
    "retry_execution": lambda c: c.executions.retry("exec_1", max_cost="0.5"),
    "delete_execution": lambda c: c.executions.delete("exec_1"),
    "follow_execution": lambda c: first(c.executions.events("exec_1"), 5),
    "follow_account": lambda c: first(c.events(), 3),
    "listen_to_endpoint": lambda c: first(c.endpoints.listen("end_1"), 1),
    "get_timeline": lambda c: c.executions.timeline("exec_1", after=3),
    "create_stream_ticket": lambda c: c.executions.stream_ticket("exec_1"),
    "create_quote": lambda c: c.quotes.video(prompt="a kite"),
    "quote_image": lambda c: c.quotes.image(prompt="a kite"),
    "quote_audio": lambda c: c.quotes.audio(text="a kite"),
    "quote_transcript": lambda c: c.quotes.transcript(source="https://example.com/a.mp3"),
    "quote_plan": lambda c: c.quotes.plan({"version": 1, "steps": []}),
    "get_plan_schema": lambda c: c.plans.schema(),
    "import_plan": lambda c: c.plans.import_synthome({"jobs": []}, {"x": "y"}),
    "list_models": lambda c: c.models.list(),
    "create_template": lambda c: c.templates.create("film", {"version": 1, "steps": []}),
    "read_templates": lambda c: c.templates.page(limit=5),
    "read_template": lambda c: c.templates.get("tpl_1"),
    "remove_template": lambda c: c.templates.delete("tpl_1"),
    "create_asset": lambda c: c.assets.upload(b"content"),
    "read_assets": lambda c: c.assets.page(source="upload"),
    "read_asset": lambda c: c.assets.get("asset_1"),
    "remove_asset": lambda c: c.assets.delete("asset_1"),
    "download_asset": lambda c: c.assets.address("asset_1", name="film"),
    "report_attempt": lambda c: c.endpoints.report(
        "end_1", OFFER, duration_ms=12, status_code=200, excerpt="thanks"
    ),
    "create_endpoint": lambda c: c.endpoints.create(url="https://example.com/hook"),
    "read_endpoints": lambda c: c.endpoints.page(limit=5),
    "read_endpoint": lambda c: c.endpoints.get("end_1"),
    "change_endpoint": lambda c: c.endpoints.change("end_1", description="new"),
    "delete_endpoint": lambda c: c.endpoints.delete("end_1"),
    "enable_endpoint": lambda c: c.endpoints.enable("end_1"),
    "disable_endpoint": lambda c: c.endpoints.disable("end_1"),
    "rotate_secret": lambda c: c.endpoints.rotate_secret("end_1", overlap_hours=1),
    "test_endpoint": lambda c: c.endpoints.test("end_1"),
    "read_webhooks": lambda c: c.webhooks.page(state="failed"),
    "read_webhook": lambda c: c.webhooks.get("evt_1"),
    "resend_webhook": lambda c: c.webhooks.resend("evt_1"),
    "resend_webhooks": lambda c: c.webhooks.resend_range(from_=NOW, to=NOW),
    "rotate_account_secret": lambda c: c.webhooks.rotate_secret(),
    "read_usage": lambda c: c.usage.get("2026-11"),
    "create_key": lambda c: c.keys.create(name="second"),
    "read_keys": lambda c: c.keys.list(),
    "read_current_key": lambda c: c.keys.current(),
    "change_key": lambda c: c.keys.set_spend_limit("key_1", {"daily": "5"}),
    "revoke_key": lambda c: c.keys.revoke("key_1"),
    "put_provider_key": lambda c: c.provider_keys.set("some-provider", "a key of the provider"),
    "read_provider_keys": lambda c: c.provider_keys.list(),
    "delete_provider_key": lambda c: c.provider_keys.delete("some-provider"),
    "test_provider_key": lambda c: c.provider_keys.test("some-provider"),
    "healthz": lambda c: c.service.live(),
    "readyz": lambda c: c.service.ready(),
}


@pytest.fixture(scope="module")
def document() -> Schema:
    return create_app(cast("Services", None)).openapi()


def operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def success(operation: Schema) -> tuple[int, Schema | None]:
    """Return the status and the schema of a successful answer."""
    status = min(int(code) for code in operation["responses"] if int(code) < 400)
    content = operation["responses"][str(status)].get("content", {})
    return status, content.get("application/json", {}).get("schema")


def test_every_operation_has_a_method(document: Schema) -> None:
    names = {operation["operationId"] for _, _, operation in operations(document)}
    assert names - NOT_FOR_CLIENTS.keys() == CALLS.keys()


PROGRESS: Mapping[str, Any] = {
    "status": "running", "progress": 40, "currentJob": "clip", "completedJobs": [],
    "failedJobs": [], "updatedAt": "2026-11-29T00:00:00Z",
}  # fmt: skip
CHANGED = {"executionId": "exec_1", "sequence": 4, "status": "running", "progress": 40}
WEBHOOK = {"eventId": "evt_1", "executionId": "exec_1", "state": "delivered", "attempts": 1}


def stream(name: str, document: Schema, samples: Samples) -> bytes:
    """Return a stream with each type of event."""

    def sample(schema: str) -> Any:
        return samples.of(document["components"]["schemas"][schema])

    if name == "listen_to_endpoint":
        return frame("webhook", OFFER.model_dump(by_alias=True))
    if name == "follow_account":
        return frame("changed", CHANGED) + frame("webhook", WEBHOOK)
    return b"".join(
        (
            frame("snapshot", sample("Execution"), 3),
            frame("job", sample("Job"), 4),
            frame("cost", sample("Cost"), 5),
            frame("progress", PROGRESS, 6),
            frame("end", sample("Execution"), 7),
        )
    )


class Service:
    """A service that answers the calls of one operation with a sample of its schema."""

    def __init__(self, document: Schema, name: str, samples: Samples) -> None:
        self.method, self.path, operation = next(
            each for each in operations(document) if each[2]["operationId"] == name
        )
        self._status, schema = success(operation)
        self._content = None if schema is None else samples.of(schema)
        if self._content is not None and "nextCursor" in self._content:
            self._content["nextCursor"] = None
        content = operation["responses"][str(self._status)].get("content", {})
        streams = "text/event-stream" in content
        self._stream = stream(name, document, samples) if streams else None
        self.request: httpx.Request | None = None

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.request = request
        if self._stream is not None:
            kind = {"content-type": "text/event-stream; charset=utf-8"}
            return httpx.Response(200, content=self._stream, headers=kind)
        location = {"location": "https://cdn.test/file"} if self._status == 302 else {}
        content = b"" if self._content is None else json.dumps(self._content).encode()
        return httpx.Response(self._status, content=content, headers=location)

    def check(self) -> None:
        """Check that the call was one of this operation."""
        assert self.request is not None
        assert self.request.method == self.method.upper()
        assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", self.path), self.request.url.path)


@pytest.mark.parametrize("name", CALLS)
async def test_each_method_reads_the_answer_of_its_operation(document: Schema, name: str) -> None:
    """Answers with all members, with the required ones only, and of a later service."""
    for samples in (
        Samples(document),
        Samples(document, full=False),
        Samples(document, newer=True),
    ):
        service = Service(document, name, samples)
        transport = httpx.MockTransport(service.answer)
        with httpx.Client(transport=transport) as http:
            result = CALLS[name](Takeone("tko_key", "http://api.test", http_client=http))
        service.check()
        async with httpx.AsyncClient(transport=transport) as http_async:
            client = AsyncTakeone("tko_key", "http://api.test", http_client=http_async)
            twin = await CALLS[name](client)
        service.check()
        assert plain(twin) == plain(result)


def plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list):
        return [plain(item) for item in cast("list[object]", value)]
    return value


MODELS: Mapping[str, type[BaseModel]] = {
    "Accepted": executions.AcceptedData,
    "Retried": executions.RetriedData,
    "Execution": executions.ExecutionData,
    "Webhook": executions.ExecutionWebhook,
    "OwnProviderKey": account.ProviderKey,
    **{
        name: model
        for module in (account, assets, catalogue, executions, quotes, templates, webhooks)
        for name, model in inspect.getmembers(module, inspect.isclass)
        if issubclass(model, base.Model) and model.__module__ == module.__name__
    },
}
OWN_MEMBERS = {"replayed"}


def test_models_have_the_members_of_their_schemas(document: Schema) -> None:
    schemas = document["components"]["schemas"]
    checked = [name for name in MODELS if name in schemas]
    assert len(checked) > 35
    for name in checked:
        properties, required = schemas[name]["properties"], schemas[name].get("required", [])
        fields = {
            field.alias or key: field
            for key, field in MODELS[name].model_fields.items()
            if key not in OWN_MEMBERS
        }
        assert fields.keys() == properties.keys(), name
        assert {key for key, field in fields.items() if field.is_required()} <= set(required), name


@pytest.mark.parametrize(
    ("model", "bodies_of_events"),
    [(events.Progress, [Progress]), (events.AccountEvent, [Changed, ChangedWebhook])],
)
def test_events_have_the_members_that_are_sent(
    model: type[BaseModel], bodies_of_events: list[type[BaseModel]]
) -> None:
    """Bodies of events are not in the document, which has streams as text."""
    sent = {name for body in bodies_of_events for name in body.model_fields}
    assert model.model_fields.keys() - {"type"} == sent


BODIES: Mapping[str, type] = {
    "GenerateVideoRequest": bodies.VideoOrder,
    "GenerateImageRequest": bodies.ImageOrder,
    "GenerateAudioRequest": bodies.AudioOrder,
    "TranscribeRequest": bodies.TranscriptOrder,
    "NewEndpointRequest": bodies.NewEndpoint,
    "ChangeEndpointRequest": bodies.EndpointChange,
    "NewKeyRequest": bodies.NewKeyOptions,
    "NewSpendLimit": bodies.NewSpendLimit,
    "RotateSecretRequest": bodies.Rotation,
    "ResendRequest": bodies.ResendRange,
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_have_the_fields_of_their_schemas(document: Schema, name: str) -> None:
    schema, body = document["components"]["schemas"][name], BODIES[name]
    assert {camel(field) for field in body.__annotations__} == schema["properties"].keys()
    required = {camel(field) for field in body.__required_keys__}  # type: ignore[attr-defined]
    assert required == set(schema.get("required", []))


def test_options_of_plans_have_the_fields_of_their_schema(document: Schema) -> None:
    fields = document["components"]["schemas"]["CreateExecutionRequest"]["properties"].keys()
    assert {camel(name) for name in bodies.OrderOptions.__annotations__} == fields - {
        "plan",
        "template",
        "values",
    }


@pytest.mark.parametrize(
    ("name", "filters"),
    [("list_own_executions", bodies.ExecutionFilters), ("read_webhooks", bodies.WebhookFilters)],
)
def test_filters_have_the_parameters_of_their_operation(
    document: Schema, name: str, filters: type
) -> None:
    operation = next(each for _, _, each in operations(document) if each["operationId"] == name)
    assert {camel(field) for field in filters.__annotations__} == {
        parameter["name"] for parameter in operation["parameters"]
    }
