"""OIDC tokens over HTTP: accepted only with a valid signature, audience and time."""

import hashlib
import hmac
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from core.domain.ids import UserId
from core.store.accounts.identities import link_identity, unlink_identity
from core.store.accounts.users import set_disabled
from tests.api.conftest import BASE_URL, Api, TestUser, api_settings, running_api
from tests.api.issuing import (
    AUDIENCE,
    KEYS,
    NULL,
    IssuerServer,
    SigningKey,
    claims_of,
    encoded,
    signed,
    signing_key,
)
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G6")

RSA, EC, ED = signing_key("rsa"), signing_key("ec", "ES256"), signing_key("ed", "EdDSA")
OTHER = signing_key("other")
SHORT = signing_key("short", rsa_bits=1024)
OTHER_ALGORITHMS = [signing_key(f"rsa with {name}", name) for name in ("RS512", "PS256")]
SUBJECT = "auth0|ada"
PATH = "/api/executions"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An API that trusts an issuer.

    ada: linked to SUBJECT.
    """

    api: Api
    issuer: IssuerServer
    ada: TestUser

    def claims(self, **changed: Any) -> dict[str, Any]:
        return claims_of(self.issuer.url, SUBJECT, **changed)

    def token(self, key: SigningKey = RSA, **changed: Any) -> str:
        return signed(key, self.claims(**changed))

    async def ask(
        self, token: str, method: str = "GET", path: str = PATH, **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.api.http.request(method, path, headers=headers, **more)


async def _link(api: Api, issuer: str, subject: str, user_id: UserId) -> None:
    async with api.database.as_system() as conn:
        await link_identity(conn, issuer, subject, user_id)


def _settings(database: FreshDatabase, temporal_address: str, issuer: str, **more: object) -> Any:
    settings = api_settings(database, temporal_address)
    return settings.model_copy(update={"oidc_issuer": issuer, "oidc_audience": AUDIENCE, **more})


@pytest.fixture(scope="module")
async def world(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> AsyncGenerator[World]:
    """Start an API shared by this file: no test changes what another test reads."""
    encryption = {**OTHER.public_jwk, "kid": "encryption", "use": "enc"}
    symmetric = {
        "kty": "oct",
        "kid": "symmetric",
        "use": "sig",
        "alg": "HS256",
        "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ",
    }
    nameless = {name: value for name, value in OTHER.public_jwk.items() if name != "kid"}
    async with (
        new_database(postgres_server, template_database) as database,
        IssuerServer.open() as issuer,
        running_api(_settings(database, temporal_address, issuer.url)) as api,
    ):
        issuer.publish(
            RSA,
            EC,
            ED,
            SHORT,
            *OTHER_ALGORITHMS,
            more=(encryption, symmetric, nameless, {}, None, "x"),
        )
        ada = await api.new_user()
        await _link(api, issuer.url, SUBJECT, ada.user_id)
        async with ada.http:
            yield World(api=api, issuer=issuer, ada=ada)


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
async def test_token_authenticates_its_user(world: World, key: SigningKey) -> None:
    made = (
        await world.ada.http.post("/api/generate-video", json={"prompt": "A paper boat"})
    ).json()["executionId"]
    listed = await world.ask(world.token(key))

    assert listed.status_code == 200
    assert made in [execution["id"] for execution in listed.json()["data"]]


@pytest.mark.parametrize(
    ("changed", "header"),
    [
        ({"aud": ["somebody else", AUDIENCE]}, {}),
        ({"exp": timedelta(seconds=60.5)}, {}),
        ({"nbf": timedelta(seconds=5)}, {}),  # a clock that is slightly ahead
        ({}, {"typ": "at+jwt"}),
        ({}, {"typ": "application/at+jwt"}),
        ({"scope": "openid read profile"}, {}),
    ],
    ids=str,
)
async def test_token_is_accepted_in_other_valid_forms(
    world: World, changed: dict[str, Any], header: dict[str, Any]
) -> None:
    assert (await world.ask(signed(RSA, world.claims(**changed), **header))).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": timedelta(seconds=-60)},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("inf")},
        {"nbf": timedelta(seconds=3600)},
        {"iat": timedelta(seconds=3600)},
        {"aud": None},
        {"aud": "somebody else"},
        {"aud": []},
        {"aud": f"{AUDIENCE} "},
        {"iss": None},
        {"iss": "https://issuer.example"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "auth0|nobody"},
        {"sub": SUBJECT.upper()},
        {"sub": SUBJECT + "\x00"},
        {"sub": "\ud800"},
        {"sub": "x" * 256},
        {"filler": "x" * 8192},
    ],
    ids=lambda changed: str(changed)[:40],
)
async def test_token_with_a_wrong_claim_is_401(world: World, changed: dict[str, Any]) -> None:
    _assert_refused(await world.ask(world.token(**changed)))


def _unsigned(world: World) -> str:
    return f"{encoded({'alg': 'none', 'kid': RSA.kid})}.{encoded(world.claims())}."


def _with_the_public_key_as_secret(world: World) -> str:
    """Return a token that misleads libraries which trust the token's algorithm."""
    secret = RSA.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = f"{encoded({'alg': 'HS256', 'kid': RSA.kid})}.{encoded(world.claims())}"
    return f"{body}.{encoded(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def _with_a_published_secret(world: World) -> str:
    body = f"{encoded({'alg': 'HS256', 'kid': 'symmetric'})}.{encoded(world.claims())}"
    return f"{body}.{encoded(hmac.digest(b'secret-secret-secret', body.encode(), hashlib.sha256))}"


def _changed_after_signing(world: World) -> str:
    head, _, signature = world.token().split(".")
    return f"{head}.{encoded(world.claims(scope='read generate admin'))}.{signature}"


def _of(kid: str, key: SigningKey = OTHER) -> Callable[[World], str]:
    return lambda world: signed(key, world.claims(), kid=kid)


def _header(**header: Any) -> Callable[[World], str]:
    return lambda world: signed(RSA, world.claims(), **header)


def _without_kid(world: World) -> str:
    head = {"alg": "RS256", "typ": "JWT"}
    _, payload, _ = world.token().split(".")
    body = f"{encoded(head)}.{payload}"
    return f"{body}.{encoded(b'x' * 256)}"


FORGERIES: dict[str, Callable[[World], str]] = {
    "no signature": _unsigned,
    "the public key as secret": _with_the_public_key_as_secret,
    "a published secret": _with_a_published_secret,
    "changed after signing": _changed_after_signing,
    "a key that is not published": _of("other"),
    "another key by the name of one that is": _of("rsa"),
    "a key for encryption": _of("encryption"),
    "a short key": _of("short", SHORT),
    "RS512": _of(OTHER_ALGORITHMS[0].kid, OTHER_ALGORITHMS[0]),
    "PS256": _of(OTHER_ALGORITHMS[1].kid, OTHER_ALGORITHMS[1]),
    "another algorithm than its key's": _of("rsa", EC),
    "no name of a key": _without_kid,
    "a key that it brings itself": _header(kid="mine", jwk=OTHER.public_jwk),
    "an address of keys that it brings itself": _header(kid="mine", jku="http://127.0.0.1:9/keys"),
    "something critical that we do not know": _header(crit=["x"], x=1),
    "a logout": _header(typ="logout+jwt"),
    "junk": lambda _: "a.b.c",
    "junk in the right letters": lambda _: f"{encoded({})}.{encoded({})}.{encoded(b'x')}",
    "a deep header": lambda _: f"{encoded(b'[' * 5000)}.e30.eA",
}


@pytest.mark.parametrize("forgery", list(FORGERIES))
async def test_token_without_a_valid_issuer_signature_is_401(world: World, forgery: str) -> None:
    _assert_refused(await world.ask(FORGERIES[forgery](world)))
    assert (await world.ask(world.token())).status_code == 200


def _assert_refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert SUBJECT not in answer.text


SCOPES_OF_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({}, "generate read"),
    ({"scope": "openid read"}, "read"),
    ({"scope": "read generate admin"}, "admin generate read"),
    ({"scp": ["admin", "email"]}, "admin"),
    ({"scp": "generate"}, "generate"),
    ({"scope": NULL, "scp": ["read"]}, "read"),
    ({"scope": "read", "scp": ["admin"]}, "read"),
    ({"scope": "openid profile"}, ""),
    ({"scope": ""}, ""),
    ({"scope": "read\u00a0admin generate\tadmin\nadmin"}, ""),
    ({"scope": "read\u2003admin generate"}, "generate"),
    ({"scope": 7, "scp": "admin"}, ""),
    ({"scp": [["admin"], None, "READ"]}, ""),
]


@pytest.mark.parametrize(("claims", "allowed"), SCOPES_OF_CLAIMS, ids=str)
async def test_token_is_limited_to_its_scopes(
    world: World, claims: dict[str, Any], allowed: str
) -> None:
    token = world.token(**claims)
    answers = {
        "read": await world.ask(token, "GET", PATH),
        "generate": await world.ask(token, "POST", f"{PATH}/none/cancel"),
        "admin": await world.ask(token, "GET", "/api/keys"),
    }
    assert {scope for scope, answer in answers.items() if answer.status_code != 403} == set(
        allowed.split()
    )
    assert {answer.status_code for answer in answers.values()} <= {200, 403, 404}


async def test_key_that_is_made_with_a_token_names_its_subject(world: World) -> None:
    token = world.token(scope="read admin")
    made = await world.ask(
        token, "POST", "/api/keys", json={"name": "by token", "scopes": ["read"]}
    )
    more = await world.ask(
        token, "POST", "/api/keys", json={"name": "by token", "scopes": ["generate"]}
    )

    assert (made.status_code, more.status_code) == (201, 403)
    listed = (await world.ask(token, "GET", "/api/keys")).json()["data"]
    assert [entry["madeBy"] for entry in listed if entry["id"] == made.json()["id"]] == [SUBJECT]


async def test_subject_is_refused_after_unlinking_or_disabling(
    world: World,
) -> None:
    bob = await world.api.new_user()
    token = world.token(sub="bob")
    assert (await world.ask(token)).status_code == 401
    await _link(world.api, world.issuer.url, "bob", bob.user_id)
    assert (await world.ask(token)).status_code == 200
    for disabled, status in ((True, 401), (False, 200)):
        async with world.api.database.as_system() as conn:
            await set_disabled(conn, bob.user_id, disabled=disabled)
        assert (await world.ask(token)).status_code == status
    async with world.api.database.as_system() as conn:
        await unlink_identity(conn, world.issuer.url, "bob")
    assert (await world.ask(token)).status_code == 401
    await _link(world.api, "https://another.example", "bob", bob.user_id)
    assert (await world.ask(token)).status_code == 401, "the subject is another issuer's"


async def test_keys_of_the_issuer_are_read_once_for_many_tokens(world: World) -> None:
    await world.ask(world.token())
    before = len(world.issuer.asked)
    for number in range(20):
        assert (await world.ask(world.token(RSA if number % 2 else EC))).status_code == 200
    assert len(world.issuer.asked) == before


async def test_requests_with_tokens_are_counted_by_user(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    """Subjects of one user share an allowance; its API key and other users have their own."""
    async with IssuerServer.open(RSA) as issuer:
        settings = _settings(fresh_database, temporal_address, issuer.url, rate_limit_reads=3)
        async with running_api(settings) as api:
            ada, bob = await api.new_user(), await api.new_user()
            for subject, user in (("one", ada), ("two", ada), ("bob", bob)):
                await _link(api, issuer.url, subject, user.user_id)
            world = World(api=api, issuer=issuer, ada=ada)
            answers = [
                await world.ask(world.token(sub=subject))
                for subject in ("one", "two", "two", "one", "bob")
            ]
            by_key = await ada.http.get(PATH)

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 200]
    assert (by_key.status_code, by_key.headers["ratelimit-policy"]) == (200, '"reads";q=3;w=900')
    assert answers[3].json()["code"] == "rate_limited"
    assert "r=0" in answers[3].headers["ratelimit"]


async def test_claim_may_name_the_user_instead_of_a_link(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    async with IssuerServer.open(RSA) as issuer:
        settings = _settings(
            fresh_database, temporal_address, issuer.url, oidc_user_claim="takeone_user"
        )
        async with running_api(settings) as api:
            ada = await api.new_user()
            await _link(api, issuer.url, SUBJECT, ada.user_id)
            world = World(api=api, issuer=issuer, ada=ada)
            named = [ada.user_id, None, "usr_" + "0" * 32, 7, "usr_none", f"{ada.user_id}\n"]
            answers = [
                await world.ask(world.token(sub="whoever", takeone_user=user)) for user in named
            ]
            linked = await world.ask(world.token())

    assert [answer.status_code for answer in answers] == [200, 401, 401, 401, 401, 401]
    assert linked.status_code == 401, "a link was accepted in addition to the claim"


async def test_token_without_a_configured_issuer_is_401(shared_api: Api) -> None:
    headers = {"Authorization": f"Bearer {signed(RSA, claims_of(BASE_URL, SUBJECT))}"}

    assert (await shared_api.http.get(PATH, headers=headers)).status_code == 401


async def test_issuer_that_cannot_be_read_is_503_for_tokens_alone(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    async with (
        IssuerServer.open(RSA) as issuer,
        running_api(_settings(fresh_database, temporal_address, issuer.url)) as api,
    ):
        ada = await api.new_user()
        await _link(api, issuer.url, SUBJECT, ada.user_id)
        world = World(api=api, issuer=issuer, ada=ada)
        issuer.publish_document(KEYS, {}, status=500)
        unavailable = await world.ask(world.token())
        by_key = await ada.http.get(PATH)

    assert (unavailable.status_code, unavailable.json()["code"]) == (503, "service_unavailable")
    assert int(unavailable.headers["retry-after"]) > 0
    assert by_key.status_code == 200
