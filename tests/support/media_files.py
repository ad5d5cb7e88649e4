# pyright: reportUnknownMemberType=false
# The types of `av` do not cover packets.
"""Real pictures and films of the smallest size, by Pillow and PyAV."""

import io
from typing import Final

import av
from av.container import OutputContainer
from PIL import Image

PLAYLISTS: Final = {
    "concat": b"ffconcat version 1.0\nfile 'other.mp4'\n" * 20,
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    * 8,
}
"""Lists that name other files, which an attacker calls `x.mp4`."""


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, form)
    return file.getvalue()


def film(container: str, codec: str, **options: str) -> bytes:
    """Return three frames. options: of the muxer."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode())
    return file.getvalue()


def talkie(container: str = "mp4", video: str = "libx264", audio: str = "aac") -> bytes:
    """Return a film with a track of silence."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        picture = output.add_stream(video, rate=10)
        assert isinstance(picture, av.VideoStream)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        sound = output.add_stream(audio, rate=SOUND_RATE)
        assert isinstance(sound, av.AudioStream)
        output.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
        _mux_silence(output, sound, 0.2)
        output.mux(picture.encode())
    return file.getvalue()


SOUND_RATE = 48_000


def silence(
    container: str,
    codec: str,
    *,
    seconds: float = 1.5,
    rate: int = SOUND_RATE,
    options: dict[str, str] | None = None,
    muxer_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """Return a file of silence. options: of the encoder."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=muxer_options or {}) as output:
        output.metadata.update(metadata or {})
        sound = output.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(sound, av.AudioStream)
        _mux_silence(output, sound, seconds)
    return file.getvalue()


def _mux_silence(output: OutputContainer, sound: av.AudioStream, seconds: float) -> None:
    frame = av.AudioFrame("s16", "stereo", int(seconds * sound.rate))
    frame.sample_rate = sound.rate
    frame.pts = 0
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    output.mux(sound.encode(frame))
    output.mux(sound.encode())


def boxes(content: bytes) -> dict[bytes, bytes]:
    """Return the top-level boxes of an MP4 by their type."""
    found: dict[bytes, bytes] = {}
    while len(content) >= 8:
        size = int.from_bytes(content[:4], "big")
        if size == 1:
            size = int.from_bytes(content[8:16], "big")
        size = size or len(content)
        found[content[4:8]] = content[:size]
        content = content[size:]
    return found
