"""Adapter for models of the operator's own, which run on Cog's HTTP server.

A server keeps nothing about a prediction that has ended: its result is only in the callback.
"""

import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import CancelOutcome, JobReport, ProviderHandle
from core.domain.prices import Quote
from core.domain.states import CostBasis, JobState
from core.platform.clock import boot_seconds
from core.providers.http.create_outcome import create_outcome
from core.providers.http.responses import (
    Response,
    as_job_id,
    as_object,
    as_text,
    parsed_json,
    unavailable,
)
from core.providers.http.transport import ProviderHttp, checked_key
from core.providers.inputs import build_body, check_inputs
from core.providers.models import Model, ModelInputs
from core.providers.port import (
    Callback,
    CallbackRefusedError,
    Cost,
    CreateAnswer,
    CreateRequest,
    FindAnswer,
    Lookup,
    ProviderUnavailableError,
)
from core.providers.pricing import NO_COST, cost_of, find_price, quote_of
from core.providers.vendors.cog.catalogue import Served, volume, volumes
from core.providers.vendors.cog.wire import (
    LOST,
    REFUSALS,
    STATUS_BODY,
    is_running,
    model_name,
    prediction_id,
    read_refusal,
    read_report,
)

MAX_ABSENT: Final = 10_000
"""Predictions whose first look without them is kept in memory; the oldest are forgotten first."""
_ASYNC: Final = {"prefer": "respond-async"}


class CogProvider:
    """The Cog adapter.

    callback_token: the WEBHOOK_AUTH_TOKEN of every server.
    lost_seconds: how long a prediction that its server does not run is waited for: its callback may
    be under way.
    """

    name: str = "cog"

    def __init__(
        self,
        http: ProviderHttp,
        *,
        served: Sequence[Served],
        callback_token: str,
        lost_seconds: int,
    ) -> None:
        self.models: Sequence[Model] = tuple(item.model for item in served)
        self._http = http
        self._served = {item.model.id: item for item in served}
        self._by_name = {item.name: item for item in served}
        self._authorization = f"Bearer {checked_key(self.name, callback_token)}".encode()
        self._lost_seconds = lost_seconds
        self._absent_since: OrderedDict[str, float] = OrderedDict()

    def certainty_horizon_seconds(self, model: Model) -> int:
        """Return how long after a send a prediction that does not run has no result either."""
        del model
        return self._lost_seconds

    def settled_seconds(self, model: Model) -> int:
        """Return the same: there is no list that lags."""
        return self.certainty_horizon_seconds(model)

    def quote(self, model: Model, inputs: ModelInputs) -> Quote:
        check_inputs(model, inputs)
        return quote_of(find_price(model, inputs), volumes(model))

    def cost(self, model: Model, inputs: ModelInputs, report: JobReport) -> Cost:
        """Return the cost of a completed run; any other end costs nothing."""
        if report.state is not JobState.COMPLETED:
            return NO_COST
        seconds = report.run_seconds
        cost = cost_of(
            find_price(model, inputs), volume(model.usual_seconds if seconds is None else seconds)
        )
        basis = CostBasis.ASSUMED if seconds is None else CostBasis.COMPUTED
        return Cost(nano_usd=cost, basis=basis)

    def create_request(
        self, model: Model, inputs: ModelInputs, callback_url: str | None
    ) -> CreateRequest:
        served = self._served[model.id]
        if callback_url is None:
            raise ValueError(
                f"{model.id} returns results only by callback, and its server cannot reach "
                "PUBLIC_URL"
            )
        return CreateRequest(
            method="PUT",
            model=model.id,
            url=served.prediction_url(prediction_id(served.name, callback_url)),
            body={
                "input": build_body(model, inputs),
                "webhook": callback_url,
                "webhook_events_filter": ["completed"],
            },
            headers=_ASYNC,
        )

    async def submit(
        self, request: CreateRequest, *, timeout_seconds: float, not_after: float
    ) -> CreateAnswer:
        served = self._served[request.model]
        sent = await self._http.post_once(
            request, {}, served.url, timeout_seconds=timeout_seconds, not_after=not_after
        )

        def read_handle(response: Response) -> ProviderHandle | None:
            handle = self._handle(request)
            named = response.object().get("id")
            return handle if named == handle.provider_job_id else None

        return create_outcome(sent, read_handle, read_refusal, REFUSALS)

    def _handle(self, request: CreateRequest) -> ProviderHandle:
        return ProviderHandle(
            provider=self.name,
            model=request.model,
            provider_job_id=ProviderJobId(request.url.rpartition("/")[2]),
        )

    def file_headers(self, url: str) -> Mapping[str, str]:
        """Return none: a server needs no key."""
        del url
        return {}

    async def find(self, lookup: Lookup) -> FindAnswer:
        """Return whether the server runs the prediction of a send.

        Past the horizon, one that does not run either never arrived or has ended without a callback
        that arrived: no result is lost by a further send.
        """
        if lookup.admit_page is not None:
            await lookup.admit_page()
        looked_at = boot_seconds()
        handle = self._handle(lookup.request)
        response = await self._read_state(handle)
        return FindAnswer(
            matches=(handle,) if is_running(response) else (),
            authoritative=True,
            looked_at=looked_at,
            clock=response.clock,
        )

    async def status(self, handle: ProviderHandle) -> JobReport:
        """Read the state of a prediction.

        One that its server does not run has ended, or was lost with its server. It counts as lost
        if no callback arrives for some time, and its job is sent again.
        """
        response = await self._read_state(handle)
        if is_running(response):
            self._absent_since.pop(handle.provider_job_id, None)
            return read_report(response.object(), self._served[handle.model].model.outputs)
        now = boot_seconds()
        since = self._absent_since.setdefault(handle.provider_job_id, now)
        while len(self._absent_since) > MAX_ABSENT:
            self._absent_since.popitem(last=False)
        if now - since < self._lost_seconds:
            return JobReport(state=JobState.SUBMITTED)
        return LOST

    async def _read_state(self, handle: ProviderHandle) -> Response:
        """Return a response that shows whether a prediction runs.

        Raises ProviderUnavailableError.
        """
        response = await self._http.read("PUT", self._url(handle), _ASYNC, STATUS_BODY)
        if is_running(response) is None:
            raise unavailable(response)
        return response

    def _url(self, handle: ProviderHandle) -> str:
        served = self._served.get(handle.model)
        if served is None:
            raise ProviderUnavailableError("the model is not in COG_MODELS_FILE")
        return served.prediction_url(handle.provider_job_id)

    async def cancel(self, handle: ProviderHandle) -> CancelOutcome:
        """Request the cancellation of a prediction; a running one reports its end by callback."""
        response = await self._http.read("POST", f"{self._url(handle)}/cancel")
        if response.status_code == 404:
            return CancelOutcome.NOTHING
        if not response.ok:
            raise unavailable(response)
        return CancelOutcome.REQUESTED

    async def check_key(self) -> bool:
        """Raise ProviderUnavailableError: users have no keys of their own for these servers."""
        raise ProviderUnavailableError("Cog servers take no keys")

    async def verify_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        """Verify the bearer token, and read the end of the prediction."""
        authorization = headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(authorization, self._authorization):
            raise CallbackRefusedError("the callback's bearer token is missing or wrong")
        prediction = as_object(parsed_json(body))
        job_id = as_job_id(prediction.get("id"))
        served = self._by_name.get(model_name(job_id or ""))
        if job_id is None or served is None or not as_text(prediction.get("status")):
            raise CallbackRefusedError("the callback names no prediction of a known model")
        report = read_report(prediction, served.model.outputs)
        return Callback(
            provider_job_id=ProviderJobId(job_id),
            delivery_id=job_id,
            report=report if report.state.ended else None,
        )
