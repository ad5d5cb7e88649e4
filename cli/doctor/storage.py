"""Checks of object storage: rights, conditional writes, and what the public can read."""

import secrets
import ssl
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import httpx

from cli.doctor.finding import Finding, fail, ok, warn
from core.domain.media.content import MediaKind, StorageRefusedError, StorageUnavailableError
from core.platform.settings.processes import WorkerProcess
from core.store.files.object_storage import UPLOADS, ObjectChangedError, ObjectStore

PICTURE: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6364f8cf500f00"
    "0301806005a347db0000000049454e44ae426082"
)
"""A picture of one pixel, because the store accepts nothing but media."""
PRODUCED, PRIVATE = "images/", "takeone/"
READ_SECONDS: Final = 10.0


async def check_storage(settings: WorkerProcess) -> list[Finding]:
    """Write, read and delete probes as the product does, then read them without a key."""
    try:
        async with ObjectStore.of(settings) as objects:
            await objects.check()
            return await _Probes(objects, settings).check()
    except (StorageUnavailableError, StorageRefusedError) as error:
        return [
            fail("storage.rights", str(error), "the key must read, write, list and delete here")
        ]


class _Probes:
    """The probe objects of one run: a produced file, an upload, and a small private object."""

    def __init__(self, objects: ObjectStore, settings: WorkerProcess) -> None:
        name = f"doctor-{secrets.token_hex(16)}"
        self._objects = objects
        self._cdn = settings.cdn_base_url
        self._produced, self._upload = f"{PRODUCED}{name}.png", f"{UPLOADS}{name}.png"
        self._small = f"{PRIVATE}{name}.json"
        authorities = settings.aws_ca_bundle
        self._tls = ssl.create_default_context(cafile=authorities) if authorities else True

    async def check(self) -> list[Finding]:
        """Run the checks. The probes are deleted in any case."""
        try:
            for key in (self._produced, self._upload):
                await self._objects.put_stream(
                    key,
                    _chunks(PICTURE),
                    expected=MediaKind.IMAGE,
                    max_bytes=1024,
                    on_progress=lambda _: None,
                )
            findings = [await self._check_reads(), await self._check_conditional_writes()]
            async with httpx.AsyncClient(
                verify=self._tls, trust_env=False, timeout=READ_SECONDS
            ) as client:
                findings += [
                    await self._check_links(client),
                    await self._check_private(client),
                    await self._check_listing(client),
                ]
        finally:
            for key in (self._produced, self._upload):
                await self._objects.delete(key)
            await self._objects.delete_small(self._small)
        return [*findings, ok("storage.delete", "the probes were deleted")]

    async def _check_reads(self) -> Finding:
        content = b"".join([part async for part in self._objects.read(self._produced)])
        if content != PICTURE:
            text = "a file that was just written reads differently"
            return fail("storage.rights", text, "use a storage with consistent reads")
        return ok("storage.rights", "files are written and read")

    async def _check_conditional_writes(self) -> Finding:
        """Check that the storage refuses to overwrite: the restore marker depends on it."""
        check = "storage.conditional_writes"

        async def write() -> None:
            await self._objects.write_small(
                self._small, b"{}", content_type="application/json", replaces=None
            )

        await write()
        try:
            await write()
        except ObjectChangedError:
            return ok(check, "a concurrent write of the restore marker is refused")
        return fail(
            check,
            "the storage ignores If-None-Match: a stopped worker could lower the restore marker",
            "use a storage with conditional writes (S3, R2, SeaweedFS)",
        )

    async def _check_links(self, client: httpx.AsyncClient) -> Finding:
        """Read the produced file at the address that users receive."""
        check = "storage.links"
        status = await _read(client, await self._objects.address(self._produced))
        kind = "CDN_BASE_URL" if self._cdn else "S3_PUBLIC_ENDPOINT_URL or S3_ENDPOINT_URL"
        if status != HTTPStatus.OK:
            text = f"a finished file cannot be read by its link: {status}"
            return fail(check, text, f"correct {kind}, or the policy of the bucket")
        return ok(
            check, f"a finished file is read by its link ({'CDN' if self._cdn else 'signed'})"
        )

    async def _check_private(self, client: httpx.AsyncClient) -> Finding:
        """Read without a key what must stay private, at the server and at the CDN."""
        check = "storage.exposure"
        unsigned = self._objects.unsigned_address
        addresses = {
            "uploads": await unsigned(self._upload),
            "the restore marker": await unsigned(self._small, private=True),
        }
        if self._cdn:
            addresses["uploads on the CDN"] = f"{self._cdn}/{quote(self._upload)}"
            addresses["the restore marker on the CDN"] = f"{self._cdn}/{quote(self._small)}"
        else:
            addresses["produced files"] = await unsigned(self._produced)
        statuses = {what: await _read(client, address) for what, address in addresses.items()}
        if public := [what for what, status in statuses.items() if status == HTTPStatus.OK]:
            return fail(
                check,
                f"everyone can read {', '.join(public)}",
                "make only images/, videos/, audios/, transcripts/ and texts/ public, or set S3_PRIVATE_BUCKET",
            )
        return ok(check, f"not readable without a key: {', '.join(statuses)}")

    async def _check_listing(self, client: httpx.AsyncClient) -> Finding:
        check = "storage.listing"
        address = await self._objects.unsigned_address(self._produced)
        bucket = address.removesuffix(self._produced)
        if await _read(client, f"{bucket}?list-type=2&max-keys=1") == HTTPStatus.OK:
            text = "everyone can list the bucket, and thereby find every file"
            return fail(check, text, "allow s3:GetObject only, not s3:ListBucket")
        if self._cdn and await _read(client, f"{self._cdn}/") == HTTPStatus.OK:
            text = "CDN_BASE_URL itself answers 200"
            return warn(check, text, "check that its answer is not a list of the files")
        return ok(check, "not listed without a key")


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _read(client: httpx.AsyncClient, address: str) -> int | str:
    """Return the status of an anonymous GET, or the name of the error."""
    try:
        return (await client.get(address)).status_code
    except httpx.HTTPError as error:
        return type(error).__name__
