"""Whose key a call came with. One that ends in `#name` is of the account of that name, all others
are of the main one.

An account sees its own jobs alone, and Replicate signs its callbacks with a secret of its own.
"""

import base64
import hmac

from starlette.requests import Request

MAIN = ""


def key_of(request: Request) -> str:
    """As it stands behind `Key`, `Bearer` or `Token`; empty if there is none."""
    return request.headers.get("authorization", "").partition(" ")[2].strip()


def account_of(request: Request) -> str:
    return key_of(request).partition("#")[2]


def is_refused(request: Request, expected: str | None, revoked: tuple[str, ...]) -> bool:
    """expected: the only key of the main account; None: any is taken. Other accounts have any,
    until it is revoked.
    """
    key = key_of(request)
    wrong = expected is not None and account_of(request) == MAIN and key != expected
    return not key or wrong or key in revoked


def webhook_secret(main: str, account: str) -> str:
    """What Replicate signs an account's callbacks with."""
    if account == MAIN:
        return main
    return (
        "whsec_" + base64.b64encode(hmac.digest(main.encode(), account.encode(), "sha256")).decode()
    )
