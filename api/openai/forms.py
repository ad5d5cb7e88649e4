"""Forms with texts and one file: texts are collected, the file is handed on as it arrives."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.http.middleware.body_limits import DATA_URL_BYTES
from api.http.problems.documents import ProblemError, invalid_field
from api.openai.brackets import MAX_FIELDS
from core.domain.failures import FailureCode

BODY: Final = "body"
MAX_TEXT_BYTES: Final = 64 * 1024
"""Of all texts of a form, except one that carries a file as a data URL."""
MAX_HEADER_BYTES: Final = 8 * 1024
DATA_URL_FIELD: Final = "input_reference[image_url]"

Store = Callable[[str, AsyncIterator[bytes]], Awaitable[None]]
"""Take the file of a form, all of it. Receives the name of its field."""


@dataclass(slots=True)
class Form:
    """A form that was read. texts: names and values in their order. file_sha256: by field."""

    texts: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    file_sha256: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class _Begin:
    name: str
    is_file: bool


@dataclass(frozen=True, slots=True)
class _Data:
    content: bytes


@dataclass(frozen=True, slots=True)
class _End:
    pass


_Event = _Begin | _Data | _End


async def read_form(request: Request, store: Store) -> Form:
    """Read a multipart body. Raise ProblemError for another body, or above a limit.

    A file is passed to `store` while it arrives, so it is never collected here.
    """
    form = Form()
    events = _events(request)
    parts = 0
    left = MAX_TEXT_BYTES
    async for event in events:
        if not isinstance(event, _Begin):
            continue
        parts += 1
        if parts > MAX_FIELDS:
            raise invalid_field(BODY, f"must not have more than {MAX_FIELDS} fields")
        if event.is_file:
            await _pass_on(event.name, events, store, form)
            continue
        is_file_text = event.name == DATA_URL_FIELD
        text = await _collect(event.name, events, DATA_URL_BYTES if is_file_text else left)
        left -= 0 if is_file_text else len(text)
        form.texts.append((event.name, _decoded(event.name, text)))
    return form


async def _pass_on(name: str, events: AsyncGenerator[_Event], store: Store, form: Form) -> None:
    if form.file_sha256:
        raise invalid_field(name, "is a second file: a form has one file")
    digest = hashlib.sha256()

    async def content() -> AsyncGenerator[bytes]:
        async for event in events:
            if isinstance(event, _End):
                return
            if isinstance(event, _Data):
                digest.update(event.content)
                yield event.content

    await store(name, content())
    form.file_sha256[name] = digest.hexdigest()


async def _collect(name: str, events: AsyncGenerator[_Event], limit: int) -> bytes:
    text = bytearray()
    async for event in events:
        if isinstance(event, _End):
            break
        if isinstance(event, _Data):
            text += event.content
        if len(text) > limit:
            raise invalid_field(name, f"must not exceed {limit} bytes with the texts before it")
    return bytes(text)


def _decoded(name: str, text: bytes) -> str:
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid_field(name, "must be UTF-8") from None
    if "\0" in decoded:
        raise invalid_field(name, "contains the character NUL")
    return decoded


async def _events(request: Request) -> AsyncGenerator[_Event]:
    """Yield the parts of a body: their beginnings, contents and ends."""
    _, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise invalid_field(BODY, "is multipart without a boundary")
    parts = _Parts(boundary)
    async for chunk in request.stream():
        for event in parts.feed(chunk):
            yield event
    parts.finish()


class _Parts:
    """Turns a body into events."""

    def __init__(self, boundary: bytes) -> None:
        self._events: list[_Event] = []
        self._header = self._value = b""
        self._part: _Begin | None = None
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open,
                    "on_part_data": self._add_data,
                    "on_part_end": self._close,
                    "on_end": self._end,
                },
            )
        except MultipartParseError:
            raise _invalid() from None

    def feed(self, chunk: bytes) -> list[_Event]:
        try:
            self._parser.write(chunk)
        except MultipartParseError:
            raise _invalid() from None
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """Raise ProblemError if the body ended before its last boundary."""
        if not self._ended:
            raise _invalid()

    def _begin(self) -> None:
        self._header = self._value = b""
        self._part = None

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._check_header()

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header) + len(self._value) > MAX_HEADER_BYTES:
            raise _invalid()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, parameters = parse_options_header(self._value)
            name = parameters.get(b"name", b"").decode("utf-8", "replace")
            self._part = _Begin(name, is_file=b"filename" in parameters)
        self._header = self._value = b""

    def _open(self) -> None:
        if self._part is None:
            raise _invalid()
        self._events.append(self._part)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(_Data(data[start:end]))

    def _close(self) -> None:
        self._events.append(_End())

    def _end(self) -> None:
        self._ended = True


def _invalid() -> ProblemError:
    return ProblemError(
        FailureCode.INVALID_REQUEST,
        "The body is not a complete multipart/form-data body.",
        members={
            "errors": [
                {"field": BODY, "detail": "must be multipart/form-data with named parts, complete"}
            ]
        },
    )
