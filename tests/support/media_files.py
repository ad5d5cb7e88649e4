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
