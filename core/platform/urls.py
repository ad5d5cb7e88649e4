"""Addresses as strings: what a setting may hold, and whether a provider can call us back. Nothing
is resolved.
"""

import re
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

import httpx

MAX_URL_CHARS: Final = 2048
Reach = Literal["loopback", "private", "public"]


def checked_url(value: str) -> str:
    """An http(s) address with a host and no user, query or fragment; without slashes at the end.
    Else ValueError.
    """
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises where it is not a number up to 65535
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must have no user, query or fragment")
    return value.rstrip("/")


def checked_origin(value: str) -> str:
    """What a browser names as the origin of a page: an http(s) address without a path. Else
    ValueError.
    """
    checked = checked_url(value)
    if urlsplit(checked).path:
        raise ValueError("must have no path")
    return checked


def webhook_url(value: str) -> str:
    """An address that a user may have webhooks sent to, unchanged. Else ValueError."""
    try:
        parts = urlsplit(value)
        port, host = parts.port, httpx.URL(value).host
    except (ValueError, httpx.InvalidURL):
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not host:
        raise ValueError("must be an http:// or https:// address with a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must have no user or password")
    if port == 0 or re.search(r"[\s\\\x00-\x1f\x7f]", value):
        raise ValueError("is not a URL")
    if len(value) > MAX_URL_CHARS:
        raise ValueError(f"must not pass {MAX_URL_CHARS} characters")
    return value


def url_host_port(host: str, port: int) -> str:
    """host:port for a URL; an address that means "all interfaces" becomes this
    machine's loopback.
    """
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - recognised here, not bound
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reach(url: str) -> Reach:
    """From where a URL can be reached, by its host's spelling alone.

    A name without a dot (a service of a compose file) and the usual internal suffixes are private.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        if host == "localhost" or host.endswith(".localhost"):
            return "loopback"
        internal = "." not in host or host.endswith((".local", ".internal", ".svc", ".lan"))
        return "private" if internal else "public"
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    return "public" if address.is_global else "private"


def callback_base_url(public_url: str, provider_base_url: str) -> str | None:
    """The address a provider may be given for callbacks, or None where it could not reach it: then
    polling does it.

    A real provider needs public https. One on this machine (the sandbox) reaches whatever we reach;
    one on a private network everything but our loopback.
    """
    provider, ours = reach(provider_base_url), reach(public_url)
    if provider == "loopback":
        return public_url
    if provider == "private":
        return public_url if ours != "loopback" else None
    return public_url if ours == "public" and public_url.startswith("https://") else None


def callback_note(provider: str, public_url: str, provider_base_url: str) -> str:
    """One sentence for the start log: will this provider call back, and if not, why."""
    if callback_base_url(public_url, provider_base_url):
        return f"{provider} announces finished jobs by callback to {public_url}; polling is the backstop."
    return (
        f"{provider} cannot reach {public_url} (that takes a public https address in PUBLIC_URL): "
        "callbacks are not asked for, finished jobs are found by polling."
    )
