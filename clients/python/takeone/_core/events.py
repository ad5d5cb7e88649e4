"""Events of streams as results with types."""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from takeone._core.answers import json_object
from takeone._core.sse import ServerEvent
from takeone.errors import UnusableAnswerError

M = TypeVar("M", bound=BaseModel)

MEMBERS: Final[Mapping[str, str]] = {
    "snapshot": "execution",
    "progress": "progress",
    "job": "job",
    "cost": "cost",
    "end": "execution",
}
"""Where the data of an event of an execution is, by its type."""
EXECUTION: Final = frozenset(("snapshot", "end"))
END: Final = "end"


def execution_event(model: type[M], event: ServerEvent, context: object) -> M:
    """Return an event of an execution. context: the client, for the methods of the execution."""
    data = json_object(event.data)
    number = re.fullmatch(r"\d{1,18}", event.id or "")
    members: dict[str, Any] = {
        "type": event.type,
        "sequence": None if number is None else int(number[0]),
        "data": data,
    }
    if event.type in MEMBERS:
        members[MEMBERS[event.type]] = data
    return _read(model, members, context)


def document(model: type[M], event: ServerEvent, context: object) -> M | None:
    """Return the execution of an event that has one."""
    if event.type not in EXECUTION:
        return None
    return _read(model, json_object(event.data), context)


def account_event(model: type[M], event: ServerEvent) -> M:
    """Return an event of the account."""
    return _read(model, {**json_object(event.data), "type": event.type}, None)


def offer_of(model: type[M], event: ServerEvent) -> M:
    """Return a webhook for a listener."""
    return _read(model, json_object(event.data), None)


def _read(model: type[M], members: Mapping[str, Any], context: object) -> M:
    try:
        return model.model_validate(members, context=context)
    except ValidationError as error:
        raise UnusableAnswerError(
            f"An event has an unknown form: {error.error_count()} members are not as documented"
        ) from error
