"""The OpenAI clients for Python and Node, unchanged, behind one interface."""

# pyright: reportDeprecated=false
# The client marks its videos as deprecated: OpenAI's own service has ended.

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import openai

NODE_VERSION: Final = "6.49.0"
"""Of the client for Node; that for Python is pinned with the other packages."""
INSTALL_SECONDS: Final = 90
POLL_AFTER: Final = "openai-poll-after-ms"


@dataclass(eq=False, kw_only=True)
class RefusedError(Exception):
    """An error as a client raises it."""

    kind: str
    status: int | None
    code: str | None
    param: str | None
    type: str | None
    message: str
    request_id: str | None

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Client(Protocol):
    """A client of OpenAI. Arguments and results are plain values. Raises RefusedError."""

    @property
    def name(self) -> str: ...

    async def create(self, *, picture: bytes | None = None, **fields: Any) -> dict[str, Any]: ...
    async def retrieve(self, video_id: str) -> dict[str, Any]: ...
    async def ids(self, **query: Any) -> list[str]:
        """Return the ids of all pages."""
        ...

    async def delete(self, video_id: str) -> dict[str, Any]: ...
    async def content(self, video_id: str, variant: str = "video") -> bytes: ...
    async def models(self) -> list[str]: ...
    async def unwrap(
        self, body: bytes, headers: Mapping[str, str], secret: str
    ) -> dict[str, Any]: ...
    async def model(self, model_id: str) -> dict[str, Any]: ...
    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a POST of the client's raw interface, with a body in JSON."""
        ...

    async def poll_after(self, video_id: str) -> str | None:
        """Return the header with the time until the next poll."""
        ...

    async def poll(self, video_id: str) -> dict[str, Any]: ...
    async def remix(self, video_id: str) -> None: ...
    async def edit(self, video: bytes) -> None: ...


_OWN: Final = ("prompt", "model", "seconds", "size")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonClient:
    client: openai.AsyncOpenAI
    name: str = "python"

    async def create(self, *, picture: bytes | None = None, **fields: Any) -> dict[str, Any]:
        known = {name: fields.pop(name) for name in _OWN if name in fields}
        headers = fields.pop("headers", None)
        if picture is not None:
            known["input_reference"] = ("first.png", picture)
        with _translated():
            video = await self.client.videos.create(
                **known, extra_body=fields or None, extra_headers=headers
            )
        return video.to_dict()

    async def retrieve(self, video_id: str) -> dict[str, Any]:
        with _translated():
            return (await self.client.videos.retrieve(video_id)).to_dict()

    async def ids(self, **query: Any) -> list[str]:
        with _translated():
            return [video.id async for video in self.client.videos.list(**query)]

    async def delete(self, video_id: str) -> dict[str, Any]:
        with _translated():
            return (await self.client.videos.delete(video_id)).to_dict()

    async def content(self, video_id: str, variant: str = "video") -> bytes:
        with _translated():
            answer = await self.client.videos.download_content(video_id, variant=variant)  # pyright: ignore[reportArgumentType]  # any text is sent
            return await answer.aread()

    async def models(self) -> list[str]:
        with _translated():
            return [model.id async for model in self.client.models.list()]

    async def unwrap(self, body: bytes, headers: Mapping[str, str], secret: str) -> dict[str, Any]:
        return self.client.webhooks.unwrap(body, dict(headers), secret=secret).to_dict()

    async def model(self, model_id: str) -> dict[str, Any]:
        with _translated():
            return (await self.client.models.retrieve(model_id)).to_dict()

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        with _translated():
            return dict(await self.client.post(path, body=body or None, cast_to=dict[str, Any]))

    async def poll_after(self, video_id: str) -> str | None:
        answer = await self.client.videos.with_raw_response.retrieve(video_id)
        return answer.headers.get(POLL_AFTER)

    async def poll(self, video_id: str) -> dict[str, Any]:
        return (await self.client.videos.poll(video_id)).to_dict()

    async def remix(self, video_id: str) -> None:
        with _translated():
            await self.client.videos.remix(video_id, prompt="again")

    async def edit(self, video: bytes) -> None:
        with _translated():
            await self.client.videos.edit(prompt="again", video=("film.mp4", video))


class _translated:  # noqa: N801 - reads as a statement
    """Turn errors of the client into RefusedError."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, openai.APIError):
            return
        raise RefusedError(
            kind=type(error).__name__,
            status=getattr(error, "status_code", None),
            code=error.code,
            param=error.param,
            type=error.type,
            message=error.message,
            request_id=getattr(error, "request_id", None),
        ) from error


PROGRAM: Final = """
import OpenAI, { toFile } from "openai";
import { createInterface } from "node:readline";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: process.argv[3], ...JSON.parse(process.argv[4]) });
const AsyncFunction = (async () => {}).constructor;
for await (const line of createInterface({ input: process.stdin })) {
  const { code, args } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await new AsyncFunction("client", "toFile", "args", code)(client, toFile, args)) ?? null };
  } catch (error) {
    answer = { error: {
      kind: error.constructor.name, status: error.status ?? null, code: error.code ?? null,
      param: error.param ?? null, type: error.type ?? null, message: error.message, request_id: error.requestID ?? null,
    } };
  }
  console.log(JSON.stringify(answer));
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeClient:
    """The client in a process of its own, which runs one statement after the other."""

    process: asyncio.subprocess.Process
    name: str = "node"

    @classmethod
    @asynccontextmanager
    async def run(
        cls, package: Path, url: str, key: str, **options: Any
    ) -> AsyncGenerator["NodeClient"]:
        process = await asyncio.create_subprocess_exec(
            "node", "program.mjs", url, key, json.dumps(options),
            cwd=package, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            limit=64 * 1024**2,
        )  # fmt: skip
        try:
            yield cls(process=process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()

    async def call(self, code: str, **args: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"code": code, "args": args}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self.process.stdout.readline())
        if "error" in answer:
            raise RefusedError(**answer["error"])
        return answer["value"]

    async def create(self, *, picture: bytes | None = None, **fields: Any) -> dict[str, Any]:
        headers = fields.pop("headers", None)
        return await self.call(
            """
            const body = { ...args.fields };
            if (args.picture !== null)
              body.input_reference = await toFile(Buffer.from(args.picture, "latin1"), "first.png");
            return await client.videos.create(body, args.headers ? { headers: args.headers } : {});
            """,
            fields=fields,
            headers=headers,
            picture=None if picture is None else picture.decode("latin1"),
        )

    async def retrieve(self, video_id: str) -> dict[str, Any]:
        return await self.call("return await client.videos.retrieve(args.id)", id=video_id)

    async def ids(self, **query: Any) -> list[str]:
        return await self.call(
            """
            const ids = [];
            for await (const video of client.videos.list(args.query)) ids.push(video.id);
            return ids;
            """,
            query=query,
        )

    async def delete(self, video_id: str) -> dict[str, Any]:
        return await self.call("return await client.videos.delete(args.id)", id=video_id)

    async def content(self, video_id: str, variant: str = "video") -> bytes:
        text: str = await self.call(
            """
            const answer = await client.videos.downloadContent(args.id, { variant: args.variant });
            return Buffer.from(await answer.arrayBuffer()).toString("latin1");
            """,
            id=video_id,
            variant=variant,
        )
        return text.encode("latin1")

    async def models(self) -> list[str]:
        return await self.call(
            """
            const ids = [];
            for await (const model of client.models.list()) ids.push(model.id);
            return ids;
            """
        )

    async def unwrap(self, body: bytes, headers: Mapping[str, str], secret: str) -> dict[str, Any]:
        return await self.call(
            "return await client.webhooks.unwrap(args.body, args.headers, args.secret)",
            body=body.decode(),
            headers=dict(headers),
            secret=secret,
        )

    async def model(self, model_id: str) -> dict[str, Any]:
        return await self.call("return await client.models.retrieve(args.id)", id=model_id)

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        return await self.call(
            "return await client.post(args.path, args.body ? { body: args.body } : {})",
            path=path,
            body=body or None,
        )

    async def poll_after(self, video_id: str) -> str | None:
        return await self.call(
            """
            const answer = await client.videos.retrieve(args.id).asResponse();
            await answer.arrayBuffer();
            return answer.headers.get(args.header);
            """,
            id=video_id,
            header=POLL_AFTER,
        )

    async def poll(self, video_id: str) -> dict[str, Any]:
        """Poll as the client for Python does: Node's has no helper."""
        while True:
            milliseconds = await self.poll_after(video_id)
            if milliseconds is None:
                return await self.retrieve(video_id)
            await asyncio.sleep(int(milliseconds) / 1000)

    async def edit(self, video: bytes) -> None:
        await self.call(
            """
            const video = await toFile(Buffer.from(args.video, "latin1"), "film.mp4");
            await client.videos.edit({ prompt: "again", video });
            """,
            video=video.decode("latin1"),
        )

    async def remix(self, video_id: str) -> None:
        await self.call('await client.videos.remix(args.id, { prompt: "again" })', id=video_id)


def install_node_client(folder: Path) -> str | None:
    """Install the client for Node into a folder. Return the reason why that is not possible."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", f"openai@{NODE_VERSION}"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install openai@{NODE_VERSION} within {INSTALL_SECONDS} s"
    if done.returncode != 0:
        return f"npm cannot install openai@{NODE_VERSION}: {done.stderr.strip()[-200:]}"
    (folder / "program.mjs").write_text(PROGRAM, encoding="utf-8")
    return None
