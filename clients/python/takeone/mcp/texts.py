"""The short texts of results. They quote no text of a provider."""

from takeone.mcp.results import KeyLimits, Ordered, State

LOOK_AGAIN_SECONDS = 20


def state_text(state: State) -> str:
    """Return where an execution stands and what to do next."""
    about = f"{state.execution_id} is {state.status}"
    if state.status == "completed":
        where = state.video_url or (state.files[0].url if state.files else "no file")
        return f"{about}. It cost {state.settled} USD. File: {where}"
    if state.ended:
        code = f" ({state.error.code})" if state.error else ""
        more = " retry_execution keeps what is paid for." if state.error else ""
        return f"{about}{code}. It cost {state.settled} USD, {state.held} USD are held.{more}"
    if state.waits_for_decision:
        return f"{about} and waits for a decision of the user, which this server cannot take."
    return (
        f"{about}, {state.progress} % done. It may cost {state.worst} USD at most. Call "
        f"wait_execution, or get_execution in {LOOK_AGAIN_SECONDS} s."
    )


def ordered_text(ordered: Ordered, verb: str) -> str:
    """Return what was ordered and what the key may still spend. verb: `Ordered` or `Retried`."""
    parts = [f"{verb} {ordered.execution_id} ({ordered.status})."]
    if ordered.replayed:
        parts = [
            f"This request_id was used before: {ordered.execution_id} is the earlier order, and "
            "nothing new was bought. A new order needs a new request_id."
        ]
    if ordered.worst is not None:
        parts.append(f"It may cost {ordered.worst} USD at most.")
    if ordered.key is not None:
        parts.append(left_text(ordered.key))
    parts.append(
        f"A video usually takes minutes: call wait_execution, or get_execution in "
        f"{LOOK_AGAIN_SECONDS} s."
    )
    return " ".join(parts)


def left_text(key: KeyLimits) -> str:
    """Return what the key may still order."""
    left = [
        f"{spending.left} USD {when}"
        for spending, when in ((key.day, "today"), (key.month, "this month"))
        if spending.left is not None
    ]
    return (
        f"This key may still order for {' and '.join(left)}." if left else "The key has no limit."
    )
