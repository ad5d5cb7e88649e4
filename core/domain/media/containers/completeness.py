"""The check that a file is whole: a provider may serve half a file under its own Content-Length."""

from collections.abc import AsyncIterator, Callable

from core.domain.media.containers import ebml, iso, pictures, riff, sounds
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.containers.index import LateIndex
from core.domain.media.containers.scan import Parser, Scan

_PARSERS: dict[str, Callable[[], Parser]] = {
    "image/jpeg": pictures.parse_jpeg,
    "image/png": pictures.parse_png,
    "image/webp": riff.parse,
    "video/mp4": iso.parse,
    "video/quicktime": iso.parse,
    "video/webm": ebml.parse,
    "audio/mp4": iso.parse,
    "audio/wav": riff.parse,
    "audio/mpeg": sounds.parse_mp3,
    "audio/ogg": sounds.parse_ogg,
    "audio/flac": sounds.parse_flac,
}


class WholeFile:
    """Checks a file of this content type while it streams by."""

    def __init__(self, content_type: str) -> None:
        parser = _PARSERS.get(content_type)
        self._scan = Scan(parser()) if parser else None

    @property
    def facts(self) -> MediaFacts | None:
        """Return what the headers state, after the last chunk. None: they are not readable."""
        return self._scan.structure.facts if self._scan else None

    @property
    def late_index(self) -> LateIndex | None:
        """Return the index of a film that can be moved to the front, after the last chunk."""
        return self._scan.structure.late_index if self._scan else None

    async def read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the chunks. Raise IncompleteError if the file is damaged or cut off."""
        async for chunk in chunks:
            if self._scan:
                self._scan.feed(chunk)
            yield chunk
        if self._scan:
            self._scan.finish()
