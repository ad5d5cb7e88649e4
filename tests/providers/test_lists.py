"""Providers' lists: of any length and size, read once for all look-ups that need them."""

import asyncio
import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from core.domain.messages.jobs import JobReport
from core.domain.states import JobState
from core.platform.clock import ClockOffset, boot_seconds
from core.providers.lists.page import ListPage
from core.providers.port import FindAnswer, Lookup, Provider, ProviderUnavailableError
from core.providers.registry import OWN_KEY_PROVIDERS, Providers
from tests.providers.wire import Line, Script, full_inputs, handle_of, serving, settings

pytestmark = pytest.mark.guarantee("G1", "G3")

MEBIBYTE = 1024 * 1024
Query = dict[str, str]
STARTS = ("start", "created_after", "date_after_unix")


def lookup_of(provider: Provider, *, age_seconds: float = 60) -> Lookup:
    now = datetime.now(UTC)
    offset = now.timestamp() - boot_seconds()
    sent_at = now - timedelta(seconds=age_seconds)
    model = provider.models[0]
    return Lookup(
        request=provider.create_request(model, full_inputs(model), None),
        sent_from=sent_at,
        sent_until=sent_at,
        clock=ClockOffset(offset, offset),
    )


def item(
    vendor: str, lookup: Lookup, name: str, *, ours: bool = False, output: object = None
) -> object:
    body = lookup.request.body if ours else {"prompt": name, "input": {"prompt": name}}
    at = lookup.sent_from.isoformat()
    if vendor == "fal":
        return {"json_output": output, "request_id": name, "endpoint_id": lookup.request.model,
                "sent_at": at, "ended_at": at, "json_input": body}  # fmt: skip
    if vendor == "elevenlabs":
        return {"alignments": output, "history_item_id": f"h-{name}", "request_id": name,
                "voice_id": "JBFqnCBsd6RMkjVDRZzb", "model_id": lookup.request.model,
                "text": body["text"] if ours else name, "settings": lookup.request.body["voice_settings"],
                "output_format": "mp3_44100_128", "date_unix": int(lookup.sent_from.timestamp())}  # fmt: skip
    return {"output": output, "id": name, "model": lookup.request.model, "created_at": at,
            "input": body["input"]}  # fmt: skip


def page(vendor: str, items: list[object], next_url: str | None = None) -> object:
    if vendor == "fal":
        return {"items": items, "next_cursor": next_url, "has_more": next_url is not None}
    if vendor == "elevenlabs":
        more = next_url is not None
        return {"history": items, "last_history_item_id": next_url, "has_more": more}
    return {"previous": None, "next": next_url, "results": items}


def paged(respond: Callable[[Query], object]) -> Script:
    """Return a script that responds to each list call with a page, or hangs for None."""

    async def script(line: Line) -> None:
        while True:
            request = await line.read()
            query = {
                name: value[0] for name, value in parse_qs(urlsplit(request.target).query).items()
            }
            body = respond(query)
            if body is None:
                await line.read_all()
                return
            await line.answer(200, body, {"date": f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} GMT"})

    return script


@pytest.mark.parametrize("vendor", OWN_KEY_PROVIDERS)
async def test_files_inside_a_list_are_read_in_bounded_memory(vendor: str) -> None:
    """Another application on the account gets its pictures as data URIs: a page of 24 MiB."""
    pages: list[bytes] = []
    async with (
        serving(paged(lambda _query: pages[0])) as wire,
        Providers.open(settings(wire.url)) as providers,
    ):
        provider = providers.provider(vendor)
        lookup = lookup_of(provider)
        data_uri = "data:image/png;base64," + "A" * (2 * MEBIBYTE)
        items = [item(vendor, lookup, f"other-{n}", output=[data_uri] * 6) for n in range(2)]
        items.append(item(vendor, lookup, "ours", ours=True))
        pages.append(json.dumps(page(vendor, items)).encode())
        answer = await provider.find(lookup)
    assert [match.provider_job_id for match in answer.matches] == ["ours"]
    assert answer.authoritative
    assert len(pages[0]) > 24 * MEBIBYTE
    assert peak_of_parsing(pages[0]) < 10 * MEBIBYTE


def peak_of_parsing(body: bytes) -> int:
    """Return the memory that parsing a page takes at most, in parts as a socket delivers it."""
    tracemalloc.start()
    try:
        for member in ("items", "results", "history"):
            ignored = ("output", "json_output", "alignments")
            parser = ListPage(member, ignored, lambda _item: None)
            for start in range(0, len(body), 65536):
                parser.feed(body[start : start + 65536])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_page_that_is_too_large_is_read_with_fewer_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.providers.lists.reader.PAGE_MAX_BYTES", MEBIBYTE)
    limits: list[int] = []

    def respond(query: Query) -> object:
        limits.append(int(query["limit"]))
        first = int(query.get("cursor", "0"))
        items = [
            item("fal", lookup, f"other-{n}", output="A" * (MEBIBYTE // 20))
            for n in range(first, min(25, first + limits[-1]))
        ]
        following = first + len(items)
        return page("fal", items, str(following) if following < 25 else None)

    async with serving(paged(respond)) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.provider("fal")
        lookup = lookup_of(provider)
        answer = await provider.find(lookup)
    assert answer.authoritative
    assert limits == [100, 10, 10, 10]


@pytest.mark.parametrize("vendor", OWN_KEY_PROVIDERS)
async def test_list_of_sixty_pages_is_authoritative_and_shared(vendor: str) -> None:
    served = 0

    def respond(query: Query) -> object:
        nonlocal served
        served += 1
        number = int(query.get("cursor") or query.get("start_after_history_item_id", "0"))
        items = [item(vendor, lookup, f"other-{number}")]
        if number == 59:
            return page(vendor, [*items, item(vendor, lookup, "ours", ours=True)])
        following = str(number + 1)
        if vendor == "replicate":
            following = f"{wire.url}/replicate/v1/predictions?cursor={following}"
        return page(vendor, items, following)

    async with serving(paged(respond)) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.provider(vendor)
        lookup = lookup_of(provider)
        answers: list[FindAnswer] = await asyncio.gather(
            *(provider.find(lookup) for _ in range(20))
        )
    for answer in answers:
        assert [match.provider_job_id for match in answer.matches] == ["ours"]
        assert answer.authoritative
    assert served < 20 * 60


@pytest.mark.parametrize("vendor", OWN_KEY_PROVIDERS)
async def test_next_look_reads_only_the_part_that_changes(
    vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[str] = []

    def respond(query: Query) -> object:
        starts.append(next(query[name] for name in STARTS if name in query))
        return page(vendor, [item(vendor, lookup, "ours", ours=True)] if len(starts) == 1 else [])

    async with serving(paged(respond)) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.provider(vendor)
        lookup = lookup_of(provider, age_seconds=600)
        first = await provider.find(lookup)
        monkeypatch.setattr("core.providers.lists.reader.FRESH_SECONDS", 0.0)
        second = await provider.find(lookup)
    assert first.matches == second.matches != ()
    assert starts[1] > starts[0]
    # Its oldest part is as old as the first look, so two looks a minute apart need two readings.
    assert first.looked_at == second.looked_at


async def test_waiting_look_ups_share_the_next_reading() -> None:
    """Otherwise many sends without an answer would read the same list one after another."""
    readings = 0

    def respond(_query: Query) -> object:
        nonlocal readings
        readings += 1
        return page("fal", [])

    async with serving(paged(respond)) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.provider("fal")
        lookup = replace(lookup_of(provider), list_age_seconds=0.0)
        answers = await asyncio.gather(*(provider.find(lookup) for _ in range(20)))
    assert len(answers) == 20
    assert readings == 2


async def test_list_that_is_too_long_is_read_over_several_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server responds only to queries of at most two slices."""
    monkeypatch.setattr("core.providers.lists.reader.READ_SECONDS", 0.5)

    def respond(query: Query) -> object:
        start = datetime.fromisoformat(query["start"])
        end = datetime.fromisoformat(query["end"]) if "end" in query else datetime.now(UTC)
        return page("fal", []) if end - start <= timedelta(minutes=10) else None

    async with serving(paged(respond)) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.provider("fal")
        lookup = lookup_of(provider, age_seconds=1200)
        answers: list[FindAnswer] = []
        for _ in range(5):
            with suppress(ProviderUnavailableError):
                answers.append(await provider.find(lookup))
    assert 0 < len(answers) < 5
    assert answers[-1].authoritative


async def test_status_may_be_as_large_as_a_callback() -> None:
    body = {"id": "p1", "status": "processing", "logs": "x" * (7 * MEBIBYTE)}
    async with (
        serving(paged(lambda _query: body)) as wire,
        Providers.open(settings(wire.url)) as providers,
    ):
        provider = providers.provider("replicate")
        report: JobReport = await provider.status(handle_of(provider, provider.models[0]))
    assert report.state is JobState.SUBMITTED
