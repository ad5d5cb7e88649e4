# pyright: reportUnknownMemberType=false
# The types of `av` do not cover filters and packets.
"""Odd media files, each made in memory in a few milliseconds, that every operation must survive.

Every builder writes one file. Films are 96 by 64 and last a second unless the case is about that.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph
from PIL import Image

from core.domain.media.content import MediaKind

SIZE = (96, 64)
RATE = 12
SECONDS = 1.0
IDENTITY = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
"""The matrix of a track that is not turned: fixed-point numbers of 32 bits."""
TURNS = {
    90: (0, 0x10000, 0, -0x10000, 0, 0, 64 << 16, 0, 0x40000000),
    180: (-0x10000, 0, 0, 0, -0x10000, 0, 96 << 16, 64 << 16, 0x40000000),
    270: (0, -0x10000, 0, 0x10000, 0, 0, 0, 96 << 16, 0x40000000),
}
BT709, BT2020, BT601 = 1, 9, 6
PQ, HLG = 16, 18
FULL_RANGE = 2


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How the frames of a film are made and encoded."""

    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    size: tuple[int, int] = SIZE
    rate: int = RATE
    seconds: float = SECONDS
    start: float = 0.0
    time_base: int | None = None
    options: tuple[tuple[str, str], ...] = (("preset", "ultrafast"),)
    pixel_shape: Fraction | None = None
    primaries: int | None = None
    transfer: int | None = None
    matrix: int | None = None
    color_range: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A tone of 440 Hz in every channel."""

    codec: str = "aac"
    rate: int = 48_000
    layout: str = "stereo"
    seconds: float = SECONDS
    start: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file of the corpus.

    seconds: of the longest stream; 0 for a still picture. size: as shown.
    is_cut: how long it is depends on what is left of it.
    """

    kind: MediaKind
    extension: str
    build: Callable[[Path], None]
    seconds: float = SECONDS
    size: tuple[int, int] | None = SIZE
    has_sound: bool = False
    is_cut: bool = False


def frames_of(picture: Picture, source: str = "testsrc2") -> Iterator[av.VideoFrame]:
    """Yield the frames of a test picture, with the start added to their times."""
    width, height = picture.size
    graph = Graph()
    tail = graph.add(
        source, f"size={width}x{height}:rate={picture.rate}:duration={picture.seconds}"
    )
    for name, arguments in (("format", picture.pixel_format), ("buffersink", None)):
        following = graph.add(name, arguments)
        tail.link_to(following)
        tail = following
    graph.configure()
    while True:
        try:
            frame = tail.pull()
        except (EOFError, BlockingIOError):
            return
        assert isinstance(frame, av.VideoFrame)
        assert frame.pts is not None
        frame.pts += round(picture.start * picture.rate)
        yield frame


def tone_of(sound: Sound) -> Iterator[av.AudioFrame]:
    """Yield the tone in frames of 1,024 samples."""
    graph = Graph()
    tail = graph.add(
        "sine",
        f"frequency=440:sample_rate={sound.rate}:duration={sound.seconds}:samples_per_frame=1024",
    )
    wanted = f"sample_fmts=fltp:channel_layouts={sound.layout}"
    for name, arguments in (("aformat", wanted), ("abuffersink", None)):
        following = graph.add(name, arguments)
        tail.link_to(following)
        tail = following
    graph.configure()
    while True:
        try:
            frame = tail.pull()
        except (EOFError, BlockingIOError):
            return
        assert isinstance(frame, av.AudioFrame)
        assert frame.pts is not None
        frame.pts += round(sound.start * sound.rate)
        yield frame


def write(
    path: Path,
    *pictures: Picture,
    sound: Sound | None = None,
    container: str | None = None,
    options: dict[str, str] | None = None,
    frames: Callable[[Picture], Iterator[av.VideoFrame]] = frames_of,
) -> None:
    """Encode pictures and a sound into one file. options: of the muxer."""
    with av.open(path, "w", format=container, options=options or {}) as output:
        streams: list[av.VideoStream] = []
        for picture in pictures:
            stream = output.add_stream(
                picture.codec, rate=picture.rate, options=dict(picture.options)
            )
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = picture.size
            stream.pix_fmt = picture.pixel_format
            context = stream.codec_context
            context.time_base = Fraction(1, picture.time_base or picture.rate)
            if picture.pixel_shape is not None:
                context.sample_aspect_ratio = picture.pixel_shape
            for name in ("primaries", "transfer", "matrix", "color_range"):
                value = getattr(picture, name)
                if value is not None:
                    setattr(context, CONTEXT_NAMES[name], value)
            streams.append(stream)
        voice: av.AudioStream | None = None
        if sound is not None:
            added = output.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
            assert isinstance(added, av.AudioStream)
            voice = added
        for picture, stream in zip(pictures, streams, strict=True):
            for frame in frames(picture):
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        if sound is not None and voice is not None:
            for frame in tone_of(sound):
                output.mux(voice.encode(frame))
            output.mux(voice.encode())


CONTEXT_NAMES = {
    "primaries": "color_primaries",
    "transfer": "color_trc",
    "matrix": "colorspace",
    "color_range": "color_range",
}


def _film(**picture: object) -> Callable[[Path], None]:
    return lambda path: write(path, Picture(**picture))  # pyright: ignore[reportArgumentType]


def _talkie(sound: Sound, picture: Picture | None = None) -> Callable[[Path], None]:
    return lambda path: write(path, picture or Picture(), sound=sound)


def _sound(**sound: object) -> Callable[[Path], None]:
    return lambda path: write(path, sound=Sound(**sound))  # pyright: ignore[reportArgumentType]


def _uneven(picture: Picture) -> Iterator[av.VideoFrame]:
    """Yield half of the frames three times as fast as the others."""
    for number, frame in enumerate(frames_of(picture)):
        slow = max(0, number - 6)
        frame.time_base = Fraction(1, 36)
        frame.pts = 1 * min(number, 6) + 5 * slow
        yield frame


def _turned(degrees: int) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        write(path, Picture())
        content = path.read_bytes()
        whole = struct.pack(">9i", *IDENTITY)
        at = content.index(whole, content.index(b"tkhd"))
        turned = struct.pack(">9i", *TURNS[degrees])
        path.write_bytes(content[:at] + turned + content[at + len(whole) :])

    return build


def _cut(share: float, *, index_first: bool) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        options = {"movflags": "faststart"} if index_first else None
        write(path, Picture(), sound=Sound(), options=options)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return build


def _with_timecode(path: Path) -> None:
    with av.open(path, "w", format="mov") as output:
        stream = output.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.metadata["timecode"] = "01:00:00:00"
        for frame in frames_of(Picture()):
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def _animation(path: Path) -> None:
    first, *others = (
        Image.fromarray(frame.to_ndarray()) for frame in frames_of(Picture(pixel_format="rgb24"))
    )
    first.save(path, save_all=True, append_images=others, duration=83, loop=0)


def _photo(mode: str, **options: object) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        frame = next(frames_of(Picture(pixel_format="rgb24")))
        frame.to_image().convert(mode).save(path, **options)

    return build


def _exif_photo(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _photo("RGB", exif=exif.tobytes())(path)


def _deep_png(path: Path) -> None:
    picture = Picture(codec="png", pixel_format="rgb48be", seconds=1 / RATE, options=())
    write(path, picture, container="image2", options={"update": "1"})


VIDEO, AUDIO, IMAGE = MediaKind.VIDEO, MediaKind.AUDIO, MediaKind.IMAGE
HEVC_OPTIONS = (("preset", "ultrafast"), ("x265-params", "log-level=none:pools=none"))


def _deep(transfer: int) -> Callable[[Path], None]:
    return _film(
        codec="libx265",
        pixel_format="yuv420p10le",
        options=HEVC_OPTIONS,
        primaries=BT2020,
        transfer=transfer,
        matrix=BT2020,
    )


CORPUS: dict[str, Case] = {
    "plain": Case(kind=VIDEO, extension="mp4", build=_talkie(Sound()), has_sound=True),
    "variable frame rate": Case(
        kind=VIDEO,
        extension="mp4",
        build=lambda path: write(path, Picture(time_base=36), frames=_uneven),
    ),
    "turned by 90": Case(kind=VIDEO, extension="mp4", build=_turned(90), size=(64, 96)),
    "turned by 180": Case(kind=VIDEO, extension="mp4", build=_turned(180)),
    "turned by 270": Case(kind=VIDEO, extension="mp4", build=_turned(270), size=(64, 96)),
    "wide pixels": Case(
        kind=VIDEO, extension="mp4", build=_film(pixel_shape=Fraction(4, 3)), size=(128, 64)
    ),
    "odd size": Case(
        kind=VIDEO,
        extension="webm",
        build=_film(codec="libvpx-vp9", size=(321, 181), seconds=0.25, options=()),
        seconds=0.25,
        size=(321, 181),
    ),
    "one frame": Case(kind=VIDEO, extension="mp4", build=_film(seconds=1 / RATE), seconds=1 / RATE),
    "no sound": Case(kind=VIDEO, extension="mp4", build=_film()),
    "5.1": Case(kind=VIDEO, extension="mp4", build=_talkie(Sound(layout="5.1")), has_sound=True),
    "long sound": Case(
        kind=VIDEO, seconds=1.4, extension="mp4", build=_talkie(Sound(seconds=1.4)), has_sound=True
    ),
    "short sound": Case(
        kind=VIDEO, extension="mp4", build=_talkie(Sound(seconds=0.5)), has_sound=True
    ),
    "late sound": Case(
        kind=VIDEO, extension="mp4", build=_talkie(Sound(seconds=0.5, start=0.5)), has_sound=True
    ),
    "HDR, HLG": Case(kind=VIDEO, extension="mp4", build=_deep(HLG)),
    "HDR, PQ": Case(kind=VIDEO, extension="mp4", build=_deep(PQ)),
    "full range": Case(
        kind=VIDEO,
        extension="mp4",
        build=_film(pixel_format="yuvj420p", color_range=FULL_RANGE),
    ),
    "BT.601": Case(
        kind=VIDEO,
        extension="mp4",
        build=_film(primaries=BT601, transfer=BT601, matrix=BT601),
    ),
    "VP9 with alpha": Case(
        kind=VIDEO,
        extension="webm",
        build=_film(codec="libvpx-vp9", pixel_format="yuva420p", options=()),
    ),
    "ProRes 4444": Case(
        kind=VIDEO,
        extension="mov",
        build=_film(codec="prores_ks", pixel_format="yuva444p10le", options=()),
    ),
    "index at the end": Case(kind=VIDEO, extension="mp4", build=_film()),
    "fragmented": Case(
        kind=VIDEO,
        extension="mp4",
        build=lambda path: write(
            path, Picture(), sound=Sound(), options={"movflags": "frag_keyframe+empty_moov"}
        ),
        has_sound=True,
    ),
    "cut in the index": Case(kind=VIDEO, extension="mp4", build=_cut(0.9, index_first=False)),
    "cut in the picture": Case(
        kind=VIDEO, extension="mp4", build=_cut(0.7, index_first=True), has_sound=True, is_cut=True
    ),
    "empty": Case(kind=VIDEO, extension="mp4", build=Path.touch),
    "wrong extension": Case(
        kind=VIDEO,
        extension="webm",
        build=lambda path: write(path, Picture(), container="mp4"),
    ),
    "late picture": Case(
        kind=VIDEO,
        extension="mp4",
        build=_talkie(Sound(), Picture(start=0.5, seconds=0.5)),
        has_sound=True,
    ),
    "two pictures": Case(
        kind=VIDEO,
        extension="mp4",
        build=lambda path: write(path, Picture(), Picture(size=(64, 64))),
    ),
    "time code": Case(kind=VIDEO, extension="mov", build=_with_timecode),
    "60 frames a second": Case(kind=VIDEO, extension="mp4", build=_film(rate=60)),
    "negative start": Case(kind=VIDEO, extension="mov", build=_film(start=-0.25, seconds=1.25)),
    "GIF": Case(kind=IMAGE, extension="gif", build=_animation, seconds=0),
    "animated WebP": Case(kind=IMAGE, extension="webp", build=_animation, seconds=0),
    "CMYK": Case(kind=IMAGE, extension="jpg", build=_photo("CMYK"), seconds=0),
    "turned by EXIF": Case(
        kind=IMAGE, extension="jpg", build=_exif_photo, seconds=0, size=(64, 96)
    ),
    "16 bits": Case(kind=IMAGE, extension="png", build=_deep_png, seconds=0),
    "with alpha": Case(kind=IMAGE, extension="png", build=_photo("RGBA"), seconds=0),
    "0.04 s": Case(
        kind=AUDIO, extension="mp3", build=_sound(codec="mp3", seconds=0.04), seconds=0.04
    ),
    "mono": Case(kind=AUDIO, extension="m4a", build=_sound(layout="mono")),
    "8 kHz": Case(kind=AUDIO, extension="mp3", build=_sound(codec="mp3", rate=8_000)),
    "22.05 kHz": Case(kind=AUDIO, extension="wav", build=_sound(codec="pcm_s16le", rate=22_050)),
    "44.1 kHz": Case(kind=AUDIO, extension="flac", build=_sound(codec="flac", rate=44_100)),
    "96 kHz": Case(kind=AUDIO, extension="wav", build=_sound(codec="pcm_s16le", rate=96_000)),
}

NASTIEST = (
    "variable frame rate",
    "turned by 90",
    "odd size",
    "one frame",
    "late sound",
    "HDR, PQ",
)
"""The films that every operation is tried with."""
