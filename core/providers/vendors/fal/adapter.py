"""Adapter for fal: queue, request history and Ed25519 callbacks.

Source: docs.fal.ai and fal's own clients, read 2026-11.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode

import httpx

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import CancelOutcome, JobReport, ProviderHandle
from core.domain.prices import Quote
from core.domain.states import JobState
from core.providers import pricing
from core.providers.callbacks import FetchedKeys, checked_timestamp, ed25519_keys, verify_ed25519
from core.providers.entries import IMAGE, IMAGES, VIDEO
from core.providers.http.create_outcome import create_outcome
from core.providers.http.handles import HandleFactory
from core.providers.http.read_outcome import Meaning, Read, key_accepted, read_meaning
from core.providers.http.responses import (
    as_job_id,
    as_object,
    as_text,
    iso_utc,
    parsed_json,
    unavailable,
)
from core.providers.http.transport import DELIVERY_SECONDS, ProviderHttp, checked_key
from core.providers.inputs import build_body
from core.providers.lists.matching import WINDOW, Candidate, Inputs, later_jobs, match_candidates
from core.providers.lists.reader import ListApi, ListReader
from core.providers.models import Model, ModelInputs
from core.providers.port import (
    Callback,
    CallbackRefusedError,
    Cost,
    CreateAnswer,
    CreateRequest,
    FindAnswer,
    Lookup,
)
from core.providers.vendors.fal.catalogue.images import FLUX_SCHNELL
from core.providers.vendors.fal.catalogue.models import MODELS
from core.providers.vendors.fal.catalogue.videos import SEEDANCE_PRO
from core.providers.vendors.fal.wire import (
    cancelled_report,
    ended_report,
    has_error,
    history_shows_error,
    read_candidate,
    read_refusal,
)

# Disables fal's own retries (up to ten per request) and its rerouting to equivalent endpoints,
# which may have another price and would hide the request in another endpoint's history.
_SINGLE_RUN_HEADERS: Final[Mapping[str, str]] = {
    "x-fal-no-retry": "1",
    "x-app-fal-disable-fallback": "true",
}
_CANCEL_OUTCOMES: Final[Mapping[int, CancelOutcome]] = {
    200: CancelOutcome.CANCELLED,
    202: CancelOutcome.REQUESTED,
    400: CancelOutcome.TOO_LATE,
    404: CancelOutcome.NOTHING,
}


@dataclass(frozen=True, slots=True)
class ByRunTime:
    """Seconds for quick models, such as those of images, and for all others."""

    quick: int
    long: int

    def of(self, model: Model) -> int:
        return self.quick if model.quick else self.long


class FalProvider:
    """The fal adapter.

    URLs: without a trailing slash. start_seconds: how long a request may wait for its start.
    horizon_seconds: the start deadline plus the longest run plus the history's lag.
    """

    name: str = "fal"
    models: Sequence[Model] = MODELS

    def __init__(
        self,
        http: ProviderHttp,
        *,
        key: str,
        queue_url: str,
        api_url: str,
        jwks_url: str,
        start_seconds: ByRunTime,
        horizon_seconds: ByRunTime,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._auth = {"authorization": f"Key {checked_key(self.name, key)}"}
        self._queue_url, self._jwks_url = queue_url, jwks_url
        self._history_url = f"{api_url}/models/requests/by-endpoint"
        urls = ("status_url", "response_url", "cancel_url")
        self._handles = HandleFactory(provider=self.name, base_url=queue_url, url_names=urls)
        self._start_seconds, self._horizon_seconds = start_seconds, horizon_seconds
        self._now = now
        self._keys = FetchedKeys(self._fetch_keys)
        self._lists: dict[str, ListReader] = {}

    def certainty_horizon_seconds(self, model: Model) -> int:
        """Return the start deadline plus the longest run plus the history's lag."""
        return self._horizon_seconds.of(model)

    def settled_seconds(self, model: Model) -> int:
        """Return the delivery of the request plus the start deadline plus the longest run."""
        return DELIVERY_SECONDS + self._start_seconds.of(model) + model.longest_run_seconds

    def quote(self, model: Model, inputs: ModelInputs) -> Quote:
        return pricing.quote(model, inputs)

    def cost(self, model: Model, inputs: ModelInputs, report: JobReport) -> Cost:
        """Return the cost by `x-fal-billable-units`, else of the volume that was held for."""
        return pricing.cost(model, inputs, report, charged=report.charged is True)

    def create_request(
        self, model: Model, inputs: ModelInputs, callback_url: str | None
    ) -> CreateRequest:
        body = build_body(model, inputs)
        query = "?" + urlencode({"fal_webhook": callback_url}) if callback_url else ""
        # fal drops a request that has not started by then; the rest of the deadline is for the run.
        start_seconds = min(self._start_seconds.of(model), model.deadline_seconds * 4 // 5)
        return CreateRequest(
            model=model.id,
            url=f"{self._queue_url}/{model.id}{query}",
            body=body,
            # X-Fal-Store-IO stays on: a look-up of a lost request needs the stored inputs.
            headers={**_SINGLE_RUN_HEADERS, "x-fal-request-timeout": str(start_seconds)},
        )

    async def submit(
        self, request: CreateRequest, *, timeout_seconds: float, not_after: float
    ) -> CreateAnswer:
        sent = await self._http.post_once(
            request,
            self._auth,
            self._queue_url,
            timeout_seconds=timeout_seconds,
            not_after=not_after,
        )
        return create_outcome(
            sent, lambda response: self._handle(request.model, response.object()), read_refusal
        )

    def _handle(self, model_id: str, body: Mapping[str, object]) -> ProviderHandle | None:
        return self._handles.make(model_id, body.get("request_id"), body)

    def file_headers(self, url: str) -> Mapping[str, str]:
        return {}

    async def find(self, lookup: Lookup) -> FindAnswer:
        """Search the history, which reliably shows a request only after its end.

        The result is therefore authoritative only past the model's horizon.
        """
        model_id = lookup.request.model
        model = self._model(model_id) or SEEDANCE_PRO
        horizon = timedelta(seconds=self._horizon_seconds.of(model))
        if (reader := self._lists.get(model_id)) is None:
            reader = self._lists[model_id] = ListReader(self._http, self._history(model_id))
        listed = await reader.read(
            lookup.sent_from - WINDOW, lookup.sent_until + horizon + WINDOW, lookup
        )
        inputs = Inputs.of(lookup.request.body)
        match = match_candidates(listed.jobs, inputs, lookup, listed.clock)
        return FindAnswer(
            matches=self._handles.make_all(model_id, match.job_ids),
            doubtful=tuple(map(ProviderJobId, match.doubtful)),
            authoritative=listed.complete and not match.ambiguous,
            looked_at=listed.looked_at,
            clock=listed.clock,
            later=later_jobs(listed.jobs, lookup, self.settled_seconds(model)),
        )

    def _model(self, model_id: str) -> Model | None:
        """Return a model, None if it was removed."""
        return next((each for each in self.models if each.id == model_id), None)

    def _history(self, model_id: str) -> ListApi:
        def first_url(start: datetime, end: datetime | None, size: int) -> str:
            query = {"endpoint_id": model_id, "start": iso_utc(start), "expand": "payloads"}
            if end is not None:
                query["end"] = iso_utc(end)
            return f"{self._history_url}?{urlencode(query | {'limit': str(size)})}"

        def next_url(url: str, members: Mapping[str, object]) -> str | None:
            cursor = as_text(members.get("next_cursor"))
            return str(httpx.URL(url).copy_set_param("cursor", cursor)) if cursor else None

        def read_item(item: Mapping[str, object]) -> Candidate | None:
            return read_candidate(item) if item.get("endpoint_id") == model_id else None

        return ListApi(
            headers=self._auth,
            member="items",
            ignored=("json_output",),
            page_sizes=(100, 10, 1),
            first_url=first_url,
            next_url=next_url,
            is_last=lambda members: members.get("has_more") is not True,
            read_item=read_item,
        )

    async def status(self, handle: ProviderHandle) -> JobReport:
        """Read a job's state, and its result once it has ended.

        A 404 raises ProviderUnavailableError: only the job's deadline ends a job that fal denies.
        """
        url = self._handles.url(handle, "status_url", f"{_path(handle)}/status")
        response = await self._http.read("GET", url, self._auth)
        body = response.object()
        word = as_text(body.get("status"))
        if not word or read_meaning(Read.STATUS, response, member="status") is Meaning.UNAVAILABLE:
            raise unavailable(response)
        if word in ("CANCELLED", "CANCELED"):
            return cancelled_report()
        if word != "COMPLETED":
            return JobReport(state=JobState.SUBMITTED)
        result = await self._http.read(
            "GET", self._handles.url(handle, "response_url", _path(handle)), self._auth
        )
        confirmed = has_error(body) or (
            read_meaning(Read.RESULT, result) is Meaning.ERROR_CLAIMED
            and await self._history_shows_error(handle)
        )
        model = self._model(handle.model)
        outputs = model.outputs if model is not None else (*IMAGES, *IMAGE, *VIDEO)
        return ended_report(body, result, outputs, error_confirmed=confirmed)

    async def _history_shows_error(self, handle: ProviderHandle) -> bool:
        """Read the history for evidence that a COMPLETED request failed, and so was not billed."""
        query = urlencode(
            {"endpoint_id": handle.model, "request_id": handle.provider_job_id, "limit": "1"}
        )
        history = await self._http.read("GET", f"{self._history_url}?{query}", self._auth)
        if read_meaning(Read.LIST, history, member="items") is not Meaning.ANSWERED:
            return False
        return history_shows_error(history, handle.provider_job_id)

    async def cancel(self, handle: ProviderHandle) -> CancelOutcome:
        url = self._handles.url(handle, "cancel_url", f"{_path(handle)}/cancel")
        response = await self._http.read("PUT", url, self._auth)
        if response.status_code not in _CANCEL_OUTCOMES:
            raise unavailable(response)
        return _CANCEL_OUTCOMES[response.status_code]

    async def check_key(self) -> bool:
        """Check the key by reading the history, which a look-up needs as well."""
        query = urlencode({"endpoint_id": FLUX_SCHNELL.id, "limit": "1"})
        return key_accepted(
            await self._http.read("GET", f"{self._history_url}?{query}", self._auth), "items"
        )

    async def verify_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        signed = [
            headers.get(f"x-fal-webhook-{name}", "")
            for name in ("request-id", "user-id", "timestamp")
        ]
        if checked_timestamp(signed[2], self._now()) is None:
            raise CallbackRefusedError(
                "the callback's time is missing, malformed or too far from now"
            )
        message = "\n".join([*signed, hashlib.sha256(body).hexdigest()]).encode("utf-8", "replace")
        try:
            signature = bytes.fromhex(headers.get("x-fal-webhook-signature", ""))
        except ValueError:
            raise CallbackRefusedError("the callback's signature is not hexadecimal") from None
        if not await self._keys.verify(lambda keys: verify_ed25519(keys, signature, message)):
            raise CallbackRefusedError("the callback's signature is wrong")
        job_id = as_job_id(as_object(parsed_json(body)).get("request_id"))
        if job_id is None:
            raise CallbackRefusedError("the callback names no request")
        return Callback(provider_job_id=ProviderJobId(job_id), delivery_id=signed[0] or job_id)

    async def _fetch_keys(self) -> tuple[bytes, ...]:
        response = await self._http.read("GET", self._jwks_url)
        keys = ed25519_keys(response.json())
        if response.status_code != 200 or not keys:
            raise unavailable(response)
        return keys


def _path(handle: ProviderHandle) -> str:
    """Return a job's path in the queue, which contains only owner and application of the model."""
    application = "/".join(handle.model.split("/")[:2])
    return f"/{application}/requests/{quote(handle.provider_job_id, safe='')}"
