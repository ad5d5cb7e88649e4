"""Catalogues that change while a test runs."""

from core.providers.registry import Providers


def read_models_again(providers: Providers) -> None:
    """Let a registry read the models of its providers again, as a new process does."""
    for computed in ("_all", "_sold"):
        vars(providers).pop(computed, None)
