"""Replicate: predictions of official models, their list, their callbacks. From replicate.com/docs,
read 2026-11.
"""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import CancelOutcome, JobReport, Output, ProviderHandle
from core.domain.plans import StepKind
from core.domain.prices import Quote, Unit
from core.domain.states import CostBasis, JobState
from core.providers.answers import (
    Answer,
    as_job_id,
    as_list,
    as_media_url,
    as_object,
    as_seconds,
    as_text,
    as_time,
    iso_utc,
    parsed_json,
    retry_after_seconds,
    scrubbed,
)
from core.providers.callbacks import (
    FetchedKeys,
    checked_timestamp,
    standard_webhooks_key,
    standard_webhooks_signed,
)
from core.providers.handles import Handles
from core.providers.http import (
    ProviderHttp,
    Refusal,
    checked_key,
    create_answer,
    key_taken,
    same_origin,
    unavailable,
)
from core.providers.inputs import check_complete, check_inputs
from core.providers.matching import MAX_PAGES, SKEW, Candidate, chosen
from core.providers.port import (
    Callback,
    CallbackRefusedError,
    Cost,
    CreateAnswer,
    CreateRequest,
    FindAnswer,
    Limits,
    Lookup,
    Model,
    ModelInputs,
)
from core.providers.pricing import NOTHING, Volume, entry, find_price, priced, quote_of

# A prediction is made while its create call lasts; the rest is for clocks that differ.
_LISTED_WITHIN = timedelta(minutes=10)

_PAGE: Final = "the model's page at Replicate"
_RATIOS: Final = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21")
FLUX_SCHNELL: Final = Model(
    id="black-forest-labs/flux-schnell",
    kind=StepKind.IMAGE,
    limits=Limits(aspect_ratios=_RATIOS),
    prices=(entry(Unit.IMAGE, 3_000_000, _PAGE, "2026-05-31"),),
    usual_seconds=4,
    deadline_seconds=300,
    default_aspect_ratio="16:9",
)
SEEDANCE_PRO: Final = Model(
    id="bytedance/seedance-1-pro",
    kind=StepKind.VIDEO,
    limits=Limits(
        durations_seconds=tuple(range(2, 13)),
        resolutions=("480p", "720p", "1080p"),
        aspect_ratios=_RATIOS,
        takes_image=True,
    ),
    prices=(
        entry(Unit.SECOND, 30_000_000, _PAGE, "2026-10-06", resolution="480p"),
        entry(Unit.SECOND, 60_000_000, _PAGE, "2026-10-06", resolution="720p"),
        entry(Unit.SECOND, 150_000_000, _PAGE, "2026-10-06", resolution="1080p"),
    ),
    usual_seconds=60,
    deadline_seconds=1200,
    default_duration_seconds=5,
    default_resolution="720p",
    default_aspect_ratio="16:9",
)

# Model failures have no code, only words ("flagged as sensitive (E005)"): this is all there is to
# tell moderation by.
_MODERATED: Final = re.compile(
    r"(?i)flagged|sensitive|nsfw|moderat|content polic|safety (?:filter|check|system)"
)
_RESETS_IN: Final = re.compile(r"resets in ~?([0-9]{1,9})\s*s")


class ReplicateProvider:
    """base_url: with or without /v1. webhook_secret: whsec_…; None: asked from Replicate when
    needed.
    """

    name: str = "replicate"
    models: Sequence[Model] = (SEEDANCE_PRO, FLUX_SCHNELL)

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
        self._handles = Handles(
            provider=self.name, base_url=self._api_url, url_names=("get", "cancel")
        )
        self._deadline_seconds = deadline_seconds
        self._horizon_seconds = horizon_seconds
        self._now = now
        self._own_secret = None if webhook_secret is None else standard_webhooks_key(webhook_secret)
        if webhook_secret is not None and self._own_secret is None:
            raise ValueError("the webhook secret of replicate must be whsec_ and base64")
        self._fetched_secret = FetchedKeys(self._fetch_secret)

    def certainty_horizon_seconds(self, model: Model) -> int:
        """Running predictions are listed, so the list's own lag is all that has to pass."""
        return self._horizon_seconds

    def quote(self, model: Model, inputs: ModelInputs) -> Quote:
        check_inputs(model, inputs)
        return quote_of(find_price(model, inputs), _volume(model, inputs))

    def cost(self, model: Model, inputs: ModelInputs, report: JobReport) -> Cost:
        """Replicate reports no bill: whole outputs by the price book.

        One that was cut off while it ran is charged, but how much is not published: assumed are the
        seconds it ran, rounded up, at most those asked for. A picture that never came out is
        assumed to cost nothing.
        """
        if report.charged is False:
            return NOTHING
        price, volume = find_price(model, inputs), _volume(model, inputs)
        if report.state is JobState.COMPLETED:
            return Cost(nano_usd=priced(price, volume), basis=CostBasis.COMPUTED)
        if report.run_seconds is not None:
            ran = max(1, math.ceil(report.run_seconds))
            volume = Volume(images=0, seconds=min(volume.seconds or 0, ran))
        return Cost(nano_usd=priced(price, volume), basis=CostBasis.ASSUMED)

    def create_request(
        self, model: Model, inputs: ModelInputs, callback_url: str | None
    ) -> CreateRequest:
        check_complete(model, inputs)
        body: dict[str, object] = {"input": _INPUTS[model.id](model, inputs)}
        if callback_url:
            body |= {"webhook": callback_url, "webhook_events_filter": ["completed"]}
        # A prediction that nobody waits for any more ends by itself: the cap of what it can cost.
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
        return create_answer(
            sent, lambda answer: self._accepted(request.model, answer.object()), self._refused
        )

    def _accepted(self, model_id: str, body: Mapping[str, object]) -> ProviderHandle | None:
        return self._handles.make(model_id, body.get("id"), as_object(body.get("urls")))

    def _refused(self, answer: Answer) -> Refusal | None:
        body = answer.object()
        said = _said(body)
        if said is None or body.get("status", answer.status_code) != answer.status_code:
            return None
        delay = 0.0
        if answer.status_code == 429:
            resets = _RESETS_IN.search(said)
            spelled = resets[1] if resets else answer.headers.get("ratelimit-reset")
            delay = retry_after_seconds(spelled, datetime.fromtimestamp(self._now(), UTC))
        if answer.status_code not in (400, 413, 415, 422):
            return Refusal(retry_after_seconds=delay)
        return (
            Refusal(code=FailureCode.CONTENT_MODERATED)
            if _MODERATED.search(said)
            else Refusal(detail=scrubbed(said))
        )

    async def find(self, lookup: Lookup) -> FindAnswer:
        """Predictions are listed from their creation on; their inputs for an hour, after which
        nothing is certain.
        """
        items, complete = await self._list(lookup)
        candidates = [
            _candidate(item, lookup) for item in items if item.get("model") == lookup.request.model
        ]
        found = chosen(candidates, as_object(lookup.request.body.get("input")), lookup.sent_at)
        return FindAnswer(
            matches=self._handles.found(lookup.request.model, found.job_ids),
            authoritative=complete and not found.doubtful,
        )

    async def _list(self, lookup: Lookup) -> tuple[list[Mapping[str, object]], bool]:
        """The predictions around the send. False: there were more than we read."""
        query = {
            "created_after": iso_utc(lookup.sent_at - SKEW),
            "created_before": iso_utc(lookup.sent_at + _LISTED_WITHIN),
        }
        url = f"{self._api_url}/predictions?{urlencode(query)}"
        items: list[Mapping[str, object]] = []
        for _ in range(MAX_PAGES):
            answer = await self._http.read("GET", url, self._auth)
            page = answer.object()
            if answer.status_code != 200 or not isinstance(page.get("results"), list):
                raise unavailable(answer)
            items += [as_object(item) for item in as_list(page["results"])]
            if page.get("next") is None:
                return items, True
            url = as_text(page.get("next"))
            if not same_origin(url, self._api_url):
                return items, False
        return items, False

    async def status(self, handle: ProviderHandle) -> JobReport:
        """A job that Replicate does not know (404) is unavailable, not failed: only its deadline
        ends it.
        """
        answer = await self._http.read(
            "GET", self._handles.address(handle, "get", _path(handle)), self._auth
        )
        body = answer.object()
        if answer.status_code != 200 or not as_text(body.get("status")):
            raise unavailable(answer)
        return _report(body)

    async def cancel(self, handle: ProviderHandle) -> CancelOutcome:
        answer = await self._http.read(
            "POST", self._handles.address(handle, "cancel", f"{_path(handle)}/cancel"), self._auth
        )
        if answer.status_code == 404:
            return CancelOutcome.NOTHING
        word = as_text(answer.object().get("status"))
        if not answer.ok or not word:
            raise unavailable(answer)
        if word == "canceled":
            return CancelOutcome.CANCELLED
        return (
            CancelOutcome.TOO_LATE
            if word in ("succeeded", "failed", "aborted")
            else CancelOutcome.REQUESTED
        )

    async def check_key(self) -> bool:
        """By asking whose it is."""
        return key_taken(
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

        def fits(secret: bytes) -> bool:
            return standard_webhooks_signed(secret, message, signatures)

        if not (
            fits(self._own_secret) if self._own_secret else await self._fetched_secret.accept(fits)
        ):
            raise CallbackRefusedError("the callback's signature is missing, malformed or wrong")
        job_id = as_job_id(as_object(parsed_json(body)).get("id"))
        if job_id is None:
            raise CallbackRefusedError("the callback names no prediction")
        return Callback(provider_job_id=ProviderJobId(job_id), delivery_id=delivery_id)

    async def _fetch_secret(self) -> bytes:
        answer = await self._http.read(
            "GET", f"{self._api_url}/webhooks/default/secret", self._auth
        )
        secret = standard_webhooks_key(as_text(answer.object().get("key")))
        if answer.status_code != 200 or secret is None:
            raise unavailable(answer)
        return secret


def _path(handle: ProviderHandle) -> str:
    return f"/predictions/{quote(handle.provider_job_id, safe='')}"


def _volume(model: Model, inputs: ModelInputs) -> Volume:
    if model.kind is StepKind.IMAGE:
        return Volume(images=1)
    return Volume(seconds=inputs.duration_seconds or model.default_duration_seconds or 0)


def _picture_input(model: Model, inputs: ModelInputs) -> dict[str, object]:
    body: dict[str, object] = {
        "prompt": inputs.prompt,
        "aspect_ratio": inputs.aspect_ratio or model.default_aspect_ratio,
        "num_outputs": 1,
        "megapixels": "1",
        "output_format": "jpg",
    }
    return body if inputs.seed is None else {**body, "seed": inputs.seed}


def _video_input(model: Model, inputs: ModelInputs) -> dict[str, object]:
    body: dict[str, object] = {
        "prompt": inputs.prompt,
        "duration": inputs.duration_seconds or model.default_duration_seconds,
        "resolution": inputs.resolution or model.default_resolution,
        "fps": 24,
    }
    # The model takes the shape of its picture; a ratio is heard only without one.
    if inputs.image_url is None:
        body["aspect_ratio"] = inputs.aspect_ratio or model.default_aspect_ratio
    else:
        body["image"] = inputs.image_url
    return body if inputs.seed is None else {**body, "seed": inputs.seed}


_INPUTS: Final[Mapping[str, Callable[[Model, ModelInputs], dict[str, object]]]] = {
    FLUX_SCHNELL.id: _picture_input,
    SEEDANCE_PRO.id: _video_input,
}


def _said(body: Mapping[str, object]) -> str | None:
    """What a problem document says; None if the body is not in that form."""
    detail = body.get("detail")
    for item in as_list(detail):
        detail = item if isinstance(item, str) else as_object(item).get("msg")
        break
    return as_text(detail) or as_text(body.get("title")) or None


def _candidate(item: Mapping[str, object], lookup: Lookup) -> Candidate:
    ours = lookup.request.body.get("webhook")
    by_address = ours is not None and item.get("webhook") == ours
    given = lookup.request.body.get("input") if by_address else item.get("input")
    return Candidate(
        job_id=as_job_id(item.get("id")),
        sent_at=as_time(item.get("created_at")),
        inputs=as_object(given) or None,
    )


def _report(body: Mapping[str, object]) -> JobReport:
    match body.get("status"):
        case "succeeded":
            return _succeeded(body)
        case "failed":
            error = as_text(body.get("error"))
            code = (
                FailureCode.CONTENT_MODERATED
                if _MODERATED.search(error)
                else FailureCode.PROVIDER_FAILED
            )
            detail = "" if code is FailureCode.CONTENT_MODERATED else scrubbed(error)
            return JobReport(
                state=JobState.FAILED,
                failure=Failure.of(code, detail),
                run_seconds=_ran(body),
                charged=False,
            )
        case "canceled":
            return _canceled(body)
        case "aborted":  # its deadline passed before it started
            return JobReport(
                state=JobState.FAILED,
                failure=Failure.of(FailureCode.PROVIDER_TIMED_OUT),
                charged=False,
            )
        case _:
            return JobReport(state=JobState.SUBMITTED)


def _succeeded(body: Mapping[str, object]) -> JobReport:
    output = body.get("output")
    urls = [as_media_url(item) for item in (as_list(output) or (output,))]
    kind = _kind_of(as_text(body.get("model")))
    outputs = tuple(Output(url=url, kind=kind) for url in urls if url)
    if outputs:
        return JobReport(
            state=JobState.COMPLETED, outputs=outputs, run_seconds=_ran(body), charged=True
        )
    expired = body.get("data_removed") is True
    code = FailureCode.OUTPUT_EXPIRED if expired else FailureCode.PROVIDER_EMPTY_OUTPUT
    return JobReport(
        state=JobState.FAILED, failure=Failure.of(code), charged=True if expired else None
    )


def _kind_of(model_id: str) -> StepKind:
    return next(
        (model.kind for model in ReplicateProvider.models if model.id == model_id), StepKind.VIDEO
    )


def _canceled(body: Mapping[str, object]) -> JobReport:
    """Charged if it ran. Ended by its own deadline (Cancel-After) it has timed out; nobody
    cancelled it.
    """
    ran = _ran(body)
    deadline, ended = as_time(body.get("deadline")), as_time(body.get("completed_at"))
    timed_out = deadline is not None and ended is not None and ended >= deadline
    code = FailureCode.PROVIDER_TIMED_OUT if timed_out else FailureCode.CANCELLED
    return JobReport(
        state=JobState.FAILED if timed_out else JobState.CANCELLED,
        failure=Failure.of(code),
        run_seconds=ran,
        charged=ran is not None,
    )


def _ran(body: Mapping[str, object]) -> float | None:
    """Seconds it ran: measured by Replicate, else from its start to its end."""
    seconds = as_seconds(as_object(body.get("metrics")).get("predict_time"))
    started, ended = as_time(body.get("started_at")), as_time(body.get("completed_at"))
    if seconds is None and started is not None and ended is not None:
        return max(0.0, (ended - started).total_seconds())
    return seconds
