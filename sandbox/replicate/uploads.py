"""Replicate's files API: uploads of input pictures, which expire after a day."""

import email
import email.policy
import hashlib
import json
import secrets
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.http.exchange import json_response
from sandbox.http.route_context import RouteContext
from sandbox.jobs.bill import timestamp
from sandbox.jobs.store import StoredFile
from sandbox.replicate import responses
from sandbox.replicate.routes import Replicate
from sandbox.settings import DAY_SECONDS, Json, as_object

PATH = "/replicate/v1/files"
UPLOAD_BYTES = 100 * 1024 * 1024


class Uploads:
    """The routes below `/replicate/v1/files`."""

    def __init__(self, context: RouteContext, replicate: Replicate) -> None:
        self._context = context
        self._replicate = replicate

    def routes(self) -> list[BaseRoute]:
        return [
            Route(PATH, self.create, methods=["POST"]),
            Route(PATH, self.list, methods=["GET"]),
            Route(f"{PATH}/{{id}}", self.get, methods=["GET"]),
            Route(f"{PATH}/{{id}}", self.delete, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        body = await request.body()
        if (refused := self._replicate.token_refusal(request)) is not None:
            return refused
        if len(body) > UPLOAD_BYTES:
            return responses.problem(413)
        parts = _parts(request.headers.get("content-type", ""), body)
        if "content" not in parts:
            return responses.invalid_fields([("required", "content", "content is required")])
        name, content_type, content = parts["content"]
        now = time.time()
        file = StoredFile(
            name=secrets.token_urlsafe(24), job_id="", provider="replicate", model="", content_type=content_type,
            created_at=now, expires_at=now + DAY_SECONDS,
            details={
                "name": name,
                "size": len(content),
                "metadata": _metadata(parts.get("metadata")),
                "sha256": hashlib.sha256(content).hexdigest(),
                "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            },
        )  # fmt: skip
        self._context.jobs.add_file(file, content)
        return json_response(self._view(request, file), 201)

    def _view(self, request: Request, file: StoredFile) -> Json:
        details = file.details
        return {
            "id": file.name,
            "name": details["name"],
            "content_type": file.content_type,
            "size": details["size"],
            "etag": details["md5"],
            "checksums": {"sha256": details["sha256"], "md5": details["md5"]},
            "metadata": details["metadata"],
            "created_at": timestamp(file.created_at),
            "expires_at": timestamp(file.expires_at),
            "urls": {"get": f"{self._context.base_url(request)}{PATH}/{file.name}"},
        }

    def _find(self, request: Request) -> StoredFile | None:
        file = self._context.jobs.find_file(request.path_params["id"])
        return (
            file
            if file is not None and file.job_id == "" and file.expires_at > time.time()
            else None
        )

    async def get(self, request: Request) -> Response:
        file = self._find(request)
        refused = self._replicate.token_refusal(request)
        return refused or (
            responses.problem(404) if file is None else json_response(self._view(request, file))
        )

    async def list(self, request: Request) -> Response:
        if (refused := self._replicate.token_refusal(request)) is not None:
            return refused
        files = [
            file
            for file in self._context.jobs.all_files()
            if file.job_id == "" and file.expires_at > time.time()
        ]
        views = [self._view(request, file) for file in reversed(files)]
        return json_response({"previous": None, "next": None, "results": views})

    async def delete(self, request: Request) -> Response:
        file = self._find(request)
        if (refused := self._replicate.token_refusal(request)) is not None:
            return refused
        if file is None:
            return responses.problem(404)
        self._context.jobs.remove_file(file)
        return Response(status_code=204)


def _parts(content_type: str, body: bytes) -> dict[str, tuple[str, str, bytes]]:
    """Return the parts of a multipart form: name → file name, content type, bytes."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    result: dict[str, tuple[str, str, bytes]] = {}
    for part in message.iter_parts():
        name: Any = part.get_param("name", header="content-disposition")
        content: Any = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            result[name] = (part.get_filename() or "file", part.get_content_type(), content)
    return result


def _metadata(part: tuple[str, str, bytes] | None) -> Json:
    try:
        return as_object(json.loads(part[2] if part else b"{}")) or {}
    except ValueError:
        return {}
