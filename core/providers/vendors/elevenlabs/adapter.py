"""Adapter for ElevenLabs: speech in the answer of the create call, and its history.

There is no job and no callback: the answer is the audio. Its head names the request, and the
history shows it again, at no cost. Source: the vendor's client 2.78.0 and its documentation, read
2026-11.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import httpx

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import CancelOutcome, JobReport, ProviderHandle
from core.domain.prices import Quote, Unit
from core.domain.states import JobState
from core.providers import pricing
from core.providers.http.create_outcome import create_outcome
from core.providers.http.handles import same_origin
from core.providers.http.read_outcome import Meaning, Read, key_accepted, read_meaning
from core.providers.http.responses import Response, as_job_id, as_object, as_text, unavailable
from core.providers.http.transport import DELIVERY_SECONDS, OpenBody, ProviderHttp, checked_key
from core.providers.inputs import build_body
from core.providers.lists.matching import WINDOW, Candidate, Inputs, later_jobs, match_candidates
from core.providers.lists.page import ListPage, PageError
from core.providers.lists.reader import PAGE_MAX_BYTES, ListApi, ListReader
from core.providers.models import Model, ModelInputs
from core.providers.port import (
    Callback,
    CallbackRefusedError,
    Cost,
    CreateAnswer,
    CreateOutcome,
    CreateRequest,
    Delivered,
    Delivery,
    FindAnswer,
    Lookup,
    ProviderUnavailableError,
)
from core.providers.vendors.elevenlabs.catalogue import (
    LONGEST_SPEECH_SECONDS,
    MODELS,
    OUTPUT_FORMAT,
    SETTINGS,
    TIMED_CHARACTERS,
    at_plan_price,
)
from core.providers.vendors.elevenlabs.wire import (
    inputs_of,
    listed_report,
    read_answer,
    read_candidate,
    read_refusal,
    read_voice,
)

BODY_MAX_BYTES: Final = 25 * 1024 * 1024
"""Of an answer: more than the slowest reading of the longest text, in base64."""
EARLIER_SECONDS: Final = 60
"""How much earlier than its send a request may be dated in the history, by the vendor's clock."""
MAX_READERS: Final = 32
"""Voices whose history is kept in memory for look-ups."""
MAX_VOICES: Final = 10_000
"""Voices of which the last read is kept in memory."""
VOICE_KEPT_SECONDS: Final = 600
NO_VOICE_KEPT_SECONDS: Final = 30
"""Shorter, because a user who adds the voice orders again at once."""
STATUS_PAGES: Final = 20
_CREDITS: Final = "character-cost"
_HISTORY: Final = "history"
_IGNORED: Final = ("alignments", "dialogue")


class ElevenLabsProvider:
    """The ElevenLabs adapter.

    usd_per_credit: the price of a credit in the operator's plan; None: the price list counts.
    """

    name: str = "elevenlabs"

    def __init__(
        self,
        http: ProviderHttp,
        *,
        key: str,
        base_url: str,
        usd_per_credit: Decimal | None,
        horizon_seconds: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._auth = {"xi-api-key": checked_key(self.name, key)}
        self._api_url = base_url if base_url.endswith("/v1") else f"{base_url}/v1"
        self._horizon_seconds = horizon_seconds
        self._now = now
        self._lists = OrderedDict[tuple[str, str], ListReader]()
        self._voices = OrderedDict[str, tuple[float, bool]]()
        self.models = (
            MODELS
            if usd_per_credit is None
            else tuple(at_plan_price(model, usd_per_credit) for model in MODELS)
        )

    def certainty_horizon_seconds(self, model: Model) -> int:
        """Return the delivery of a request plus the longest speech plus the history's lag."""
        return self._horizon_seconds

    def settled_seconds(self, model: Model) -> int:
        return DELIVERY_SECONDS + LONGEST_SPEECH_SECONDS

    def quote(self, model: Model, inputs: ModelInputs) -> Quote:
        return pricing.quote(model, inputs)

    def cost(self, model: Model, inputs: ModelInputs, report: JobReport) -> Cost:
        """Return the charged credits at the plan's price, else the price list's for the text."""
        if pricing.find_price(model, inputs).unit is not Unit.CREDIT:
            report = replace(report, billed_units=None)
        return pricing.cost(model, inputs, report, charged=report.charged is True)

    def create_request(
        self, model: Model, inputs: ModelInputs, callback_url: str | None
    ) -> CreateRequest:
        """Return the request, with word times unless the text is too long for them.

        It never asks for `enable_logging=false`, which would hide it from the history.
        """
        body = build_body(model, inputs)
        voice, text = str(body.pop("voice_id")), str(body["text"])
        path = f"/text-to-speech/{quote(voice, safe='')}"
        how = "with-timestamps" if len(text) <= TIMED_CHARACTERS else "stream"
        query = urlencode({"output_format": OUTPUT_FORMAT})
        return CreateRequest(model=model.id, url=f"{self._api_url}{path}/{how}?{query}", body=body)

    async def submit(
        self, request: CreateRequest, *, timeout_seconds: float, not_after: float
    ) -> CreateAnswer:
        sent_at = self._now()
        sent = await self._http.post_once(
            request,
            self._auth,
            self._api_url,
            timeout_seconds=timeout_seconds,
            not_after=not_after,
            opens_body=True,
        )
        answer = create_outcome(
            sent, lambda response: self._handle(request, response, sent_at), read_refusal
        )
        if sent.open_body is None:
            return answer
        if answer.outcome is not CreateOutcome.ACCEPTED or sent.response is None:
            await sent.open_body.close()
            return answer
        return replace(answer, delivery=_delivery(request, sent.response, sent.open_body))

    def _handle(
        self, request: CreateRequest, response: Response, sent_at: float
    ) -> ProviderHandle | None:
        """Return the handle of a success; errors name their request, too."""
        job_id = as_job_id(response.headers.get("request-id")) if response.ok else None
        if job_id is None:
            return None
        return self._handle_of(request, job_id, sent_at, charged=response.headers.get(_CREDITS, ""))

    def _handle_of(
        self, request: CreateRequest, job_id: str, sent_at: float, *, charged: str = ""
    ) -> ProviderHandle:
        """Return a handle with the address at which the history begins with this request."""
        query = self._filters(request.model, _voice(request)) | {
            "date_after_unix": str(int(sent_at) - EARLIER_SECONDS),
            "sort_direction": "asc",
        }
        urls = {_HISTORY: self._history_url(query)}
        return ProviderHandle(
            provider=self.name,
            model=request.model,
            provider_job_id=ProviderJobId(job_id),
            urls={**urls, _CREDITS: charged} if charged else urls,
        )

    def _filters(self, model_id: str, voice: str) -> dict[str, str]:
        return {"source": "TTS", "voice_id": voice, "model_id": model_id, "page_size": "100"}

    def _history_url(self, query: Mapping[str, str]) -> str:
        return f"{self._api_url}/history?{urlencode(query)}"

    def file_headers(self, url: str) -> Mapping[str, str]:
        return self._auth if same_origin(url, self._api_url) else {}

    async def find(self, lookup: Lookup) -> FindAnswer:
        """Search the history of the voice; a request is listed when its audio is complete.

        Any match will do: requests with the same text, voice, model, settings and format sound
        alike and cost the same.
        """
        request = lookup.request
        voice = _voice(request)
        reader = self._reader(request.model, voice)
        listed = await reader.read(lookup.sent_from - WINDOW, lookup.sent_until + WINDOW, lookup)
        match = match_candidates(listed.jobs, _inputs(request), lookup, listed.clock)
        sent_at = lookup.sent_from.timestamp()
        return FindAnswer(
            matches=tuple(self._handle_of(request, job_id, sent_at) for job_id in match.job_ids),
            doubtful=tuple(map(ProviderJobId, match.doubtful)),
            authoritative=listed.complete and not match.ambiguous,
            looked_at=listed.looked_at,
            clock=listed.clock,
            later=later_jobs(listed.jobs, lookup, DELIVERY_SECONDS + LONGEST_SPEECH_SECONDS),
            interchangeable=True,
        )

    def _reader(self, model_id: str, voice: str) -> ListReader:
        key = (model_id, voice)
        if key not in self._lists:
            self._lists[key] = ListReader(self._http, self._list(model_id, voice))
        self._lists.move_to_end(key)
        while len(self._lists) > MAX_READERS:
            self._lists.popitem(last=False)
        return self._lists[key]

    def _list(self, model_id: str, voice: str) -> ListApi:
        names = _setting_names(model_id)

        def first_url(start: datetime, end: datetime | None, size: int) -> str:
            query = self._filters(model_id, voice) | {"page_size": str(size)}
            query["date_after_unix"] = str(int(start.timestamp()))
            if end is not None:
                query["date_before_unix"] = str(int(end.timestamp()) + 1)
            return self._history_url(query)

        def read_item(item: Mapping[str, object]) -> Candidate | None:
            return read_candidate(item, names) if item.get("model_id") == model_id else None

        return ListApi(
            headers=self._auth,
            member="history",
            ignored=_IGNORED,
            page_sizes=(100, 10, 1),
            first_url=first_url,
            next_url=_next_url,
            is_last=lambda members: members.get("has_more") is False,
            read_item=read_item,
        )

    async def status(self, handle: ProviderHandle) -> JobReport:
        """Read a request in the history, which shows it when its audio is complete.

        A request that the history does not show within the deadline of its model is lost. It was
        charged, because its answer had begun.
        """
        url = handle.urls.get(_HISTORY, "")
        if not same_origin(url, self._api_url):
            url = self._history_url({"source": "TTS", "page_size": "100"})
        item_id = await self._find_item(url, handle.provider_job_id)
        if item_id is None:
            return self._unlisted_report(handle, url)
        item_url = f"{self._api_url}/history/{quote(item_id, safe='')}"
        response = await self._http.read("GET", item_url, self._auth)
        if read_meaning(Read.STATUS, response, member="history_item_id") is not Meaning.ANSWERED:
            raise unavailable(response)
        return listed_report(response.object(), f"{item_url}/audio")

    async def _find_item(self, url: str, job_id: str) -> str | None:
        """Return the history item of a request, or None if these pages do not show it."""
        matches: list[str] = []

        def note(item: Mapping[str, object]) -> None:
            item_id = as_job_id(item.get("history_item_id"))
            if item.get("request_id") == job_id and item_id is not None:
                matches.append(item_id)

        next_url: str | None = url
        for _ in range(STATUS_PAGES):
            page = ListPage(_HISTORY, _IGNORED, note)
            try:
                response = await self._http.read_list(
                    next_url, self._auth, page.feed, max_bytes=PAGE_MAX_BYTES
                )
                if response.status_code != 200:
                    raise unavailable(response)
                next_url = _next_url(next_url, page.close())
            except PageError as error:
                raise ProviderUnavailableError(str(error)) from None
            if matches or next_url is None:
                break
        return next(iter(matches), None)

    def _unlisted_report(self, handle: ProviderHandle, url: str) -> JobReport:
        after = parse_qs(urlsplit(url).query).get("date_after_unix", [""])[0]
        model = next((model for model in self.models if model.id == handle.model), MODELS[0])
        if not after.isdecimal():
            return JobReport(state=JobState.SUBMITTED)
        if self._now() < int(after) + EARLIER_SECONDS + model.deadline_seconds:
            return JobReport(state=JobState.SUBMITTED)
        return JobReport(
            state=JobState.FAILED,
            failure=Failure.of(FailureCode.OUTPUT_EXPIRED),
            billed_units=handle.urls.get(_CREDITS),
            charged=True,
        )

    async def cancel(self, handle: ProviderHandle) -> CancelOutcome:
        """Return that it is too late: a request is charged when it is accepted."""
        return CancelOutcome.TOO_LATE

    async def check_key(self) -> bool:
        """Check the key by reading its subscription."""
        url = f"{self._api_url}/user/subscription"
        return key_accepted(await self._http.read("GET", url, self._auth), "character_count")

    async def has_voice(self, voice: str) -> bool:
        """Read a voice of the account, or return what an earlier read showed."""
        until, known = self._voices.get(voice, (0.0, False))
        if self._now() < until:
            return known
        url = f"{self._api_url}/voices/{quote(voice, safe='')}"
        known = read_voice(await self._http.read("GET", url, self._auth))
        kept = VOICE_KEPT_SECONDS if known else NO_VOICE_KEPT_SECONDS
        self._voices[voice] = (self._now() + kept, known)
        self._voices.move_to_end(voice)
        while len(self._voices) > MAX_VOICES:
            self._voices.popitem(last=False)
        return known

    async def verify_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        raise CallbackRefusedError("elevenlabs sends no callbacks for speech")


def _delivery(request: CreateRequest, head: Response, body: OpenBody) -> Delivery:
    timed = urlsplit(request.url).path.endswith("/with-timestamps")
    language = as_text(request.body.get("language_code"))

    async def read() -> Delivered:
        content = await body.read(max_bytes=BODY_MAX_BYTES)
        return read_answer(content, head.headers.get(_CREDITS), language, timed=timed)

    return Delivery(read=read, close=body.close)


def _voice(request: CreateRequest) -> str:
    return unquote(urlsplit(request.url).path.split("/text-to-speech/")[1].split("/")[0])


def _setting_names(model_id: str) -> list[str]:
    model = next((model for model in MODELS if model.id == model_id), MODELS[0])
    start = f"{SETTINGS}."
    return [item.field.removeprefix(start) for item in model.inputs if item.field.startswith(start)]


def _inputs(request: CreateRequest) -> Inputs:
    query = parse_qs(urlsplit(request.url).query)
    return inputs_of(
        as_text(request.body.get("text")),
        _voice(request),
        request.model,
        query.get("output_format", [""])[0],
        as_object(request.body.get(SETTINGS)),
    )


def _next_url(url: str, members: Mapping[str, object]) -> str | None:
    last = as_text(members.get("last_history_item_id"))
    if members.get("has_more") is not True or not last:
        return None
    return str(httpx.URL(url).copy_set_param("start_after_history_item_id", last))
