"""Planning of paid steps: choose their models, check their inputs, price them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic.alias_generators import to_camel

from core.domain.media.content import MediaKind
from core.domain.plans import OnFailure, Parameters, Step, StepKind, StepOutput
from core.media.operations.port import Expected
from core.ordering.errors import FaultCode, FieldError
from core.ordering.planning.alternatives import alternative_fault, with_alternatives
from core.ordering.planning.catalogue import default_values, fitting_models
from core.ordering.planning.nodes.lengths import expected_outputs, outputs_of, shortened
from core.ordering.planning.nodes.planned import Files, PlannedStep, UsedFile, in_plan_order
from core.ordering.planning.step_requests import StepRequest, public_name
from core.platform.temporal.policies import PROVIDER_URL_LIFE, SERVED_MARGIN, SERVED_SECONDS_MIN
from core.providers.inputs import InputsError, Violation, complete_inputs
from core.providers.models import Lengths, MediaInput, Model, ModelInputs
from core.providers.port import Provider
from core.providers.pricing import UnpricedError
from core.providers.registry import Providers
from core.store.executions.executions import NewStep

LOOKUP_MARGIN_SECONDS: Final = 60
"""Lookups are made some time apart, and a provider's clock may be slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A paid step at one of its models. parameters: with the defaults of the service."""

    request: StepRequest
    provider: Provider
    model: Model
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A planned paid step at its models, of which one is bought."""

    planned: PlannedStep
    choices: tuple[_Choice, ...]


@dataclass(slots=True, kw_only=True)
class PurchasePlanner:
    """Chooses the models of paid steps, and collects what is not valid."""

    catalogue: Providers
    files: Files
    errors: list[FieldError]

    def plan(self, request: StepRequest, kind: StepKind) -> Purchase | None:
        """Return a step with its price; None if it has no model."""
        used, errors = self.files.used_by(request)
        choices = [
            choice
            for model in request.tried
            if (choice := self._choose(request, kind, model, used)) is not None
        ]
        if len(choices) < len(request.tried):
            return None
        first = choices[0]
        fault = alternative_fault([choice.model for choice in choices])
        if fault is not None:
            self.errors.append(FieldError(field=request.model_field, detail=fault))
        for error in (
            *errors,
            *(each for choice in choices for each in _wrong_files(choice, used)),
            *request.deadline_errors(max(choice.model.deadline_seconds for choice in choices)),
        ):
            if error not in self.errors:
                self.errors.append(error)
        inputs = [_inputs(choice, used) for choice in choices]
        new = self._price(choices, inputs)
        expected = {name: file.expected for name, file in used.items() if file.expected is not None}
        planned = PlannedStep(
            request=request,
            outputs=outputs_of(first.model),
            expected=expected_outputs(first.model, inputs[0], expected),
            longest_seconds=_longest_seconds(choices),
            new=new,
        )
        return Purchase(planned=planned, choices=tuple(choices))

    def _choose(
        self,
        request: StepRequest,
        kind: StepKind,
        model_id: str | None,
        used: Mapping[str, UsedFile],
    ) -> _Choice | None:
        chosen = self._find(request, kind, model_id, used)
        if chosen is None:
            return None
        provider, model = chosen
        ordered = request.parameters
        values = {**default_values(model, ordered.sources), **ordered.values}
        sources = {
            name: used[name].source if name in used else source
            for name, source in ordered.sources.items()
        }
        return _Choice(
            request=request,
            provider=provider,
            model=model,
            parameters=Parameters(values=values, sources=sources),
        )

    def _find(
        self,
        request: StepRequest,
        kind: StepKind,
        model_id: str | None,
        used: Mapping[str, UsedFile],
    ) -> tuple[Provider, Model] | None:
        kinds = {name: _kind(used.get(name)) for name in request.parameters.sources}
        # Without a model for these kinds of files, one for other kinds names what it takes.
        fitting = fitting_models(self.catalogue, kind, kinds) or fitting_models(
            self.catalogue, kind, dict.fromkeys(kinds)
        )
        if model_id is None:
            candidates = fitting[:1]
        else:
            candidates = [
                (provider, model)
                for provider, model in self.catalogue.models(kind)
                if model.id == model_id and request.provider in (None, provider.name)
            ]
        if candidates:
            return candidates[0]
        other = self.catalogue.find_model(model_id, request.provider) if model_id else None
        self.errors.append(no_model(request, fitting, other=other[1] if other else None))
        return None

    def _price(self, choices: Sequence[_Choice], inputs: Sequence[ModelInputs]) -> NewStep | None:
        """Price a step at each of its models: one of them is bought."""
        priced = [
            new
            for choice, each in zip(choices, inputs, strict=True)
            if (new := self._priced(choice, each)) is not None
        ]
        return with_alternatives(priced) if len(priced) == len(choices) else None

    def _priced(self, choice: _Choice, inputs: ModelInputs) -> NewStep | None:
        request, model = choice.request, choice.model
        try:
            quote = choice.provider.quote(model, inputs)
        except InputsError as error:
            self.errors += [_violated(request, model, fault) for fault in error.violations]
            return None
        except UnpricedError:
            self.errors.append(
                FieldError(
                    field=request.model_field,
                    detail="has no price for these parameters",
                    code=FaultCode.UNPRICED,
                )
            )
            return None
        planned = self.files.planned
        step = Step(
            name=request.name,
            kind=request.kind,
            provider=choice.provider.name,
            model=model.id,
            deadline_seconds=request.deadline(model.deadline_seconds),
            usual_seconds=model.usual_seconds,
            needs=in_plan_order(request.waits_for, planned),
            on_failure=request.on_failure,
            optional_needs=in_plan_order(request.optional_needs, planned),
            reuse=request.reuse,
        )
        return NewStep(step=step, parameters=choice.parameters, quote=quote)


def _kind(file: UsedFile | None) -> MediaKind | None:
    return file.expected.kind if file is not None and file.expected is not None else None


def _inputs(choice: _Choice, used: Mapping[str, UsedFile]) -> ModelInputs:
    model = choice.model
    media = {
        name: media_of(model, name, used[name]) if name in used else MediaInput()
        for name in choice.parameters.sources
    }
    return complete_inputs(model, choice.parameters.values, media)


def media_of(model: Model, name: str, file: UsedFile) -> MediaInput:
    """Return what is known of a file: the facts of an asset, the expected length of an output."""
    item = model.input(name)
    expected: Expected | None = file.expected
    if not isinstance(file.source, StepOutput) or expected is None or expected.seconds is None:
        return MediaInput(facts=file.facts)
    seconds = expected.seconds
    if item is not None and item.maximum is not None and seconds.low <= item.maximum:
        seconds = shortened(seconds, item.maximum)
    return MediaInput(
        facts=file.facts,
        lengths=Lengths(least=seconds.low, usual=seconds.expected, most=seconds.worst),
    )


def _wrong_files(choice: _Choice, used: Mapping[str, UsedFile]) -> Iterator[FieldError]:
    for name, file in used.items():
        item, kind = choice.model.input(name), _kind(file)
        expected = item.type.media if item is not None else None
        if expected is None or kind is None or kind is expected:
            continue
        detail = f"must be {ARTICLES[expected]}, not {ARTICLES[kind]}"
        if kind is MediaKind.VIDEO and expected is MediaKind.AUDIO:
            detail = "must be audio, not a video. Upload the sound alone"
        yield choice.request.error(name, detail, code=FaultCode.WRONG_MEDIA)


def _violated(request: StepRequest, model: Model, fault: Violation) -> FieldError:
    if not model.takes(fault.name):
        return request.error(fault.name, _not_taken(model), code=FaultCode.UNKNOWN_FIELD)
    code = FaultCode.NOT_SUPPORTED if fault.allowed else FaultCode.OUT_OF_RANGE
    if fault.is_missing:
        code = FaultCode.MISSING
    elif fault.is_too_long:
        code = FaultCode.TOO_LONG
    return request.error(fault.name, fault.detail, fault.allowed, code=code)


def _not_taken(model: Model) -> str:
    names = ", ".join(to_camel(public_name(item.name)) for item in model.inputs)
    return f"is not an input of {model.id}, which takes {names}"


ARTICLES: Final = {
    MediaKind.IMAGE: "an image",
    MediaKind.VIDEO: "a video",
    MediaKind.AUDIO: "audio",
    MediaKind.TRANSCRIPT: "a transcript",
    MediaKind.TEXT: "a text file",
}


def no_model(
    request: StepRequest,
    fitting: Iterable[tuple[Provider, Model]],
    *,
    other: Model | None = None,
) -> FieldError:
    """Return the error of a step without a model.

    fitting: what could be chosen. other: the model of that name, which makes other steps.
    """
    detail = "is not a model that can do this step"
    if other is not None and other.kind is not request.kind:
        detail = f"{detail}: {other.id!r} is of kind {other.kind}"
    return FieldError(
        field=request.model_field,
        detail=detail,
        allowed=[model.id for _, model in fitting],
        code=FaultCode.UNKNOWN_MODEL if other is None else FaultCode.WRONG_MODEL_KIND,
    )


def _longest_seconds(choices: Sequence[_Choice]) -> int:
    """Return the longest time of a step at each of its models, whose first sends were lost.

    The step waits for the provider's horizon before the loss is certain, and then sends once more.
    Without the horizon, a worker killed between intent and POST would fail an execution that lost
    nothing.
    """
    longest = max(each.request.deadline(each.model.deadline_seconds) for each in choices)
    return sum(
        each.provider.certainty_horizon_seconds(each.model) + LOOKUP_MARGIN_SECONDS + longest
        for each in choices
    )


def with_next(
    purchase: Purchase,
    purchases: Mapping[str, Purchase],
    steps: Iterable[PlannedStep],
    *,
    results: frozenset[str],
    deadline_seconds: int,
) -> bool:
    """Return whether a step's file may wait to be stored together with the next step's.

    One paid step uses it, by its URL alone. The provider serves it by far longer than the plan may
    take, and its URL is still passed on to the next model at the latest moment at which that step
    is submitted. results: the steps whose files are results of the plan.
    """
    name, choices = purchase.planned.name, purchase.choices
    users = [step for step in steps if name in step.request.waits_for]
    served_seconds = choices[0].model.served_seconds
    if name in results or len(users) != 1 or served_seconds is None:
        return False
    used_by = purchases.get(users[0].name)
    # The files of alternatives may be served more briefly. A file is stored at once if it may be
    # reused, or if its bytes decide whether the next step reuses a file.
    if used_by is None or len(choices) > 1:
        return False
    if purchase.planned.request.reuse or used_by.planned.request.reuse:
        return False
    taker, *alternatives = used_by.choices
    if alternatives:
        return False
    return (
        purchase.planned.request.on_failure is OnFailure.STOP
        and not any(
            taker.model.measures(parameter)
            for parameter, source in taker.parameters.sources.items()
            if isinstance(source, StepOutput) and source.step == name
        )
        and served_seconds >= max(SERVED_SECONDS_MIN, SERVED_MARGIN * deadline_seconds)
        and taker.model.deadline_seconds < PROVIDER_URL_LIFE.total_seconds()
    )
