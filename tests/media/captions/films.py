"""Small plain films, captions on them, and what their frames show."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from core.domain.media.content import MediaKind
from core.media.engine.engine import Engine
from core.media.operations.captions.operation import Captions
from core.media.operations.captions.parameters import CaptionsParameters
from core.media.operations.port import InputFile, Probe

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
TALL: Final = (180, 320)
RATE: Final = 30
NO_DIGEST: Final = "0" * 64
_DIFFERENT: Final = 40


def film(
    path: Path, *, size: tuple[int, int] = TALL, rate: str = "30", seconds: float = 1.0,
    sound: bool = False,
) -> Path:  # fmt: skip
    """Make a film of one dark colour."""
    sources = ["-f", "lavfi", "-i", f"color=c=0x102040:s={size[0]}x{size[1]}:r={rate}"]
    if sound:
        sources += ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *sources, "-t", str(seconds),
         "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path)],
        check=True,
    )  # fmt: skip
    return path


def word(text: str, start: float, end: float) -> dict[str, object]:
    return {"text": text, "start": start, "end": end}


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where something is drawn; right and bottom are the first pixels after it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


@dataclass
class Captioned:
    """The files that were made, by name. warnings: of the job."""

    files: Mapping[str, Path]
    warnings: Sequence[str]

    @property
    def frames(self) -> Pixels:
        """Return all frames as RGB: frame, row, column, channel."""
        with av.open(str(self.files["video"])) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames).astype(np.uint8, copy=False)

    @property
    def shown(self) -> list[int]:
        """Return the numbers of the frames with captions."""
        return [number for number, frame in enumerate(self.frames) if drawn(frame).any()]

    def text(self, name: str) -> str:
        return self.files[name].read_text(encoding="utf-8")


def drawn(frame: Pixels) -> Mask:
    """Return which pixels differ from the film's one colour, which its top left pixel has."""
    difference = np.abs(frame.astype(int) - frame[0, 0].astype(int)).max(axis=2)
    return difference > _DIFFERENT


def like(frame: Pixels, color: tuple[int, int, int], *, tolerance: int = 60) -> Mask:
    """Return which pixels have about this colour."""
    return np.abs(frame.astype(int) - np.array(color)).max(axis=2) <= tolerance


def box_of(mask: Mask) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(
        left=int(columns[0]),
        top=int(rows[0]),
        right=int(columns[-1]) + 1,
        bottom=int(rows[-1]) + 1,
    )


@dataclass(frozen=True)
class Captioner:
    """Captions films with the engine. folder: for what is made. probes: of the films so far."""

    engine: Engine
    folder: Path
    probes: dict[Path, Probe]

    async def __call__(
        self, video: Path, words: Sequence[Mapping[str, object]] | bytes, **rest: object
    ) -> Captioned:
        """Caption a film. words: a list, or the content of a transcript."""
        if video not in self.probes:
            self.probes[video] = await self.engine.check(video, MediaKind.VIDEO)
        inputs = {"video": InputFile(path=video, sha256=NO_DIGEST, probe=self.probes[video])}
        given: object = words
        if isinstance(words, bytes):
            transcript = self.folder / "transcript.json"
            transcript.write_bytes(words)
            inputs["words"] = InputFile(path=transcript, sha256=NO_DIGEST)
            given = {"asset": "asset_words"}
        parameters = CaptionsParameters.model_validate(
            {"video": {"asset": "asset_film"}, "words": given, **rest}
        )
        async with self.engine.workspace(inputs_bytes=0, seconds=3, is_final=False) as workspace:
            made = await Captions().render(parameters, inputs, workspace)
            files = {file.name: self.folder / file.path.name for file in made}
            for file in made:
                shutil.copyfile(file.path, files[file.name])
        return Captioned(files, workspace.warnings)
