"""Parsing of provider responses: bounded, scrubbed, and without exceptions."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from core.providers.http.create_outcome import REFUSALS
from core.providers.http.responses import (
    RETRY_AFTER_MAX_SECONDS,
    Response,
    retry_after_seconds,
    scrubbed,
)
from core.providers.port import CreateOutcome
from core.providers.registry import OWN_KEY_PROVIDERS, Providers
from tests.providers.wire import Line, full_inputs, serving, settings, submit

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0", 0), ("-1", 0), ("1000000000", 300), ("9" * 400, 300), ("1.5", 1.5), (" 3 ", 3), ("soon", 0),
     ("", 0), ("nan", 0), ("inf", 0), ("0x10", 0), ("٣", 0), ("1e3", 0), (".5", 0), ("7 s", 0), ("7, 7", 0),
     ("-0.0", 0),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Sun, 22 Nov 2026 10:01:00 GMT", 60),
     ("Sunday, 22-Nov-26 10:01:00 GMT", 60), ("Sun Nov 22 10:01:00 2026", 60), ("Sun, 22 Nov 2026 10:01:00 -0000", 60),
     ("Sun, 22 Nov 2026 11:01:00 +0100", 60), ("Fri, 31 Dec 2999 23:59:59 GMT", 300),
     ("Sun, 99 Nov 2026 10:01:00 GMT", 0), ("Sun, 22 Nov 99999999999 10:01:00 GMT", 0), (None, 0)],
)  # fmt: skip
def test_retry_after_is_bounded_seconds_in_every_format(header: str | None, seconds: float) -> None:
    assert retry_after_seconds(header, NOW) == seconds


@given(
    header=st.text()
    | st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{1,30} [A-Z][a-z]{2} [0-9]{1,30} [0-9:]{1,12} [+-]?[0-9A-Z]{1,9}"
    )
    | st.floats().map(str)
    | st.integers().map(str)
)
def test_retry_after_of_unknown_format_is_bounded(header: str) -> None:
    assert 0 <= retry_after_seconds(header, NOW) <= RETRY_AFTER_MAX_SECONDS


def test_scrubbed_text_is_short_and_plain() -> None:
    text = scrubbed(
        "wide\x00\n\u2028 " + "word " * 100 + "Traceback (most recent call last): secret"
    )
    assert len(text) <= 160
    assert text.startswith("wide word word")


def test_repr_of_a_response_has_no_body() -> None:
    assert "sesame" not in repr(Response(status_code=200, headers={}, body=b"sesame"))


NAMES = st.sampled_from(
    [
        "request_id",
        "id",
        "detail",
        "title",
        "status",
        "urls",
        "error_type",
        "loc",
        "msg",
        "type",
        "ctx",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.just("5f0c7d0e11114222")
)
VALUES = SCALARS | st.lists(SCALARS | st.dictionaries(NAMES, SCALARS, max_size=2), max_size=2)
PLAUSIBLE = st.sampled_from(
    [
        {},
        {"detail": "No."},
        {"detail": [{"msg": "No."}]},
        {"request_id": "5f0c7d0e11114222", "id": "5f0c7d0e11114222"},
    ]
)
OBJECTS = st.tuples(PLAUSIBLE, st.dictionaries(NAMES, VALUES, max_size=2)).map(
    lambda two: two[0] | two[1]
)
BODIES = OBJECTS.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=60)


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("vendor", OWN_KEY_PROVIDERS)
async def test_no_response_raises_an_exception(vendor: str) -> None:
    answers: list[tuple[int, bytes, str, str]] = []

    @effort(max_examples=200, database=None)
    @given(
        status=st.sampled_from([200, 201, 202, 302, 409, 500, *REFUSALS]),
        body=BODIES,
        header=st.sampled_from(["", "7", "-1", "Sun, 22 Nov 99999999999 10:01:00 GMT"]),
        request_id=st.sampled_from(["", "../etc", "5f0c7d0e11114222"]),
    )
    def draw(status: int, body: bytes, header: str, request_id: str) -> None:
        answers.append((status, body, header, request_id))

    draw()
    to_say = iter(answers)

    async def script(line: Line) -> None:
        await line.read()
        status, body, header, request_id = next(to_say)
        await line.answer(status, body, {"retry-after": header, "request-id": request_id})

    async with serving(script) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.provider(vendor)
        request = provider.create_request(provider.models[0], full_inputs(provider.models[0]), None)
        outcomes = [await submit(provider, request) for _ in answers]
    for (status, body, *_), answer in zip(answers, outcomes, strict=True):
        named = answer.handle is not None
        assert named == (answer.outcome is CreateOutcome.ACCEPTED), body
        assert not named or 200 <= status < 300
        assert answer.outcome is not CreateOutcome.NOT_ACCEPTED or status in REFUSALS
        assert 0 <= answer.retry_after_seconds <= RETRY_AFTER_MAX_SECONDS
    assert {answer.outcome for answer in outcomes} == set(CreateOutcome)
