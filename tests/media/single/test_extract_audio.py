"""The sound of films, in every format."""

from pathlib import Path

import av
import pytest

from core.domain.media.content import MediaKind
from core.media.operations.port import Expected, OperationError
from core.media.operations.single.extract_audio import ExtractAudio, ExtractAudioParameters
from tests.media.corpus import CORPUS
from tests.media.inputs import clicks_at, counted, film, gray, input_file, played
from tests.media.operations.sources import clicks
from tests.media.single.conftest import Render


@pytest.mark.parametrize(
    ("form", "codec"), [("mp3", "mp3float"), ("m4a", "aac"), ("wav", "pcm_s16le")]
)
@pytest.mark.parametrize("mono", [False, True])
async def test_sound_keeps_the_times_of_the_film(
    tmp_path: Path, render: Render, form: str, codec: str, mono: bool
) -> None:
    source = film(tmp_path / "source.mp4", counted(25), sound=clicks_at(0.8, 0.2, 0.7))
    made = await render(ExtractAudio(), source, format=form, mono=mono)
    probe = input_file(made).probe
    assert probe is not None
    assert (probe.kind, probe.audio_codec, probe.sample_rate) == (MediaKind.AUDIO, codec, 48_000)
    assert probe.channels == (1 if mono else 2)
    assert probe.seconds == pytest.approx(1, abs=0.03)
    assert clicks(played(made)) == pytest.approx([0.2, 0.7], abs=0.005)


async def test_late_sound_begins_with_silence(tmp_path: Path, render: Render) -> None:
    source = tmp_path / "source.mp4"
    CORPUS["late sound"].build(source)
    sound = played(await render(ExtractAudio(), source, format="wav"))
    assert abs(sound[: 48_000 * 45 // 100]).max() < 0.01
    assert abs(sound[48_000 * 55 // 100 :]).max() > 0.05


async def test_film_without_sound_is_refused(tmp_path: Path, render: Render) -> None:
    with pytest.raises(OperationError, match="no sound"):
        await render(ExtractAudio(), film(tmp_path / "source.mp4", [gray(0)]))
    parameters = ExtractAudioParameters.model_validate({"source": {"asset": "asset_1"}})
    silent = {"source": Expected(kind=MediaKind.VIDEO, has_sound=False)}
    assert [fault.pointer for fault in ExtractAudio().faults(parameters, silent)] == ["source"]


async def test_file_states_nothing_about_its_program(tmp_path: Path, render: Render) -> None:
    source = film(tmp_path / "source.mp4", counted(5), sound=clicks_at(0.2, 0.1))
    made = await render(ExtractAudio(), source, format="mp3")
    with av.open(made) as file:
        assert file.metadata == {}
