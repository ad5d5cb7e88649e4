"""User-supplied addresses are called only if they are public.

The unmodified product runs in a network namespace with servers at public and forbidden addresses.
"""

import asyncio
import base64
import json
import os
import shutil
import sys
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from core.platform.egress.client import MAX_LOOKUPS
from tests.network.cases import (
    FORBIDDEN,
    NAMES,
    PORTS,
    PRIVATE,
    PROXY,
    PUBLIC,
    SPELLINGS,
    name_of,
    url_of,
)

pytestmark = pytest.mark.guarantee("G6")

ROOT = Path(__file__).parents[2]
UNSHARE = (
    "unshare",
    "--net",
    "--mount",
    *(() if os.geteuid() == 0 else ("--user", "--map-root-user")),
)
SECONDS = 60
Seen = dict[str, Any]


async def run(*command: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture(scope="module")
async def seen() -> Seen:
    """Run all cases once and return the results."""
    problem = "there is no `unshare`"
    if shutil.which("unshare") is not None:
        code, _, problem = await run(*UNSHARE, "true")
        if code == 0:
            code, out, err = await run(*UNSHARE, sys.executable, "-m", "tests.network.inside")
            assert code == 0, err
            return json.loads(out)
    if os.environ.get("CI"):
        pytest.fail(f"no network namespaces, and in CI this must be tested: {problem}")
    pytest.skip(f"this system allows no network namespaces: {problem.strip()}")


def answers(address: str) -> str:
    """Return the address of the server that a client reaches with this address."""
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_forbidden_address_is_never_reached(seen: Seen, address: str) -> None:
    """As a literal and as a resolved name, for webhooks and files; a plain client reaches it."""
    assert seen[f"control {address}"] == [answers(address)]
    assert seen[f"control name {address}"] == [answers(address)]
    for how in ("literal", "name"):
        tried = seen[f"{how} {address}"]
        assert (tried["error"], tried["status"], tried["reached"]) == ("address_refused", None, [])
    assert seen[f"file {address}"] == {"error": "SourceRefusedError", "reached": []}


@pytest.mark.parametrize("host", SPELLINGS)
def test_other_spellings_of_this_machine_are_refused(seen: Seen, host: str) -> None:
    tried = seen[f"spelling {host}"]
    assert tried["error"] in ("address_refused", "invalid_url")
    assert tried["reached"] == []


@pytest.mark.parametrize("name", NAMES)
def test_internal_name_is_never_looked_up(seen: Seen, name: str) -> None:
    assert seen[f"forbidden name {name}"]["error"] == "address_refused"
    assert [asked for asked, _ in seen["asked"] if asked == name] == []


@pytest.mark.parametrize("port", PORTS)
def test_other_ports_are_refused(seen: Seen, port: int) -> None:
    assert seen[f"control port {port}"] == [PUBLIC[0]]
    assert (seen[f"port {port}"]["error"], seen[f"port {port}"]["reached"]) == (
        "address_refused",
        [],
    )


@pytest.mark.parametrize(
    "case", ["ok", "hook", "chain", "first-dead", *(f"public {address}" for address in PUBLIC)]
)
def test_public_address_is_reached(seen: Seen, case: str) -> None:
    """By name, through a chain of names, past an unreachable first address, and as a literal."""
    assert (seen[case]["error"], seen[case]["status"]) == (None, 200)
    assert len(seen[case]["reached"]) == 1
    assert seen[case]["reached"][0] in PUBLIC


@pytest.mark.parametrize("case", ["mixed", "mixed6", "bad-chain"])
def test_name_with_a_forbidden_address_is_refused(seen: Seen, case: str) -> None:
    assert (seen[case]["error"], seen[case]["reached"]) == ("address_refused", [])


def test_rebinding_name_is_called_at_the_checked_address(seen: Seen) -> None:
    """The name is public at first and local afterwards; no lookup is between check and call."""
    assert (seen["rebind"]["error"], seen["rebind"]["reached"]) == (None, [PUBLIC[0]])
    assert (seen["rebind again"]["error"], seen["rebind again"]["reached"]) == (
        "address_refused",
        [],
    )
    assert seen["control rebind"] == ["127.0.0.1"]


def test_name_is_looked_up_once_without_search_domains(seen: Seen) -> None:
    asked = [(name, kind) for name, kind in seen["asked"] if name == "chain.example.com"]
    assert len(asked) == len({kind for _, kind in asked}) == 2
    posted = [name for name, _ in seen["asked"] if name.endswith("example.org")]
    assert [name for name in posted if name.startswith(("hook.", "none.", "chain."))] == []


def test_hanging_lookups_do_not_delay_other_calls(seen: Seen) -> None:
    hanging = seen["hanging"]
    assert (hanging["honest"]["error"], hanging["honest"]["seconds"] < 1.0) == (None, True)
    assert hanging["errors"] == ["name_not_resolved"]
    assert hanging["longest"] < 8.0
    assert hanging["more_threads"] <= MAX_LOOKUPS


@pytest.mark.parametrize("case", ["none", "truncated"])
def test_name_without_an_answer_has_an_error_category(seen: Seen, case: str) -> None:
    assert seen[case]["error"] == "name_not_resolved"
    assert seen[case]["seconds"] < 8.0


def test_tls_is_verified_against_the_name(seen: Seen) -> None:
    assert (seen["tls"]["error"], seen["tls"]["reached"]) == (None, [PUBLIC[0]])
    for case in ("tls of another name", "tls of no name"):
        assert (seen[case]["error"], seen[case]["reached"]) == ("tls_failed", [])


def test_redirect_is_not_followed_by_a_webhook(seen: Seen) -> None:
    assert seen["redirect"]["error"] == "redirect_not_followed"
    assert len(seen["redirect"]["reached"]) == 1


def test_redirect_of_a_file_is_checked_again(seen: Seen) -> None:
    assert (seen["file"]["error"], len(seen["file"]["reached"])) == (None, 1)
    assert (seen["file redirect"]["error"], len(seen["file redirect"]["reached"])) == (None, 2)
    for to in (
        url_of(PRIVATE),
        f"http://{name_of(PRIVATE)}/",
        "http://localhost/",
        url_of("::ffff:10.0.0.5"),
    ):
        tried = seen[f"file redirect to {to}"]
        assert (tried["error"], len(tried["reached"])) == ("SourceRefusedError", 1)
        assert tried["reached"][0] in PUBLIC


def test_only_the_listed_private_host_is_reached(seen: Seen) -> None:
    assert (seen["listed"]["error"], seen["listed"]["reached"]) == (None, [PRIVATE])
    assert (seen["listed name"]["error"], seen["listed name"]["reached"]) == (None, [PRIVATE])
    for case in ("listed, other port", "listed, by another name"):
        assert (seen[case]["error"], seen[case]["reached"]) == ("address_refused", [])


def test_egress_proxy_receives_the_name_and_its_login(seen: Seen) -> None:
    login = "Basic " + base64.b64encode(b"user:secret").decode()
    for case, target in (
        ("proxied", "http://ok.example.com/"),
        ("proxied tls", "hook.example.com:443"),
    ):
        assert (seen[case]["error"], seen[case]["by"]) == (None, [PROXY[0]])
        assert [target, login] in seen["tunnels"]
    wrong_name = seen["proxied tls of another name"]
    assert (wrong_name["error"], wrong_name["reached"]) == ("tls_failed", [])


def test_egress_proxy_refuses_names_of_private_addresses(seen: Seen) -> None:
    """The proxy resolves names; its refusal is the result of the attempt."""
    plain, tls = seen["proxied private name"], seen["proxied private name tls"]
    assert (plain["status"], plain["reached"]) == (403, [])
    assert (tls["error"], tls["reached"]) == ("connection_failed", [])


def test_private_url_is_refused_before_the_egress_proxy(seen: Seen) -> None:
    case = seen["proxied private"]
    assert (case["error"], case["reached"]) == ("address_refused", [])
    assert [target for target, _ in seen["tunnels"] if PRIVATE in target] == []
