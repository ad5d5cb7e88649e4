"""A planned step: what it makes, how long that lasts, and what is known of the files it uses."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from core.domain.ids import AssetId
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.plans import AssetSource, Source, StepOutput
from core.media.operations.port import Expected, Output, Seconds
from core.ordering.errors import FaultCode, FieldError
from core.ordering.planning.step_requests import StepRequest
from core.store.executions.executions import NewStep

UNKNOWN_SECONDS: Final = Seconds(low=1, expected=30, worst=600)
"""Assumed of a file whose headers state no length, and of a file that is not fetched yet."""
TIMED: Final = frozenset({MediaKind.VIDEO, MediaKind.AUDIO})


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """An asset of the user that steps may use. facts: None if the file states none.

    kind: None where it is assumed to be what the step takes. likely_kind: what its address
    suggests.
    """

    kind: MediaKind | None
    facts: MediaFacts | None = None
    likely_kind: MediaKind | None = None


NO_ASSETS: Final[Mapping[AssetId, KnownFile]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step with what it makes. new: None if it has an error, which is reported.

    outputs: the first is the default. expected: what each output will be. longest_seconds: with
    lost sends.
    """

    request: StepRequest
    outputs: tuple[Output, ...]
    expected: tuple[Expected, ...]
    longest_seconds: int
    new: NewStep | None = None

    @property
    def name(self) -> str:
        return self.request.name


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedFile:
    """A file that a step uses. source: with the number of the step's output.

    expected: None where it is not known what the file is; it is then what the step takes.
    """

    source: Source
    expected: Expected | None
    facts: MediaFacts | None = None
    likely_kind: MediaKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What is known of the files that steps use: the user's assets, and what earlier steps make."""

    assets: Mapping[AssetId, KnownFile]
    planned: dict[str, PlannedStep] = field(default_factory=dict[str, PlannedStep])

    def used_by(self, request: StepRequest) -> tuple[dict[str, UsedFile], list[FieldError]]:
        """Return the files of a step by parameter or pointer, and the errors of its references.

        A file of a step that has an error of its own is missing in both.
        """
        used: dict[str, UsedFile] = {}
        errors: list[FieldError] = []
        for name, source in request.parameters.sources.items():
            file = (
                self._asset(request, name, source)
                if isinstance(source, AssetSource)
                else self._output(request, name, source)
            )
            if isinstance(file, FieldError):
                errors.append(file)
            elif file is not None:
                used[name] = file
        return used, errors

    def _asset(self, request: StepRequest, name: str, source: AssetSource) -> UsedFile | FieldError:
        asset = self.assets.get(source.asset)
        if asset is None:
            return request.error(name, "is not one of your assets", code=FaultCode.UNKNOWN_ASSET)
        expected = None if asset.kind is None else expected_of_file(asset.kind, asset.facts)
        return UsedFile(
            source=source, expected=expected, facts=asset.facts, likely_kind=asset.likely_kind
        )

    def _output(
        self, request: StepRequest, name: str, source: StepOutput
    ) -> UsedFile | FieldError | None:
        maker = self.planned.get(source.step)
        if maker is None:
            return None
        number = output_number(maker, request.named.get(name), source.output)
        if number is None:
            return request.error(
                name,
                f"names an output that step {source.step!r} does not have",
                [output.name for output in maker.outputs],
                code=FaultCode.UNKNOWN_OUTPUT,
            )
        return UsedFile(
            source=StepOutput(step=source.step, output=number), expected=maker.expected[number]
        )


def output_number(maker: PlannedStep, name: str | None, number: int) -> int | None:
    """Return the number of the output that a reference names; None: the step has no such output."""
    if name is not None:
        names = [output.name for output in maker.outputs]
        return names.index(name) if name in names else None
    return number if 0 <= number < len(maker.outputs) else None


def expected_of_file(kind: MediaKind, facts: MediaFacts | None) -> Expected:
    """Return what is known of a stored file by its headers."""
    facts = facts or MediaFacts()
    seconds = None
    if kind in TIMED:
        length = facts.duration_seconds
        seconds = (
            UNKNOWN_SECONDS
            if length is None
            else Seconds(low=length, expected=length, worst=length)
        )
    return Expected(
        kind=kind,
        seconds=seconds,
        width=facts.width,
        height=facts.height,
        frame_rate=facts.frame_rate,
        has_sound=True if kind is MediaKind.AUDIO else facts.has_audio,
    )


def in_plan_order(names: Iterable[str], planned: Iterable[str]) -> tuple[str, ...]:
    """Return these names in the order of the plan."""
    selected = frozenset(names)
    return tuple(name for name in planned if name in selected)


def longest_path(steps: Sequence[PlannedStep], seconds: Mapping[str, int]) -> int:
    """Return the time until the last step has ended, each after those that it waits for."""
    return max(end_times(steps, seconds).values(), default=0)


def end_times(steps: Sequence[PlannedStep], seconds: Mapping[str, int]) -> dict[str, int]:
    """Return the time until each step has ended, if it waits for those of these steps only."""
    ends: dict[str, int] = {}
    for step in steps:
        start = max((ends.get(need, 0) for need in step.request.waits_for), default=0)
        ends[step.name] = start + seconds[step.name]
    return ends


def named_once(kinds: Iterable[tuple[str, MediaKind]]) -> Iterator[Output]:
    """Yield outputs with names that differ: a second `image` is `image-2`."""
    seen: dict[str, int] = {}
    for name, kind in kinds:
        seen[name] = seen.get(name, 0) + 1
        yield Output(name=name if seen[name] == 1 else f"{name}-{seen[name]}", kind=kind)
