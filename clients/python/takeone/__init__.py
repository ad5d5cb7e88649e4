"""Takeone: prompt in, finished video out, every step paid for once."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from takeone._public import *  # noqa: F403 - exactly the names of its __all__
    from takeone._public import __all__ as __all__


def __getattr__(name: str) -> object:
    """Import the client at its first use: `takeone --help` answers four times as fast without it.

    A submodule, such as `takeone.errors`, is an attribute from then on, too.
    """
    if name.startswith("__") and name != "__all__":
        raise AttributeError(name)
    public = import_module("takeone._public")
    if name == "__all__" or name in public.__all__:
        return getattr(public, name)
    if f"{__name__}.{name}" in sys.modules:
        return sys.modules[f"{__name__}.{name}"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    """Return the names of the client, for completion."""
    return [*globals(), *import_module("takeone._public").__all__]
