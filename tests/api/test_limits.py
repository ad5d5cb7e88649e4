"""Bodies: only one strict JSON object is read, and never more bytes than allowed."""

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from api.http.middleware.body_limits import JSON_BODY_BYTES, BodyLimits
from api.http.problems.documents import ProblemError
from api.http.strict_json import StrictJsonRoute, parse_json
from tests.api.conftest import Api, TestUser

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines differ
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b'{"a": 1, "a": 2}', "more than once"),
        (b'{"a": {"b": 1, "b": 2}}', "more than once"),
        (b'{"a": "\xff"}', "must be UTF-8"),
        ('{"a": "é"}'.encode("utf-16"), "must be UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "is not JSON"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b'{"a": {"\\ud800": 1}}', "lone surrogate"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": ["x", {"b": "\\u0000"}]}', "NUL"),
        (b'{"a": "\\\\\\u0000"}', "NUL"),
        (b'{"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "nested too deeply"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deeply"),
    ],
)
def test_json_that_is_not_strict_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(ProblemError) as caught:
        parse_json(body)
    assert said in json.dumps(caught.value.members, ensure_ascii=False)


def test_json_preserves_texts_and_numbers() -> None:
    body: dict[str, Any] = {"a": "\U0001f980 é \\u0000", "b": [1, 2.5, True, None], "c": {"d": -7}}

    assert parse_json(json.dumps(body).encode()) == body


@pytest.mark.parametrize(
    ("text", "number"), [("5.0", 5), ("5e0", 5), ("-2.50e1", -25), ("0.5", 0.5), ("1e300", 1e300)]
)
def test_json_integer_may_be_written_in_any_form(text: str, number: float) -> None:
    read = parse_json(f'{{"a": {text}}}'.encode())["a"]

    assert (read, type(read)) == (number, type(number))


@UNHURRIED
@given(st.binary(max_size=200))
def test_json_of_any_bytes_is_read_or_refused(body: bytes) -> None:
    _read_or_refuse(body)


@UNHURRIED
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_json_of_any_object_is_read_or_refused(value: dict[str, Any]) -> None:
    _read_or_refuse(json.dumps(value).encode())


def _read_or_refuse(body: bytes) -> None:
    problem: ProblemError | None = None
    try:
        assert parse_json(body) == json.loads(body)
    except ProblemError as error:
        problem = error
    if problem is not None:
        assert problem.members["errors"]
        assert json.dumps(problem.members, ensure_ascii=False).encode()


async def test_body_over_the_limit_is_413_by_its_header(api_once: TestUser) -> None:
    answer = await api_once.http.post(
        "/api/generate-video",
        content=b"x" * (JSON_BODY_BYTES + 1),
        headers={"Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def test_body_over_the_limit_is_413_in_chunks(api_once: TestUser) -> None:
    sent_bytes = 0

    async def chunks() -> AsyncGenerator[bytes]:
        nonlocal sent_bytes
        for _ in range(1000):
            sent_bytes += 16_384
            yield b" " * 16_384

    answer = await api_once.http.post(
        "/api/generate-video", content=chunks(), headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert sent_bytes < 4 * JSON_BODY_BYTES


async def test_slow_body_is_408() -> None:
    async def read_body(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()

    chunks = iter(range(100))

    async def receive() -> Message:
        next(chunks)
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(_message: Message) -> None: ...

    scope: Scope = {"type": "http", "path": "/api/quotes", "headers": []}
    with pytest.raises(ProblemError) as caught:
        await BodyLimits(read_body, asset_bytes=int, body_seconds=0.2)(scope, receive, send)
    assert (caught.value.status_code, caught.value.code) == (408, "request_timed_out")
    assert caught.value.headers == {"Connection": "close"}


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"]
)
async def test_body_of_another_type_is_415(api_once: TestUser, content_type: str) -> None:
    answer = await api_once.http.post(
        "/api/generate-video", content=b'{"prompt": "x"}', headers={"Content-Type": content_type}
    )

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-8", 202),
        ("application/json; charset=utf8", 202),
        ('application/json; charset="UTF8"', 202),
        ('Application/JSON;Charset="UTF-8"', 202),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=latin-1; charset=utf-8", 415),
    ],
)
async def test_body_is_utf8_or_415(api_once: TestUser, content_type: str, status: int) -> None:
    answer = await api_once.http.post(
        "/api/generate-video", content=b'{"prompt": "x"}', headers={"Content-Type": content_type}
    )

    assert answer.status_code == status


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "Identity, GZIP", "x"])
async def test_compressed_body_is_415(api_once: TestUser, encoding: str) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    answer = await api_once.http.post(
        "/api/generate-video",
        content=bomb,
        headers={"Content-Type": "application/json", "Content-Encoding": encoding},
    )

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.headers["accept-encoding"] == "identity"


async def test_body_with_identity_encoding_is_read(api_once: TestUser) -> None:
    answer = await api_once.http.post(
        "/api/generate-video", json={"prompt": "x"}, headers={"Content-Encoding": "identity"}
    )

    assert answer.status_code == 202


def _api_routes(routes: Sequence[BaseRoute]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        included: APIRouter | None = getattr(route, "original_router", None)
        if included is not None:
            yield from _api_routes(included.routes)


async def test_every_route_with_a_body_reads_strict_json(shared_api: Api) -> None:
    app = shared_api.transport.app
    assert isinstance(app, FastAPI)
    with_body = [route for route in _api_routes(app.routes) if route.body_field is not None]
    assert with_body
    assert [route.path for route in with_body if not isinstance(route, StrictJsonRoute)] == []


async def test_body_without_a_key_is_not_parsed(shared_api: Api) -> None:
    answer = await shared_api.http.post("/api/generate-video", content=b"{")

    assert answer.status_code == 401
