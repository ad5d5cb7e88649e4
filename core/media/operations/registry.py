"""The operations that this version has. The owner of each adds its line."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.domain.plans import OperationKind
from core.media.operations.captions.operation import Captions
from core.media.operations.layers.operation import Layers
from core.media.operations.merge.operation import Merge
from core.media.operations.port import Operation
from core.media.operations.single.extract_audio import ExtractAudio
from core.media.operations.single.loudness import Loudness
from core.media.operations.single.poster import Poster
from core.media.operations.single.preview import Preview
from core.media.operations.single.reframe import Reframe
from core.media.operations.single.trim import Trim

_ALL: Final[Sequence[Operation[Any]]] = (
    Captions(),
    Layers(),
    Merge(),
    Reframe(),
    Poster(),
    Preview(),
    Loudness(),
    Trim(),
    ExtractAudio(),
)

OPERATIONS: Final[Mapping[OperationKind, Operation[Any]]] = {each.kind: each for each in _ALL}
