"""The JSON documents of an OIDC issuer, read with limits."""

import json
from http import HTTPStatus
from typing import Any, Final, cast

import httpx

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
MAX_DOCUMENT_BYTES: Final = 256 * 1024


class DocumentError(ValueError):
    """The issuer's response is not a usable document."""


async def read_discovery(http: httpx.AsyncClient, issuer: str) -> dict[str, Any]:
    """Return the issuer's discovery document. Raise DocumentError, or httpx.HTTPError."""
    document = await read_document(http, "GET", issuer.rstrip("/") + DISCOVERY_PATH)
    if document.get("issuer") != issuer:
        raise DocumentError("the discovery document names another issuer")
    return document


async def read_document(
    http: httpx.AsyncClient, method: str, url: str, **options: Any
) -> dict[str, Any]:
    """Return a JSON object. options: of the request. Raise DocumentError, or httpx.HTTPError."""
    body = b""
    async with http.stream(method, url, **options) as response:
        if response.status_code != HTTPStatus.OK:
            raise DocumentError(f"the issuer returned {response.status_code}")
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_DOCUMENT_BYTES:
                raise DocumentError(f"the document exceeds {MAX_DOCUMENT_BYTES} bytes")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise DocumentError("the document is not a JSON object")
    return cast("dict[str, Any]", document)
