"""Cases that only the planted bugs need, besides those in cases.py."""

from dataclasses import replace
from typing import Final

from tests.chaos.cases import Case, Setting, by_name
from tests.chaos.kinds import WITH_ALTERNATIVE

HELD = 3
"""Executions at a case's point in one round."""

# A callback often reveals the id that a bug has lost before the bug does harm, which repairs it. No
# callback arrives here.
_QUIET: Final = Setting(hides_running=True, image_seconds=1.0, video_seconds=1.0, callbacks=False)


def _billed(status: int) -> Case:
    params = {"status": status, "form": "vendor"}
    return Case(
        name=f"billed-{status}",
        what=f"the provider accepts, bills, and answers {status} in its own words",
        fault="cut",
        side="none",
        alone=True,
        # Frequent enough for each step of each order to meet it once, but not so frequent that
        # repeated sends would never succeed.
        setting=replace(
            _QUIET,
            faults=({"fault": "answer_502_after_accept", "times": 2 * HELD, "params": params},),
        ),
    )


def _spoiled(name: str, what: str, **fault: object) -> Case:
    """Return a case in which each read that decides meets the fault once or more."""
    return Case(
        name=name,
        what=what,
        fault="cut",
        side="none",
        alone=True,
        setting=Setting(faults=({"times": 2 * HELD, **fault},)),
    )


CALM: Final = Case(name="calm", what="no fault at all", fault="cut", side="none", alone=True)
"""A bug that shows without a fault proves nothing about the faults."""
_OWN: Final = (
    CALM,
    _billed(409),
    _billed(500),
    _spoiled(
        "result-504",
        "the result of a finished job answers 504 in the vendor's form",
        operation="result",
        fault="error_5xx_before_accept",
        params={"status": 504},
    ),
    _spoiled(
        "result-400",
        "the result of a finished job answers 400 in the vendor's form",
        operation="result",
        fault="refuse",
        params={"status": 400},
    ),
    _spoiled(
        "file-404",
        "the file of a finished job is not served yet",
        operation="file",
        fault="refuse",
        params={"status": 404},
    ),
    _spoiled(
        "file-html",
        "the file of a finished job is an HTML page with 200",
        operation="file",
        fault="html_answer",
        params={"status": 200},
    ),
    _spoiled(
        "file-half",
        "half of the file of a finished job arrives, with a matching length",
        fault="wrong_bytes",
        params={"form": "truncated"},
    ),
    replace(by_name(["cut-after-billing"])[0], name="cut-after-billing-quiet", setting=_QUIET),
    replace(
        by_name(["worker-after-billing"])[0], name="worker-after-billing-quiet", setting=_QUIET
    ),
    # Longer than a submit waits, which would otherwise have the end of the image.
    replace(
        by_name(["worker-after-report"])[0],
        name="worker-after-report-slow",
        setting=Setting(image_seconds=11.0),
    ),
    # A callback would make a look due again.
    replace(
        by_name(["worker-while-waiting"])[0], name="worker-while-waiting-quiet", setting=_QUIET
    ),
    replace(
        by_name(["cut-after-billing"])[0],
        name="cut-after-billing-alternative",
        setting=replace(_QUIET, kinds=(WITH_ALTERNATIVE,)),
    ),
    # Longer than the two looks of a look-up are apart, shorter than the horizon.
    replace(
        by_name(["cut-after-billing"])[0],
        name="cut-after-billing-hidden",
        setting=replace(_QUIET, image_seconds=4.0, video_seconds=4.0),
    ),
)
OWN_CASES: Final = {case.name: case for case in _OWN}


def case_of(name: str) -> Case:
    return OWN_CASES[name] if name in OWN_CASES else by_name([name])[0]
