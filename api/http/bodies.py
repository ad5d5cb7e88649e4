"""What a body may be: its size counted as it comes, JSON read strictly. Whatever is wrong is the
sender's problem.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn, cast

from fastapi import Request

from api.http.problems import ProblemError, invalid_field
from core.domain.failures import FailureCode

JSON_BODY_BYTES = 64 * 1024
"""The largest body of a user: a prompt of 500 characters, two addresses and 4 KB of metadata take a
tenth of it.
"""

CALLBACK_BODY_BYTES = 8 * 1024 * 1024
"""Providers repeat a job's input in its callback, where a picture may be a data URI, and add its
log. Read only after the token of the address was found to be ours.
"""

MAX_JSON_DEPTH = 8
MAX_INTEGER_DIGITS = 40
_EXACT = 2**53
"""Up to here every whole number is a float of its own."""

_NOT_ENCODED = ("", "identity")

BODY = "body"
"""Stands for the whole body where a field is named."""


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The body, by the bytes that come and not by what its header says alone. Raises ProblemError.

    None is unpacked: what is counted is all there is.
    """
    if request.headers.get("content-encoding", "").strip().lower() not in _NOT_ENCODED:
        raise ProblemError(
            FailureCode.UNSUPPORTED_MEDIA_TYPE,
            "Bodies are taken as they are: send it without Content-Encoding.",
            headers={"Accept-Encoding": "identity"},
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit_bytes:
        raise _too_large(limit_bytes)
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises ProblemError."""
    _check_media_type(request)
    return parse_json(await read_body(request, JSON_BODY_BYTES))


async def read_optional_json(request: Request) -> dict[str, Any]:
    """Like `read_json`; without a body, nothing was asked for. Raises ProblemError."""
    body = await read_body(request, JSON_BODY_BYTES)
    if not body:
        return {}
    _check_media_type(request)
    return parse_json(body)


def _check_media_type(request: Request) -> None:
    """JSON is UTF-8 (RFC 8259), and needs not say so; who says something else means
    something else.
    """
    media_type, *parameters = request.headers.get("content-type", "").lower().split(";")
    charsets = {
        value.strip(' "')
        for name, _, value in (one.partition("=") for one in parameters)
        if "charset" in name
    }
    if media_type.strip() != "application/json" or charsets - {"utf-8"}:
        raise ProblemError(FailureCode.UNSUPPORTED_MEDIA_TYPE)


def parse_json(body: bytes) -> dict[str, Any]:
    """One JSON object. Not accepted, unlike in json.loads: NaN, Infinity, numbers that overflow, a
    name twice, deep nesting, NUL and lone surrogates in texts, other encodings than UTF-8.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except UnicodeDecodeError:
        raise invalid_field(BODY, "must be UTF-8") from None
    except RecursionError:
        raise invalid_field(BODY, f"is nested deeper than {MAX_JSON_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise invalid_field(BODY, f"is not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise invalid_field(BODY, "must be a JSON object")
    found = cast("dict[str, Any]", value)
    _check_texts(found)
    return found


def _too_large(limit_bytes: int) -> ProblemError:
    return ProblemError(FailureCode.PAYLOAD_TOO_LARGE, f"The body may have {limit_bytes} bytes.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names: dict[str, Any] = dict(pairs)
    if len(names) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise invalid_field(_shown(twice), "is there twice")
    return names


def _no_constant(name: str) -> NoReturn:
    raise invalid_field(BODY, f"has {name}, which is not JSON")


def _finite(text: str) -> float | int:
    """A whole number is one however it is written: JSON Schema, in which the API is described,
    takes 5.0 for 5.
    """
    value = float(text)
    if not math.isfinite(value):
        raise invalid_field(BODY, "has a number that is too large")
    return int(value) if value.is_integer() and abs(value) <= _EXACT else value


def _bounded(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise invalid_field(BODY, f"has a whole number of more than {MAX_INTEGER_DIGITS} digits")
    return int(text)


def _check_texts(top: dict[str, Any]) -> None:
    """Walks without recursion: the depth is bounded here."""
    level: list[tuple[str, object]] = list(top.items())
    for name in top:
        _check_text(BODY, name)
    for _ in range(MAX_JSON_DEPTH):
        level = [(field, child) for field, value in level for child in _children(field, value)]
        if not level:
            return
    raise invalid_field(_shown(level[0][0]), f"is nested deeper than {MAX_JSON_DEPTH} levels")


def _children(field: str, value: object) -> Iterable[object]:
    if isinstance(value, str):
        _check_text(field, value)
        return ()
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return [*members.keys(), *members.values()]
    return cast("list[object]", value) if isinstance(value, list) else ()


def _check_text(field: str, text: str) -> None:
    if "\0" in text:
        raise invalid_field(_shown(field), "has the character NUL")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise invalid_field(_shown(field), "has half a character (a lone surrogate)") from None


def _shown(field: str) -> str:
    """A name from outside, fit to be shown in an answer."""
    return field.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")[:100]
