"""The page of what a provider's response to a read means, from the table in code."""

from core.providers.http.read_outcome import READS, Form
from docs.generate.markdown import code, codes, page, paragraph, table

INTRO = """\
What a response to a read proves. Combinations that are not listed are *unavailable*, in particular
404, 408, 409, 429, redirects, HTML, empty, cut or oversized bodies, and connections that fail.
Takeone reads again at the next poll, up to the job's deadline. Both providers use this table;
Replicate has no separate read of a result. `tests/providers/test_read_table.py` compares it with
raw sockets."""

EVIDENCE = """\
`error_claimed` ends a job as failed only if the provider confirms it: fal's status contains an
`error`, or fal's request history lists the request with an error status. Otherwise the result is
read again, and the hold stays. After the deadline the reconciler settles the open bill."""


def render() -> str:
    """Return the page: the forms of a body, and one row for each rule."""
    forms = table(("form", "meaning"), [(code(form.name.lower()), form.value) for form in Form])
    rules = table(
        ("read", "status", "form", "meaning"),
        [
            (
                code(rule.read),
                codes(map(str, rule.statuses)),
                code(rule.form.name.lower()),
                code(rule.meaning),
            )
            for rule in READS
        ],
    )
    return page("Provider reads", INTRO, rules, paragraph(EVIDENCE), "## Forms of a body", forms)
