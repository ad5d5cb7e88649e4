"""Accounts of callers, derived from their keys.

A key that ends in `#name` belongs to the account of that name, all others to the main account.
An account sees only its own jobs, and Replicate signs its callbacks with its own secret.
"""

import base64
import hmac

from starlette.requests import Request

MAIN = ""


def key_of(request: Request) -> str:
    """Return the key after `Key`, `Bearer` or `Token`, or in `xi-api-key`; "" without one."""
    if (key := request.headers.get("xi-api-key")) is not None:
        return key.strip()
    return request.headers.get("authorization", "").partition(" ")[2].strip()


def account_of(request: Request) -> str:
    return key_of(request).partition("#")[2]


def is_refused(request: Request, expected: str | None, revoked: tuple[str, ...]) -> bool:
    """Return whether the call's key is missing, wrong or revoked.

    expected: the only valid key of the main account; None: any key. Other accounts accept any key.
    """
    key = key_of(request)
    wrong = expected is not None and account_of(request) == MAIN and key != expected
    return not key or wrong or key in revoked


def webhook_secret(main: str, account: str) -> str:
    """Return the secret with which Replicate signs an account's callbacks."""
    if account == MAIN:
        return main
    return (
        "whsec_" + base64.b64encode(hmac.digest(main.encode(), account.encode(), "sha256")).decode()
    )
