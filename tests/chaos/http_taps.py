"""Taps for HTTP/1.1 to a provider and to object storage, and for gRPC (HTTP/2) to Temporal.

Provider: `create:sent` before the paid POST reaches the provider, `create:answered` before its
response comes back (it is billed by then), `poll:sent`. Storage: `put:sent`, `put:answered`.
Temporal: `rpc:METHOD` before the server has the request, `done:METHOD` before the client has the
response.
"""

import re
import zlib
from typing import Final

from hpack import Decoder
from hpack.exceptions import HPACKError

from tests.chaos.links import Flow, Line, tokens_in

_CREATE: Final = re.compile(
    rb"POST /(?:fal/queue/[^ ]+|replicate/v1/(?:models/[^/ ]+/[^/ ]+/)?predictions"
    rb"|elevenlabs/v1/text-to-speech/[^ ]+)(?:\?[^ ]*)? "
)
_POLL: Final = re.compile(
    rb"GET /(?:fal/queue/[^ ]+/requests/([^/ ?]+)/status|replicate/v1/predictions/([^/ ?]+))[ ?]"
)
_PUT: Final = re.compile(rb"(?:PUT|POST) /[^/ ]+/(?:images|videos|audios|transcripts)/")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class ProviderTap:
    """A tap for a provider.

    Requests are small, so each is buffered until it is complete.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._up = bytearray()
        self._asked: tuple[str, frozenset[str]] | None = None

    def up(self, data: bytes) -> None:
        self._up += data
        while (length := _request_length(self._up)) is not None:
            request = bytes(self._up[:length])
            del self._up[:length]
            self._ask(request)
            self._line.up.send(request)

    def _ask(self, request: bytes) -> None:
        self._asked = None
        if _CREATE.match(request):
            self._asked = ("create", tokens_in(request))
        elif (poll := _POLL.match(request)) is not None:
            self._asked = ("poll", frozenset({(poll[1] or poll[2]).decode()}))
        if self._asked is not None:
            self._line.meet(f"{self._asked[0]}:sent", self._asked[1], self._line.up)

    def down(self, data: bytes) -> None:
        if self._asked is not None:
            (kind, tokens), self._asked = self._asked, None
            self._line.meet(f"{kind}:answered", tokens, self._line.down)
        self._line.down.send(data)


class StorageTap:
    """A tap for object storage.

    Uploads are streamed, so the moment is their first bytes. The key in the path identifies the
    order.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._asking = False
        self._key: frozenset[str] | None = None

    def up(self, data: bytes) -> None:
        if not self._asking and _PUT.match(data):
            path = data.split(b" ", 2)[1].split(b"?")[0].decode(errors="replace")
            self._key = frozenset({path.removeprefix("/").partition("/")[2]})  # without the bucket
            self._line.meet("put:sent", self._key, self._line.up)
        self._asking = True
        self._line.up.send(data)

    def down(self, data: bytes) -> None:
        self._asking = data.startswith(b"HTTP/1.1 100")
        if self._key is not None and not self._asking:
            key, self._key = self._key, None
            self._line.meet("put:answered", key, self._line.down)
        self._line.down.send(data)


def _request_length(buffer: bytearray) -> int | None:
    """Return the length of head and body of the first request; None if it is incomplete."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    found = _LENGTH.search(buffer, 0, end + 2)
    length = end + 4 + (int(found[1]) if found else 0)
    return length if len(buffer) >= length else None


_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _CONTINUATION = 0, 1, 3, 9
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 1, 4, 8, 32


class TemporalTap:
    """A tap for Temporal.

    A request is held by holding the data of its stream alone; other streams of the connection
    continue. A response is held with everything behind it, because header compression requires the
    original order.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._up = bytearray()
        self._down = bytearray()
        self._preface = len(_PREFACE)
        self._decoder = Decoder()
        self._headers: tuple[int, bytearray] | None = None
        self._methods: dict[int, str] = {}
        self._tokens: dict[int, frozenset[str]] = {}
        self._flows: dict[int, Flow] = {}
        self._answered: set[int] = set()

    def up(self, data: bytes) -> None:
        if self._preface:
            cut = min(self._preface, len(data))
            self._preface -= cut
            self._line.up.send(data[:cut])
            data = data[cut:]
        self._up += data
        while frame := _take_frame(self._up):
            kind, flags, stream, body = _parts(frame)
            if kind in (_HEADERS, _CONTINUATION):
                self._read_headers(kind, flags, stream, body)
            if kind == _DATA and stream in self._methods:
                self._send_data(stream, frame)
            else:
                self._line.up.send(frame)

    def _read_headers(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _HEADERS:
            padding = body[0] if flags & _PADDED else 0
            start = (1 if flags & _PADDED else 0) + (5 if flags & _PRIORITY else 0)
            self._headers = (stream, bytearray(body[start : len(body) - padding]))
        elif self._headers is not None:
            self._headers[1].extend(body)
        if not flags & _END_HEADERS or self._headers is None:
            return
        block, self._headers = bytes(self._headers[1]), None
        try:
            fields = dict(self._decoder.decode(block, raw=True))
        except HPACKError:
            return
        path = fields.get(b":path")
        if path is not None:
            self._methods[stream] = path.decode().rpartition("/")[2]

    def _send_data(self, stream: int, frame: bytes) -> None:
        flow = self._flows.get(stream)
        if flow is None:
            flow = self._flows[stream] = Flow(self._line.up.send)
            tokens = self._tokens[stream] = tokens_in(_message(frame[9:]))
            self._line.meet(f"rpc:{self._methods[stream]}", tokens, flow)
        flow.send(frame)

    def down(self, data: bytes) -> None:
        self._down += data
        while frame := _take_frame(self._down):
            kind, flags, stream, _ = _parts(frame)
            if kind == _HEADERS and stream in self._methods and stream not in self._answered:
                self._answered.add(stream)
                tokens = self._tokens.get(stream, frozenset[str]())
                self._line.meet(f"done:{self._methods[stream]}", tokens, self._line.down)
            self._line.down.send(frame)
            if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                self._forget(stream)

    def _forget(self, stream: int) -> None:
        self._methods.pop(stream, None)
        self._tokens.pop(stream, None)
        self._flows.pop(stream, None)
        self._answered.discard(stream)


def _message(data: bytes) -> bytes:
    """Return a gRPC message's content in its first frame; the first byte states the compression."""
    if data[:1] != b"\1":
        return data
    try:
        return zlib.decompressobj(wbits=31).decompress(data[5:])
    except zlib.error:
        return b""


def _take_frame(buffer: bytearray) -> bytes:
    """Return the first complete frame, or nothing."""
    if len(buffer) < 9:
        return b""
    length = 9 + int.from_bytes(buffer[:3], "big")
    if len(buffer) < length:
        return b""
    frame = bytes(buffer[:length])
    del buffer[:length]
    return frame


def _parts(frame: bytes) -> tuple[int, int, int, bytes]:
    """Return type, flags, stream and body."""
    return frame[3], frame[4], int.from_bytes(frame[5:9], "big") & 0x7FFFFFFF, frame[9:]
