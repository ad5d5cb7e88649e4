"""A request past its send deadline: no byte of it is sent."""

import asyncio
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.domain.failures import FailureCode
from core.jobs.lookups.absence import LOOKS_APART_SECONDS
from core.platform import clock
from core.platform.clock import boot_seconds
from core.platform.settings.providers import (
    LOOKUP_CONFIRM_SECONDS,
    SHORTEST_HORIZON_SECONDS,
    ProviderSettings,
)
from core.platform.temporal.policies import CREATE_CALL_SECONDS, SEND_WITHIN_SECONDS
from core.providers.http.transport import (
    CONNECT_SECONDS,
    DELIVERY_SECONDS,
    UNDELIVERED_SECONDS,
    ProviderHttp,
    Sent,
)
from core.providers.port import CreateOutcome, CreateRequest
from core.providers.registry import Providers
from tests.providers.wire import Line, answering, full_inputs, serving, settings, submit

ROOT = Path(__file__).parents[2]
AUTH = {"authorization": "Key 0123456789abcdef"}


async def post(
    url: str, *, not_after: float, body_bytes: int = 10, tls: ssl.SSLContext | None = None
) -> Sent:
    request = CreateRequest(model="m", url=f"{url}/x", body={"prompt": "x" * body_bytes})
    async with ProviderHttp(tls=tls) as http:
        return await http.post_once(request, AUTH, url, timeout_seconds=5, not_after=not_after)


def trusting(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca / "ca.pem")


def serving_context(ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ca / "cert.pem", ca / "key.pem")
    return context


@pytest.mark.parametrize("encrypted", [False, True])
async def test_no_byte_is_sent_after_the_deadline(encrypted: bool, test_ca: Path) -> None:
    came: list[bytes] = []

    async def script(line: Line) -> None:
        came.append(await line.read_all())

    async with serving(script, tls=serving_context(test_ca) if encrypted else None) as wire:
        sent = await post(
            wire.url, not_after=boot_seconds() - 0.001, tls=trusting(test_ca) if encrypted else None
        )
        await asyncio.sleep(0.05)
    assert (wire.connections, came) == (1, [b""])
    assert (sent.bytes_left, sent.response, sent.note) == (False, None, "too late to send")


async def test_too_late_request_may_be_sent_again() -> None:
    async with (
        serving(answering(200, {"request_id": "abc"})) as wire,
        Providers.open(settings(wire.url)) as providers,
    ):
        provider = providers.provider("fal")
        request = provider.create_request(provider.models[0], full_inputs(provider.models[0]), None)
        answer = await submit(provider, request, ago_seconds=SEND_WITHIN_SECONDS + 0.1)
        in_time = await submit(provider, request, ago_seconds=SEND_WITHIN_SECONDS - 1)
    assert answer.outcome is CreateOutcome.NOT_ACCEPTED
    assert answer.failure is not None
    assert (answer.failure.code, answer.failure.retryable) == (
        FailureCode.PROVIDER_UNAVAILABLE,
        True,
    )
    assert in_time.outcome is CreateOutcome.ACCEPTED


async def test_too_late_between_head_and_body_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The headers were sent, so the outcome is unknown. The body is not sent."""
    came: list[bytes] = []
    readings = iter([10.0, 10.2])

    async def script(line: Line) -> None:
        came.append(await line.read_all())

    async with serving(script) as wire:
        monkeypatch.setattr("core.providers.http.transport.boot_seconds", lambda: next(readings))
        sent = await post(wire.url, not_after=10.1)
        await asyncio.sleep(0.05)
    assert (sent.bytes_left, sent.note) == (True, "too late to send")
    assert came[0].startswith(b"POST /x")
    assert came[0].endswith(b"\r\n\r\n")


CHILD = """
import asyncio, ssl, sys
from core.providers.http.transport import ProviderHttp
from core.providers.port import CreateRequest
from core.platform.clock import boot_seconds

async def main():
    url, ca = sys.argv[1:]
    request = CreateRequest(model="m", url=url + "/x", body={"prompt": "x"})
    async with ProviderHttp(tls=ssl.create_default_context(cafile=ca)) as http:
        not_after = boot_seconds() + 0.6
        print(await http.post_once(request, {}, url, timeout_seconds=10, not_after=not_after))

asyncio.run(main())
"""


@contextmanager
def child(url: str, ca: Path) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD, url, str(ca / "ca.pem")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_to_the_end(connection: ssl.SSLSocket) -> bytes:
    try:
        return connection.recv(1000)
    except (ssl.SSLEOFError, ConnectionResetError):
        return b""


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("stopped", [False, True])
def test_stopped_process_that_wakes_writes_nothing(stopped: bool, test_ca: Path) -> None:
    """The process is stopped during the TLS handshake, just before the send."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        with child(f"https://127.0.0.1:{listener.getsockname()[1]}", test_ca) as process:
            connection, _ = listener.accept()
            connection.settimeout(10)
            assert connection.recv(1, socket.MSG_PEEK)  # its ClientHello
            if stopped:
                os.kill(process.pid, signal.SIGSTOP)
                time.sleep(0.8)
                os.kill(process.pid, signal.SIGCONT)
            with serving_context(test_ca).wrap_socket(connection, server_side=True) as line:
                came = read_to_the_end(line)
            output, _ = process.communicate(timeout=20)
    assert (came == b"") is stopped
    assert ("bytes_left=False" in output) is stopped
    assert ("too late to send" in output) is stopped


@pytest.mark.guarantee("G1")
async def test_kernel_aborts_undeliverable_data() -> None:
    """The client's socket is identified by its peer address and its option is read."""
    patience: list[int] = []

    async def script(line: Line) -> None:
        await line.read()
        for name in os.listdir("/proc/self/fd"):
            patience.extend(user_timeout_of(int(name), line.peer))
        await line.answer(200, {})

    async with serving(script) as wire:
        await post(wire.url, not_after=boot_seconds() + 5)
    assert patience == [int(UNDELIVERED_SECONDS * 1000)]


def user_timeout_of(number: int, local: object) -> list[int]:
    try:
        copy = socket.socket(fileno=os.dup(number))
    except OSError:
        return []
    with copy:
        try:
            ours = copy.family == socket.AF_INET and copy.getsockname() == local
        except OSError:
            return []
        return [copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)] if ours else []


def test_boot_clock_is_the_machines_and_advances() -> None:
    before = boot_seconds()
    select.select([], [], [], 0.05)
    assert 0.05 <= boot_seconds() - before < 5
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert abs(time.clock_gettime(time.CLOCK_BOOTTIME) - clock.boot_seconds()) < 1


def test_limits_of_a_send_are_ordered() -> None:
    """The connect limit is within the send limit, and the horizons exceed the kernel's timeout."""
    assert CONNECT_SECONDS < SEND_WITHIN_SECONDS < CREATE_CALL_SECONDS
    horizons = [name for name in ProviderSettings.model_fields if name.endswith("horizon_seconds")]
    assert len(horizons) == 4
    for name in horizons:
        field = ProviderSettings.model_fields[name]
        floor = next(limit.ge for limit in field.metadata if hasattr(limit, "ge"))
        assert floor > SEND_WITHIN_SECONDS
        assert field.default > SEND_WITHIN_SECONDS + UNDELIVERED_SECONDS
    assert SHORTEST_HORIZON_SECONDS > SEND_WITHIN_SECONDS + UNDELIVERED_SECONDS
    assert DELIVERY_SECONDS >= SEND_WITHIN_SECONDS + UNDELIVERED_SECONDS
    assert LOOKUP_CONFIRM_SECONDS == LOOKS_APART_SECONDS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fal_image_horizon_seconds", 20),
        ("fal_horizon_seconds", 20),
        ("replicate_horizon_seconds", 20),
        ("lookup_confirm_seconds", 59),
    ],
)
def test_short_waits_are_for_providers_on_this_machine(name: str, value: int) -> None:
    start = {"fal_start_deadline_seconds": 1, "fal_image_start_deadline_seconds": 1}
    local = "http://127.0.0.1:8090"
    addresses = dict.fromkeys(("fal_queue_url", "fal_api_url", "replicate_base_url"), local)
    values = {"fal_key": "key", "replicate_api_token": "key", **start, name: value}
    ProviderSettings.model_validate({**values, **addresses})
    for address in addresses:
        if name.startswith((address.partition("_")[0], "lookup")):
            real = {**addresses, address: "https://provider.example"}
            with pytest.raises(ValidationError, match="on this machine"):
                ProviderSettings.model_validate({**values, **real})
