"""The rows of docs/reference/create-calls.md by their first column, as cases on a raw socket."""

import asyncio
import gzip
import json
from dataclasses import dataclass

from core.providers.http.transport import BODY_MAX_BYTES
from core.providers.vendors.cog.wire import prediction_id
from tests.providers.wire import Line, Script, answering

CALLBACK_URL = "https://us.example/callbacks/x/token"
JOB_ID = prediction_id("painter", CALLBACK_URL)
"""Any id is usable, except for Cog: there the request has the id, and the answer repeats it."""
ACCEPTED: dict[str, object] = {"request_id": JOB_ID, "id": JOB_ID, "status": "starting"}
REFUSED: dict[str, object] = {"detail": [{"msg": "No.", "type": "refused"}]}
"""In the form of every vendor, except for Cog, whose own rows have other cases."""
WITH_ID = {"request-id": JOB_ID}
HTML = {"content-type": "text/html"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case: a server's script and the address of the request. No script: no server listens.

    address: target of the request. {port}: the script's port, {full}: a port that takes no more
    connections, {tls}: one with an untrusted certificate. seconds: time limit of the call.
    late: the time to send is over when it begins.
    """

    script: Script | None = None
    address: str = "http://127.0.0.1:{port}"
    seconds: float = 3.0
    late: bool = False


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> Case:
    return Case(script=answering(status, body, headers))


def raw(*parts: bytes, pause: float = 0.0, reset: bool = False, seconds: float = 3.0) -> Case:
    """Read the request, write these bytes unchanged and close the connection."""

    async def script(line: Line) -> None:
        await line.read()
        for part in parts:
            await line.write(part)
            await asyncio.sleep(pause)
        if reset:
            line.reset()

    return Case(script=script, seconds=seconds)


def page(status: int, body: object, *, version: str = "1.1", length: int | None = None) -> bytes:
    """Return a response as bytes.

    length: its content-length header; None: no header, the body ends with the connection.
    """
    raw_body = body if isinstance(body, bytes) else json.dumps(body).encode()
    length_header = "" if length is None else f"content-length: {length}\r\n"
    return (
        f"HTTP/{version} {status} -\r\ncontent-type: application/json\r\n{length_header}\r\n".encode()
        + raw_body
    )


async def close_unread(_: Line) -> None:
    """Close the accepted connection without reading."""


async def reset_unread(line: Line) -> None:
    line.reset()


async def close_after_headers(line: Line) -> None:
    await line.read_headers()


async def no_tls(line: Line) -> None:
    await line.write(b"no TLS here\r\n")
    await asyncio.sleep(0.2)


async def refuse_before_the_body(line: Line) -> None:
    await line.answer(401, REFUSED, {"connection": "close"})
    await line.read_headers()


async def read_in_silence(line: Line) -> None:
    await line.read()
    await asyncio.sleep(1.5)


FULL = json.dumps(ACCEPTED).encode()
GZIPPED = gzip.compress(FULL)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"


def encoded(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 -\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def with_id(response: bytes) -> bytes:
    """Return a response whose head names the request, which ElevenLabs accepts a job by."""
    line, _, rest = response.partition(b"\r\n")
    return line + f"\r\nrequest-id: {JOB_ID}\r\n".encode() + rest


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks)
    return b"HTTP/1.1 200 -\r\ntransfer-encoding: chunked\r\n\r\n" + body + end


# The request was not sent completely: the outcome is certain without a response.
TRANSPORT: dict[str, tuple[Case, ...]] = {
    "name not known (DNS)": (Case(address="http://provider.invalid"),),
    "connection refused": (Case(),),
    "no connection in time": (Case(address="http://127.0.0.1:{full}", seconds=0.5),),
    "TLS fails, certificate not trusted": (
        Case(script=no_tls, address="https://127.0.0.1:{port}"),
        Case(address="https://127.0.0.1:{tls}"),
    ),
    "more than 5 s since its intent began (a worker that was stopped and wakes)": (
        Case(script=answering(200, ACCEPTED), late=True),
    ),
    "closed or reset before, while or after we wrote": (
        Case(script=close_unread),
        Case(script=reset_unread),
        Case(script=close_after_headers),
        raw(),
        raw(reset=True),
    ),
    "no answer in time, or one that drips": (
        Case(script=read_in_silence, seconds=0.5),
        raw(
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", *[b" "] * 15, pause=0.1, seconds=0.5
        ),
        raw(*[CONTINUE] * 15, pause=0.1, seconds=0.5),
    ),
    "half an answer: status line, head, body, chunk, JSON": (
        raw(b"HTTP/1.1 20"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-"),
        raw(page(200, FULL[:-5], length=len(FULL))),
        raw(page(404, REFUSED, length=100)),
        raw(page(200, FULL[:-1])),
        raw(page(200, FULL[:-1], version="1.0")),
        raw(page(200, FULL, length=len(FULL) - 1)),
        raw(chunked(FULL[:-1], FULL[-1:], end=b"")),
        raw(chunked(FULL[:-1])),
        raw(encoded(GZIPPED[:-20])),
    ),
    "no HTTP, or against its rules": (
        raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n"),
        raw(SWITCHING, FULL),
    ),
    "more than 1 MB": (
        answer(
            200, b'{"request_id": "abc", "id": "abc", "x": "' + b"x" * (10 * BODY_MAX_BYTES) + b'"}'
        ),
        raw(
            encoded(
                gzip.compress(
                    b'{"request_id": "abc", "id": "abc", "x": "'
                    + b"x" * (4 * BODY_MAX_BYTES)
                    + b'"}'
                )
            )
        ),
    ),
}

ANSWERS: dict[str, tuple[Case, ...]] = {
    "2xx, JSON with a usable id": (
        *(answer(status, ACCEPTED, WITH_ID) for status in (200, 201, 202)),
        answer(200, ACCEPTED, {"content-type": "text/plain", **WITH_ID}),
        raw(INTERIM, CONTINUE, with_id(page(201, ACCEPTED, length=len(FULL)))),
        raw(with_id(page(200, ACCEPTED))),
        raw(with_id(page(200, ACCEPTED, version="1.0"))),
        raw(with_id(chunked(FULL[:7], FULL[7:]))),
        raw(with_id(encoded(GZIPPED))),
    ),
    "2xx without an id, with one that no path can carry, with two, or no JSON": (
        answer(200, {}),
        answer(204, b""),
        answer(200, {"request_id": None, "id": 7}),
        answer(200, {"request_id": "../../etc", "id": "a b"}),
        answer(200, {"request_id": "a" * 201, "id": "a" * 201}),
        answer(200, b'{"request_id": "abc", "request_id": "abd", "id": "abc", "id": "abd"}'),
        answer(200, [ACCEPTED]),
        answer(200, b"[" * 100_000),
        answer(200, b"<html>ok</html>", HTML),
    ),
    "3xx": tuple(
        answer(status, ACCEPTED, {"location": "http://127.0.0.1:1/"})
        for status in (301, 302, 303, 307, 308)
    ),
    "400": (answer(400, REFUSED),),
    "401": (answer(401, REFUSED), Case(script=refuse_before_the_body)),
    "402": (answer(402, REFUSED),),
    "403": (answer(403, REFUSED),),
    "404": (answer(404, REFUSED),),
    "413": (answer(413, REFUSED),),
    "415": (answer(415, REFUSED),),
    "422": (answer(422, REFUSED),),
    "429": (answer(429, REFUSED), answer(429, REFUSED, {"retry-after": "-1"})),
    "any of these that names a job": tuple(
        answer(status, ACCEPTED | REFUSED) for status in (400, 404, 422, 429)
    ),
    "any of these in another form: a proxy's page, an empty body, other JSON": (
        answer(401, b"<html>Forbidden by proxy</html>", HTML),
        answer(403, {"message": "Forbidden"}),
        answer(404, b""),
        answer(413, b"<html>too large</html>", HTML),
        answer(422, b'{"detail": '),
        answer(422, {"detail": ""}),
        answer(422, b'{"detail": "No.", "detail": "Yes."}'),
        answer(429, b"slow down", {"content-type": "text/plain"}),
        answer(429, REFUSED, HTML),
    ),
    "408": (answer(408, REFUSED),),
    "409": (answer(409, REFUSED),),
    "any other 4xx": tuple(
        answer(status, REFUSED) for status in (405, 410, 418, 421, 423, 425, 451, 499)
    ),
    "5xx, also in the vendor's form": (
        *(answer(status, REFUSED) for status in (500, 501, 502, 503, 504, 529)),
        answer(503, {"detail": "Unavailable", "error_type": "runner_scheduling_failure"}),
        answer(504, {"detail": "Timed out", "error_type": "request_timeout"}),
        answer(500, {"title": "Internal", "detail": "Internal error", "status": 500}),
        answer(502, b"<html>Bad gateway</html>", HTML),
        answer(502, ACCEPTED),
    ),
}

ROWS = TRANSPORT | ANSWERS
_NOT_NOW: dict[str, object] = {"error": "At capacity", "status": "failed"}
ROWS_OF: dict[str, dict[str, tuple[Case, ...]]] = {
    "cog": {
        "409 in Cog's own form": (answer(409, _NOT_NOW),),
        "422 in Cog's own form": (
            answer(
                422, {"detail": [{"loc": ["body", "input", "seed"], "msg": "No.", "type": "x"}]}
            ),
        ),
        "503 in Cog's own form": (answer(503, _NOT_NOW),),
    }
}
"""Further rows of one provider."""


def rows_of(vendor: str) -> dict[str, tuple[Case, ...]]:
    return ROWS | ROWS_OF.get(vendor, {})
