"""Errors of the client as texts that a model can act on."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from mcp.server.mcpserver.exceptions import ToolError

from takeone.errors import CallError, KeySpendLimitError, MaxCostError, ProblemError, TakeoneError

MOST_CHARACTERS: Final = 1000
FOREIGN_CHARACTERS: Final = 300


def plain(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return a text on one line, without control characters and not longer than this."""
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def foreign(text: str) -> str:
    """Return a text that others wrote: short, and only as data of a result."""
    return plain(text, FOREIGN_CHARACTERS)


@contextmanager
def readable(request_id: str | None = None) -> Generator[None, None, None]:
    """Raise errors of the client as ToolError, whose text the model reads.

    request_id: of an order; its lost answer is obtained by the same call.
    """
    try:
        yield
    except (TakeoneError, TimeoutError, ValueError) as error:
        raise ToolError(_text(error, request_id)) from error


def _text(error: Exception, request_id: str | None) -> str:
    text = plain(str(error) or type(error).__name__)
    text = text if text.endswith((".", "…")) else f"{text}."
    if isinstance(error, KeySpendLimitError):
        return f"{text} Nothing was bought. Ask the user before you try a cheaper order."
    if isinstance(error, MaxCostError):
        return f"{text} Nothing was bought. Do not raise max_cost without asking the user."
    if isinstance(error, ProblemError):
        return f"{text} It may succeed later, unchanged." if error.retryable else text
    if request_id is not None and isinstance(error, CallError | TimeoutError):
        return (
            f"{text} It is not known whether the order was accepted. Call the tool again with the "
            f"same arguments and request_id {request_id!r}: it returns the order, and buys nothing "
            "twice."
        )
    return text
