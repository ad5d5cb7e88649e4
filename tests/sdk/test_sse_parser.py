"""The parser of server-sent events: every form that the standard allows, at every boundary."""

import random

import pytest

from takeone._core.sse import EventParser, ServerEvent

STREAM = (
    "\ufeff: welcome\n"
    "retry: 2000\n"
    "\n"
    "id: 1\n"
    "event: snapshot\n"
    'data: {"prompt": "naïve 凧 🪁"}\n'
    "\n"
    ": heartbeat\n"
    "\n"
    "data: first\n"
    "data:\n"
    "data:  third\n"
    "\n"
    "event: end\n"
    "id: 3\n"
    "unknown: field\n"
    "data\n"
    "\n"
)
EVENTS = [
    ServerEvent("snapshot", '{"prompt": "naïve 凧 🪁"}', "1"),
    ServerEvent("message", "first\n\n third", "1"),
    ServerEvent("end", "", "3"),
]


def parsed(parts: list[bytes]) -> tuple[list[ServerEvent], EventParser]:
    parser = EventParser()
    return [event for part in parts for event in parser.feed(part)], parser


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_accepted_at_every_boundary(line_end: str) -> None:
    content = STREAM.replace("\n", line_end).encode()
    for size in range(1, 9):
        parts = [content[at : at + size] for at in range(0, len(content), size)]
        events, parser = parsed(parts)
        assert events == EVENTS
        assert (parser.last_id, parser.retry) == ("3", 2.0)


def test_random_parts_make_the_same_events() -> None:
    content, chance = STREAM.replace("\n", "\r\n").encode(), random.Random(7)
    for _ in range(200):
        cuts = sorted(chance.sample(range(len(content)), 12))
        parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        assert parsed(parts)[0] == EVENTS


def test_incomplete_event_at_the_end_is_dropped() -> None:
    events, parser = parsed([b"id: 1\ndata: a\n\nid: 2\ndata: b\n"])
    assert [event.data for event in events] == ["a"]
    assert parser.last_id == "1"


def test_heartbeat_completes_no_event() -> None:
    assert parsed([b": \n\n", b":\n\n"])[0] == []


def test_event_without_data_is_dropped_but_its_id_counts() -> None:
    events, parser = parsed([b"event: progress\nid: 9\n\ndata: a\n\n"])
    assert events == [ServerEvent("message", "a", "9")]
    assert parser.last_id == "9"


@pytest.mark.parametrize("field", [b"retry: soon", b"retry: -1", b"retry: 1.5", b"retry:"])
def test_retry_that_is_no_number_is_ignored(field: bytes) -> None:
    assert parsed([b"retry: 1500\n", field, b"\n\n"])[1].retry == 1.5


def test_id_with_a_null_byte_is_ignored() -> None:
    assert parsed([b"id: 4\ndata: a\n\nid: 5\0\ndata: b\n\n"])[1].last_id == "4"


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    assert parsed([b"data: a\xff", b"b\n\n"])[0][0].data == "a\ufffdb"


def test_new_stream_keeps_the_id_until_another_comes() -> None:
    parser = EventParser(last_id="7")
    assert parser.feed(b"data: a\n\n") == [ServerEvent("message", "a", "7")]
