"""Sanitised recordings of how providers show a finished job, in the form that tests replay."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.domain.messages.jobs import JobReport, ProviderHandle
from core.platform.settings.providers import ProviderSettings
from core.providers.http.responses import Response
from core.providers.http.transport import ProviderHttp

JOB_ID = "00000000-0000-4000-8000-000000000000"
KEPT_HEADERS = ("content-type", "x-fal-billable-units")
"""Of an answer. No header of a request is recorded: it has the key."""
_QUERY = re.compile(r"(https?://[^\s\"?]+)\?[^\s\"]*")
"""The signature of a file's address."""
_CALLBACK = re.compile(r"https?://[^\s\"]*/callbacks/[^\s\"]*")
"""Has the token of a send."""
_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")


@dataclass(slots=True)
class Exchange:
    """One read. request: method and URL."""

    request: str
    response: Response


@dataclass(slots=True)
class Recorder:
    """The exchanges of one job.

    reads_list: a list of the account was read, which shows other jobs: do not keep the recording.
    """

    exchanges: list[Exchange] = field(default_factory=list[Exchange])
    reads_list: bool = False


class RecordingHttp(ProviderHttp):
    """The providers' transport, which also records what it reads. It is never asked to buy."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    async def read(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Response:
        response = await super().read(method, url, headers, body)
        self._recorder.exchanges.append(Exchange(f"{method} {url}", response))
        return response

    async def read_list(
        self,
        url: str,
        headers: Mapping[str, str],
        feed: Callable[[bytes], None],
        *,
        max_bytes: int,
    ) -> Response:
        self._recorder.reads_list = True
        return await super().read_list(url, headers, feed, max_bytes=max_bytes)


def places(settings: ProviderSettings) -> dict[str, str]:
    """Return each provider's address with the path that stands for it in recordings."""
    return {
        settings.fal_queue_url: "/fal/queue",
        settings.fal_api_url: "/fal/api/v1",
        settings.replicate_base_url: "/replicate",
        settings.elevenlabs_base_url: "/elevenlabs",
    }


def recording(
    exchanges: list[Exchange],
    report: JobReport,
    handle: ProviderHandle,
    settings: ProviderSettings,
    *,
    secrets: list[str],
    source: str,
) -> dict[str, Any]:
    """Return the recording of a job without keys, ids, signatures and mail addresses.

    secrets: texts that must not appear, such as keys. source: who played the provider.
    """

    def clean(text: str) -> str:
        for secret in filter(None, secrets):
            text = text.replace(secret, "[key]")
        for address, place in places(settings).items():
            text = text.replace(address, f"{{base}}{place}")
        return text.replace(handle.provider_job_id, JOB_ID)

    def clean_body(text: str) -> str:
        text = _CALLBACK.sub("https://takeone.example/callback", _QUERY.sub(r"\1", clean(text)))
        return _MAIL.sub("someone@example.com", text)

    def exchange(each: Exchange) -> dict[str, Any]:
        method, _, url = each.request.partition(" ")
        response = each.response
        kept = {name: value for name, value in response.headers.items() if name in KEPT_HEADERS}
        return {
            "request": f"{method} {clean(url).removeprefix('{base}')}",
            "status": response.status_code,
            "headers": kept,
            "body": clean_body(response.body.decode("utf-8", "replace")),
        }

    return {
        "source": source,
        "provider": handle.provider,
        "model": handle.model,
        "provider_job_id": JOB_ID,
        "urls": {name: clean(url) for name, url in handle.urls.items()},
        "exchanges": [exchange(each) for each in exchanges],
        "expect": {
            "state": report.state.value,
            "billed_units": report.billed_units,
            "run_seconds": report.run_seconds,
            "outputs": [
                {"kind": output.kind.value, "name": urlsplit(output.url).path.rpartition("/")[2]}
                for output in report.outputs
            ],
        },
    }


def write(folder: Path, recorded: dict[str, Any]) -> Path:
    """Write a recording and return its file."""
    model = str(recorded["model"]).replace("/", "-")
    file = folder / str(recorded["provider"]) / f"{model}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file
