"""The content key of a purchase: equal keys order the same of a model."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from core.domain.ids import UserId
from core.domain.plans import Scalar
from core.providers.inputs import complete_inputs
from core.providers.models import Constant, MediaInput, Model

SCHEMA_NUMBER: Final = 1
"""Raise it when the same inputs begin to order something else."""


def purchase_key(
    user_id: UserId,
    provider: str,
    model: Model,
    values: Mapping[str, Scalar],
    files: Mapping[str, str],
) -> str:
    """Return the hash of all that decides what a purchase brings.

    values: of a step, to which the model's defaults are added. A seed that only a send has does not
    count. files: the sha256 of the bytes of each, by the name of the model's input; neither their
    names nor their addresses count.
    """
    complete = complete_inputs(model, values, {name: MediaInput() for name in files})
    ignored = {item.name for item in model.inputs if item.unless in files}
    plain = {
        "user": user_id,
        "kind": model.kind,
        "provider": provider,
        "model": model.id,
        "schema": SCHEMA_NUMBER,
        "constants": {
            entry.field: entry.value for entry in model.body if isinstance(entry, Constant)
        },
        "values": {
            name: _plain(value) for name, value in complete.values.items() if name not in ignored
        },
        "files": dict(files),
    }
    return hashlib.sha256(
        json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _plain(value: Scalar) -> Scalar:
    """Return a number in one form: 1.0 and 1 order the same."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
