"""Adapter for Replicate: predictions of official models, their list and their callbacks.

Source: replicate.com/docs, read 2026-11.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import CancelOutcome, JobReport, ProviderHandle
from core.domain.prices import Quote
from core.domain.states import JobState
from core.providers import pricing
from core.providers.callbacks import (
    FetchedKeys,
    checked_timestamp,
    standard_webhooks_key,
    verify_standard_webhooks,
)
from core.providers.http.create_outcome import create_outcome
from core.providers.http.handles import HandleFactory, same_origin
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
from core.providers.lists.matching import (
    WINDOW,
    Candidate,
    Inputs,
    fingerprint_of_text,
    later_jobs,
    match_candidates,
)
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
from core.providers.vendors.replicate.catalogue.models import MODELS
from core.providers.vendors.replicate.catalogue.videos import SEEDANCE_PRO
from core.providers.vendors.replicate.wire import read_candidate, read_refusal, read_report

_CREATION_SECONDS: Final = 40
"""From the arrival of a request until its prediction exists; in practice less than a second."""
_CANCEL_OUTCOMES: Final[Mapping[str, CancelOutcome]] = {
    "canceled": CancelOutcome.CANCELLED,
    "succeeded": CancelOutcome.TOO_LATE,
    "failed": CancelOutcome.TOO_LATE,
    "aborted": CancelOutcome.CANCELLED,
}


class ReplicateProvider:
    """The Replicate adapter.

    base_url: with or without /v1.
    webhook_secret: whsec_…; if None it is read from Replicate when first needed.
    """

    name: str = "replicate"
    models: Sequence[Model] = MODELS

    def __init__(
        self,
        http: ProviderHttp,
        *,
        token: str,
        base_url: str,
        webhook_secret: str | None,
        deadline_seconds: int,
        horizon_seconds: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._auth = {"authorization": f"Bearer {checked_key(self.name, token)}"}
        self._api_url = base_url if base_url.endswith("/v1") else f"{base_url}/v1"
        self._handles = HandleFactory(
            provider=self.name, base_url=self._api_url, url_names=("get", "cancel")
        )
        self._deadline_seconds = deadline_seconds
        self._horizon_seconds = horizon_seconds
        self._now = now
        self._configured_secret = (
            None if webhook_secret is None else standard_webhooks_key(webhook_secret)
        )
        if webhook_secret is not None and self._configured_secret is None:
            raise ValueError("the webhook secret of replicate must be whsec_ followed by base64")
        self._fetched_secret = FetchedKeys(self._fetch_secret)
        self._lists: dict[str, ListReader] = {}

    def certainty_horizon_seconds(self, model: Model) -> int:
        """Return the list's lag; running predictions are listed, so run time does not count."""
        return self._horizon_seconds

    def settled_seconds(self, model: Model) -> int:
        """Return the delivery of the request and a margin: predictions are listed from creation."""
        del model
        return DELIVERY_SECONDS + _CREATION_SECONDS

    def quote(self, model: Model, inputs: ModelInputs) -> Quote:
        return pricing.quote(model, inputs)

    def cost(self, model: Model, inputs: ModelInputs, report: JobReport) -> Cost:
        """Return the cost by the price book: Replicate reports quantities at most, and no bill.

        A prediction that was stopped while it ran is charged, but Replicate does not publish how
        much: the full price is assumed, and the bill import corrects it.
        """
        completed = report.state is JobState.COMPLETED
        return pricing.cost(model, inputs, report, charged=completed)

    def create_request(
        self, model: Model, inputs: ModelInputs, callback_url: str | None
    ) -> CreateRequest:
        body: dict[str, object] = {"input": build_body(model, inputs)}
        if callback_url:
            body |= {"webhook": callback_url, "webhook_events_filter": ["completed"]}
        # A prediction past its deadline ends by itself, which caps its cost.
        cancel_after = min(self._deadline_seconds, model.deadline_seconds)
        return CreateRequest(
            model=model.id,
            url=f"{self._api_url}/models/{model.id}/predictions",
            body=body,
            headers={"cancel-after": f"{cancel_after}s"},
        )

    async def submit(
        self, request: CreateRequest, *, timeout_seconds: float, not_after: float
    ) -> CreateAnswer:
        sent = await self._http.post_once(
            request, self._auth, self._api_url, timeout_seconds=timeout_seconds, not_after=not_after
        )
        return create_outcome(
            sent,
            lambda response: self._handle(request.model, response.object()),
            lambda response: read_refusal(response, self._now()),
        )

    def _handle(self, model_id: str, body: Mapping[str, object]) -> ProviderHandle | None:
        return self._handles.make(model_id, body.get("id"), as_object(body.get("urls")))

    def file_headers(self, url: str) -> Mapping[str, str]:
        return {}

    async def find(self, lookup: Lookup) -> FindAnswer:
        """Search the list, which shows predictions from their creation on.

        Their inputs are listed for an hour; later a look-up is not authoritative.
        """
        model_id, body = lookup.request.model, lookup.request.body
        if (reader := self._lists.get(model_id)) is None:
            reader = self._lists[model_id] = ListReader(self._http, self._list(model_id))
        listed = await reader.read(lookup.sent_from - WINDOW, lookup.sent_until + WINDOW, lookup)
        webhook = as_text(body.get("webhook"))
        match = match_candidates(
            listed.jobs,
            Inputs.of(as_object(body.get("input"))),
            lookup,
            listed.clock,
            callback=fingerprint_of_text(webhook) if webhook else None,
        )
        return FindAnswer(
            matches=self._handles.make_all(model_id, match.job_ids),
            doubtful=tuple(map(ProviderJobId, match.doubtful)),
            authoritative=listed.complete and not match.ambiguous,
            looked_at=listed.looked_at,
            clock=listed.clock,
            later=later_jobs(listed.jobs, lookup, DELIVERY_SECONDS + _CREATION_SECONDS),
        )

    def _list(self, model_id: str) -> ListApi:
        def first_url(start: datetime, end: datetime | None, _size: int) -> str:
            query = {"created_after": iso_utc(start)}
            if end is not None:
                query["created_before"] = iso_utc(end)
            return f"{self._api_url}/predictions?{urlencode(query)}"

        def next_url(_url: str, members: Mapping[str, object]) -> str | None:
            url = as_text(members.get("next"))
            return url if same_origin(url, self._api_url) else None

        def read_item(item: Mapping[str, object]) -> Candidate | None:
            return read_candidate(item) if item.get("model") == model_id else None

        return ListApi(
            headers=self._auth,
            member="results",
            ignored=("output", "logs"),
            page_sizes=(100,),  # not adjustable
            first_url=first_url,
            next_url=next_url,
            is_last=lambda members: members.get("next") is None,
            read_item=read_item,
        )

    async def status(self, handle: ProviderHandle) -> JobReport:
        """Read a job's state and result.

        A 404 raises ProviderUnavailableError: only the job's deadline ends a job that Replicate
        denies.
        """
        response = await self._http.read(
            "GET", self._handles.url(handle, "get", _path(handle)), self._auth
        )
        body = response.object()
        answered = read_meaning(Read.STATUS, response, member="status") is Meaning.ANSWERED
        if not answered or not as_text(body.get("status")):
            raise unavailable(response)
        model = next((each for each in self.models if each.id == handle.model), None)
        if model is None:  # it was removed
            return read_report(body, SEEDANCE_PRO.outputs, None)
        return read_report(body, model.outputs, model.billed)

    async def cancel(self, handle: ProviderHandle) -> CancelOutcome:
        response = await self._http.read(
            "POST", self._handles.url(handle, "cancel", f"{_path(handle)}/cancel"), self._auth
        )
        if response.status_code == 404:
            return CancelOutcome.NOTHING
        word = as_text(response.object().get("status"))
        if not response.ok or not word:
            raise unavailable(response)
        return _CANCEL_OUTCOMES.get(word, CancelOutcome.REQUESTED)

    async def check_key(self) -> bool:
        """Check the key by reading its account."""
        return key_accepted(
            await self._http.read("GET", f"{self._api_url}/account", self._auth), "username"
        )

    async def verify_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        delivery_id = headers.get("webhook-id", "")
        timestamp = checked_timestamp(headers.get("webhook-timestamp", ""), self._now())
        if not delivery_id or timestamp is None:
            raise CallbackRefusedError(
                "the callback's id or time is missing, malformed or too far from now"
            )
        message = f"{delivery_id}.{timestamp}.".encode("utf-8", "replace") + body
        signatures = headers.get("webhook-signature", "").split()

        def matches(secret: bytes) -> bool:
            return verify_standard_webhooks(secret, message, signatures)

        if self._configured_secret:
            valid = matches(self._configured_secret)
        else:
            valid = await self._fetched_secret.verify(matches)
        if not valid:
            raise CallbackRefusedError("the callback's signature is missing, malformed or wrong")
        job_id = as_job_id(as_object(parsed_json(body)).get("id"))
        if job_id is None:
            raise CallbackRefusedError("the callback names no prediction")
        return Callback(provider_job_id=ProviderJobId(job_id), delivery_id=delivery_id)

    async def _fetch_secret(self) -> bytes:
        response = await self._http.read(
            "GET", f"{self._api_url}/webhooks/default/secret", self._auth
        )
        secret = standard_webhooks_key(as_text(response.object().get("key")))
        if response.status_code != 200 or secret is None:
            raise unavailable(response)
        return secret


def _path(handle: ProviderHandle) -> str:
    return f"/predictions/{quote(handle.provider_job_id, safe='')}"
