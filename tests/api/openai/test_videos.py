"""POST and GET /v1/videos: what an order means, and how a refusal reads."""

from typing import Any

import httpx

from tests.api.conftest import TestUser

PROMPT = "a red kite over a grey harbour"
FORM = {"prompt": (None, PROMPT)}


async def create(user: TestUser, form: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    if form is not None:
        parts = {name: (None, text) for name, text in {"prompt": PROMPT, **form}.items()}
        return await user.http.post("/v1/videos", files=parts)
    return await user.http.post("/v1/videos", json={"prompt": PROMPT, **body})


async def test_form_and_json_order_the_documented_defaults(api_once: TestUser) -> None:
    for answer in (await create(api_once), await create(api_once, form={})):
        assert answer.status_code == 200, answer.text
        video = answer.json()
        found = await api_once.http.get(f"/v1/videos/{video['id']}")
        assert found.json() | {"cost": 0} == video | {"cost": 0}
        shown = {name: video[name] for name in ("object", "status", "seconds", "size", "prompt")}
        assert shown == {
            "object": "video",
            "status": "queued",
            "seconds": "4",
            "size": "720x1280",
            "prompt": PROMPT,
        }
        assert video["model"] == "bytedance/seedance-1-pro"
        assert isinstance(video["created_at"], int)
        execution = (await api_once.http.get(f"/api/executions/{video['id']}")).json()
        assert execution["cost"]["estimated"] == video["cost"]["estimated"]
