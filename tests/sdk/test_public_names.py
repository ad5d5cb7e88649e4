"""What a stranger sees of the Python client: names, documentation, and no secrets."""

import copy
import logging
import pickle
from typing import cast

import httpx
import pytest

import takeone
from takeone import AsyncTakeone, Execution, Takeone, errors
from takeone._core.answers import problem
from takeone._core.calls import Answer
from tests.sdk.test_watching import execution

KEY = "tko_a_secret_key"
BUILDERS = (
    "compose", "generate_video", "generate_image", "generate_audio", "merge", "layers", "captions",
    "reframe", "lip_sync", "remove_background", "talking_head", "transcribe", "video_model",
    "image_model", "audio_model", "approval", "variable", "fill",
)  # fmt: skip


def test_every_public_name_is_documented() -> None:
    assert set(BUILDERS) <= set(takeone.__all__)
    for name in set(takeone.__all__) - {"VERSION"}:
        assert getattr(takeone, name).__doc__, name
    for name, error in vars(errors).items():
        if isinstance(error, type) and error.__module__ == errors.__name__:
            assert error.__doc__, name


def test_modules_that_the_documentation_names_are_loaded() -> None:
    assert takeone.webhooks.verify
    assert takeone.errors.BudgetError
    assert takeone.models.Quote


@pytest.mark.parametrize("client", [Takeone, AsyncTakeone])
def test_representation_has_the_address_and_no_key(client: type[Takeone]) -> None:
    made = client(KEY, "http://api.test")
    assert repr(made) == f"{client.__name__}('http://api.test')"
    assert KEY not in repr(vars(made)["_sender"].settings)


def test_errors_and_logs_have_no_key(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        return httpx.Response(401, json={"code": "unauthenticated", "retryable": False})

    with (
        caplog.at_level(logging.DEBUG),
        httpx.Client(transport=httpx.MockTransport(refuse)) as http,
        pytest.raises(errors.AuthenticationError) as raised,
    ):
        Takeone(KEY, "http://api.test", http_client=http).keys.list()
    assert KEY not in f"{raised.value!r} {vars(raised.value)} {caplog.text}"


@pytest.mark.parametrize("key", ["tko_a key", "tko_clé", "tko_\0"])
def test_malformed_key_is_refused_without_naming_it(key: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="Copy it again") as raised:
        Takeone(key, "http://api.test")
    assert key not in str(raised.value)


def test_line_break_after_a_key_is_removed() -> None:
    client = Takeone(f"{KEY}\n", " http://api.test/\n")
    assert vars(client)["_sender"].settings.api_key == KEY
    assert repr(client) == "Takeone('http://api.test')"


def test_redirected_call_names_the_address_to_use() -> None:
    def redirect(_: httpx.Request) -> httpx.Response:
        return httpx.Response(301, headers={"location": "https://api.test/api/keys"})

    with httpx.Client(transport=httpx.MockTransport(redirect)) as http:
        client = Takeone(KEY, "http://api.test", http_client=http)
        for call in (client.keys.list, lambda: client.keys.revoke("key_1")):
            with pytest.raises(errors.UnusableAnswerError, match=r"https://api\.test.*base_url"):
                call()


def test_own_http_client_stays_open() -> None:
    http = httpx.Client()
    with Takeone(KEY, "http://api.test", http_client=http):
        pass
    assert not http.is_closed
    http.close()
    with Takeone(KEY, "http://api.test") as client:
        inner = vars(client)["_sender"].http
    assert inner.is_closed


def test_proxies_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    with Takeone(KEY, "http://api.test") as client:
        mounts = cast("dict[str, object]", vars(vars(client)["_sender"].http)["_mounts"])
    assert any(transport is not None for transport in mounts.values())


def test_errors_survive_a_process_pool() -> None:
    ended = Execution.model_validate(execution(status="cancelled").model_dump())
    body = b'{"code": "budget_exceeded", "title": "Budget exceeded", "spent": "1"}'
    refused = problem(Answer(402, httpx.Headers(), body), "my-key")
    for error in (
        refused,
        errors.WaitTimeoutError("exec_1", 3),
        errors.ExecutionFailedError(ended),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
        assert vars(again) == vars(error)


def test_copied_execution_has_no_connection() -> None:
    with Takeone(KEY, "http://api.test") as client:
        sender = vars(client)["_sender"]
        original = Execution.model_validate(execution().model_dump(), context=sender)
        for again in (pickle.loads(pickle.dumps(original)), copy.deepcopy(original)):
            assert again.model_dump() == original.model_dump()
            with pytest.raises(errors.ConfigurationError, match="not read by a client"):
                again.refresh()
