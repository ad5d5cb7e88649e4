"""The adapter against Cog's own server: what is sent, read, refused and called back."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.domain.failures import FailureCode
from core.domain.messages.jobs import CancelOutcome, JobReport, ProviderHandle
from core.domain.states import JobState
from core.platform.clock import ClockOffset, boot_seconds
from core.platform.settings.providers import ProviderSettings
from core.providers.port import (
    Callback,
    CallbackRefusedError,
    CreateOutcome,
    CreateRequest,
    Lookup,
    Provider,
)
from core.providers.registry import Providers
from core.providers.vendors.cog import adapter
from tests.cog.models import models_file
from tests.cog.record import record
from tests.cog.server import TOKEN, CogServer
from tests.providers import replay
from tests.providers.wire import full_inputs, submit
from tests.support.receiver import Receiver, reply


@asynccontextmanager
async def providers_of(server: CogServer) -> AsyncGenerator[Provider]:
    settings = ProviderSettings(
        cog_models_file=models_file(server.folder, server.url),
        cog_webhook_token=SecretStr(TOKEN),
        cog_lost_seconds=6,
    )
    async with Providers.open(settings) as providers:
        yield providers.provider("cog")


@pytest.fixture
async def cog(cog_server: CogServer) -> AsyncGenerator[Provider]:
    async with providers_of(cog_server) as provider:
        yield provider


def request_of(cog: Provider, name: str, url: str) -> CreateRequest:
    """Return the request of a send whose callback goes to this address."""
    model = next(model for model in cog.models if model.id == f"cog/{name}")
    return cog.create_request(model, full_inputs(model), url)


async def accepted(cog: Provider, request: CreateRequest) -> ProviderHandle:
    answer = await submit(cog, request)
    assert answer.outcome is CreateOutcome.ACCEPTED, answer
    assert answer.handle is not None
    return answer.handle


async def called_back(cog: Provider, receiver: Receiver) -> Callback:
    async with asyncio.timeout(10):
        while not receiver.received:  # noqa: ASYNC110 - the receiver sets no event
            await asyncio.sleep(0.02)
    received = receiver.received[0]
    return await cog.verify_callback(received.headers, received.body)


def lookup_of(request: CreateRequest) -> Lookup:
    now = datetime.now(UTC)
    clock = ClockOffset.measured(now, before=boot_seconds(), after=boot_seconds())
    return Lookup(request=request, sent_from=now, sent_until=now, clock=clock)


async def test_picture_arrives_in_the_callback(cog: Provider) -> None:
    async with Receiver.open() as receiver:
        request = request_of(cog, "painter", receiver.url)
        handle = await accepted(cog, request)
        callback = await called_back(cog, receiver)
    assert callback.provider_job_id == handle.provider_job_id == request.url.rpartition("/")[2]
    report = callback.report
    assert report is not None
    assert (report.state, report.charged) == (JobState.COMPLETED, True)
    assert report.outputs[0].url.startswith("data:image/png;base64,")
    assert report.run_seconds is not None


async def test_failed_run_is_reported_with_the_models_error(cog: Provider) -> None:
    async with Receiver.open() as receiver:
        await accepted(cog, request_of(cog, "broken-painter", receiver.url))
        report = (await called_back(cog, receiver)).report
    assert report is not None
    assert (report.state, report.charged, report.transient) == (JobState.FAILED, False, False)
    assert report.failure is not None
    assert report.failure.code is FailureCode.PROVIDER_FAILED
    assert "out of paint" in report.failure.message


async def test_reads_of_a_running_prediction_start_no_other(
    cog: Provider, cog_server: CogServer
) -> None:
    before = len(cog_server.runs())
    async with Receiver.open() as receiver:
        with cog_server.held():
            request = request_of(cog, "held-painter", receiver.url)
            handle = await accepted(cog, request)
            again = await accepted(cog, request)
            found = await cog.find(lookup_of(request))
            states = {(await cog.status(handle)).state for _ in range(3)}
        await called_back(cog, receiver)
    assert (again, found.matches, states) == (handle, (handle,), {JobState.SUBMITTED})
    assert len(cog_server.runs()) == before + 1


async def test_absent_prediction_is_not_started_by_a_look(
    cog: Provider, cog_server: CogServer
) -> None:
    before = len(cog_server.runs())
    found = await cog.find(lookup_of(request_of(cog, "painter", "http://127.0.0.1:9/never-sent")))
    assert (found.matches, found.authoritative) == ((), True)
    assert found.clock is not None
    assert found.clock.is_within(5.0, lookup_of(request_of(cog, "painter", "http://x")).clock)
    assert (len(cog_server.runs()), cog_server.health()) == (before, "READY")


async def test_server_without_a_schema_runs_no_look(tmp_path: Path) -> None:
    server = CogServer(tmp_path, checks_inputs=False)
    try:
        async with providers_of(server) as cog:
            request = request_of(cog, "painter", "http://127.0.0.1:9/never-sent")
            assert (await cog.find(lookup_of(request))).matches == ()
            assert server.runs() == []
    finally:
        server.stop()


async def test_run_without_a_callback_counts_as_lost(
    cog: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver refuses the callback, so the server gives it up."""
    async with Receiver.open(reply(404)) as receiver:
        handle = await accepted(cog, request_of(cog, "painter", receiver.url))
        await called_back(cog, receiver)
    now = boot_seconds()
    reports: list[JobReport] = []
    for seconds in (0.0, 5.9, 6.1):
        monkeypatch.setattr(adapter, "boot_seconds", lambda at=now + seconds: at)
        reports.append(await cog.status(handle))
    assert [report.state for report in reports[:2]] == [JobState.SUBMITTED] * 2
    assert reports[2].is_free_and_transient


async def test_cancel_ends_a_run(cog: Provider, cog_server: CogServer) -> None:
    runs = len(cog_server.runs())
    async with Receiver.open() as receiver:
        with cog_server.held():
            handle = await accepted(cog, request_of(cog, "held-painter", receiver.url))
            await asyncio.to_thread(cog_server.wait_for_run, runs + 1)
            assert await cog.cancel(handle) is CancelOutcome.REQUESTED
            report = (await called_back(cog, receiver)).report
    assert report is not None
    assert (report.state, report.charged) == (JobState.CANCELLED, False)
    assert await cog.cancel(handle) is CancelOutcome.NOTHING


async def test_refusals_are_certain(cog: Provider, cog_server: CogServer) -> None:
    """Busy: sent again later. An input that the model does not take: the job fails."""
    async with Receiver.open() as receiver:
        with cog_server.held():
            await accepted(cog, request_of(cog, "held-painter", receiver.url))
            busy = await submit(cog, request_of(cog, "painter", "http://127.0.0.1:9/busy"))
        await called_back(cog, receiver)
    request = request_of(cog, "painter", "http://127.0.0.1:9/wrong")
    wrong = await submit(cog, replace(request, body={"input": {"seed": -1}}))
    assert [(answer.outcome, answer.status_code) for answer in (busy, wrong)] == [
        (CreateOutcome.NOT_ACCEPTED, 409),
        (CreateOutcome.NOT_ACCEPTED, 422),
    ]
    assert busy.failure is not None
    assert busy.failure.retryable
    assert wrong.failure is not None
    assert wrong.failure.code is FailureCode.PROVIDER_REJECTED_INPUT
    assert "prompt: Field required" in wrong.failure.message


async def test_server_that_sets_up_is_tried_again(tmp_path: Path) -> None:
    server = CogServer(tmp_path, setup_held=True)
    try:
        async with providers_of(server) as cog:
            answer = await submit(cog, request_of(cog, "painter", "http://127.0.0.1:9/early"))
    finally:
        server.stop()
    assert (answer.outcome, answer.status_code) == (CreateOutcome.NOT_ACCEPTED, 503)
    assert answer.failure is not None
    assert answer.failure.retryable


@pytest.mark.parametrize("authorization", ["", "Bearer", f"Bearer {TOKEN}x", TOKEN, "Bearer ü"])
async def test_callback_without_the_token_is_refused(cog: Provider, authorization: str) -> None:
    body = b'{"id": "painter-1", "status": "succeeded"}'
    with pytest.raises(CallbackRefusedError):
        await cog.verify_callback({"authorization": authorization}, body)
    assert await cog.verify_callback({"authorization": f"Bearer {TOKEN}"}, body)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"id": "painter-1"}', b'{"id": "other-1", "status": "succeeded"}']
)
async def test_callback_without_a_known_prediction_is_refused(cog: Provider, body: bytes) -> None:
    with pytest.raises(CallbackRefusedError):
        await cog.verify_callback({"authorization": f"Bearer {TOKEN}"}, body)


def test_recordings_are_what_the_server_answers(cog_server: CogServer, tmp_path: Path) -> None:
    unready = CogServer(tmp_path, setup_held=True)
    try:
        recordings = record(cog_server, unready)
    finally:
        unready.stop()
    assert recordings == {name: replay.load("cog", name) for name in recordings}
