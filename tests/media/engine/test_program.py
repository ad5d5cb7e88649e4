"""Finding and checking the ffmpeg program."""

from pathlib import Path

import pytest

from core.media.engine.engine import Engine
from core.media.engine.program import Program, find_program
from core.platform.settings.base import SettingError
from core.platform.settings.media import MediaSettings


def wrapper(folder: Path, program: Path, without: str) -> Path:
    """Return a program that lists everything that ffmpeg lists, without these names."""
    script = folder / "ffmpeg"
    script.write_text(f"#!/bin/sh\n{program} \"$@\" | grep -vE ' ({without}) '\n")
    script.chmod(0o755)
    return script


async def test_missing_filter_and_encoder_are_named(tmp_path: Path) -> None:
    real = await find_program(None)
    script = wrapper(tmp_path, real.path, "xfade|libx264")
    with pytest.raises(SettingError) as caught:
        await Engine.start(MediaSettings(ffmpeg_path=script, media_scratch_folder=tmp_path))
    message = str(caught.value)
    assert message.startswith(f"FFMPEG_PATH: {script} (version ")
    assert "lacks the filter xfade, the encoder libx264; install a complete build" in message


async def test_wrapped_program_is_accepted_with_another_identity(tmp_path: Path) -> None:
    real = await find_program(None)
    other = await find_program(wrapper(tmp_path, real.path, "nothing"))
    assert other.version == real.version
    assert other.sha256 != real.sha256


@pytest.mark.parametrize("content", [None, "#!/bin/sh\necho mplayer version 1\n"])
async def test_another_file_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ffmpeg"
    if content is not None:
        path.write_text(content)
        path.chmod(0o755)
    with pytest.raises(SettingError, match=f"FFMPEG_PATH: {path} is not"):
        await find_program(path)


@pytest.mark.parametrize(
    ("version", "option"),
    [
        ("5.1.9-0+deb12u1", "-filter_complex_script"),
        ("7.0.2", "-/filter_complex"),
        ("n9.0.2-17-g2a571b6068-20260930", "-/filter_complex"),
        ("N-118193-g5f38c82536", "-/filter_complex"),
    ],
)
def test_option_for_graph_files_follows_the_version(version: str, option: str) -> None:
    program = Program(path=Path("ffmpeg"), version=version, sha256="")
    assert program.graph_option == option
