"""Isolation of users: every route answers another user's id like an id that does not exist.

Checked with row security, and without it, so that each query must filter by user. Generated from
the OpenAPI document. A route with an unclassified parameter fails here until the parameter is added
to NAMES (an object of a user, created in `_things`) or to PLAIN (no object) of route_parameters.
"""

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

import asyncpg
import httpx
import pytest
from uuid_utils import uuid7

from api.http.ids import encode_cursor, encode_place
from core.domain.failures import FailureCode
from core.domain.ids import (
    EventId,
    new_asset_id,
    new_endpoint_id,
    new_event_id,
    new_execution_id,
    new_template_id,
)
from core.domain.scopes import USUAL_SCOPES
from core.domain.states import JobState
from core.store.accounts.users import insert_api_key
from core.store.webhooks.delivery_log import Place
from tests.api import ended
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.api.operations import Operation, method_to_send, operations_of
from tests.api.route_parameters import (
    A_CURSOR,
    AN_ID_AS_CURSOR,
    APPROVE,
    CURSORS,
    DELETE_ASSET,
    DELETE_EXECUTION,
    MODEL_DEPENDENT,
    NAMES,
    NEEDS_FILES,
    NOT_FOR_USERS,
    OF_LISTENERS,
    OF_PLANS,
    OWN_NAMES,
    PLAIN,
)
from tests.api.test_variables import clip, picture
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G6")

BODIES: Final[Mapping[str, Mapping[str, Any]]] = {}
"""A valid body for a route whose first documented example does not fit."""

A_PLAN: Final[Mapping[str, Any]] = {"version": 1, "steps": [picture()]}
AN_IMAGE: Final = {"image": {"type": "image"}}
WITH_A_FILE: Final = {"version": 1, "variables": AN_IMAGE, "steps": [clip(image={"var": "image"})]}

IDS = re.compile(r"\b[a-z]+_[0-9a-f]{32}\b")
LIST_TABLES = """
SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'user_id'
ORDER BY table_name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Two:
    """Two users: ada owns one object of each kind; bob sends the requests.

    things: by the kinds in NAMES, ada's id and an id that does not exist.
    """

    api: Api
    ada: TestUser
    bob: TestUser
    owner: "asyncpg.Connection[asyncpg.Record]"
    operations: list[Operation]
    things: Mapping[str, tuple[str, str]]

    async def rows_of_ada(self) -> dict[str, list[str]]:
        """Return all of ada's rows."""
        tables = [row["table_name"] for row in await self.owner.fetch(LIST_TABLES)]
        rows: dict[str, list[str]] = {}
        for table in tables:
            found = await self.owner.fetch(
                f"SELECT t::text AS row FROM {table} AS t WHERE user_id = $1", self.ada.user_id
            )
            rows[table] = sorted(row["row"] for row in found)
        return rows


@pytest.fixture(scope="module", params=["both walls", "queries alone"])
async def two(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    template_database: str,
    temporal_address: str,
) -> AsyncGenerator[Two]:
    """Yield the users with row security, and once more without it."""
    async with (
        new_database(postgres_server, template_database) as database,
        running_api(api_settings(database, temporal_address)) as api,
    ):
        ada, bob = await api.new_user(), await api.new_user()
        owner = await asyncpg.connect(database.owner_dsn)
        if request.param == "queries alone":
            for row in await owner.fetch(LIST_TABLES):
                await owner.execute(f"ALTER TABLE {row['table_name']} DISABLE ROW LEVEL SECURITY")
        document = (await api.http.get("/openapi.json")).json()
        async with ada.http, bob.http:
            things = await _things(api, ada, database)
            yield Two(
                api=api,
                ada=ada,
                bob=bob,
                owner=owner,
                operations=operations_of(document),
                things=things,
            )
        await owner.close()


async def _things(api: Api, ada: TestUser, database: FreshDatabase) -> dict[str, tuple[str, str]]:
    """Create one object of each kind for ada, in a state in which its routes return it."""
    failed = ended.Left(state=JobState.FAILED, failure=FailureCode.PROVIDER_FAILED, released=True)
    one = await ended.end(api.database, ada.user_id, failed)
    (asset_id,) = await _column(
        database, "SELECT asset_id FROM assets WHERE execution_id = $1", one.execution_id
    )
    (event_id,) = await _column(
        database, "SELECT event_id FROM webhooks WHERE execution_id = $1", one.execution_id
    )
    (endpoint_id,) = await _column(
        database, "SELECT endpoint_id FROM webhooks WHERE event_id = $1", event_id
    )
    async with api.database.as_system() as conn:
        key = await insert_api_key(conn, ada.user_id, "another of hers", scopes=USUAL_SCOPES)
    ids = {"execution": one.execution_id, "asset": asset_id, "webhook": event_id, "key": key.key_id}
    ids["endpoint"] = endpoint_id
    own_key = {"key": "a-key-of-hers-at-this-provider"}
    put = await ada.http.put(f"/api/provider-keys/{OWN_NAMES['path provider']}", json=own_key)
    assert put.status_code == 200, put.text
    made = await ada.http.post("/api/templates", json={"name": "hers", "plan": A_PLAN})
    assert made.status_code == 201, made.text
    ids["template"] = made.json()["id"]
    things = {kind: (thing, _never(thing)) for kind, thing in ids.items()}
    things["execution cursor"] = (
        encode_cursor(one.execution_id),
        encode_cursor(new_execution_id()),
    )
    things["asset cursor"] = (encode_cursor(asset_id), encode_cursor(new_asset_id()))
    things["template cursor"] = (encode_cursor(ids["template"]), encode_cursor(new_template_id()))
    things["endpoint cursor"] = (encode_cursor(endpoint_id), encode_cursor(new_endpoint_id()))
    now = datetime.now(UTC)
    places = [Place(created_at=now, event_id=EventId(name)) for name in (event_id, new_event_id())]
    things["webhook cursor"] = (encode_place(places[0]), encode_place(places[1]))
    return things


def _never(thing: str) -> str:
    """Return an id of the same form that does not exist."""
    return f"{thing.rpartition('_')[0]}_{uuid7().hex}"


async def _column(database: FreshDatabase, sql: str, *arguments: object) -> list[str]:
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        return [row[0] for row in await connection.fetch(sql, *arguments)]
    finally:
        await connection.close()


def _kind(operation: Operation, taken: str) -> str | None:
    """Return the kind of user's object that a parameter names, if any."""
    if taken in A_CURSOR:
        return CURSORS[operation.name]
    if (operation.name, taken) == AN_ID_AS_CURSOR:
        return "execution"
    # Of its two bodies, that of a plan is the body of POST /api/quotes/executions.
    if operation.name == "POST /api/quotes" and taken.startswith(OF_PLANS):
        return None
    return NAMES.get(taken)


def _is_known(operation: Operation, taken: str) -> bool:
    if taken in A_CURSOR:
        return operation.name in CURSORS
    return taken in NAMES or taken in PLAIN or taken in OWN_NAMES


async def _ask(
    http: httpx.AsyncClient, operation: Operation, given: Mapping[str, str], **sent: str | None
) -> httpx.Response:
    """Send a request.

    given: values of its parameters; the rest of its body is a valid example. sent: more headers.
    """
    path = operation.path
    query: dict[str, str] = {}
    headers = {"X-Request-Id": "same"} | {
        name: value for name, value in sent.items() if value is not None
    }
    example = BODIES.get(operation.name, operation.example)
    body: dict[str, Any] | None = deepcopy(dict(example)) if example is not None else None
    for taken, value in given.items():
        place, _, name = taken.partition(" ")
        if place == "path":
            path = path.replace(f"{{{name}}}", value)
        elif place == "query":
            query[name] = value
        elif place == "header":
            headers[name] = value
        else:
            assert body is not None
            if name == "template":  # instead of the example's plan
                body.pop("plan")
            elif name.startswith("values."):
                body["plan"] = WITH_A_FILE
            _put(body, name.split("."), value)
    assert "{" not in path, path
    return await http.request(
        method_to_send(operation.name), path, params=query, headers=headers, json=body
    )


def _put(body: Any, names: Sequence[str], value: str) -> None:
    """Set a nested field: in the first item of a list, and as `image` where any name is allowed."""
    name, *rest = names
    if isinstance(body, list):
        _put(cast("list[Any]", body)[0], names, value)
    elif rest == ["asset"]:  # instead of the example's URL
        body["image" if name == "*" else name] = {"asset": value}
    elif rest:
        _put(body.setdefault(name, {}), rest, value)
    else:
        body[name] = value


def _parameter_values(two: Two, operation: Operation, index: int) -> dict[str, str]:
    """Return the parameters that name an object: ada's ids (0), or ids that do not exist (1)."""
    kinds = {taken: _kind(operation, taken) for taken in operation.takes}
    given = {
        taken: two.things[kind][index]
        for taken, kind in kinds.items()
        if kind is not None and taken[:4] == "path"
    }
    return given | {
        taken: value
        for taken, value in OWN_NAMES.items()
        if taken in operation.takes and taken[:4] == "path"
    }


def _visible_response(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """Return the whole response except the address of the request."""
    content = answer.content
    if content and answer.headers.get("content-type") == "application/problem+json":
        document = answer.json()
        document.pop("instance")
        content = json.dumps(document).encode()
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return answer.status_code, content, headers


async def test_every_route_parameter_is_classified_here(two: Two) -> None:
    assert len(two.operations) >= 12
    unknown = [
        f"{operation.name}: {taken}"
        for operation in two.operations
        if operation.name not in NOT_FOR_USERS
        for taken in sorted(operation.takes)
        if not _is_known(operation, taken)
    ]
    assert unknown == [], "add the parameter to NAMES or PLAIN"
    names = {operation.name for operation in two.operations}
    assert set(BODIES) | set(CURSORS) | NOT_FOR_USERS <= names, (
        "classified, but not in the OpenAPI document"
    )


async def test_foreign_id_is_answered_like_an_unknown_id(two: Two) -> None:
    before = await two.rows_of_ada()
    hers = set(IDS.findall(json.dumps(before)))
    assert two.ada.user_id in hers
    wrong: list[str] = []
    covered: set[str] = set()
    for operation in two.operations:
        if operation.name in NOT_FOR_USERS:
            continue
        for taken in sorted(operation.takes):
            kind = _kind(operation, taken)
            if kind is None:
                continue
            foreign, never = two.things[kind]
            foreign_answer = await _ask(
                two.bob.http, operation, _parameter_values(two, operation, 0) | {taken: foreign}
            )
            unknown_answer = await _ask(
                two.bob.http, operation, _parameter_values(two, operation, 1) | {taken: never}
            )
            shown = _visible_response(foreign_answer)
            is_same = shown == _visible_response(unknown_answer) and (
                foreign_answer.status_code == 404 if taken[:4] == "path" else shown[0] < 500
            )
            if not is_same or any(one in str(shown) for one in hers):
                wrong.append(
                    f"{operation.name} with {taken}: {foreign_answer.status_code} {foreign_answer.text}"
                )
            covered.add(kind)
    assert wrong == []
    assert covered == set(two.things), "a kind of object has no route"
    assert await two.rows_of_ada() == before, "a row of ada was changed"


async def test_route_without_ids_neither_shows_nor_changes_foreign_data(two: Two) -> None:
    """Lists, and routes with names that each user chooses, here a name that ada used."""
    key = OWN_NAMES["header Idempotency-Key"]
    for operation in two.operations:
        if (
            "header Idempotency-Key" in operation.takes
            and "{" not in operation.path
            and operation.name not in NEEDS_FILES
        ):
            used = await _ask(
                two.ada.http, operation, {"header Idempotency-Key": f"{key} {operation.path}"}
            )
            assert used.status_code in (200, 201, 202), f"{operation.name}: {used.text}"
    before = await two.rows_of_ada()
    hers = set(IDS.findall(json.dumps(before)))
    for operation in two.operations:
        if operation.name in NOT_FOR_USERS | NEEDS_FILES or any(
            _kind(operation, one) and one[:4] == "path" for one in operation.takes
        ):
            continue
        given = {taken: value for taken, value in OWN_NAMES.items() if taken in operation.takes}
        if "header Idempotency-Key" in given:
            given["header Idempotency-Key"] = f"{key} {operation.path}"
        answer = await _ask(two.bob.http, operation, given)
        where = f"{operation.name}: {answer.status_code} {answer.text}"
        assert answer.status_code < 500, where
        if operation.needs_user:
            assert answer.status_code not in (401, 403, 415, 422), where
        shown = answer.text + str(dict(answer.headers))
        assert [one for one in hers if one in shown] == [], where
    assert await two.rows_of_ada() == before, "a row of ada was changed"


async def test_owner_reaches_the_same_ids(two: Two) -> None:
    """Shows that a 404 above depends on the user. Runs last, because it changes the objects."""
    # Last: its retry runs by then, so the execution is found and not deleted.
    for operation in sorted(two.operations, key=lambda one: one.name == DELETE_EXECUTION):
        if operation.name in NOT_FOR_USERS:
            continue
        for taken in sorted(operation.takes):
            if _kind(operation, taken) is None:
                continue
            foreign, _ = two.things[_kind(operation, taken) or ""]
            answer = await _ask(
                two.ada.http, operation, _parameter_values(two, operation, 0) | {taken: foreign}
            )
            # The execution is open again, and the asset is its output.
            refused = (409,) if operation.name in (DELETE_EXECUTION, DELETE_ASSET) else ()
            refused += (422,) if taken in MODEL_DEPENDENT or operation.name == APPROVE else ()
            refused += (404,) if operation.name in OF_LISTENERS else ()
            is_hers = answer.status_code < 400 or "video_not_ready" in answer.text
            assert is_hers or answer.status_code in refused, (
                f"{operation.name} with {taken}: {answer.status_code} {answer.text}"
            )


async def test_only_listed_routes_answer_without_a_key(two: Two) -> None:
    """Requests for ada's objects with no key, half a key, and a key in another form."""
    free = {operation.name for operation in two.operations if not operation.needs_user}
    assert free == {"GET /healthz", "GET /readyz", *NOT_FOR_USERS}
    for operation in two.operations:
        if operation.name in free:
            continue
        for key in (None, "Bearer ", f"Bearer {two.bob.api_key[:-1]}", f"Basic {two.bob.api_key}"):
            answer = await _ask(
                two.api.http, operation, _parameter_values(two, operation, 0), authorization=key
            )
            assert answer.status_code == 401, (
                f"{operation.name}: {answer.status_code} {answer.text}"
            )
