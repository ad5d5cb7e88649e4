"""The head of a file, which shows its type, and the file as a whole again."""

from collections.abc import AsyncGenerator, AsyncIterator

from core.domain.media.content import SNIFF_BYTES


async def read_head(chunks: AsyncIterator[bytes]) -> bytes:
    """Read enough of a file to detect its type. The rest stays in `chunks`."""
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= SNIFF_BYTES:
            break
    return head


async def joined(head: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the head that was read, and then the rest of the file."""
    yield head
    async for chunk in rest:
        yield chunk
