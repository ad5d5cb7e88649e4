"""What an order can request: the port between the routes and the planner."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, Self

from core.domain.ids import AssetId
from core.domain.media.content import MediaKind
from core.domain.plans import AssetSource, PlanType, Source, StepKind
from core.ordering.assets.sources import RequestedSource, imported_files
from core.ordering.errors import FaultCode, FieldError, InvalidFieldsError
from core.ordering.planning.nodes.purchases import ARTICLES
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import KnownFile, OutputRequest, PricedPlan, plan_steps
from core.providers.registry import Providers

RECORDING: Final = "source"
"""The parameter of a transcript step with what is transcribed."""
VOICE: Final = "voice"
"""The parameter of a speech step with its voice."""


class PlanRequest(Protocol):
    """A validated request that can be planned."""

    def to_json(self) -> dict[str, object]:
        """Return the fields that are set, for the execution's row."""
        ...

    @property
    def files(self) -> Mapping[str, RequestedSource]:
        """The files that the user names, by the field, in snake case, which errors name."""
        ...

    @property
    def sounds(self) -> frozenset[str]:
        """The names among `files` of which only the sound is used: a video is taken, too."""
        ...

    @property
    def voiced(self) -> Sequence[StepRequest]:
        """The speech steps that name a voice."""
        ...

    def with_sources(self, sources: Mapping[str, Source]) -> Self:
        """Return the request with these sources in place of `files`: no URL is left."""
        ...

    def plan(self, catalogue: Providers, assets: Mapping[AssetId, KnownFile]) -> PricedPlan:
        """Return the priced plan. Raises InvalidFieldsError that names every invalid field.

        assets: those of the user that the request names.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsRequest:
    """A request that names its steps.

    files: by the name of the parameter after the step's field_prefix.
    result_step, result_field, outputs: see plan_steps. stored: its fields, for the execution's row.
    declared: the kind of file that a variable declares, by the name of the file.
    """

    type: PlanType
    steps: tuple[StepRequest, ...]
    result_step: str | None
    result_field: str = "result"
    outputs: tuple[OutputRequest, ...] = ()
    stored: Mapping[str, object]
    files: Mapping[str, RequestedSource] = field(default_factory=dict[str, RequestedSource])
    declared: Mapping[str, MediaKind] = field(default_factory=dict[str, MediaKind])

    def to_json(self) -> dict[str, object]:
        return dict(self.stored)

    @property
    def sounds(self) -> frozenset[str]:
        return frozenset(
            name
            for step in self.steps
            if step.kind is StepKind.TRANSCRIPT
            and (name := f"{step.field_prefix}{RECORDING}") in self.files
        )

    @property
    def voiced(self) -> Sequence[StepRequest]:
        return [
            step
            for step in self.steps
            if step.kind is StepKind.AUDIO and VOICE in step.parameters.values
        ]

    def with_sources(self, sources: Mapping[str, Source]) -> Self:
        return replace(self, files=sources)

    def plan(self, catalogue: Providers, assets: Mapping[AssetId, KnownFile]) -> PricedPlan:
        sources = imported_files(self.files)
        faults = list(self._other_kinds(sources, assets))
        try:
            plan = plan_steps(
                catalogue,
                [_with_sources(step, sources) for step in self.steps],
                plan_type=self.type,
                result_step=self.result_step,
                result_field=self.result_field,
                outputs=self.outputs,
                assets=assets,
            )
        except InvalidFieldsError as error:
            reported = {each.field for each in error.errors}
            faults = [fault for fault in faults if fault.field not in reported]
            raise InvalidFieldsError(*faults, *error.errors) from None
        if faults:
            raise InvalidFieldsError(*faults)
        return plan

    def _other_kinds(
        self, sources: Mapping[str, Source], assets: Mapping[AssetId, KnownFile]
    ) -> Iterator[FieldError]:
        """Yield an error for each file that is not of the kind that its variable declares.

        The sound of a video may stand in its place already.
        """
        for name, kind in self.declared.items():
            source = sources[name]
            known = assets.get(source.asset) if isinstance(source, AssetSource) else None
            if known is None or known.kind in (None, kind) or name in self.sounds:
                continue
            yield FieldError(
                field=name,
                detail=f"must be {ARTICLES[kind]}, as the variable declares, and is "
                f"{ARTICLES[known.kind]}",
                code=FaultCode.WRONG_MEDIA,
            )


def plan_without(
    faults: Sequence[FieldError],
    request: PlanRequest,
    catalogue: Providers,
    assets: Mapping[AssetId, KnownFile],
) -> PricedPlan:
    """Return the priced plan of a request without faults. Raises InvalidFieldsError with all."""
    try:
        plan = request.plan(catalogue, assets)
    except InvalidFieldsError as error:
        raise InvalidFieldsError(*faults, *error.errors) from None
    if faults:
        raise InvalidFieldsError(*faults)
    return plan


def _with_sources(step: StepRequest, sources: Mapping[str, Source]) -> StepRequest:
    """Return the step with the sources whose fields are among its parameters."""
    prefix = step.field_prefix
    own = {
        name.removeprefix(prefix): source
        for name, source in sources.items()
        if name.startswith(prefix)
    }
    return replace(step, parameters=replace(step.parameters, sources=own))
