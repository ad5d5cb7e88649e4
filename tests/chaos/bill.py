"""The sandbox's bill by order, by the sandbox's own records alone.

A line has the number of its order in its prompt or text. Of the others, the input is a file: one
that another line of the order paid for, or one that the order's customer uploaded.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.control import control

NO_ORDER: Final = "no order"
_TOKEN: Final = re.compile(r"chaos-\d{6}")


@dataclass(slots=True, kw_only=True)
class BillReader:
    """Reads the bill.

    uploads: the token by the SHA-256 of each uploaded file.
    """

    control_url: str
    uploads: Mapping[str, str]
    _tokens: dict[str, str] = field(default_factory=dict[str, str])

    async def lines(self) -> list[dict[str, Any]]:
        response = await control("GET", f"{self.control_url}/bill")
        lines: list[dict[str, Any]] = response["lines"]
        return lines

    async def by_token(self) -> dict[str, list[dict[str, Any]]]:
        """Return the lines by the token of their order."""
        lines = await self.lines()
        for line in lines:
            if found := _TOKEN.match(str(line["input"].get("prompt") or line["input"].get("text"))):
                self._tokens[line["provider_job_id"]] = found[0]
        if any(line["provider_job_id"] not in self._tokens for line in lines):
            await self._assign_by_files(lines)
        by_token: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in lines:
            by_token[self._tokens.get(line["provider_job_id"], NO_ORDER)].append(line)
        return by_token

    async def _assign_by_files(self, lines: list[dict[str, Any]]) -> None:
        """Assign lines by the files in their input."""
        jobs: list[dict[str, Any]] = (await control("GET", f"{self.control_url}/jobs"))["jobs"]
        maker_of = {output["name"]: job["id"] for job in jobs for output in job["outputs"]}
        token_of = {
            job["id"]: self.uploads[file["sha256"]]
            for job in jobs
            for file in job["fetched"]
            if file["sha256"] in self.uploads
        }
        for line in lines:
            job_id = line["provider_job_id"]
            makers = [maker_of.get(name, "") for name in _file_names(line["input"])]
            tokens = [self._tokens[maker] for maker in makers if maker in self._tokens]
            if job_id not in self._tokens and (
                found := token_of.get(job_id) or next(iter(tokens), "")
            ):
                self._tokens[job_id] = found


def _file_names(value: object) -> Iterator[str]:
    """Yield the last path segment of each address in an input."""
    if isinstance(value, str) and value.startswith("http"):
        yield value.split("?")[0].rpartition("/")[2]
    elif isinstance(value, dict):
        for item in value.values():  # pyright: ignore[reportUnknownVariableType] # JSON
            yield from _file_names(item)  # pyright: ignore[reportUnknownArgumentType] # JSON
    elif isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType] # JSON
            yield from _file_names(item)  # pyright: ignore[reportUnknownArgumentType] # JSON
