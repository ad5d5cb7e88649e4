# pyright: reportUnknownMemberType=false
# The types of `av` do not cover packets.
"""Real pictures and films of the smallest size, by Pillow and PyAV."""

import io

import av
from PIL import Image


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


def talkie() -> bytes:
    """Return an MP4 with a track of silence."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        video = output.add_stream("libx264", rate=10)
        sound = output.add_stream("aac", rate=8000)
        assert isinstance(video, av.VideoStream)
        assert isinstance(sound, av.AudioStream)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        silence = av.AudioFrame("fltp", "stereo", 1024)
        silence.sample_rate = 8000
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        output.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(sound.encode(silence))
        output.mux(video.encode())
        output.mux(sound.encode())
    return file.getvalue()


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
