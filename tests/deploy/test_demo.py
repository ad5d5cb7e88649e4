"""The demo's checks of webhooks and videos, its output and its client."""

import array
import asyncio
import base64
import json
import time
import wave
from datetime import UTC, datetime
from fractions import Fraction
from io import BytesIO, StringIO
from pathlib import Path

import av
import httpx
import pytest
from av.error import FFmpegError
from rich.console import Console
from standardwebhooks.webhooks import Webhook

from api.orders.executions import CreateExecutionRequest
from core.platform.crypto.webhook_signatures import signature_headers
from deploy.local.__main__ import main
from deploy.local.config import ProviderKeys
from deploy.local.demo.client import Execution, ProductClient
from deploy.local.demo.film import music_file, order_film
from deploy.local.demo.prices import video_price
from deploy.local.demo.screen import cost_table, progress_of
from deploy.local.demo.video_check import check_video, decode
from deploy.local.demo.webhook_receiver import BadWebhookError, receiving, verify
from deploy.local.servers.process import LocalError

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
BODY = json.dumps({"executionId": "exec_1", "type": "execution.completed"}).encode()
MUSIC = "asset_01a2293a415f766db49567a85e8c42e9"
EXECUTION = {
    "id": "exec_1",
    "status": "running",
    "progress": 40,
    "currentJob": "video",
    "completedJobs": ["image"],
    "jobs": [
        {
            "step": "image",
            "state": "completed",
            "provider": "fal",
            "model": "flux",
            "cost": {"estimated": "0.003", "settled": "0.003"},
        }
    ],
    "result": None,
    "error": None,
    "cost": {"estimated": "0.303", "settled": "0.003", "final": False},
}


def headers_now(secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
    return signature_headers(secret, "evt_1", int(time.time()), body)


def test_verify_accepts_what_the_product_signs() -> None:
    assert verify(SECRET, headers_now(), BODY)["executionId"] == "exec_1"


@pytest.mark.parametrize(
    "name", ["webhook-signature", "x-webhook-signature", "webhook-id", "webhook-timestamp"]
)
def test_verify_refuses_each_missing_or_wrong_header(name: str) -> None:
    headers = headers_now()
    for wrong in (
        {**headers, name: "1"},
        {key: value for key, value in headers.items() if key != name},
    ):
        with pytest.raises(BadWebhookError):
            verify(SECRET, wrong, BODY)


def test_verify_refuses_another_body_secret_or_time() -> None:
    with pytest.raises(BadWebhookError):
        verify(SECRET, headers_now(), BODY + b" ")
    with pytest.raises(BadWebhookError):
        verify(SECRET, headers_now("whsec_" + base64.b64encode(b"t" * 32).decode()), BODY)
    old = datetime(2020, 1, 1, tzinfo=UTC)
    signed = Webhook(SECRET).sign("evt_1", old, BODY.decode())
    aged = {
        **headers_now(),
        "webhook-timestamp": str(int(old.timestamp())),
        "webhook-signature": signed,
    }
    with pytest.raises(BadWebhookError):
        verify(SECRET, aged, BODY)


async def test_receiver_keeps_only_verified_events() -> None:
    with receiving(SECRET, 0) as inbox:
        async with httpx.AsyncClient(trust_env=False) as client:
            forged = await client.post(
                inbox.url, content=BODY, headers=headers_now("another secret of 16")
            )
            other = BODY.replace(b"exec_1", b"exec_0")
            earlier = await client.post(inbox.url, content=other, headers=headers_now(body=other))
            taken = await client.post(inbox.url, content=BODY, headers=headers_now())
        assert [answer.status_code for answer in (forged, earlier, taken)] == [400, 204, 204]
        event = await asyncio.wait_for(inbox.event_of("exec_1"), 5)
        assert event["type"] == "execution.completed"
        assert len(inbox.refused) == 1


def video(frames: int) -> bytes:
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(24))  # pyright: ignore[reportUnknownMemberType] - untyped in PyAV
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))  # pyright: ignore[reportUnknownMemberType] - untyped in PyAV
        container.mux(stream.encode())  # pyright: ignore[reportUnknownMemberType] - untyped in PyAV
    return buffer.getvalue()


def test_decode_counts_every_frame() -> None:
    film = decode(video(48))
    assert (film.width, film.height, film.frames, film.seconds) == (64, 48, 48, 2.0)


def test_check_refuses_a_video_that_does_not_play(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="does not play"):
        check_video("http://127.0.0.1:9/none.mp4")
    with pytest.raises((ValueError, FFmpegError)):
        decode(b"not a video at all" * 100)


def test_progress_without_terminal_is_a_line_per_tenth() -> None:
    out = StringIO()
    execution = Execution.model_validate(EXECUTION)
    with progress_of(Console(file=out, width=120)) as update:
        update(execution)
        update(execution)
        update(execution.model_copy(update={"progress": 41}))
        update(execution.model_copy(update={"progress": 50}))
    assert out.getvalue().splitlines() == [
        " 40 %  running   image done, video ...  spent $0.003",
        " 50 %  running   image done, video ...  spent $0.003",
    ]


def test_progress_in_a_terminal_shows_bar_steps_and_money() -> None:
    out = StringIO()
    with progress_of(Console(file=out, width=120, force_terminal=True)) as update:
        update(Execution.model_validate(EXECUTION))
    assert "40 %" in out.getvalue()
    assert "image done, video ..." in out.getvalue()
    assert "spent $0.003" in out.getvalue()


def test_cost_table_has_each_step_and_the_total() -> None:
    out = StringIO()
    Console(file=out, width=120).print(cost_table(Execution.model_validate(EXECUTION)))
    rows = [line.split() for line in out.getvalue().splitlines()]
    assert ["image", "fal", "flux", "0.003", "0.003"] in rows
    assert ["total", "0.303", "0.003"] in rows


def test_price_of_the_demo_comes_from_the_price_book() -> None:
    keys = ProviderKeys(fal_key="id:secret", replicate_api_token="r8_token")
    prices = video_price(keys, prompt="a boat", duration_seconds=5, resolution="720p")
    assert [price.step for price in prices] == ["image", "video"]
    longer = video_price(keys, prompt="a boat", duration_seconds=10, resolution="720p")
    assert longer[1].usd == 2 * prices[1].usd > 0


async def test_client_repeats_a_request_during_a_restart_but_not_refusals() -> None:
    answers = [
        httpx.ConnectError("down"),
        httpx.Response(503),
        httpx.Response(202, json={"executionId": "exec_1"}),
        httpx.Response(422, json={"detail": "no"}),
    ]
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["idempotency-key"])
        match answers.pop(0):
            case httpx.Response() as response:
                return response
            case error:
                raise error

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(answer), base_url="http://api"
    ) as http:
        client = ProductClient(http)
        assert await client.generate_video({"prompt": "a boat"}) == "exec_1"
        assert len(seen) == 3
        assert len(set(seen)) == 1
        with pytest.raises(LocalError, match="422"):
            await client.generate_video({"prompt": ""})


async def test_film_of_the_demo_is_a_plan_with_uploaded_music() -> None:
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        if request.url.path == "/api/assets":
            return httpx.Response(201, json={"id": MUSIC})
        return httpx.Response(202, json={"executionId": "exec_1"})

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(answer), base_url="http://api"
    ) as http:
        ordered = await order_film(ProductClient(http), prompt="a boat", webhook="http://hook")
    assert ordered == (MUSIC, "exec_1")
    assert music_file() in bodies[0]
    request = CreateExecutionRequest.model_validate_json(bodies[1])
    order = request.order()
    assert order is not None
    kinds = [step.kind for step in order.request().steps]
    assert kinds == ["image", "video", "audio", "merge", "captions", "poster"]
    assert MUSIC.encode() in bodies[1]


def test_music_of_the_demo_plays_eight_seconds() -> None:
    with wave.open(BytesIO(music_file())) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(8, rel=0.001)
        samples = array.array("h", file.readframes(file.getnframes()))
    note = len(samples) // 32
    assert min(max(samples[start : start + note]) for start in range(0, 31 * note, note)) > 1000


@pytest.mark.parametrize("arguments", [["up", "--pipeline"], ["demo", "--pipeline", "--live"]])
def test_film_is_an_option_of_the_sandbox_demo(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["local", *arguments])
    with pytest.raises(SystemExit):
        main()
