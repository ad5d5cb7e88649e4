"""A sandbox in its own process, and a receiver for its callbacks."""

import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[2]
FAL = {"Authorization": "Key id:secret"}
REPLICATE = {"Authorization": "Bearer r8_token"}
ELEVENLABS = {"xi-api-key": "sk_elevenlabs"}
VOICE = "JBFqnCBsd6RMkjVDRZzb"
FLUX = "fal-ai/flux/schnell"
SEEDANCE = "fal-ai/bytedance/seedance/v1/pro/image-to-video"
KLING = "fal-ai/kling-video/v2.5-turbo/pro/image-to-video"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
QUICK = {"image_seconds": 0.2, "video_seconds": 0.3, "queue_seconds": 0.05, "tiny_media": True, "speech_seconds": 0.0,
         "callback_retry_seconds": [0.05, 0.1, 0.2]}  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without proxies and real keys."""
    dropped = (
        "SANDBOX_",
        "FAL_",
        "REPLICATE_",
        "ELEVENLABS_",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    )
    return {
        key: value for key, value in os.environ.items() if not key.upper().startswith(dropped)
    } | more


class Client(httpx.Client):
    """A client of the providers' port whose calls below /__control go to the control port."""

    control_url = ""

    def build_request(self, method: str, url: httpx.URL | str, **rest: Any) -> httpx.Request:  # pyright: ignore[reportIncompatibleMethodOverride]
        if str(url).startswith("/__control"):
            url = f"{self.control_url}{str(url).removeprefix('/__control')}"
        return super().build_request(method, url, **rest)


class Sandbox:
    def __init__(self, data_dir: Path, *arguments: str, tls_ca: Path | None = None) -> None:
        self.data_dir = data_dir
        self._arguments = arguments
        self._tls_ca = tls_ca
        self._port = self._control_port = 0
        self.start()

    def start(self) -> None:
        """Start, also again after a stop or kill, with the same port and data folder."""
        command = [
            sys.executable,
            "-m",
            "sandbox",
            "--port",
            str(self._port),
            "--control-port",
            str(self._control_port),
            "--data-dir",
            str(self.data_dir),
        ]
        self.process = subprocess.Popen(
            [*command, *self._arguments],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        assert self.first_line.startswith("sandbox: fal http"), self.first_line
        self.url = self.first_line.split()[2].removesuffix("/fal/queue")
        self._port = int(self.url.rsplit(":", 1)[1])
        verify: Any = ssl.create_default_context(cafile=self._tls_ca) if self._tls_ca else True
        self.control_url: str = next(
            part for part in self.first_line.replace(",", "").split() if part.endswith("/__control")
        )
        self._control_port = int(self.control_url.split(":")[2].split("/")[0])
        self.client = Client(base_url=self.url, timeout=30, trust_env=False, verify=verify)
        self.client.control_url = self.control_url
        self.wait_until(lambda: self.client.get("/__control/health").status_code == 200)

    @property
    def port(self) -> int:
        return self._port

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.client.close()
        self.process.send_signal(how)
        code = self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    @staticmethod
    def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, "the condition did not become true in time"
            time.sleep(0.02)

    # Control routes

    def reset(self, **settings: Any) -> None:
        assert self.client.post("/__control/reset").status_code == 204
        self.set(**QUICK | settings)

    def set(self, **settings: Any) -> None:
        answer = self.client.put("/__control/settings", json=settings)
        assert answer.status_code == 200, answer.text

    def fault(self, name: str, **order: Any) -> str:
        answer = self.client.post("/__control/faults", json={"fault": name} | order)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def fired(self, fault_id: str) -> int:
        faults = self.client.get("/__control/faults").json()["faults"]
        return next(fault["fired"] for fault in faults if fault["id"] == fault_id)

    def bill(self) -> dict[str, Any]:
        return self.client.get("/__control/bill").json()

    def jobs(self) -> list[dict[str, Any]]:
        return self.client.get("/__control/jobs").json()["jobs"]

    # fal

    def submit(self, model: str = FLUX, **body: Any) -> httpx.Response:
        """Submit a request; `callback` and `headers` are apart, the rest is the model's input."""
        callback, headers = body.pop("callback", None), body.pop("headers", {})
        query = {"fal_webhook": callback} if callback else None
        return self.client.post(
            f"/fal/queue/{model}", params=query, json=body, headers=FAL | headers
        )

    def fal_get(self, address: str) -> httpx.Response:
        return self.client.get(address, headers=FAL)

    def fal_result(self, submitted: httpx.Response) -> httpx.Response:
        """Wait for the result and return it."""
        assert submitted.status_code == 200, submitted.text
        self.wait_until(lambda: self.fal_get(submitted.json()["status_url"]).status_code == 200)
        return self.fal_get(submitted.json()["response_url"])

    # Replicate

    def predict(self, model: str = "black-forest-labs/flux-schnell", **body: Any) -> httpx.Response:
        headers = REPLICATE | body.pop("headers", {})
        return self.client.post(
            f"/replicate/v1/models/{model}/predictions", json=body, headers=headers
        )

    def prediction(self, prediction_id: str) -> dict[str, Any]:
        return self.client.get(
            f"/replicate/v1/predictions/{prediction_id}", headers=REPLICATE
        ).json()

    def predicted(self, created: httpx.Response) -> dict[str, Any]:
        """Wait until the prediction has ended and return it."""
        assert created.status_code == 201, created.text
        prediction_id = created.json()["id"]
        self.wait_until(
            lambda: self.prediction(prediction_id)["status"] not in {"starting", "processing"}
        )
        return self.prediction(prediction_id)

    # ElevenLabs

    def speak(self, text: str, how: str = "", voice: str = VOICE, **body: Any) -> httpx.Response:
        """Request speech; `headers` and `query` are apart, the rest is the body."""
        headers, query = ELEVENLABS | body.pop("headers", {}), body.pop("query", None)
        path = f"/elevenlabs/v1/text-to-speech/{voice}{how}"
        return self.client.post(path, json={"text": text} | body, headers=headers, params=query)

    def history(self, **query: Any) -> dict[str, Any]:
        answer = self.client.get("/elevenlabs/v1/history", params=query, headers=ELEVENLABS)
        assert answer.status_code == 200, answer.text
        return answer.json()


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


class Receiver:
    """Receiver of callbacks on a free port; responds with each of `statuses`, then with 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.statuses: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                outer.received.append(
                    Received(path=self.path, headers=headers, body=body, at=time.time())
                )
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
