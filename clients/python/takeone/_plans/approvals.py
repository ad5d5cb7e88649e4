"""The builder of approval steps, which wait for a decision and are free of charge."""

from collections.abc import Sequence

from takeone._plans.nodes import Node, OnFailure, Output
from takeone._plans.steps import step


def approval(
    *options: Node | Output,
    expires_after_seconds: int | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
) -> Node:
    """Wait until `executions.approve` chooses one of the options; its file is the step's file.

    options: steps with files of one kind. A step with a count stands for all of its candidates,
    and a single option asks whether to continue. expires_after_seconds: 60 to 604800; by default
    a day. Then, and after a rejection, the steps that use this one are not bought.
    """
    if not options:
        raise ValueError("An approval step needs at least one option.")
    params = {"options": list(options), "expires_after_seconds": expires_after_seconds}
    return step("approval", params, name=name, needs=needs, on_failure=on_failure)
