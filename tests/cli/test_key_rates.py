"""`takeone-admin keys set-rate`: changing a key's own rate limits."""

import pytest

from tests.support.admin import run_admin
from tests.support.servers import FreshDatabase


async def test_admin_sets_the_rates_of_a_key(fresh_database: FreshDatabase) -> None:
    url = fresh_database.application_dsn
    made = (await run_admin(url, "users", "create", "Ada")).json
    user, key = made["userId"], made["keyId"]

    both = (
        await run_admin(url, "keys", "set-rate", key, "--writes", "500", "--reads", "none")
    ).json
    assert both == {"keyId": key, "rateWrites": 500, "rateReads": "none"}
    one = (await run_admin(url, "keys", "set-rate", key, "--writes", "default")).json
    assert one == {"keyId": key, "rateWrites": "default", "rateReads": "none"}
    (listed,) = (await run_admin(url, "keys", "list", user)).json
    assert (listed["rateWrites"], listed["rateReads"]) == ("default", "none")
    entry = (await run_admin(url, "audit", "list", "--target", key)).json[0]
    assert entry["action"] == "keys set-rate"
    assert entry["detail"]["to"] == {"rateWrites": "default", "rateReads": "none"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["key_none", "--writes", "1"], 1, "no key key_none"),
        (["key_none", "--writes", "0"], 2, "not a whole number from 1 to"),
        (["key_none", "--reads", "many"], 2, "not a whole number from 1 to"),
        (["key_none", "--reads", "-1"], 2, "reads"),
    ],
)
async def test_admin_refuses_invalid_rates(
    fresh_database: FreshDatabase, arguments: list[str], code: int, said: str
) -> None:
    ran = await run_admin(fresh_database.application_dsn, "keys", "set-rate", *arguments)
    assert ran.code == code
    assert said in ran.err
