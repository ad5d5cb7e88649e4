"""Logs: one line per event from any library, without secrets."""

import asyncio
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable, Generator
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from hypothesis import assume, given
from hypothesis import strategies as st

from core.platform.observability.access_log import MAX_PATH_CHARACTERS, AccessLog
from core.platform.observability.logging import bind, configure_logging, get_logger
from core.platform.observability.redaction import MAX_TEXT_CHARACTERS, Redactor

pytestmark = pytest.mark.guarantee("G6")

ROOT = Path(__file__).parents[3]
FAL_KEY = "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f:0123456789abcdef0123456789abcdef"
Line = dict[str, Any]
ReadLines = Callable[[], list[Line]]


@pytest.fixture(autouse=True)
def logging_restored() -> Generator[None]:
    """Restore the process-wide logging configuration after each test."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook
    logging.captureWarnings(capture=False)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> ReadLines:
    def read() -> list[Line]:
        captured = capsys.readouterr()
        assert captured.out == "", "stdout belongs to what a program answers"
        return [json.loads(line) for line in captured.err.splitlines()]

    return read


def fail(text: str) -> NoReturn:
    raise ValueError(text)


def test_log_line_has_time_level_logger_event_and_fields(lines: ReadLines) -> None:
    configure_logging()
    get_logger("jobs").info("job submitted", provider="fal", attempt=2, ids=["a", 1], took=None)
    [line] = lines()
    time = line.pop("time")
    assert time.endswith("Z")
    assert datetime.fromisoformat(time).tzinfo is not None
    assert line == {
        "level": "info",
        "logger": "jobs",
        "event": "job submitted",
        "provider": "fal",
        "attempt": 2,
        "ids": ["a", 1],
        "took": None,
    }


def test_log_below_the_level_is_silent(lines: ReadLines) -> None:
    configure_logging("WARNING")
    get_logger("jobs").info("quiet")
    logging.getLogger("httpx").info("quiet")
    get_logger("jobs").warning("heard")
    assert [line["event"] for line in lines()] == ["heard"]


@pytest.mark.parametrize(
    "name", ["uvicorn.error", "temporalio.core", "httpx", "asyncpg", "anything"]
)
def test_log_of_a_library_has_the_standard_format(name: str, lines: ReadLines) -> None:
    configure_logging()
    logging.getLogger(name).warning(
        "pool of %s is %d full", "db", 3, extra={"color_message": "x", "note": "extra"}
    )
    [line] = lines()
    assert (line["level"], line["logger"], line["event"]) == (
        "warning",
        name,
        "pool of db is 3 full",
    )
    assert line["note"] == "extra"
    assert "color_message" not in line
    assert line["time"].endswith("Z")


def test_log_event_is_always_one_line(lines: ReadLines) -> None:
    configure_logging()
    get_logger("jobs").info(
        "two\nlines",
        text="a\r\nb\u2028c",
        odd=object,
        raw=b"\xff\n",
        lone="\ud800",
        nan=float("nan"),
    )
    [line] = lines()
    assert (line["event"], line["text"], line["lone"]) == ("two\nlines", "a\r\nb\u2028c", "\ud800")
    assert line["nan"] == "nan"


def test_bound_ids_are_on_every_line_inside(lines: ReadLines) -> None:
    configure_logging()
    log = get_logger("jobs")
    with bind(execution_id="exec_1"), bind(job_id="job_1"):
        log.info("ours")
        logging.getLogger("asyncpg").warning("theirs")
    log.info("after")
    ours, theirs, after = lines()
    assert (ours["execution_id"], ours["job_id"]) == ("exec_1", "job_1")
    assert (theirs["execution_id"], theirs["job_id"]) == ("exec_1", "job_1")
    assert "execution_id" not in after


async def test_bound_ids_do_not_leak_between_tasks(lines: ReadLines) -> None:
    configure_logging()

    async def work(number: int) -> None:
        with bind(number=number):
            await asyncio.sleep(0)
            get_logger("jobs").info("done", expected=number)

    await asyncio.gather(*(work(number) for number in range(5)))
    logged = lines()
    assert len(logged) == 5
    assert all(line["number"] == line["expected"] for line in logged)


def test_log_of_an_exception_has_its_trace_without_secrets(lines: ReadLines) -> None:
    configure_logging(secrets=["exact-planted-secret"])
    try:
        fail("refused: Authorization: Bearer planted.token.value, exact-planted-secret")
    except ValueError:
        get_logger("jobs").exception("submit failed")
        logging.getLogger("anything").exception("theirs")
    for line in lines():
        assert "ValueError: refused" in line["exception"]
        assert "test_logging.py" in line["exception"]
        assert "planted" not in json.dumps(line)


def test_uncaught_error_is_logged_in_one_line(tmp_path: Path) -> None:
    """In a real process: the last output is a redacted JSON line and the exit code is 1."""
    program = (
        "from core.platform.observability.logging import configure_logging\n"
        "configure_logging()\n"
        "raise RuntimeError('no connection to postgresql://app:planted@db/takeone')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    line = json.loads(done.stderr)
    assert line["level"] == "critical"
    assert "no connection to postgresql://app:[redacted]@db/takeone" in line["exception"]
    assert "planted" not in done.stderr


def test_log_for_a_terminal_is_text_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_format="text")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            fail("whsec_plantedplanted")
        except ValueError:
            get_logger("jobs").exception("submit failed", key=FAL_KEY, attempt=3)
    text = capsys.readouterr().err
    assert "submit failed" in text
    assert "attempt=3" in text
    assert "ValueError: whsec_[redacted]" in text
    assert FAL_KEY not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key is {FAL_KEY}.", "key is [redacted]."),
        (f"Authorization: Key {FAL_KEY}", "Authorization: [redacted]"),
        ("{'authorization': 'Bearer abc.def-ghi'}", "{'authorization': '[redacted]'}"),
        ("authorization=Basic YWxhZGRpbg==", "authorization=[redacted]"),
        ("Authorization: Bearer planted.value, next", "Authorization: [redacted], next"),
        ("[(b'authorization', b'Key abcdefgh')]", "[(b'authorization', b'[redacted]')]"),
        ('{"Authorization": "Token abcdefgh", "a": 1}', '{"Authorization": "[redacted]", "a": 1}'),
        ("sent Bearer abcdef123456 on", "sent Bearer [redacted] on"),
        ("sent Key abcdef123456 on", "sent Key [redacted] on"),
        ("tko_4f9a8b7c6d5e_xyz is wrong", "tko_[redacted] is wrong"),
        ("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "whsec_[redacted]"),
        ("r8_0123456789abcdefghijklmnop", "r8_[redacted]"),
        ("sk_0123456789abcdef0123456789", "sk_[redacted]"),
        (
            "postgresql://app:p@ss:w/rd@db:5432/takeone",
            "postgresql://app:[redacted]@db:5432/takeone",
        ),
        ("proxy http://user:pass@proxy:3128 down", "proxy http://user:[redacted]@proxy:3128 down"),
        ("host=db password=planted user=app", "host=db password=[redacted] user=app"),
        ('{"token": "planted", "n": 1}', '{"token": "[redacted]", "n": 1}'),
        ("{'webhook_secret': 'plan ted'}", "{'webhook_secret': '[redacted]'}"),
        ("aws_secret_access_key=planted", "aws_secret_access_key=[redacted]"),
        (
            "GET https://b.s3.amazonaws.com/k?X-Amz-Credential=AK&X-Amz-Signature=ab12 done",
            "GET https://b.s3.amazonaws.com/k?X-Amz-Credential=[redacted]&X-Amz-Signature=[redacted] done",
        ),
        ("/a?token=abc&limit=5", "/a?token=[redacted]&limit=5"),
        ("https://cdn/x.mp4?Expires=1&Signature=ab~c&Key-Pair-Id=K", None),
        ("POST /callbacks/fal/AbC-_123 200", "POST /callbacks/fal/[redacted] 200"),
        (
            "https://h/callbacks/replicate/AbC?x=planted",
            "https://h/callbacks/replicate/[redacted]?x=[redacted]",
        ),
        (
            "u=https%3A%2F%2Fh%2Fcallbacks%2Ffal%2FAbC123",
            "u=https%3A%2F%2Fh%2Fcallbacks%2Ffal%2F[redacted]",
        ),
        (
            "q.run/m?fal_webhook=https%3A%2F%2Fh%2Fcallbacks%2Ffal%2FAbC",
            "q.run/m?fal_webhook=[redacted]",
        ),
        (f"data:image/png;base64,{'A' * 200}", "data:image/png;base64,[cut]"),
    ],
)
def test_redactor_blanks_secrets_by_form(text: str, expected: str | None) -> None:
    redacted = Redactor().text(text)
    if expected is not None:
        assert redacted == expected
    assert not any(secret in redacted for secret in ("planted", "AbC", "ab12", "ab~c", FAL_KEY))
    assert Redactor().text(redacted) == redacted, "redacting twice changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "job submitted to fal-ai/flux/schnell",
        "sealed with key 0123456789abcdef, which is not in ENCRYPTION_KEYS",
        "GET https://api.fal.ai/v1/models/requests/by-endpoint?endpoint_id=fal-ai/flux&limit=100 200",
        "exec_018f2c3d4e5f7a8b9c0d1e2f3a4b5c6d",
        "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f",
        "listening on http://127.0.0.1:8080, write to a@b.example",
        "see /callbacks/fal",
        "what is the token? it is over",
        "no_token_here",
        "GET https://example.com:8080/path?cursor=a@b",
    ],
)
def test_redactor_keeps_other_text(text: str) -> None:
    assert Redactor().text(text) == text


def test_redactor_blanks_by_name_at_any_depth() -> None:
    fields: dict[object, object] = {
        "headers": {"X-Api-Key": "planted", "Authorization": b"planted", "accept": "json"},
        "calls": [{"callback_token": "planted"}, ("whsec_plantedplanted", 3)],
        "password": 12345678,
        "secret": None,
        "url": httpx.URL("https://h/x?sig=planted"),
    }
    redacted = Redactor().fields(fields)
    assert redacted["headers"] == {
        "X-Api-Key": "[redacted]",
        "Authorization": "[redacted]",
        "accept": "json",
    }
    assert redacted["calls"] == [{"callback_token": "[redacted]"}, ["whsec_[redacted]", 3]]
    assert (redacted["password"], redacted["secret"]) == ("[redacted]", None)
    assert redacted["url"] == "https://h/x?sig=[redacted]"


def test_redactor_handles_cyclic_and_huge_values() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert "planted" not in str(Redactor().value([loop, "whsec_plantedplanted"]))
    assert len(Redactor().text("x" * 1_000_000)) < MAX_TEXT_CHARACTERS + 100


@given(
    st.text(alphabet=st.characters(codec="utf-8"), min_size=8, max_size=40),
    st.text(max_size=40),
    st.text(max_size=40),
)
def test_redactor_blanks_exact_secrets_anywhere(secret: str, before: str, after: str) -> None:
    assume(secret not in "[redacted]")
    assert secret not in Redactor([secret]).text(before + secret + after)


async def test_httpx_request_line_shows_no_secret(lines: ReadLines) -> None:
    configure_logging("DEBUG")
    answer = httpx.MockTransport(lambda _request: httpx.Response(200))
    async with httpx.AsyncClient(transport=answer) as client:
        await client.get(
            "https://h/callbacks/fal/planted?fal_webhook=planted&limit=3",
            headers={"Authorization": "Key x"},
        )
    [line] = lines()
    assert line["logger"] == "httpx"
    assert line["event"] == (
        'HTTP Request: GET https://h/callbacks/fal/[redacted]?fal_webhook=[redacted]&limit=3 "HTTP/1.1 200 OK"'
    )


def app_with_routes() -> AccessLog:
    app = FastAPI()
    router = APIRouter(prefix="/callbacks")

    @router.post("/{provider}/{token}")
    async def receive(provider: str, token: str) -> str:  # pyright: ignore[reportUnusedFunction] - FastAPI calls it
        return provider + token

    @app.get("/healthz")
    async def health() -> str:  # pyright: ignore[reportUnusedFunction] - FastAPI calls it
        return "ok"

    @app.get("/broken")
    async def broken() -> None:  # pyright: ignore[reportUnusedFunction] - FastAPI calls it
        raise RuntimeError("planted trouble")

    app.include_router(router)
    return AccessLog(app)


async def with_client(use: Callable[[httpx.AsyncClient], Awaitable[object]]) -> None:
    transport = httpx.ASGITransport(app_with_routes(), raise_app_exceptions=False)  # pyright: ignore[reportArgumentType] - ASGI's own types are looser
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        await use(client)


async def test_access_log_has_route_and_status_but_no_token(lines: ReadLines) -> None:
    configure_logging()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    await with_client(lambda client: client.post("/callbacks/fal/planted?x=planted"))
    [line] = lines()
    assert line["duration_ms"] >= 0
    assert (line["event"], line["method"], line["status"]) == ("http.request_served", "POST", 200)
    assert (line["path"], line["route"]) == (
        "/callbacks/fal/[redacted]",
        "/callbacks/{provider}/{token}",
    )


async def test_access_log_cuts_a_long_path_before_redaction(
    lines: ReadLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    redacted: list[str] = []
    text_without_secrets = Redactor.text

    def text(self: Redactor, value: str) -> str:
        redacted.append(value)
        return text_without_secrets(self, value)

    monkeypatch.setattr(Redactor, "text", text)
    await with_client(lambda client: client.get(f"/{'a-' * 8000}"))
    [line] = lines()
    assert line["path"].startswith("/a-a-a-")
    assert len(line["path"]) <= MAX_PATH_CHARACTERS
    assert max(map(len, redacted)) <= MAX_PATH_CHARACTERS


@pytest.mark.parametrize(
    ("path", "expected"), [("/healthz", []), ("/nothing", [404]), ("/broken", [500])]
)
async def test_access_log_is_quiet_about_healthy_probes_only(
    path: str, expected: list[int], lines: ReadLines
) -> None:
    configure_logging()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    await with_client(lambda client: client.get(path))
    assert [
        line["status"] for line in lines() if line["event"] == "http.request_served"
    ] == expected


async def test_uvicorn_logs_in_the_standard_format_without_access_lines(lines: ReadLines) -> None:
    configure_logging()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    server = uvicorn.Server(
        uvicorn.Config(app_with_routes(), port=0, log_config=None, lifespan="off")
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient() as client:
        await client.get(f"http://127.0.0.1:{port}/nothing")
    server.should_exit = True
    await serving
    logged = lines()
    assert {line["logger"] for line in logged} == {
        "uvicorn.error",
        "core.platform.observability.access_log",
    }
    assert [
        line["event"]
        for line in logged
        if line["logger"] == "core.platform.observability.access_log"
    ] == ["http.request_served"]
