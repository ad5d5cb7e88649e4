"""POST /api/generate-video: what is accepted, what it writes, what is refused."""

from tests.api.conftest import Api, TestUser

BODY = {"prompt": "A paper boat on a rainy street"}


async def test_generate_video_answers_202_and_can_be_read(user: TestUser) -> None:
    answer = await user.http.post("/api/generate-video", json=BODY)

    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert accepted["status"] == "queued"
    assert answer.headers["location"] == accepted["statusUrl"]
    read = await user.http.get(accepted["statusUrl"])
    assert read.status_code == 200, read.text
    assert read.json()["id"] == accepted["executionId"]


async def test_healthz_answers_without_a_key(api: Api) -> None:
    answer = await api.http.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
