"""Webhook addresses in private networks are refused before anything is accepted."""

import pytest

from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G6")

PATH = "/api/generate-video"
PROMPT = "A paper boat on a rainy street"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/hook",
        "http://127.0.0.1:8080/hook",
        "http://localhost/hook",
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://10.1.2.3/",
        "http://[::1]/",
        "http://[::ffff:10.1.2.3]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://postgres/",
        "https://example.com:5432/",
    ],
)
async def test_webhook_address_in_a_private_network_is_422(
    shared_api: Api, api_once: TestUser, url: str
) -> None:
    quote = await api_once.http.post("/api/quotes", json={"prompt": PROMPT, "webhook": url})
    assert (quote.status_code, quote.json()["errors"][0]["field"]) == (422, "webhook")
    answer = await api_once.http.post(PATH, json={"prompt": PROMPT, "webhook": url})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == "webhook"
    assert error["detail"].startswith(
        ("must lead to a public address", "must use one of the ports", "is not an IP address")
    )
    async with shared_api.database.as_user(api_once.user_id) as conn:
        assert (
            await conn.fetchval("SELECT count(*) FROM executions WHERE webhook_url = $1", url) == 0
        )


async def test_endpoint_address_in_a_private_network_is_422(api_once: TestUser) -> None:
    answer = await api_once.http.post("/api/endpoints", json={"url": "http://169.254.169.254/"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "url"), answer.text
    assert (await api_once.http.get("/api/endpoints")).json()["data"] == []


async def test_webhook_address_that_an_operator_allows_is_accepted(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    settings = api_settings(fresh_database, temporal_address).model_copy(
        update={"allowed_private_hosts": ("127.0.0.1:5000", "receiver:9999")}
    )
    async with running_api(settings) as api:
        user = await api.new_user()
        async with user.http as http:
            for url, status in (
                ("http://127.0.0.1:5000/hook", 202),
                ("http://receiver:9999/hook", 202),
                ("http://127.0.0.1/hook", 422),
            ):
                answer = await http.post(PATH, json={"prompt": PROMPT, "webhook": url})
                assert answer.status_code == status, answer.text
