"""Spans: their places, what is sampled, and what they contain."""

from collections.abc import Iterator

import pytest

from core.platform.observability import tracing
from core.platform.observability.tracing import Span, TraceContext

PARENT = TraceContext(
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736", span_id="00f067aa0ba902b7", sampled=True
)


class Kept:
    """An exporter that keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def export(self, span: Span) -> None:
        self.spans.append(span)

    def stop(self) -> None: ...


@pytest.fixture
def kept() -> Iterator[Kept]:
    exporter = Kept()
    tracing.start(exporter, 1.0)
    yield exporter
    tracing.stop()


def test_without_tracing_nothing_is_recorded_or_passed_on() -> None:
    with tracing.within(PARENT.traceparent), tracing.span("a") as span:
        assert (span, tracing.current(), tracing.traceparent()) == (None, None, None)


def test_spans_continue_the_trace_of_another_process(kept: Kept) -> None:
    with tracing.within(PARENT.traceparent), tracing.span("outer"):
        tracing.note(provider="fal")
        with tracing.span("inner"):
            header = tracing.traceparent()
    inner, outer = kept.spans
    assert (outer.parent, inner.parent) == (PARENT, outer.context)
    assert (inner.context.trace_id, outer.attributes) == (PARENT.trace_id, {"provider": "fal"})
    assert header == inner.context.traceparent
    assert outer.started_ns <= inner.started_ns <= inner.ended_ns <= outer.ended_ns


def test_root_span_begins_a_trace_with_a_link(kept: Kept) -> None:
    with (
        tracing.within(PARENT.traceparent),
        tracing.span("root", is_root=True, links=[PARENT.traceparent, "no header", None]),
    ):
        pass
    (root,) = kept.spans
    assert (root.parent, root.links) == (None, [PARENT])
    assert root.context.trace_id != PARENT.trace_id


def test_failed_span_has_the_type_of_its_error_only(kept: Kept) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.span("a"):
        raise ValueError("secret")
    (span,) = kept.spans
    assert (span.error, "secret" in repr(span)) == ("ValueError", False)


@pytest.mark.parametrize(
    ("ratio", "exported"), [(0.0, range(1)), (0.5, range(60, 141)), (1.0, range(200, 201))]
)
def test_ratio_of_traces_is_exported(kept: Kept, ratio: float, exported: range) -> None:
    tracing.start(kept, ratio)
    for _ in range(200):
        with tracing.span("a"):
            assert tracing.traceparent() is not None  # the others have an id for the logs
    assert len(kept.spans) in exported


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        PARENT.traceparent.upper(),
        PARENT.traceparent.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-{PARENT.span_id}-01",
        f"00-{PARENT.trace_id}-{'0' * 16}-01",
        f"00-{PARENT.trace_id}-{PARENT.span_id}-xx",
        f"00-{'g' * 32}-{PARENT.span_id}-01",
    ],
)
def test_invalid_traceparent_is_ignored(header: str | None) -> None:
    assert tracing.parsed(header) is None


def test_traceparent_is_read_as_it_is_written() -> None:
    assert tracing.parsed(PARENT.traceparent) == PARENT
    later = f"01{PARENT.traceparent[2:]}-more"  # a later version may have more parts
    assert tracing.parsed(later) == PARENT
