"""The codec endpoint over HTTP: decryption, authentication and allowed origins."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payload, Payloads

from api.codec import MAX_BODY_BYTES
from core.platform.temporal.payload_encryption import payload_codec
from deploy.local.ports import free_ports

pytestmark = pytest.mark.guarantee("G6")

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
TOKEN = "token-of-an-operator"
ORIGIN = "http://ui.example.com:8233"
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=b'"a red kite"')


@asynccontextmanager
async def codec(**settings: str) -> AsyncGenerator[httpx.AsyncClient]:
    """Start the process as an operator does."""
    (port,) = free_ports(1)
    environment = {
        "PATH": os.environ["PATH"],
        "ENCRYPTION_KEYS": base64.b64encode(KEY).decode(),
        "CODEC_PORT": str(port),
        "CODEC_ORIGINS": ORIGIN,
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api.codec", env=environment
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            async with asyncio.timeout(30):
                while not await answers(http):
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
            yield http
    finally:
        process.terminate()
        assert await process.wait() in (0, -15)


async def answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/healthz")).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
async def guarded() -> AsyncGenerator[httpx.AsyncClient]:
    async with codec(CODEC_TOKEN=TOKEN) as http:
        yield http


def sealed(key: bytes = KEY) -> Payload:
    return payload_codec([key], encrypt=True).seal(CLEAR)


def as_body(*payloads: Payload) -> bytes:
    return json.dumps(MessageToDict(Payloads(payloads=payloads))).encode()


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def basic(password: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'anybody:{password}'.encode()).decode()}"}


async def test_codec_decrypts_payloads_and_leaves_unreadable_ones(
    guarded: httpx.AsyncClient,
) -> None:
    """Encrypted, in clear, encrypted with a lost key: one response keeps their order."""
    lost = sealed(OTHER_KEY)
    answer = await guarded.post("/decode", content=as_body(sealed(), CLEAR, lost), headers=bearer())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    shown = ParseDict(answer.json(), Payloads())
    assert list(shown.payloads) == [CLEAR, CLEAR, lost]


@pytest.mark.parametrize("headers", [bearer(), basic(TOKEN)], ids=["bearer", "basic"])
async def test_codec_accepts_bearer_and_basic_tokens(
    guarded: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (
        await guarded.post("/decode", content=as_body(sealed()), headers=headers)
    ).status_code == 200
    assert (await guarded.get("/", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("another-token-of-somebody"),
        basic(""),
        basic("x"),
        {"authorization": "Basic %%%"},
    ],
    ids=["none", "wrong", "basic empty", "basic wrong", "basic broken"],
)
async def test_codec_without_the_token_shows_nothing(
    guarded: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    for answer in (
        await guarded.post("/decode", content=as_body(sealed()), headers=headers),
        await guarded.get("/", headers=headers),
    ):
        assert (answer.status_code, "basic" in answer.headers["www-authenticate"].lower()) == (
            401,
            True,
        )
        assert b"kite" not in answer.content


async def test_codec_allows_only_origins_of_the_web_ui(guarded: httpx.AsyncClient) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-namespace",
    }
    ours = await guarded.options("/decode", headers={"origin": ORIGIN, **asked})
    assert (ours.status_code, ours.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert ours.headers["access-control-allow-credentials"] == "true"
    shown = await guarded.post(
        "/decode", content=as_body(sealed()), headers={"origin": ORIGIN, **bearer()}
    )
    assert (shown.status_code, shown.headers["access-control-allow-origin"]) == (200, ORIGIN)
    for theirs in ("http://evil.example.com", "null", ORIGIN.upper()):
        preflight = await guarded.options("/decode", headers={"origin": theirs, **asked})
        assert "access-control-allow-origin" not in preflight.headers
        refused = await guarded.post(
            "/decode", content=as_body(sealed()), headers={"origin": theirs, **bearer()}
        )
        assert (refused.status_code, b"kite" in refused.content) == (403, False)
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"payloads": 1}', b'{"else": []}', b"[" * 50_000],
    ids=["empty", "cut", "not utf-8", "number", "another field", "deep"],
)
async def test_codec_refuses_invalid_payloads(guarded: httpx.AsyncClient, body: bytes) -> None:
    assert (await guarded.post("/decode", content=body, headers=bearer())).status_code == 400


async def test_codec_refuses_a_body_that_is_too_large(guarded: httpx.AsyncClient) -> None:
    answer = await guarded.post("/decode", content=b" " * (MAX_BODY_BYTES + 1), headers=bearer())
    assert answer.status_code == 413


async def test_codec_encrypts_nothing(guarded: httpx.AsyncClient) -> None:
    """Readers of workflows cannot create payloads."""
    assert (
        await guarded.post("/encode", content=as_body(CLEAR), headers=bearer())
    ).status_code == 404


async def test_codec_on_loopback_needs_no_token() -> None:
    async with codec() as http:
        answer = await http.post("/decode", content=as_body(sealed()))
    assert ParseDict(answer.json(), Payloads()).payloads[0] == CLEAR
