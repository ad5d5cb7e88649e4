"""The order of the test files, and the files that run in one process.

A file runs in one process as a whole. Files that share a server of their folder do so together:
each further process would start another one. Long units begin first. Those that mostly wait come
before those that mostly compute, so that some process always computes.
"""

from pathlib import PurePosixPath
from typing import Final

from xdist.scheduler import LoadFileScheduling

HEAVY: Final = frozenset(
    {"api/test_openapi_fuzz.py", "chaos/test_short.py", "end_to_end/test_fair_share.py"}
)
"""Each takes a minute or more of both cores: one after the other, in one process."""
FIRST_STACK: Final = frozenset(
    {
        "end_to_end/test_breaker.py",
        "end_to_end/test_failures.py",
        "end_to_end/test_misbehaviour.py",
        "end_to_end/test_outages.py",
        "end_to_end/test_restore.py",
        "end_to_end/test_typescript_client.py",
        "end_to_end/test_usage.py",
    }
)
SECOND_STACK: Final = frozenset(
    {
        "end_to_end/test_cancel_truth.py",
        "end_to_end/test_media.py",
        "end_to_end/test_one_fact.py",
        "end_to_end/test_pipelines.py",
    }
)
"""With the console, about a third of the end-to-end tests, by time, as on each other stack."""
TOGETHER: Final = ("cog", "end_to_end", "providers", "sandbox", "workflows")
"""Folders with servers for all their files."""
ORDER: Final = (
    ("end_to_end", "chaos", "deploy"),  # long
    ("activities", "maintenance", "api", "network", "cog"),  # mostly wait
    ("cli", "docs", "sdk", "workflows", "providers", "sandbox", "media", "store"),  # mostly compute
    ("unit",),  # many short files, with which all processes end at nearly the same time
)


def order(path: PurePosixPath) -> tuple[bool, int]:
    """Return the place of a file below tests/ in the run: smaller first."""
    places = (place for place, folders in enumerate(ORDER) if path.parts[0] in folders)
    return str(path) not in HEAVY, next(places, 2)


def unit(path: PurePosixPath) -> str:
    """Return the name of the files that run in one process with this file."""
    if str(path) in HEAVY:
        return "heavy"
    if str(path) in FIRST_STACK:
        return "first stack"
    if str(path) in SECOND_STACK or path.parts[:2] == ("end_to_end", "console"):
        return "second stack"
    return path.parts[0] if path.parts[0] in TOGETHER else str(path)


class ByUnit(LoadFileScheduling):
    """Gives each process a unit at a time."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(PurePosixPath(nodeid.partition("::")[0]).relative_to("tests"))
