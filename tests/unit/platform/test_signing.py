import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from core.platform.crypto.webhook_signatures import (
    UnusableSecretError,
    body_signature,
    signature_headers,
    standard_webhooks_key,
    standard_webhooks_signature,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"test": 2432232314}'


def test_signature_of_the_specification_s_example_is_exact() -> None:
    """The vector that Standard Webhooks publishes with its reference libraries."""
    signature = standard_webhooks_signature(
        SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY.encode()
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def test_headers_are_accepted_by_official_package() -> None:
    headers = signature_headers(SECRET, "evt_1", now(), BODY.encode())
    assert Webhook(SECRET).verify(BODY, headers) == {"test": 2432232314}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + " ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY, {**headers, "webhook-id": "evt_2"})


@given(text=st.text(min_size=1).filter(lambda text: not text.startswith("whsec_")), body=st.text())
def test_headers_of_any_secret_are_accepted_by_official_package(text: str, body: str) -> None:
    headers = signature_headers(text, "evt_1", now(), body.encode())
    Webhook(text.encode()).verify(body, headers, json_parse=False)


def test_headers_while_a_secret_is_replaced_are_accepted_with_both() -> None:
    """And the plain signature of the body is the new one's."""
    new = "whsec_" + base64.b64encode(bytes(32)).decode()
    headers = signature_headers(new, "evt_1", now(), BODY.encode(), previous=SECRET)
    for secret in (new, SECRET):
        Webhook(secret).verify(BODY, headers)
    assert headers["x-webhook-signature"] == body_signature(new, BODY.encode())
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(bytes(range(32))).decode()).verify(BODY, headers)


def test_body_signature_uses_the_secret_as_it_is_written() -> None:
    for secret in (SECRET, "any text of mine, Grüße"):
        expected = hmac.new(secret.encode(), BODY.encode(), hashlib.sha256).hexdigest()
        assert body_signature(secret, BODY.encode()) == f"sha256={expected}"


def test_standard_key_is_decoded_with_and_without_padding() -> None:
    for size in (16, 24, 31, 32, 33, 64):
        key = bytes(range(size))
        encoded = base64.b64encode(key).decode()
        assert standard_webhooks_key(f"whsec_{encoded}") == key
        assert standard_webhooks_key(f"whsec_{encoded.rstrip('=')}") == key
    assert standard_webhooks_key("plain text") == b"plain text"


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_====", "whsec_not base64!", "whsec_Grüße", "whsec_A"]
)
def test_unusable_secret_never_signs(secret: str) -> None:
    with pytest.raises(UnusableSecretError) as caught:
        signature_headers(secret, "evt_1", 1614265330, BODY.encode())
    assert secret.removeprefix("whsec_") == "" or secret not in str(caught.value)


def test_signing_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, core.platform.crypto.webhook_signatures; "
        "assert not {'httpx', 'temporalio', 'asyncpg'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def documented(language: str) -> str:
    """Return the code that docs/how-to/verify-webhooks.md offers to receivers."""
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "verify-webhooks.md").read_text(
        encoding="utf-8"
    )
    return (
        page.split(f"<!-- verifier:{language} -->\n```", 1)[1].split("\n", 1)[1].split("```", 1)[0]
    )


PYTHON_PAGES = {"README.md", "docs/tutorial/first-video.md", "docs/how-to/verify-webhooks.md"}


def documented_python() -> dict[str, str]:
    """Return every Python verifier in the documentation by its page."""
    root = Path(__file__).parents[3]
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    texts = {str(page.relative_to(root)): page.read_text(encoding="utf-8") for page in pages}
    return {
        name: "import base64, hashlib, hmac, time\n"
        + text[text.index("def verify(") :].split("```", 1)[0].split("\n\n\n", 1)[0]
        for name, text in texts.items()
        if "def verify(" in text
    }


@pytest.mark.parametrize("page", sorted(PYTHON_PAGES))
def test_documented_python_verifier_refuses_malformed_headers(page: str) -> None:
    names: dict[str, Any] = {}
    exec(documented_python()[page], names)
    verify = names["verify"]
    for secret in (SECRET, "plain text of sixteen or more, Grüße"):
        headers = sent(secret, {})
        assert verify(secret, headers, BODY.encode()) is True
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            assert verify(secret, {k: v for k, v in headers.items() if k != name}, b"") is False
            for value in ("", "x", "Grüße", "\ud800", "9" * 400, "9" * 5000, "1e5", "nan", "v1,é"):
                assert verify(secret, headers | {name: value}, BODY.encode()) is False, (
                    name,
                    value,
                )


def test_documented_python_verifiers_are_tested() -> None:
    assert set(documented_python()) == PYTHON_PAGES


CASES: list[tuple[str, dict[str, str], bool]] = [
    # secret, what is changed on the way, accepted
    (SECRET, {}, True),
    ("plain text of sixteen or more, Grüße", {}, True),
    (SECRET, {"webhook-signature": "v1,AAAA v1a,BBBB {}"}, True),
    (SECRET, {"webhook-id": "evt_2"}, False),
    (SECRET, {"webhook-timestamp": "1614265330"}, False),
    (SECRET, {"webhook-timestamp": "soon"}, False),
    (SECRET, {"webhook-signature": "v1,"}, False),
    (SECRET, {"webhook-signature": "Grüße"}, False),
    (SECRET, {"webhook-signature": ""}, False),
]


def sent(secret: str, change: dict[str, str]) -> dict[str, str]:
    headers = signature_headers(secret, "evt_1", now(), BODY.encode())
    return headers | {name: value.format(headers[name]) for name, value in change.items()}


@pytest.mark.parametrize(("secret", "change", "accepted"), CASES)
def test_documented_python_verifier_accepts_exactly_what_we_sign(
    secret: str, change: dict[str, str], accepted: bool
) -> None:
    names: dict[str, Any] = {}
    exec(documented("python"), names)
    headers = sent(secret, change)
    assert names["verify"](secret, headers, BODY.encode()) is accepted
    assert names["verify"](secret, headers, BODY.encode() + b" ") is False
    assert names["verify"](secret, {}, BODY.encode()) is False


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on this machine")
@pytest.mark.parametrize(("secret", "change", "accepted"), CASES)
def test_documented_node_verifier_accepts_exactly_what_we_sign(
    secret: str, change: dict[str, str], accepted: bool
) -> None:
    call = json.dumps([secret, sent(secret, change), BODY])
    script = documented("node") + (
        "const [secret, headers, body] = JSON.parse(process.argv[1]);"
        'console.log([body, body + " "].map((sent) => verify(secret, headers, Buffer.from(sent))).join());'
    )
    ran = subprocess.run(["node", "-e", script, call], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == f"{str(accepted).lower()},false"
