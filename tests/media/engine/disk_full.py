"""A disk that becomes full while ffmpeg writes to it. `python -m tests.media.engine.disk_full`."""

import asyncio
import sys
from pathlib import Path

from core.media.engine.engine import Engine
from core.media.engine.errors import EngineError, ScratchFullError
from core.media.operations.port import Command
from core.platform.settings.media import MediaSettings
from tests.support.small_disk import Filler


async def run_on_full_disk(folder: Path) -> str:
    """Return the messages of a run on the full disk and of the next reservation."""
    engine = await Engine.start(MediaSettings(media_scratch_folder=folder))
    filler = Filler(folder)
    messages: list[str] = []
    async with engine.workspace(inputs_bytes=0, seconds=1, is_final=False) as workspace:
        command = Command(
            inputs=(),
            filters="color=size=320x240:rate=25:duration=1[picture]",
            options=("-map", "[picture]", "-c:v", "rawvideo", "-f", "nut"),
            output=workspace.folder / "out.nut",
            seconds=1,
        )
        (workspace.folder / "graph-1.txt").write_bytes(bytes(4096))
        filler.fill()
        try:
            await workspace.run(command)
        except EngineError as error:
            messages.append(str(error))
    try:
        async with engine.workspace(inputs_bytes=0, seconds=1, is_final=False):
            pass
    except ScratchFullError as error:
        messages.append(str(error))
    filler.give_back()
    async with engine.workspace(inputs_bytes=0, seconds=1, is_final=False):
        messages.append("free again")
    engine.close()
    return "\n".join(messages)


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(run_on_full_disk(Path(sys.argv[1]))))
