"""Recordings for the contract test, made from the answers of Cog's own server.

    python -m tests.cog.record

Run it again for another version of the package. A test compares the files with the server.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx

from core.domain.states import JobState
from core.providers.http.create_outcome import CreateOutcome
from core.providers.vendors.cog.wire import STATUS_BODY, prediction_id
from tests.cog.server import CogServer
from tests.providers.create_cases import CALLBACK_URL
from tests.providers.replay import FOLDER, Recording

ID: Final = prediction_id("painter", CALLBACK_URL)
SENT_AT: Final = "2026-11-29T16:00:00Z"
ASKED_AT: Final = "2026-11-29T16:00:30Z"
DATE: Final = "Sun, 29 Nov 2026 16:00:30 GMT"
_INPUT: Final = {"prompt": "a red kite over a harbour", "seed": 811}


class Recorder:
    """Makes calls to a server and keeps their answers."""

    def __init__(self, server: CogServer) -> None:
        self._server = server

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = httpx.request(
            method,
            f"{self._server.url}{path}",
            json=body,
            headers={"prefer": "respond-async"},
            trust_env=False,
        )
        return {
            "request": f"{method} /cog{path}",
            "status": answer.status_code,
            "headers": {"date": DATE},
            "body": answer.json(),
        }

    def put(self, body: object) -> dict[str, Any]:
        return self.call("PUT", f"/predictions/{ID}", body)

    def cancel(self) -> dict[str, Any]:
        return self.call("POST", f"/predictions/{ID}/cancel")

    def until_idle(self) -> None:
        end = time.monotonic() + 10
        while self.put(STATUS_BODY)["status"] != 422:
            assert time.monotonic() < end
            time.sleep(0.02)
        self._server.wait_until("READY")


def record(server: CogServer, unready: CogServer) -> dict[str, Recording]:
    """Return all recordings by name. unready: a server whose model is not set up."""
    recorder = Recorder(server)
    held = {"input": {**_INPUT, "held_by": "held"}}
    invalid = recorder.put({"input": {"seed": -1}})
    runs = len(server.runs())
    with server.held():
        accepted = recorder.put(held)
        server.wait_for_run(runs + 1)  # a cancel before it may be lost
        other = recorder.call("PUT", "/predictions/painter-other", {"input": _INPUT})
        busy = {**other, "request": accepted["request"]}
        running = recorder.put(STATUS_BODY)
        cancelled = recorder.cancel()
    recorder.until_idle()
    ended = recorder.put(STATUS_BODY)
    not_cancelled = recorder.cancel()
    early = Recorder(unready)
    setting_up, starting = early.put({"input": _INPUT}), early.put(STATUS_BODY)
    running["body"]["input"]["held_by"] = ""
    return {
        "create_accepted": _create([accepted], CreateOutcome.ACCEPTED, provider_job_id=ID),
        "create_invalid": _refused([invalid], "provider_rejected_input", "prompt: Field required"),
        "create_busy": _refused([busy], "provider_unavailable"),
        "create_setting_up": _refused([setting_up], "provider_unavailable"),
        "status_running": _status([running], state=JobState.SUBMITTED),
        "status_ended": _status([ended], state=JobState.SUBMITTED),
        "status_starting": _status([starting], unavailable=True),
        "find_running": _find([running], matches=[ID], authoritative=True),
        "find_ended": _find([ended], matches=[], authoritative=True),
        "cancel_running": _recording([cancelled] * 2, {"outcome": "requested"}),
        "cancel_ended": _recording([not_cancelled] * 2, {"outcome": "nothing"}),
    }


def _recording(exchanges: list[dict[str, Any]], expect: dict[str, Any]) -> Recording:
    return {
        "source": "recorded from the server of cog 0.23.1",
        "model": "cog/painter",
        "provider_job_id": ID,
        "exchanges": exchanges,
        "expect": expect,
    }


def _create(exchanges: list[dict[str, Any]], outcome: str, **expect: Any) -> Recording:
    return _recording(exchanges, {"outcome": str(outcome), **expect})


def _refused(exchanges: list[dict[str, Any]], failure: str, says: str = "") -> Recording:
    return _create(exchanges, CreateOutcome.NOT_ACCEPTED, failure=failure, says=says)


def _status(exchanges: list[dict[str, Any]], **expect: Any) -> Recording:
    return _recording(exchanges, {name: _plain(value) for name, value in expect.items()})


def _find(exchanges: list[dict[str, Any]], **expect: Any) -> Recording:
    return {**_recording(exchanges, expect), "sent_at": SENT_AT, "asked_at": ASKED_AT}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, JobState) else value


def main() -> None:
    """Write the files."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        server = CogServer(Path(one))
        unready = CogServer(Path(other), setup_held=True)
        try:
            recordings = record(server, unready)
        finally:
            server.stop()
            unready.stop()
    for name, recording in recordings.items():
        text = json.dumps(recording, indent=2) + "\n"
        (FOLDER / "cog" / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
