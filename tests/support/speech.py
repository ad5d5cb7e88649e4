"""Orders of speech, as rows: an execution with one step."""

from core.domain.ids import UserId, new_execution_id
from core.domain.plans import Parameters, Plan, PlanType, Step, StepKind
from core.domain.prices import Quote
from core.providers.models import Model
from core.store.executions.executions import NewExecution, NewStep

SPEECH = "speech"


def new_speech(user_id: UserId, model: Model, quote: Quote, text: str) -> NewExecution:
    """Return an execution with one step of speech, held at this quote."""
    step = Step(
        name=SPEECH,
        kind=StepKind.AUDIO,
        provider="elevenlabs",
        model=model.id,
        deadline_seconds=model.deadline_seconds,
        usual_seconds=model.usual_seconds,
    )
    return NewExecution(
        execution_id=new_execution_id(),
        user_id=user_id,
        plan=Plan(type=PlanType.GENERATE_VIDEO, steps=(step,), result_step=SPEECH),
        steps=(NewStep(step=step, parameters=Parameters(values={"text": text}), quote=quote),),
        request={"text": text},
        metadata={},
        webhook_url=None,
        webhook_secret=None,
        deadline_seconds=3600,
    )
