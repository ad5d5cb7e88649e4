"""fal: its queue, its request history, its Ed25519 callbacks. From docs.fal.ai and fal's own
clients, read 2026-11.
"""

import hashlib
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
    as_text,
    as_time,
    iso_utc,
    parsed_json,
    scrubbed,
)
from core.providers.callbacks import FetchedKeys, checked_timestamp, ed25519_keys, ed25519_signed
from core.providers.handles import Handles
from core.providers.http import (
    ProviderHttp,
    Refusal,
    checked_key,
    create_answer,
    key_taken,
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
from core.providers.pricing import (
    NOTHING,
    Volume,
    billed_quantity,
    entry,
    find_price,
    priced,
    quote_of,
    reported,
)

# At most one megapixel, the unit of the price, and sides that the model's blocks of 16 divide.
_PICTURE_SIZES: Final[Mapping[str, tuple[int, int]]] = {
    "16:9": (1280, 720),
    "4:3": (1152, 864),
    "1:1": (992, 992),
    "3:4": (864, 1152),
    "9:16": (720, 1280),
    "21:9": (1456, 624),
    "9:21": (624, 1456),
}
FLUX_SCHNELL: Final = Model(
    id="fal-ai/flux/schnell",
    kind=StepKind.IMAGE,
    limits=Limits(aspect_ratios=tuple(_PICTURE_SIZES)),
    prices=(entry(Unit.MEGAPIXEL, 3_000_000, "api.fal.ai/v1/models/pricing", "2026-09-09"),),
    usual_seconds=4,
    deadline_seconds=300,
    default_aspect_ratio="16:9",
)

# Pixels of a frame, of the sizes that Seedance publishes: the fewest, 16:9, the most; and the bound
# of what has no size of its own there: 21:9, and a picture that decides for itself ("auto"). None
# published is larger.
_FRAME_PIXELS: Final[Mapping[str, tuple[int, int, int, int]]] = {
    "480p": (399_360, 414_720, 414_720, 537_600),  # 960x416, 864x480, 864x480, 1120x480
    "720p": (878_592, 878_592, 931_840, 1_209_600),  # 1248x704, 1248x704, 1120x832, 1680x720
    "1080p": (
        2_019_328,
        2_088_960,
        2_088_960,
        2_730_240,
    ),  # 2176x928, 1920x1088, 1920x1088, 2528x1080
}
SEEDANCE_PRO: Final = Model(
    id="fal-ai/bytedance/seedance/v1/pro/image-to-video",
    kind=StepKind.VIDEO,
    limits=Limits(
        durations_seconds=tuple(range(2, 13)),
        resolutions=tuple(_FRAME_PIXELS),
        aspect_ratios=("16:9", "4:3", "1:1", "3:4", "9:16", "21:9"),
        takes_image=True,
        needs_image=True,
    ),
    # $2.50 a million tokens; tokens = height x width x frames a second (24) x seconds / 1024.
    prices=(entry(Unit.TOKEN, 2_500, "the model's page at fal.ai", "2026-11-22"),),
    usual_seconds=60,
    deadline_seconds=1200,
    default_duration_seconds=5,
    default_resolution="720p",
    default_aspect_ratio="16:9",
)

# Off: fal's own attempts, up to ten a request, and its rerouting to an endpoint that it takes for
# equivalent (it may have another price, and the history would show the request there).
_ONE_RUN: Final[Mapping[str, str]] = {"x-fal-no-retry": "1", "x-app-fal-disable-fallback": "true"}
_CANCELLED_TYPES: Final = frozenset({"client_cancelled", "client_disconnected"})
_TIMEOUT_TYPES: Final = frozenset({"request_timeout", "startup_timeout", "generation_timeout"})
_CANCEL_ANSWERS: Final[Mapping[int, CancelOutcome]] = {
    200: CancelOutcome.CANCELLED,
    202: CancelOutcome.REQUESTED,
    400: CancelOutcome.TOO_LATE,
    404: CancelOutcome.NOTHING,
}
# These say something about the read, not about the job.
_READ_FAILED: Final = frozenset({401, 403, 404, 408, 409, 429})


class FalProvider:
    """fal's queue. The addresses: without a slash at the end. start_seconds: until a request must
    have started.
    """

    name: str = "fal"
    models: Sequence[Model] = (FLUX_SCHNELL, SEEDANCE_PRO)

    def __init__(
        self,
        http: ProviderHttp,
        *,
        key: str,
        queue_url: str,
        api_url: str,
        jwks_url: str,
        start_seconds: Mapping[StepKind, int],
        horizon_seconds: Mapping[StepKind, int],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._auth = {"authorization": f"Key {checked_key(self.name, key)}"}
        self._queue_url, self._jwks_url = queue_url, jwks_url
        self._history_url = f"{api_url}/models/requests/by-endpoint"
        urls = ("status_url", "response_url", "cancel_url")
        self._handles = Handles(provider=self.name, base_url=queue_url, url_names=urls)
        self._start_seconds, self._horizon_seconds = start_seconds, horizon_seconds
        self._now = now
        self._keys = FetchedKeys(self._fetch_keys)

    def certainty_horizon_seconds(self, model: Model) -> int:
        """Until it must have started, run to its end, and be shown in the history."""
        return self._horizon_seconds[model.kind]

    def quote(self, model: Model, inputs: ModelInputs) -> Quote:
        check_inputs(model, inputs)
        return quote_of(find_price(model, inputs), *_volumes(model, inputs))

    def cost(self, model: Model, inputs: ModelInputs, report: JobReport) -> Cost:
        """Reported by `x-fal-billable-units`; without it, the price held: exact for a picture, else
        assumed.
        """
        if report.charged is False:
            return NOTHING
        price = find_price(model, inputs)
        if (cost := reported(report.billed_units, price)) is not None:
            return cost
        exact = model.kind is StepKind.IMAGE and report.charged is True
        basis = CostBasis.COMPUTED if exact else CostBasis.ASSUMED
        return Cost(nano_usd=priced(price, _volumes(model, inputs)[0]), basis=basis)

    def create_request(
        self, model: Model, inputs: ModelInputs, callback_url: str | None
    ) -> CreateRequest:
        check_complete(model, inputs)
        query = "?" + urlencode({"fal_webhook": callback_url}) if callback_url else ""
        # What has not started by then never will; the rest of the deadline is left for the run.
        start_seconds = min(self._start_seconds[model.kind], model.deadline_seconds * 4 // 5)
        return CreateRequest(
            model=model.id,
            url=f"{self._queue_url}/{model.id}{query}",
            body=_BODIES[model.id](model, inputs),
            # X-Fal-Store-IO stays on: without stored inputs a lost request could not be found
            # again.
            headers={**_ONE_RUN, "x-fal-request-timeout": str(start_seconds)},
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
        return create_answer(
            sent, lambda answer: self._accepted(request.model, answer.object()), _refused
        )

    def _accepted(self, model_id: str, body: Mapping[str, object]) -> ProviderHandle | None:
        return self._handles.make(model_id, body.get("request_id"), body)

    async def find(self, lookup: Lookup) -> FindAnswer:
        """History shows a request for certain only once it has ended: authoritative from the
        model's horizon on.
        """
        model = next(
            (model for model in self.models if model.id == lookup.request.model), SEEDANCE_PRO
        )
        horizon = timedelta(seconds=self._horizon_seconds[model.kind])
        items, complete = await self._history(lookup, lookup.sent_at + horizon)
        candidates = [
            _candidate(item) for item in items if item.get("endpoint_id") == lookup.request.model
        ]
        found = chosen(candidates, lookup.request.body, lookup.sent_at)
        past = datetime.fromtimestamp(self._now(), UTC) - lookup.sent_at > horizon
        return FindAnswer(
            matches=self._handles.found(lookup.request.model, found.job_ids),
            authoritative=complete and past and not found.doubtful,
        )

    async def _history(
        self, lookup: Lookup, until: datetime
    ) -> tuple[list[Mapping[str, object]], bool]:
        """The endpoint's requests around the send. False: there were more than we read."""
        query = {
            "endpoint_id": lookup.request.model,
            "start": iso_utc(lookup.sent_at - SKEW),
            "end": iso_utc(until + SKEW),
            "expand": "payloads",
            "limit": "100",
        }
        items: list[Mapping[str, object]] = []
        for _ in range(MAX_PAGES):
            answer = await self._http.read(
                "GET", f"{self._history_url}?{urlencode(query)}", self._auth
            )
            page = answer.object()
            if answer.status_code != 200 or not isinstance(page.get("items"), list):
                raise unavailable(answer)
            items += [as_object(item) for item in as_list(page["items"])]
            cursor = as_text(page.get("next_cursor"))
            if not cursor:
                return items, page.get("has_more") is not True
            query["cursor"] = cursor
        return items, False

    async def status(self, handle: ProviderHandle) -> JobReport:
        """A job that fal does not know (404) is unavailable, not failed: only its deadline
        ends it.
        """
        address = self._handles.address(handle, "status_url", f"{_path(handle)}/status")
        answer = await self._http.read("GET", address, self._auth)
        body = answer.object()
        word = as_text(body.get("status"))
        if answer.status_code not in (200, 202) or not word:
            raise unavailable(answer)
        if word in ("CANCELLED", "CANCELED"):
            return _cancelled()
        if word != "COMPLETED":
            return JobReport(state=JobState.SUBMITTED)
        result = await self._http.read(
            "GET", self._handles.address(handle, "response_url", _path(handle)), self._auth
        )
        return _ended(body, result)

    async def cancel(self, handle: ProviderHandle) -> CancelOutcome:
        address = self._handles.address(handle, "cancel_url", f"{_path(handle)}/cancel")
        answer = await self._http.read("PUT", address, self._auth)
        if answer.status_code not in _CANCEL_ANSWERS:
            raise unavailable(answer)
        return _CANCEL_ANSWERS[answer.status_code]

    async def check_key(self) -> bool:
        """By a line of the history: what looking up a lost request needs as well."""
        query = urlencode({"endpoint_id": FLUX_SCHNELL.id, "limit": "1"})
        return key_taken(
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
        if not await self._keys.accept(lambda keys: ed25519_signed(keys, signature, message)):
            raise CallbackRefusedError("the callback's signature does not fit")
        job_id = as_job_id(as_object(parsed_json(body)).get("request_id"))
        if job_id is None:
            raise CallbackRefusedError("the callback names no request")
        return Callback(provider_job_id=ProviderJobId(job_id), delivery_id=signed[0] or job_id)

    async def _fetch_keys(self) -> tuple[bytes, ...]:
        answer = await self._http.read("GET", self._jwks_url)
        keys = ed25519_keys(answer.json())
        if answer.status_code != 200 or not keys:
            raise unavailable(answer)
        return keys


def _path(handle: ProviderHandle) -> str:
    """Under the queue's address; of the model's name only owner and application."""
    application = "/".join(handle.model.split("/")[:2])
    return f"/{application}/requests/{quote(handle.provider_job_id, safe='')}"


def _volumes(model: Model, inputs: ModelInputs) -> tuple[Volume, ...]:
    """The most, the least and the usual that fal can bill for these inputs."""
    if model.kind is StepKind.IMAGE:
        width, height = _PICTURE_SIZES[inputs.aspect_ratio or model.default_aspect_ratio or "16:9"]
        return (Volume(images=1, pixels=width * height),)
    least, usual, most, bound = _FRAME_PIXELS[inputs.resolution or model.default_resolution or ""]
    most = bound if inputs.aspect_ratio in (None, "21:9") else most
    frames = 24 * (inputs.duration_seconds or model.default_duration_seconds or 0)
    return tuple(Volume(pixels=pixels, frames=frames) for pixels in (most, least, usual))


def _picture_body(model: Model, inputs: ModelInputs) -> dict[str, object]:
    width, height = _PICTURE_SIZES[inputs.aspect_ratio or model.default_aspect_ratio or "16:9"]
    body: dict[str, object] = {
        "prompt": inputs.prompt,
        "image_size": {"width": width, "height": height},
        "num_images": 1,
        "num_inference_steps": 4,
        "enable_safety_checker": True,
        "output_format": "jpeg",
    }
    return body if inputs.seed is None else {**body, "seed": inputs.seed}


def _video_body(model: Model, inputs: ModelInputs) -> dict[str, object]:
    body: dict[str, object] = {
        "prompt": inputs.prompt,
        "image_url": inputs.image_url,
        "resolution": inputs.resolution or model.default_resolution,
        "duration": str(inputs.duration_seconds or model.default_duration_seconds),
        "aspect_ratio": inputs.aspect_ratio or "auto",
        "enable_safety_checker": True,
    }
    return body if inputs.seed is None else {**body, "seed": inputs.seed}


_BODIES: Final[Mapping[str, Callable[[Model, ModelInputs], dict[str, object]]]] = {
    FLUX_SCHNELL.id: _picture_body,
    SEEDANCE_PRO.id: _video_body,
}


def _in_their_form(body: Mapping[str, object]) -> bool:
    detail = body.get("detail")
    return bool(as_text(detail)) or (bool(as_list(detail)) and all(map(as_object, as_list(detail))))


def _error_types(answer: Answer, *more: object) -> frozenset[str]:
    body = answer.object()
    listed = (as_object(item).get("type") for item in as_list(body.get("detail")))
    return frozenset(
        map(
            as_text,
            [*listed, body.get("error_type"), answer.headers.get("x-fal-error-type"), *more],
        )
    )


def _said(body: Mapping[str, object]) -> str:
    """The first thing fal complains of, as "field: message", scrubbed."""
    detail = body.get("detail")
    if isinstance(detail, str):
        return scrubbed(detail)
    first = as_object(next(iter(as_list(detail)), None))
    field = as_text(next(reversed(as_list(first.get("loc"))), None))
    return scrubbed(": ".join(part for part in (field, as_text(first.get("msg"))) if part))


def _refused(answer: Answer) -> Refusal | None:
    body = answer.object()
    if not _in_their_form(body):
        return None
    if "content_policy_violation" in _error_types(answer):
        return Refusal(code=FailureCode.CONTENT_MODERATED)
    return Refusal(detail=_said(body) if answer.status_code in (400, 413, 415, 422) else "")


def _cancelled() -> JobReport:
    """Cancelled before there was an output: not billed (fal bills outputs)."""
    return JobReport(
        state=JobState.CANCELLED, failure=Failure.of(FailureCode.CANCELLED), charged=False
    )


def _ended(status: Mapping[str, object], result: Answer) -> JobReport:
    """What a COMPLETED request came to. Its result answers with the model's own status code."""
    body = result.object()
    units = result.headers.get("x-fal-billable-units")
    units = units if billed_quantity(units) is not None else None
    if result.status_code == 200 and body:
        return _produced(body, units)
    said_so = bool(status.get("error") or status.get("error_type"))
    if not said_so and (
        result.ok or result.status_code in _READ_FAILED or not _in_their_form(body)
    ):
        raise unavailable(result)
    types = _error_types(result, status.get("error_type"))
    if types & _CANCELLED_TYPES or result.status_code == 499:
        return _cancelled()
    code = _failure_code(types, result.status_code)
    detail = _said(body) if code is FailureCode.PROVIDER_REJECTED_INPUT else ""
    # Outputs are billed, failures are not, unless fal says so here.
    return _failed(code, detail, units=units, charged=units is not None)


def _failed(
    code: FailureCode, detail: str = "", *, units: str | None, charged: bool | None
) -> JobReport:
    return JobReport(
        state=JobState.FAILED, failure=Failure.of(code, detail), billed_units=units, charged=charged
    )


def _failure_code(types: frozenset[str], status_code: int) -> FailureCode:
    if "content_policy_violation" in types:
        return FailureCode.CONTENT_MODERATED
    if "no_media_generated" in types:
        return FailureCode.PROVIDER_EMPTY_OUTPUT
    if types & _TIMEOUT_TYPES or status_code == 504:
        return FailureCode.PROVIDER_TIMED_OUT
    if status_code in (400, 413, 415, 422):
        return FailureCode.PROVIDER_REJECTED_INPUT
    return FailureCode.PROVIDER_FAILED


def _produced(body: Mapping[str, object], units: str | None) -> JobReport:
    pictures = [as_media_url(as_object(item).get("url")) for item in as_list(body.get("images"))]
    video = as_media_url(as_object(body.get("video")).get("url"))
    outputs = [Output(url=url, kind=StepKind.IMAGE) for url in pictures if url]
    if video:
        outputs.append(Output(url=video, kind=StepKind.VIDEO))
    if True in as_list(body.get("has_nsfw_concepts")):
        # The picture is black, and it is billed.
        return _failed(FailureCode.CONTENT_MODERATED, units=units, charged=True)
    if not outputs:
        return _failed(FailureCode.PROVIDER_EMPTY_OUTPUT, units=units, charged=None)
    return JobReport(
        state=JobState.COMPLETED, outputs=tuple(outputs), billed_units=units, charged=True
    )


def _candidate(item: Mapping[str, object]) -> Candidate:
    return Candidate(
        job_id=as_job_id(item.get("request_id")),
        sent_at=as_time(item.get("sent_at")),
        inputs=as_object(item.get("json_input")) or None,
    )
