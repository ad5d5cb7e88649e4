"""The content key of a media step: equal keys make equal bytes."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

from core.jobs.rendering.inputs import StoredInput
from core.media.operations.film.encoding import encoding_key
from core.media.operations.port import Operation, OperationParameters
from core.media.operations.references import references_in
from core.store.jobs.jobs import JobRecord


def content_key(
    job: JobRecord,
    operation: Operation[Any],
    parameters: OperationParameters,
    inputs: Mapping[str, StoredInput],
    *,
    engine_key: str,
    is_final: bool,
) -> str:
    """Return the hash of all that decides the bytes of a step's files.

    Files count by their content, not by their names or addresses, and every default is filled in.
    """
    document: dict[str, Any] = parameters.model_dump(mode="json")
    for pointer, _ in references_in(parameters):
        stored = inputs.get(pointer)
        _replace(document, pointer, None if stored is None else stored.sha256)
    plain = {
        "user": job.user_id,
        "kind": operation.kind,
        "schema": operation.schema_number,
        "parameters": document,
        "engine": engine_key,
        "encoding": encoding_key(),
        "final": is_final,
    }
    return hashlib.sha256(
        json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _replace(document: object, pointer: str, value: str | None) -> None:
    """Replace what a pointer names in a document of objects and lists."""
    *path, last = pointer.split("/")
    for name in path:
        document = _child(document, name)
    if isinstance(document, list):
        cast("list[object]", document)[int(last)] = value
    else:
        cast("dict[str, object]", document)[last] = value


def _child(document: object, name: str) -> object:
    if isinstance(document, list):
        return cast("list[object]", document)[int(name)]
    return cast("dict[str, object]", document)[name]
