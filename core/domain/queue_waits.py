"""Estimates of how long a new execution will wait for a slot."""


def slot_wait_seconds(
    *, waiting: int, running_limit: int, recent_run_seconds: float | None, usual_seconds: float
) -> float:
    """Return the wait of the last of a user's waiting executions for a slot of its user.

    The user's slots end `running_limit` executions in the time that one takes. recent_run_seconds:
    what the user's executions took recently; without any, the usual time of this one's steps.
    """
    seconds = usual_seconds if recent_run_seconds is None else recent_run_seconds
    return max(waiting, 0) * seconds / running_limit


def provider_wait_seconds(
    *, work_seconds: float, own_work_seconds: float, users: int, slots: int
) -> float:
    """Return the wait for a provider whose slots are shared fairly among the users that wait.

    work_seconds: how long all open jobs occupy a slot, added up. own_work_seconds: those of the
    user, this order included. A user waits for its own work at its share of the slots, and never
    longer than for all work at all slots.
    """
    all_work = max(work_seconds, own_work_seconds)
    return min(all_work, own_work_seconds * max(users, 1)) / slots
