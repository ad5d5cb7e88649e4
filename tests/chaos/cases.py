"""The exact crash points: each case names the moment at which work is held, and its fault.

Cases with the same fault and the same setting share a round: many executions held at different
points, one kill.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from deploy.local.servers.process import LocalError
from tests.chaos.kinds import LONG_SPEECH, SPEECH, Kind
from tests.chaos.traps import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The sandbox's behaviour in a round.

    faults: as for `POST /__control/faults`; each must fire.
    hides_running: fal's history omits running requests; only where no run takes longer than a
    horizon.
    refuses_first: the receiver refuses the first attempt of each webhook. kinds: of the orders in
    turn; empty: the mix of all.
    """

    image_seconds: float = 0.3
    video_seconds: float = 0.6
    callbacks: bool = True
    hides_running: bool = False
    refuses_first: bool = False
    faults: tuple[Mapping[str, Any], ...] = ()
    kinds: tuple[Kind, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case.

    side: processes whose connections have the moment: `worker`, `workers` (both), `api`,
    `receiver`; `none`: everything in flight.
    fault: a name in faults.py. verdict: what happens to the held bytes after the fault. at_once:
    the verdict itself is the fault. sent_once: no send held here may be lost.
    """

    name: str
    what: str
    fault: str
    side: str
    moment: str = ""
    verdict: Verdict = Verdict.DROP
    at_once: bool = False
    sent_once: bool = False
    alone: bool = False
    setting: Setting = field(default_factory=Setting)


class Phase(StrEnum):
    """Phase of a paid step at the fault: intent to response; response to cost; anything else."""

    PAYING = "intent to answer"
    BOUGHT = "answer to cost"
    ELSEWHERE = "elsewhere"


_PHASES: Final = {
    Phase.PAYING: (
        "commit:intent",
        "committed:intent",
        "create:sent",
        "create:answered",
        "commit:answer",
    ),
    Phase.BOUGHT: (
        "committed:answer",
        "poll:sent",
        "poll:answered",
        "commit:callback",
        "commit:settle",
    ),
}


def phase_of(moment: str) -> Phase:
    return next((phase for phase, moments in _PHASES.items() if moment in moments), Phase.ELSEWHERE)


TASK_DONE: Final = "rpc:RespondWorkflowTaskCompleted"
ACTIVITY_DONE: Final = "rpc:RespondActivityTaskCompleted"
WAIT_DONE: Final = "rpc:RespondActivityTaskCompletedById"


def _worker_dies(name: str, what: str, moment: str, verdict: Verdict = Verdict.DROP) -> Case:
    return Case(
        name=name, what=what, fault="kill worker", side="worker", moment=moment, verdict=verdict
    )


def _api_dies(name: str, what: str, moment: str) -> Case:
    return Case(name=name, what=what, fault="kill api", side="api", moment=moment)


def _cut(name: str, what: str, side: str, moment: str) -> Case:
    return Case(name=name, what=what, fault="cut", side=side, moment=moment, at_once=True)


def _dies_in_flight(name: str, what: str, fault: str) -> Case:
    return Case(
        name=name,
        what=what,
        fault=fault,
        side="none",
        alone=True,
        setting=Setting(video_seconds=1.5),
    )


def _speech_cut(name: str, what: str, fault: str, **params: str) -> Case:
    """Return a case that cuts the first answer to each order of speech: the purchase itself."""
    cut = {"provider": "elevenlabs", "fault": fault, "times": -1, "params": params}
    return Case(
        name=name,
        what=what,
        fault="cut",
        side="none",
        alone=True,
        setting=Setting(faults=(cut,), kinds=(SPEECH, SPEECH, LONG_SPEECH, SPEECH)),
    )


WORKER: Final = (
    _worker_dies("worker-before-intent", "kill -9 before the intent's COMMIT", "commit:intent"),
    _worker_dies("worker-intent-late", "the intent's COMMIT after its sender died", "commit:intent", Verdict.GO_ON),
    _worker_dies("worker-after-intent", "kill -9 after the intent's COMMIT", "committed:intent"),
    _worker_dies("worker-before-post", "kill -9 before the POST is read, and it never is", "create:sent"),
    _worker_dies("worker-post-late", "kill -9 before the POST is read; it is read after", "create:sent", Verdict.GO_ON),
    _worker_dies("worker-after-billing", "kill -9 after the provider billed, before its answer", "create:answered"),
    _worker_dies("worker-before-answer-commit", "kill -9 before the provider id's COMMIT", "commit:answer"),
    _worker_dies("worker-after-answer-commit", "kill -9 after the provider id's COMMIT", "committed:answer"),
    _worker_dies("worker-before-telling", "kill -9 before Temporal hears of a done activity", ACTIVITY_DONE),
    _worker_dies("worker-while-waiting", "kill -9 while the provider works", "poll:sent"),
    _worker_dies("worker-before-report", "kill -9 before the provider's answer is read", "poll:answered"),
    _worker_dies("worker-before-settle", "kill -9 before the COMMIT of the report and its cost", "commit:settle"),
    _worker_dies("worker-after-settle", "kill -9 after the COMMIT of the report and its cost", "committed:settle"),
    _worker_dies("worker-after-report", "kill -9 before Temporal has the end of a settled job", WAIT_DONE),
    _worker_dies("worker-before-put", "kill -9 before the file is stored", "put:sent"),
    _worker_dies("worker-after-put", "kill -9 after the file is stored, before its row", "put:answered"),
    _worker_dies("worker-before-finish", "kill -9 before the end's COMMIT", "commit:finish"),
    _worker_dies("worker-after-finish", "kill -9 after the end's COMMIT", "committed:finish"),
    Case(name="worker-before-delivery", what="kill -9 after a refused webhook, before its delivery is started",
         fault="kill worker", side="worker", moment="rpc:StartWorkflowExecution", setting=Setting(refuses_first=True)),
    _worker_dies("worker-before-webhook", "kill -9 after the attempt's row, before the webhook", "committed:attempt"),
    _worker_dies("worker-before-task-done", "kill -9 before a workflow task is answered", TASK_DONE),
    _worker_dies("worker-after-delivery", "kill -9 after the webhook, before it is written down", "commit:delivered"),
    Case(name="worker-during-webhook", what="kill -9 while the receiver has not answered", fault="kill workers",
         side="receiver", moment="webhook"),
)  # fmt: skip

API: Final = (
    _api_dies("api-before-accept", "kill -9 before the request's COMMIT", "commit:accept"),
    _api_dies(
        "api-after-accept",
        "kill -9 after the COMMIT, before the workflow is started",
        "committed:accept",
    ),
    _api_dies(
        "api-before-start", "kill -9 before Temporal has the start", "rpc:StartWorkflowExecution"
    ),
    _api_dies("api-before-202", "kill -9 before the 202", "done:StartWorkflowExecution"),
    _api_dies("api-in-callback", "kill -9 before a callback's COMMIT", "commit:callback"),
)

CUTS: Final = (
    _cut("cut-api-after-accept", "connection reset right after the request's COMMIT", "api", "committed:accept"),
    _cut("cut-before-intent", "connection reset before the intent's COMMIT", "workers", "commit:intent"),
    _cut("cut-after-intent", "connection reset right after the intent's COMMIT", "workers", "committed:intent"),
    _cut("cut-before-post", "provider's connection reset before the POST is read", "workers", "create:sent"),
    _cut("cut-after-billing", "provider's connection reset after it billed", "workers", "create:answered"),
    _cut("cut-before-answer-commit", "connection reset before the provider id's COMMIT", "workers", "commit:answer"),
    _cut("cut-after-answer-commit", "connection reset after the provider id's COMMIT", "workers", "committed:answer"),
    _cut("cut-after-settle", "connection reset right after the cost's COMMIT", "workers", "committed:settle"),
    _cut("cut-after-put", "storage's connection reset after it stored", "workers", "put:answered"),
    _cut("cut-after-finish", "connection reset right after the end's COMMIT", "workers", "committed:finish"),
    _cut("cut-temporal", "Temporal's connection reset when a done activity is told", "workers", ACTIVITY_DONE),
)  # fmt: skip

ZOMBIES: Final = (
    Case(name="zombie-before-post", what="stopped between intent and POST, woken after its successor",
         fault="stop worker", side="worker", moment="committed:intent", verdict=Verdict.GO_ON),
    Case(name="zombie-before-answer", what="stopped between POST and answer, woken after its successor",
         fault="stop worker", side="worker", moment="create:answered", verdict=Verdict.GO_ON),
)  # fmt: skip

DRAIN: Final = (
    Case(name="drain-before-answer", what="SIGTERM while a paid call has no answer yet", fault="term worker",
         side="worker", moment="create:answered", verdict=Verdict.GO_ON, sent_once=True),
    Case(name="drain-before-post", what="SIGTERM while a paid call is not read yet", fault="term worker", side="worker",
         moment="create:sent", verdict=Verdict.GO_ON, sent_once=True),
)  # fmt: skip

SERVERS: Final = (
    _dies_in_flight("temporal-dies", "kill -9 of Temporal", "kill Temporal"),
    _dies_in_flight("postgres-dies", "kill -9 of PostgreSQL", "kill PostgreSQL"),
    _dies_in_flight("s3-dies", "kill -9 of the object store", "kill S3"),
    Case(name="sandbox-dies", what="kill -9 of the provider after it billed", fault="kill Sandbox", side="workers",
         moment="create:answered"),
    _dies_in_flight("workers-die", "kill -9 of both workers", "kill workers"),
    _dies_in_flight("api-and-worker-die", "kill -9 of an API and a worker", "kill api and worker"),
    _dies_in_flight("all-die", "kill -9 of everything at once", "kill all"),
)  # fmt: skip

CALLBACKS: Final = (
    Case(name="callback-early", what="callback before the create answer, and the worker dies there",
         fault="kill worker", side="worker", moment="create:answered",
         setting=Setting(faults=({"fault": "callback_early", "times": -1},))),
    Case(name="callback-lost", what="no callback at all, and the worker dies while it polls", fault="kill worker",
         side="worker", moment="poll:sent", setting=Setting(faults=({"fault": "callback_lost", "times": -1},))),
    Case(name="callback-duplicated", what="every callback thrice, and the worker dies before the cost's COMMIT",
         fault="kill worker", side="worker", moment="commit:settle",
         setting=Setting(faults=({"fault": "callback_duplicate", "times": -1, "params": {"copies": 2}},))),
    Case(name="callback-to-the-dead", what="callbacks arrive while both workers are dead",
         fault="kill workers for 4 s", side="none", alone=True, setting=Setting(image_seconds=1.5, video_seconds=1.5)),
)  # fmt: skip

SPEECH_CUTS: Final = (
    _speech_cut("speech-cut-before-head", "the connection is cut before the head of speech", "drop_after_accept"),
    _speech_cut("speech-cut-after-head", "the connection is cut after the head of speech", "cut_body", after="head"),
    _speech_cut("speech-cut-in-body", "the connection is cut in the body of speech", "cut_body", after="middle"),
)  # fmt: skip

OPERATORS: Final = (
    _dies_in_flight("workflows-reset", "every running workflow reset to its beginning", "reset workflows"),
)  # fmt: skip

ALL: Final = (
    *WORKER,
    *API,
    *CUTS,
    *ZOMBIES,
    *DRAIN,
    *SERVERS,
    *CALLBACKS,
    *SPEECH_CUTS,
    *OPERATORS,
)


class UnknownCaseError(LocalError):
    """No case has this name."""


def by_name(names: list[str]) -> list[Case]:
    """Return the cases with these names.

    Raise UnknownCaseError.
    """
    known = {case.name: case for case in ALL}
    if unknown := [name for name in names if name not in known]:
        raise UnknownCaseError(f"no case {unknown[0]}: --list shows them")
    return [known[name] for name in names]


HOT: Final = ("commit:accept", "commit:settle", "commit:finish")
"""Before these COMMITs the service's day is locked, which blocks all other money transactions.
"""


LAST: Final = ("committed:finish",)
"""The end of the path, which nothing reaches while earlier points of it fill and then end the hold.
"""


def families(cases: list[Case]) -> list[list[Case]]:
    """Return groups of cases that can share a round, in their order."""
    found: dict[object, list[Case]] = {}
    for case in cases:
        own = case.alone or case.moment in HOT or (case.moment in LAST and not case.at_once)
        key = case.name if own else (case.fault, repr(case.setting))
        found.setdefault(key, []).append(case)
    return list(found.values())


HOLD_SECONDS: Final = (
    (("rpc:StartWorkflowExecution", "done:StartWorkflowExecution"), 2.0),  # its own time-out is 3 s
    (("commit:", "committed:"), 5.0),  # a transaction of a workflow has 8 s
    (("",), 9.0),
)
"""Maximum hold before the fault, so that no time-out of the product ends it first."""


def hold_seconds(moment: str) -> float:
    return next(seconds for starts, seconds in HOLD_SECONDS if moment.startswith(starts))
