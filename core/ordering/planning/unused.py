"""Steps whose files are neither used nor results: a fault where they cost money."""

from collections.abc import Iterator, Mapping, Sequence

from core.domain.money import usd_text
from core.ordering.errors import FaultCode, FieldError
from core.ordering.planning.nodes.planned import PlannedStep
from core.ordering.planning.step_requests import StepRequest, end_steps


def unused_steps(
    ordered: Sequence[StepRequest], planned: Mapping[str, PlannedStep], results: frozenset[str]
) -> Iterator[tuple[bool, FieldError]]:
    """Yield each step that no other step waits for and that is no result, paid ones with True.

    results: the names of the steps whose files are results.
    """
    requests = {request.name: request for request in ordered}
    for name in end_steps(ordered):
        step = planned.get(name)
        if name in results or step is None or step.new is None:
            continue
        worst = step.new.quote.worst_nano_usd
        is_paid = worst > 0
        cost = f" It would cost up to {usd_text(worst)} USD." if is_paid else ""
        yield (
            is_paid,
            FieldError(
                field=requests[name].path.rstrip("/"),
                detail=f"is used by no other step and is no output.{cost} Name the step in "
                "outputs, or remove it",
                code=FaultCode.UNUSED_STEP,
            ),
        )
