"""The decision what the response of a read means: a failed read decides nothing about a job.

`READS` lists every combination that carries an answer. Anything else is UNAVAILABLE: the caller
reads again at the next poll, until the job's deadline.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.providers.http.responses import Response, as_list, as_object, as_text, unavailable


class Read(StrEnum):
    """An operation that is safe to repeat."""

    STATUS = "status"
    RESULT = "result"
    LIST = "list"
    ACCOUNT = "account"


class Form(StrEnum):
    """The form of a response body, each with its meaning in words."""

    EXPECTED = "a result, or the member that every genuine success has"
    TYPED_ERROR = "a `detail` list of typed errors, or a documented `error_type`"
    FLAT_ERROR = "any other JSON object"
    UNREADABLE = "HTML, text, an empty or a cut body"


class Meaning(StrEnum):
    """What a response proves.

    ERROR_CLAIMED: the job failed if the provider's status or history confirms it.
    """

    ANSWERED = "answered"
    ERROR_CLAIMED = "error_claimed"
    KEY_REFUSED = "key_refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRule:
    """One row: these statuses with this form of body have this meaning for this read."""

    read: Read
    statuses: tuple[int, ...]
    form: Form
    meaning: Meaning


_MODEL_ERRORS: Final = (400, 413, 415, 422, 499, 500, 502, 503, 504)

_ERROR_MEMBERS: Final = frozenset({"detail", "error"})

READS: Final = (
    ReadRule(read=Read.STATUS, statuses=(200, 202), form=Form.EXPECTED, meaning=Meaning.ANSWERED),
    ReadRule(read=Read.RESULT, statuses=(200,), form=Form.EXPECTED, meaning=Meaning.ANSWERED),
    ReadRule(
        read=Read.RESULT,
        statuses=_MODEL_ERRORS,
        form=Form.TYPED_ERROR,
        meaning=Meaning.ERROR_CLAIMED,
    ),
    ReadRule(read=Read.LIST, statuses=(200,), form=Form.EXPECTED, meaning=Meaning.ANSWERED),
    ReadRule(read=Read.ACCOUNT, statuses=(200,), form=Form.EXPECTED, meaning=Meaning.ANSWERED),
    *(
        ReadRule(read=Read.ACCOUNT, statuses=(401, 403), form=form, meaning=Meaning.KEY_REFUSED)
        for form in (Form.EXPECTED, Form.TYPED_ERROR, Form.FLAT_ERROR)
    ),
)
"""Every combination with a meaning other than UNAVAILABLE."""


def read_meaning(read: Read, response: Response, *, member: str | None = None) -> Meaning:
    """Return what a response proves.

    member: the member that a genuine success has; None where any object counts that is
    not empty and has no error.
    """
    form = _form(response.object(), member)
    return next(
        (
            rule.meaning
            for rule in READS
            if rule.read is read and response.status_code in rule.statuses and rule.form is form
        ),
        Meaning.UNAVAILABLE,
    )


def key_accepted(response: Response, member: str) -> bool:
    """Return whether a read of the account shows that the provider accepts its key.

    member: a member that every genuine success body has.
    Raises ProviderUnavailableError if the response proves neither.
    """
    meaning = read_meaning(Read.ACCOUNT, response, member=member)
    if meaning is Meaning.UNAVAILABLE:
        raise unavailable(response)
    return meaning is Meaning.ANSWERED


def _form(body: Mapping[str, object], member: str | None) -> Form:
    if not body:
        return Form.UNREADABLE
    if is_typed_error(body):
        return Form.TYPED_ERROR
    if member is None:
        return Form.FLAT_ERROR if _ERROR_MEMBERS & body.keys() else Form.EXPECTED
    return Form.EXPECTED if member in body else Form.FLAT_ERROR


def is_typed_error(body: Mapping[str, object]) -> bool:
    """Return whether a body is an error with a machine-readable type."""
    listed = [as_object(item) for item in as_list(body.get("detail"))]
    typed = bool(listed) and all(as_text(item.get("type")) for item in listed)
    return typed or (bool(as_text(body.get("detail"))) and bool(as_text(body.get("error_type"))))
