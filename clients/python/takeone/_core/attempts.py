"""The attempts of one call: what is sent, and what follows from an answer or a failure."""

import random
import uuid
from typing import Any, Final, cast

import httpx
from pydantic import BaseModel, ValidationError

from takeone._core.answers import find_object, headers, problem, transport_error
from takeone._core.calls import REPLAYED_HEADER, Answer, Call, Repeat
from takeone._core.settings import LONGEST_RETRY_AFTER_SECONDS, Settings
from takeone.errors import (
    RETRYABLE,
    CallError,
    ConnectError,
    ProblemError,
    UnusableAnswerError,
)

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 8.0
IN_PROGRESS_TRIES: Final = 60
"""The first request with the same key may be fetching a file meanwhile."""
IN_PROGRESS: Final = "idempotency_in_progress"
KEY_CONFLICT: Final = "idempotency_conflict"
NOT_PROCESSED: Final = frozenset((408, 429))
"""Statuses of a request that had no effect."""
NOT_SOON: Final = frozenset(("provider_not_accepting", "service_budget_exceeded"))
"""Problems that last until an operator acts, or until the next day."""


class Attempts:
    """The attempts of one call. All of them have the same idempotency key and body."""

    def __init__(self, call: Call[BaseModel | None], settings: Settings) -> None:
        self._call = call
        self._settings = settings
        self._left = settings.retries
        self._in_progress_left = IN_PROGRESS_TRIES
        self._first_failure: CallError | None = None
        self.key = (
            (call.idempotency_key or str(uuid.uuid4())) if call.repeat is Repeat.KEYED else None
        )

    def request(self) -> dict[str, Any]:
        """Return the arguments of `httpx.Client.request`, except a file to upload."""
        sent = headers(self._settings, "application/json")
        if self.key is not None:
            sent["idempotency-key"] = self.key
        return {
            "method": self._call.method,
            "url": f"{self._settings.base_url}{self._call.path}",
            "params": dict(self._call.query),
            "json": self._call.body,
            "headers": sent,
            "timeout": self._settings.timeout,
        }

    def failed(self, failure: httpx.HTTPError | CallError) -> float:
        """Return how many seconds to wait before the next attempt, or raise the failure."""
        error = failure if isinstance(failure, CallError) else transport_error(failure, self.key)
        if self._call.repeat is Repeat.NEVER and not isinstance(error, ConnectError):
            self._raise(error, failure)
        return self._pause_or_raise(error, cause=failure)

    def answered(self, answer: Answer) -> float | None:
        """Return None if the call has succeeded, else the seconds before the next attempt.

        Raise the problem if the call is not sent again.
        """
        if answer.status < 400:
            return None
        refusal = problem(answer, self.key)
        if refusal.code == IN_PROGRESS and self._in_progress_left > 0:
            self._in_progress_left -= 1
            return refusal.retry_after or 1.0
        if refusal.code == KEY_CONFLICT and self._first_failure is not None:
            raise self._first_failure from refusal
        if not self._may_repeat(answer, refusal):
            self._raise(refusal)
        return self._pause_or_raise(refusal, retry_after=refusal.retry_after)

    def _may_repeat(self, answer: Answer, refusal: ProblemError) -> bool:
        if answer.status not in RETRYABLE or refusal.code in NOT_SOON:
            return False
        if "retryable" in refusal.document and not refusal.retryable:
            return False
        return self._call.repeat is not Repeat.NEVER or answer.status in NOT_PROCESSED

    def _pause_or_raise(
        self,
        error: CallError,
        *,
        retry_after: float | None = None,
        cause: BaseException | None = None,
    ) -> float:
        self._first_failure = self._first_failure or error
        if self._left == 0 or (retry_after or 0) > LONGEST_RETRY_AFTER_SECONDS:
            self._raise(error, cause)
        used = self._settings.retries - self._left
        self._left -= 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**used)
        return retry_after or pause * random.uniform(0.75, 1)  # noqa: S311 - spreads retries

    def _raise(self, error: CallError, cause: BaseException | None = None) -> None:
        raise error from (cause if cause is not error else None)

    def read(self, answer: Answer, context: object) -> BaseModel | None:
        """Return the result of a successful answer; None for one without a body.

        context: the client, which the methods of a result use.
        """
        if answer.status >= 300:
            raise UnusableAnswerError(
                f"{self._call.method} {self._call.path} was redirected to "
                f"{answer.headers.get('location')}. Set base_url to the address of the service.",
                idempotency_key=self.key,
            )
        if self._call.result is None:
            return None
        model = cast("type[BaseModel]", self._call.result)
        document = find_object(answer.body) if answer.body else {}
        if document is None:
            raise UnusableAnswerError(
                f"{self._call.method} {self._call.path} was answered with status {answer.status} "
                "and no JSON object. Is base_url the address of the service?",
                idempotency_key=self.key,
                request_id=answer.headers.get("x-request-id"),
            )
        if REPLAYED_HEADER in answer.headers:
            document = {**document, "replayed": answer.headers[REPLAYED_HEADER] == "true"}
        try:
            return model.model_validate(document, context=context)
        except ValidationError as error:
            raise UnusableAnswerError(
                f"{self._call.method} {self._call.path} was answered with status {answer.status} "
                f"and an unknown form: {error.error_count()} members are not as documented",
                idempotency_key=self.key,
                request_id=answer.headers.get("x-request-id"),
            ) from error
