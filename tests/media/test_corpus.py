"""Odd files through every operation: a whole film comes out, or a sentence for the user."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import InputContainer
from av.stream import Stream

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.engine.engine import Engine
from core.media.operations.port import (
    Expected,
    InputFile,
    Operation,
    OperationError,
    OperationParameters,
    Probe,
    Seconds,
)
from core.media.operations.references import references_in
from core.media.operations.registry import OPERATIONS
from tests.media.corpus import CORPUS, NASTIEST
from tests.media.inputs import input_file

FILE = {"asset": "asset_1"}
FRAME_SECONDS = 1 / 24
SOUND_SECONDS = 0.05
"""How much longer an encoder of sound, which fills its last frame, makes a file."""
PUBLISHED: Mapping[OperationKind, Mapping[str, object]] = {
    OperationKind.MERGE: {"items": [{"media": FILE}]},
    OperationKind.LAYERS: {"items": [{"media": FILE}]},
    OperationKind.CAPTIONS: {
        "video": FILE,
        "words": [{"text": "word", "start": 0, "end": 0.04}],
    },
    OperationKind.REFRAME: {"source": FILE, "aspectRatio": "1:1", "width": 64, "mode": "pad"},
    OperationKind.POSTER: {"source": FILE, "at": 0.04},
    OperationKind.PREVIEW: {"source": FILE, "width": 64, "format": "gif"},
    OperationKind.LOUDNESS: {"source": FILE},
    OperationKind.TRIM: {"source": FILE, "start": 0.02},
    OperationKind.EXTRACT_AUDIO: {"source": FILE, "format": "m4a"},
}
"""Parameters for one file."""
NORMALISING = {
    MediaKind.VIDEO: OperationKind.REFRAME,
    MediaKind.IMAGE: OperationKind.REFRAME,
    MediaKind.AUDIO: OperationKind.EXTRACT_AUDIO,
}
REFUSED = frozenset({"cut in the index", "empty", "GIF", "animated WebP"})


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that makes a file of the corpus, once per process."""
    return partial(_built, tmp_path_factory.mktemp("corpus"))


def _built(folder: Path, name: str) -> Path:
    case = CORPUS[name]
    path = folder / f"{name.replace(' ', '-')}.{case.extension}"
    if not path.exists():
        case.build(path)
    return path


async def made_of(
    engine: Engine, operation: Operation[Any], file: InputFile
) -> tuple[Expected, Probe, str]:
    """Return what was expected of a file, what was made of it, and the digest of its bytes."""
    parameters: OperationParameters = operation.parameters.model_validate(PUBLISHED[operation.kind])
    ((pointer, _),) = references_in(parameters)
    expected = operation.expect(parameters, {pointer: expected_of(file)})
    async with engine.workspace(
        inputs_bytes=file.path.stat().st_size, seconds=2, is_final=False
    ) as workspace:
        first, *_ = await operation.render(parameters, {pointer: file}, workspace)
        probe = input_file(first.path).probe
        assert probe is not None
        check_decoded(first.path, probe)
        return expected, probe, sha256(first.path.read_bytes()).hexdigest()


def expected_of(file: InputFile) -> Expected:
    probe = file.probe
    assert probe is not None
    seconds = Seconds(low=probe.seconds, expected=probe.seconds, worst=probe.seconds)
    is_still = probe.kind is MediaKind.IMAGE
    return Expected(
        kind=probe.kind,
        seconds=None if is_still else seconds,
        width=probe.width or None,
        height=probe.height or None,
        frame_rate=probe.frame_rate or None,
        has_sound=probe.audio_stream is not None,
    )


def decoded(file: InputContainer, streams: Sequence[Stream]) -> Iterator[Any]:
    """Yield every frame of the first stream, if there is one."""
    return file.decode(streams[0]) if streams else iter(())


def check_decoded(path: Path, probe: Probe) -> None:
    """Decode every frame, and compare the sound's length with the picture's."""
    with av.open(path) as file:
        sizes = [(frame.width, frame.height) for frame in decoded(file, file.streams.video)]
    with av.open(path) as file:
        samples = sum(frame.samples for frame in decoded(file, file.streams.audio))
    assert set(sizes) <= {(probe.width, probe.height)}
    if probe.kind is MediaKind.VIDEO:
        assert len(sizes) == probe.frames > 0
        if probe.audio_stream is not None:
            picture = probe.frames / probe.frame_rate
            assert samples / 48_000 == pytest.approx(picture, abs=SOUND_SECONDS)


def check(expected: Expected, probe: Probe) -> None:
    """Compare a made file with what planning expects, and with what every output is."""
    assert probe.kind is expected.kind
    if expected.width is not None:
        assert (probe.width, probe.height) == (expected.width, expected.height)
    if expected.seconds is not None:
        slack = SOUND_SECONDS if probe.kind is MediaKind.AUDIO else FRAME_SECONDS
        assert expected.seconds.low - slack <= probe.seconds <= expected.seconds.worst + slack
    if probe.kind is MediaKind.VIDEO:
        assert (probe.video_codec, probe.pixel_format) == ("h264", "yuv420p")
        assert (probe.sample_aspect_ratio, probe.rotation) == (1, 0)
        assert probe.width % 2 == probe.height % 2 == 0
        assert probe.sound_start_seconds == pytest.approx(0, abs=FRAME_SECONDS)
    if probe.audio_stream is not None:
        assert (probe.sample_rate, probe.channels) == (48_000, 2)


async def test_probe_reports_the_case(corpus_file: Callable[[str], Path]) -> None:
    """A case that does not have what its name states proves nothing."""
    for name, case in CORPUS.items():
        if name in REFUSED:
            continue
        probe = input_file(corpus_file(name)).probe
        assert probe is not None
        assert probe.kind is case.kind, name
        assert (probe.audio_stream is not None) == (case.has_sound or case.kind is MediaKind.AUDIO)
        if case.kind is not MediaKind.AUDIO:
            assert (probe.width, probe.height) == case.size, name
        if not case.is_cut:
            assert probe.seconds == pytest.approx(case.seconds, abs=0.09), name


@pytest.mark.parametrize("name", sorted(REFUSED))
async def test_unreadable_file_is_refused(
    name: str, engine: Engine, corpus_file: Callable[[str], Path]
) -> None:
    with pytest.raises(OperationError) as refusal:
        await engine.check(corpus_file(name), CORPUS[name].kind)
    assert str(refusal.value).endswith(".")
    assert "/" not in str(refusal.value)


@pytest.mark.parametrize("name", sorted(CORPUS.keys() - REFUSED))
async def test_odd_file_is_normalised(
    name: str, engine: Engine, corpus_file: Callable[[str], Path]
) -> None:
    operation = OPERATIONS[NORMALISING[CORPUS[name].kind]]
    expected, probe, _ = await made_of(engine, operation, input_file(corpus_file(name)))
    check(expected, probe)


@pytest.mark.parametrize("kind", [kind for kind in OPERATIONS if kind is not OperationKind.REFRAME])
@pytest.mark.parametrize("name", NASTIEST)
async def test_operation_accepts_the_nastiest_films(
    name: str, kind: OperationKind, engine: Engine, corpus_file: Callable[[str], Path]
) -> None:
    file = input_file(corpus_file(name))
    if kind is OperationKind.EXTRACT_AUDIO and not CORPUS[name].has_sound:
        with pytest.raises(OperationError, match="no sound"):
            await made_of(engine, OPERATIONS[kind], file)
        return
    expected, probe, _ = await made_of(engine, OPERATIONS[kind], file)
    check(expected, probe)


@pytest.mark.parametrize("kind", OPERATIONS)
async def test_same_file_gives_identical_bytes(
    kind: OperationKind, engine: Engine, corpus_file: Callable[[str], Path]
) -> None:
    file = input_file(corpus_file("plain"))
    digests = {(await made_of(engine, OPERATIONS[kind], file))[2] for _ in range(2)}
    assert len(digests) == 1
