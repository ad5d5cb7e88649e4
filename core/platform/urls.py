"""Checks of URLs as text, without name resolution: settings, webhooks, callback addresses."""

import re
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

import httpx
import idna

MAX_URL_CHARS: Final = 2048
MAX_LABEL_CHARS: Final = 63
Reach = Literal["loopback", "private", "public"]


def checked_url(value: str) -> str:
    """Return an http(s) address without its trailing slashes.

    Raise ValueError unless it has a host and no user, query or fragment.
    """
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises if it is not a number up to 65535
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must have no user, query or fragment")
    return value.rstrip("/")


def checked_origin(value: str) -> str:
    """Return the origin of a page as browsers send it. Raise ValueError if it has a path."""
    checked = checked_url(value)
    if urlsplit(checked).path:
        raise ValueError("must have no path")
    return checked


def webhook_url(value: str) -> str:
    """Return a webhook address in its normal form, by which endpoints are compared.

    Scheme and host are in lower case, the host in ASCII, without a default port or a fragment, and
    with a path. Raise ValueError for any other text.
    """
    try:
        parts = urlsplit(value)
        port, host = parts.port, ascii_host(parts.hostname or "")
        normal = httpx.URL(_with_host(value, parts.netloc, host)).copy_with(fragment=None)
    except (ValueError, httpx.InvalidURL):
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not host:
        raise ValueError("must be an http:// or https:// address with a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must have no user or password")
    if port == 0 or re.search(r"[\s\\\x00-\x1f\x7f]", value):
        raise ValueError("is not a URL")
    if len(value) > MAX_URL_CHARS:
        raise ValueError(f"must have at most {MAX_URL_CHARS} characters")
    return str(normal.copy_with(raw_path=normal.raw_path))  # "/" where there is no path


def ascii_host(host: str) -> str:
    """Return a host name in ASCII (UTS 46, non-transitional). Raise ValueError if it has no form.

    Names in ASCII, also in Punycode, are only put in lower case.
    """
    if host.isascii():
        return host.lower()
    labels = idna.uts46_remap(host, std3_rules=True, transitional=False).split(".")
    encoded = [
        label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}"
        for label in labels
    ]
    if any(len(label) > MAX_LABEL_CHARS for label in encoded):
        raise ValueError("has a label that is too long")
    return ".".join(encoded)


def _with_host(url: str, netloc: str, host: str) -> str:
    login, at, _ = netloc.rpartition("@")
    port = re.search(r":[0-9]*$", netloc)
    bracketed = f"[{host}]" if ":" in host else host
    return url.replace(netloc, f"{login}{at}{bracketed}{port[0] if port else ''}", 1)


def url_host_port(host: str, port: int) -> str:
    """Return host:port for a URL; the address of all interfaces becomes the loopback address."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - recognised here, not bound
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reach(url: str) -> Reach:
    """Return from where a URL can be reached, judged by the text of its host.

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
    """Return the address for a provider's callbacks, or None if the provider cannot reach it.

    Without callbacks, jobs are polled. A provider on the internet needs a public https address. A
    provider on this machine (the sandbox) reaches every address, and one on a private network
    reaches every address except our loopback.
    """
    provider, ours = reach(provider_base_url), reach(public_url)
    if provider == "loopback":
        return public_url
    if provider == "private":
        return public_url if ours != "loopback" else None
    return public_url if ours == "public" and public_url.startswith("https://") else None


def callback_note(provider: str, public_url: str, provider_base_url: str) -> str:
    """Return a sentence for the start log: whether this provider sends callbacks, or why not."""
    if callback_base_url(public_url, provider_base_url):
        return f"{provider} reports finished jobs to {public_url} by callback, alongside polling."
    return (
        f"{provider} cannot reach {public_url}, so its jobs are tracked by polling only. "
        "Callbacks require a public https address in PUBLIC_URL."
    )
