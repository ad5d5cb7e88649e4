"""The file in a multipart/form-data body, as a stream: it is never collected here."""

from collections.abc import AsyncGenerator
from typing import Final

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.http.problems.documents import ProblemError, invalid_field
from api.http.problems.texts import BODY_NOT_MULTIPART
from api.http.strict_json import BODY
from core.domain.failures import FailureCode

FILE: Final = "file"
"""The name of the only part."""
MULTIPART: Final = "multipart/form-data"


def media_type_of(request: Request) -> str:
    """Return the body's media type without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_file(request: Request) -> AsyncGenerator[bytes]:
    """Yield the content of the part `file`. Raise ProblemError for any other body."""
    _, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise invalid_field(BODY, "is multipart without a boundary")
    part = _FilePart(boundary)
    async for chunk in request.stream():
        for piece in part.feed(chunk):
            yield piece
    part.finish()


class _FilePart:
    """Reads bodies with exactly one part."""

    def __init__(self, boundary: bytes) -> None:
        self._pieces: list[bytes] = []
        self._header = self._value = b""
        self._parts = 0
        self._is_file = self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._check_name,
                    "on_part_data": self._add_data,
                    "on_end": self._end,
                },
            )
        except MultipartParseError:
            raise _invalid() from None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Parse a chunk of the body. Return what belongs to the file."""
        try:
            self._parser.write(chunk)
        except MultipartParseError:
            raise _invalid() from None
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> None:
        """Raise ProblemError if the body ended before its last boundary."""
        if not self._ended or not self._is_file:
            raise _invalid()

    def _begin(self) -> None:
        self._parts += 1
        self._header = self._value = b""
        self._is_file = False

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, parameters = parse_options_header(self._value)
            self._is_file = parameters.get(b"name") == FILE.encode()
        self._header = self._value = b""

    def _check_name(self) -> None:
        if self._parts > 1 or not self._is_file:
            raise _invalid()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        self._ended = True


def _invalid() -> ProblemError:
    return ProblemError(
        FailureCode.INVALID_REQUEST,
        BODY_NOT_MULTIPART,
        members={"errors": [{"field": FILE, "detail": "must be the only part, and complete"}]},
    )
