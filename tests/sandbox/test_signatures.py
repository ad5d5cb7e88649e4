"""Both signature schemes against vectors that the vendors' verifiers accepted."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox.callbacks.signatures import fal_headers, key_set, replicate_headers

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def test_fal_signature_equals_the_vector() -> None:
    body = b'{"request_id":"req-0001","gateway_request_id":"req-0001","status":"OK","payload":{"seed":7}}'
    headers = fal_headers(
        KEY, request_id="req-0001", user_id="user-42", unix_seconds=1760000000, body=body
    )
    assert headers == {
        "X-Fal-Webhook-Request-Id": "req-0001",
        "X-Fal-Webhook-User-Id": "user-42",
        "X-Fal-Webhook-Timestamp": "1760000000",
        "X-Fal-Webhook-Signature": "9e41abe85f025fb7e65e774bf50a6d405395bb11fcbe7143466e11ba0e121af2"
        "c996bd31442494cfc3367bd30d463468b4ff98ca0fd1cdf0183f62ba8e13d90b",
    }


def test_fal_key_set_equals_the_vector() -> None:
    x = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
    assert key_set(KEY) == {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}


def test_replicate_signature_equals_the_vector() -> None:
    headers = replicate_headers(
        "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", webhook_id="msg_1", unix_seconds=1760000000,
        body=b'{"id":"p1","status":"succeeded"}',
    )  # fmt: skip
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1760000000",
        "webhook-signature": "v1,FCYBxIVUahnsys0kNi4X+Ou+wVI8MZNbJC5GN10Abac=",
    }
