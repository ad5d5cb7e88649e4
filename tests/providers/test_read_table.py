"""The table of provider reads: each status and form of body, run on a raw socket."""

from datetime import UTC, datetime

import pytest

from core.domain.states import JobState
from core.platform.clock import ClockOffset
from core.providers.http.read_outcome import READS, Form, Meaning, Read
from core.providers.port import Lookup, Provider, ProviderUnavailableError
from core.providers.registry import Providers
from tests.providers.wire import (
    FAL_KEY,
    Line,
    Script,
    answering,
    full_inputs,
    handle_of,
    serving,
    settings,
)

pytestmark = pytest.mark.guarantee("G3")

STATUSES = (200, 202, 302, 400, 401, 403, 404, 408, 409, 413, 422, 429, 499, 500, 502, 503, 504)
JOB_ID = "5f0c7d0e11114222"
COMPLETED = {"status": "COMPLETED", "request_id": JOB_ID}
TYPED: list[object] = [
    {"detail": [{"loc": ["body"], "msg": "no", "type": "image_load_error"}]},
    {"detail": "Request timed out", "error_type": "request_timeout"},
]
FLAT: list[object] = [{"detail": "Request is still in progress"}, {"error": "bad gateway"}]
UNREADABLE: list[object] = [b"<html>503</html>", b"", b'{"detail": [{"ty', b"x" * 30_000_000]
EXPECTED: dict[tuple[str, Read], object] = {
    ("fal", Read.STATUS): {"status": "IN_PROGRESS"},
    ("fal", Read.RESULT): {"images": [{"url": "https://v3.fal.media/files/a.jpg"}]},
    ("fal", Read.LIST): {"items": [], "has_more": False},
    ("fal", Read.ACCOUNT): {"items": []},
    ("replicate", Read.STATUS): {"status": "processing"},
    ("replicate", Read.LIST): {"results": [], "next": None},
    ("replicate", Read.ACCOUNT): {"username": "us"},
}


def bodies(vendor: str, read: Read, form: Form) -> list[object]:
    match form:
        case Form.EXPECTED:
            return [EXPECTED[vendor, read]]
        case Form.TYPED_ERROR:
            return TYPED
        case Form.FLAT_ERROR:
            return FLAT
        case Form.UNREADABLE:
            return UNREADABLE


def expected_meaning(read: Read, status: int, form: Form) -> Meaning:
    return next(
        (r.meaning for r in READS if (r.read, r.form) == (read, form) and status in r.statuses),
        Meaning.UNAVAILABLE,
    )


def ended(status: int, body: object, history: object) -> Script:
    """Script a COMPLETED request of fal with this result and this history."""

    async def script(line: Line) -> None:
        while True:
            path = (await line.read()).path
            if path.endswith("/status"):
                await line.answer(200, COMPLETED)
            elif path.endswith("/by-endpoint"):
                await line.answer(200, history)
            else:
                await line.answer(status, body)

    return script


def history_of(status_code: int) -> object:
    return {"items": [{"request_id": JOB_ID, "status_code": status_code}], "has_more": False}


async def observed(provider: Provider, read: Read) -> Meaning:
    model = provider.models[0]
    try:
        if read is Read.ACCOUNT:
            accepted = await provider.check_key()
            return Meaning.ANSWERED if accepted else Meaning.KEY_REFUSED
        if read is Read.LIST:
            now = datetime.now(UTC)
            request = provider.create_request(model, full_inputs(model), None)
            await provider.find(
                Lookup(request=request, sent_from=now, sent_until=now, clock=ClockOffset(0, 0))
            )
            return Meaning.ANSWERED
        report = await provider.status(handle_of(provider, model, JOB_ID))
    except ProviderUnavailableError:
        return Meaning.UNAVAILABLE
    if report.state is JobState.FAILED or report.state is JobState.CANCELLED:
        return Meaning.ERROR_CLAIMED
    return Meaning.ANSWERED


@pytest.mark.parametrize("form", Form, ids=lambda form: form.name.lower())
@pytest.mark.parametrize(("vendor", "read"), EXPECTED)
async def test_read_means_what_the_table_states(vendor: str, read: Read, form: Form) -> None:
    for status in STATUSES:
        for body in bodies(vendor, read, form):
            if isinstance(body, bytes) and len(body) > 1_000_000 and status not in (200, 422, 503):
                continue  # megabytes for every status add time and nothing else
            script = answering(status, body)
            if read is Read.RESULT:
                script = ended(status, body, history_of(422))
            async with serving(script) as wire, Providers.open(settings(wire.url)) as ours:
                meaning = await observed(ours.provider(vendor), read)
            assert wire.received
            assert meaning is expected_meaning(read, status, form), (status, repr(body)[:60])


@pytest.mark.parametrize("status", [400, 422, 500, 503, 504])
@pytest.mark.parametrize("body", TYPED, ids=["list", "error_type"])
@pytest.mark.parametrize("history", [history_of(200), {"items": []}, {"detail": "unavailable"}])
async def test_error_without_evidence_ends_no_job(
    status: int, body: object, history: object
) -> None:
    async with (
        serving(ended(status, body, history)) as wire,
        Providers.open(settings(wire.url)) as ours,
    ):
        assert await observed(ours.provider("fal"), Read.RESULT) is Meaning.UNAVAILABLE
        asked = [request for request in wire.received if request.path.endswith("/by-endpoint")]
    assert [FAL_KEY in request.headers["authorization"] for request in asked] == [True]
    assert JOB_ID in asked[0].target


@pytest.mark.parametrize("status", [503, 504, 500, 400, 404, 429])
async def test_result_is_read_again_after_a_failed_read(status: int) -> None:
    broken = [True]

    async def script(line: Line) -> None:
        while True:
            path = (await line.read()).path
            if path.endswith("/status"):
                await line.answer(200, COMPLETED)
            elif broken.pop() if broken else False:
                await line.answer(status, {"detail": "Service unavailable"})
            else:
                await line.answer(200, EXPECTED["fal", Read.RESULT])

    async with serving(script) as wire, Providers.open(settings(wire.url)) as ours:
        provider = ours.provider("fal")
        handle = handle_of(provider, provider.models[0], JOB_ID)
        with pytest.raises(ProviderUnavailableError):
            await provider.status(handle)
        assert not broken  # the fault was served
        assert (await provider.status(handle)).state is JobState.COMPLETED
