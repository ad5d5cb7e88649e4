"""Takeone: prompt in, finished video out, every step paid for once.

    from takeone import Takeone

    with Takeone() as client:  # with TAKEONE_BASE_URL and TAKEONE_API_KEY of the environment
        order = client.executions.generate_video(prompt="a paper boat", duration=5)
        order.wait().download("boat.mp4")

`Takeone` and `AsyncTakeone` are the clients. `compose` and the builders, such as `generate_image`,
`merge` and `captions`, make films of several steps. `takeone.errors` has every error,
`takeone.models` the types of results, and `takeone.webhooks.verify` verifies received webhooks.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from takeone._public import *  # noqa: F403 - exactly the names of its __all__
    from takeone._public import __all__ as __all__

_MODULES = ("errors", "models", "webhooks")


def __getattr__(name: str) -> object:
    """Import the client at its first use: `takeone --help` needs a fifth of the time without it."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name == "__all__" or not name.startswith("_"):
        public = import_module("takeone._public")
        if name == "__all__" or name in public.__all__:
            return getattr(public, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    """Return the names of the client, for completion."""
    return [*globals(), *import_module("takeone._public").__all__]
