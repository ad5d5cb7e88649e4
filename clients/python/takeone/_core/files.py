"""A file that is being downloaded: a part file, which gets its name when its checksum is right."""

import hashlib
import secrets
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from takeone.errors import DownloadError


class PartFile:
    """A new file in the folder of `path`, renamed to `path` when it is complete, else removed.

    No two downloads share it, so the file under `path` is always one of them as a whole.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        self._path = path
        self._part = path.with_name(f"takeone-{secrets.token_hex(8)}.part")
        self._expected = sha256
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        self._file = self._part.open("xb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._file.write(chunk)

    def finish(self) -> None:
        """Give the file its name. Raise DownloadError if its content is not the expected one."""
        if self._hash.hexdigest() != self._expected:
            raise DownloadError(
                f"The content of {self._path.name} has another SHA-256 than the stored file."
            )
        self._file.close()
        self._part.replace(self._path)
