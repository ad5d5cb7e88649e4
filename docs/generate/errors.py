"""The page of all failure codes, from the two tables of the product."""

from api.http.problems.documents import STATUS
from api.http.problems.texts import TITLES
from core.domain.failures import FAILURES, Acts, FailureCode
from docs.generate.markdown import code, page, table

INTRO = """\
Every failure has one code from this closed list. A refused request is answered with a problem
document (`application/problem+json`, RFC 9457) that has the code; a failed execution has the code
in its `error`. *Retryable* means that the same request may succeed later without a change. *Acts*
is the party that has to change something first; empty where waiting is enough. Many of these codes
end an execution and never answer a request; their HTTP status is then what a synchronous request
would have received."""

EXAMPLE = """\
## A problem document

```json
{"type": "urn:takeone:problem:budget_exceeded", "title": "Budget exceeded", "status": 402,
 "detail": "…", "instance": "/api/generate-video", "code": "budget_exceeded", "retryable": false,
 "spent": "0", "requestId": "req_…"}
```

A problem may have further members: `errors` with one entry per invalid field, `missingScopes`,
`rateLimit`, or the limits that were exceeded. `spent` is what the refused request itself spent:
always `"0"`."""


def render() -> str:
    """Return the page: one row for each code, in the order of the list."""
    rows = [
        (
            code(failure.value),
            str(STATUS[failure]),
            TITLES[failure],
            "yes" if FAILURES[failure].retryable else "no",
            _party(FAILURES[failure].acts),
            FAILURES[failure].sentence,
        )
        for failure in FailureCode
    ]
    columns = ("code", "status", "title", "retryable", "acts", "text")
    return page("Error codes", INTRO, table(columns, rows), EXAMPLE)


def _party(acts: Acts) -> str:
    """Return the party that has to act; empty if the condition ends by itself."""
    return "" if acts is Acts.NONE else acts.value
