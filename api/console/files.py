"""The files of the web console, served under /console/ with a strict content security policy."""

from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from api.http.problems.documents import not_found
from api.services import Services, services_of
from core.platform.console_files import OPERATOR_FOLDER, read_files

CONSOLE_PATH: Final = "/console"
INDEX: Final = "index.html"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob: {files}; "
    "media-src 'self' {files}; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_ANY_KEY: Final = "console"


def console_router() -> APIRouter:
    """Return the routes of the files, which are read now and kept in memory."""
    files = {
        path: file for path, file in read_files().items() if not path.startswith(OPERATOR_FOLDER)
    }
    router = APIRouter(include_in_schema=False)
    policies: list[str] = []  # the same for the life of the process, once it could be built

    async def read_file(request: Request, path: str) -> Response:
        file = files.get(path or INDEX)
        if file is None:
            raise not_found(CONSOLE_PATH)
        if not policies:
            policies.append(await _policy(services_of(request)))
        headers = {
            "Cache-Control": "no-cache",
            "ETag": f"W/{file.etag}",  # weak: of both encodings
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": policies[0],
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(file.content, media_type=file.media_type, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return Response(file.zipped, media_type=file.media_type, headers=headers)

    router.add_api_route(CONSOLE_PATH, _enter, methods=["GET"])
    router.add_api_route(f"{CONSOLE_PATH}/{{path:path}}", read_file, methods=["GET"])
    return router


async def _enter() -> Response:
    return Response(status_code=307, headers={"Location": f"{CONSOLE_PATH}/"})


async def _policy(services: Services) -> str:
    """Return the policy, which allows files of the CDN and of the bucket."""
    addresses = [
        await services.objects.address(_ANY_KEY),
        await services.objects.address(_ANY_KEY, disposition="inline"),
    ]
    origins = {f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, addresses)}
    return POLICY.format(files=" ".join(sorted(origins)))
