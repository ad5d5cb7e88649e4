"""The check that a file is whole: a provider may serve half a file under its own Content-Length."""

from collections.abc import AsyncIterator, Callable

from core.domain.containers import ebml, iso, pictures, riff
from core.domain.containers.scan import Parser, Scan

_PARSERS: dict[str, Callable[[], Parser]] = {
    "image/jpeg": pictures.parse_jpeg,
    "image/png": pictures.parse_png,
    "image/webp": riff.parse,
    "video/mp4": iso.parse,
    "video/quicktime": iso.parse,
    "video/webm": ebml.parse,
    "audio/mp4": iso.parse,
    "audio/wav": riff.parse,
}
"""MP3, Ogg and FLAC have no mark of their end that every encoder writes."""


async def whole_file(chunks: AsyncIterator[bytes], content_type: str) -> AsyncIterator[bytes]:
    """Yield the chunks of a file. Raise IncompleteError if its structure is damaged or cut off."""
    parser = _PARSERS.get(content_type)
    scan = Scan(parser()) if parser else None
    async for chunk in chunks:
        if scan:
            scan.feed(chunk)
        yield chunk
    if scan:
        scan.finish()
