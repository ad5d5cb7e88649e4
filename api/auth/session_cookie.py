"""The cookie of the web console: a short-lived API key that scripts of a page cannot read."""

from typing import Final

from fastapi import Request, Response

SECURE_NAME: Final = "__Host-takeone"
"""Browsers accept this name only with Secure, for the whole host and without a domain."""
PLAIN_NAME: Final = "takeone"
CONSOLE_HEADER: Final = "X-Takeone-Console"
"""Sent with uploads, whose content type a form of another page could send, too."""
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


def cookie_name(public_base_url: str) -> str:
    return SECURE_NAME if public_base_url.startswith("https://") else PLAIN_NAME


def session_text(request: Request, public_base_url: str) -> str:
    """Return the key in the cookie, or "" where the cookie does not count.

    It counts only for requests of pages of the same origin. Browsers send Sec-Fetch-Site to https
    and loopback addresses only. An unsafe request also needs a header that a form cannot send. With
    a header Authorization the cookie never counts.
    """
    headers = request.headers
    if "authorization" in headers or not is_same_origin(request):
        return ""
    is_json = (
        headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    )
    if request.method not in SAFE_METHODS and not is_json and CONSOLE_HEADER not in headers:
        return ""
    return request.cookies.get(cookie_name(public_base_url), "")


def is_same_origin(request: Request) -> bool:
    """Return whether a page of this origin sent the request."""
    return request.headers.get("sec-fetch-site") == "same-origin"


def set_session(response: Response, public_base_url: str, text: str, max_age_seconds: int) -> None:
    """Set the cookie; a max_age of 0 deletes it."""
    name = cookie_name(public_base_url)
    response.set_cookie(
        name,
        text,
        max_age=max_age_seconds,
        path="/",
        secure=name == SECURE_NAME,
        httponly=True,
        samesite="strict",
    )


def login_text(request: Request, public_base_url: str) -> str:
    """Return what the browser keeps of a login that it has begun, or ""."""
    return request.cookies.get(f"{cookie_name(public_base_url)}-login", "")


def set_login(response: Response, public_base_url: str, text: str, max_age_seconds: int) -> None:
    """Set the cookie of a login that has begun; a max_age of 0 deletes it.

    It is Lax, because the page that ends the login is opened from the identity provider's.
    """
    name = f"{cookie_name(public_base_url)}-login"
    response.set_cookie(
        name,
        text,
        max_age=max_age_seconds,
        path="/",
        secure=name.startswith(SECURE_NAME),
        httponly=True,
        samesite="lax",
    )
