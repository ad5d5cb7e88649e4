"""The structure of WebP and WAV files (RIFF): one chunk that declares the size of the file."""

from core.domain.containers.scan import Parser, Skip, SkipRest, Structure, read

_UNKNOWN_SIZES = {0, 0xFFFFFFFF}
"""What an encoder writes that cannot seek back to the file's start."""


def parse() -> Parser:
    """Require as many bytes as the file declares. More bytes are accepted, as decoders do."""
    head = yield from read(8)
    size = int.from_bytes(head[4:8], "little")
    if size not in _UNKNOWN_SIZES:
        yield Skip(size)
    yield SkipRest()
    return Structure()
