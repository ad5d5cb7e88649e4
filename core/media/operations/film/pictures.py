"""Filters that bring any picture or video to a film's size, colours and frame rate.

Every function returns filter text. It contains numbers and enumerated words only, never text of a
user. A chain has no labels; a graph names its source and its target.
"""

from enum import StrEnum
from fractions import Fraction

from core.domain.media.content import MediaKind
from core.media.operations.film.canvas import Canvas, Size, contained, covering, even
from core.media.operations.film.colors import filter_color
from core.media.operations.port import CommandInput, InputFile, OperationError, Probe

HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})
BT709 = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
SCALER = "flags=bicubic+accurate_rnd"
_TONE_MAP = (
    # White at 100 cd/m², highlights up to 1,000; without peak, pictures without metadata are dark.
    "setparams=color_primaries=bt2020:colorspace=bt2020nc,"
    "zscale=transfer=linear:npl=100,format=gbrpf32le,zscale=primaries=bt709,"
    "tonemap=tonemap=mobius:peak=10:desat=0,zscale=transfer=bt709:matrix=bt709:range=tv"
)


class Resize(StrEnum):
    """How a picture of another shape fills a frame.

    PAD: bars. CROP: edges are cut off. BLUR: a blurred copy in the place of bars. STRETCH: the
    shape changes.
    """

    PAD = "pad"
    CROP = "crop"
    BLUR = "blur"
    STRETCH = "stretch"


class Fit(StrEnum):
    """What fills the time when something ends too early.

    A clip shorter than its duration, or a film shorter than its sound. CUT: nothing; what is too
    long is cut off. EXTEND: the last frame stays. LOOP: it starts again.
    """

    CUT = "cut"
    EXTEND = "extend"
    LOOP = "loop"


def number(value: float | Fraction) -> str:
    """Return a number as filters write it, without an exponent."""
    return f"{float(value):.6f}".rstrip("0").rstrip(".") or "0"


def probe_of(file: InputFile) -> Probe:
    """Return the probe of a picture, video or sound, which every such input has."""
    if file.probe is None:
        raise OperationError("expected a picture, a video or a sound; the file is text")
    return file.probe


def decoded(file: InputFile, *, options: tuple[str, ...] = ()) -> CommandInput:
    """Return a file as an input of a command. The engine chooses the decoder."""
    return CommandInput(file=file, options=options)


def shown_size(probe: Probe) -> Size:
    return Size(probe.width, probe.height)


def is_hdr(probe: Probe) -> bool:
    return probe.color_transfer in HDR_TRANSFERS


def scaled(probe: Probe, size: Size, *, keep_alpha: bool = False) -> str:
    """Return a chain to a size with square pixels, in 8-bit BT.709.

    The shape of stored pixels and the rotation are in the probe's size. keep_alpha: yuva420p,
    without it transparent parts become black.
    """
    pixels = "yuva420p" if keep_alpha else "yuv420p"
    target = f"scale=w={size.width}:h={size.height}:{SCALER}"
    if is_hdr(probe) and probe.kind is MediaKind.VIDEO:
        return f"{target},{_TONE_MAP},format={pixels},setsar=1,{BT709}"
    flat = "" if keep_alpha or not probe.has_alpha else "format=gbrap,premultiply=inplace=1,"
    return f"{flat}{target}:out_color_matrix=bt709:out_range=tv,format={pixels},setsar=1,{BT709}"


def resized(source: str, target: str, probe: Probe, size: Size, resize: Resize) -> str:
    """Return a graph from one label to another that fills a frame of this size.

    Labels with brackets. BLUR makes two more labels from the target's name.
    """
    shown = shown_size(probe)
    if resize is Resize.STRETCH:
        return f"{source}{scaled(probe, size)}{target}"
    if resize is Resize.CROP:
        cover = covering(shown, size)
        x, y = (cover.width - size.width) // 4 * 2, (cover.height - size.height) // 4 * 2
        cut = f"crop=w={size.width}:h={size.height}:x={x}:y={y}"
        return f"{source}{scaled(probe, cover)},{cut}{target}"
    inner = contained(shown, size)
    x, y = centered(inner, size)
    if inner == size:
        return f"{source}{scaled(probe, size)}{target}"
    if resize is Resize.PAD:
        bars = f"pad=w={size.width}:h={size.height}:x={x}:y={y}:color=black"
        return f"{source}{scaled(probe, inner)},{bars}{target}"
    name = target.strip("[]")
    return (
        f"{source}{scaled(probe, inner)},split=2[{name}_front][{name}_back];"
        f"[{name}_back]{_blurred(inner, size)}[{name}_blurred];"
        f"[{name}_blurred][{name}_front]overlay=x={x}:y={y}:format=yuv420{target}"
    )


def centered(inner: Size, outer: Size) -> tuple[int, int]:
    """Return the even position at which one size is in the middle of another."""
    return (outer.width - inner.width) // 4 * 2, (outer.height - inner.height) // 4 * 2


def _blurred(source: Size, size: Size) -> str:
    """Return a chain that fills a frame with a blurred copy, at a quarter of its size for speed.

    Not gblur: with more than one step, version 9 reads memory that it has not written, so colours
    at the left edge are wrong and differ from run to run.
    """
    small = Size(even(size.width / 4), even(size.height / 4))
    cover = covering(source, small)
    radius = max(1, min(small.width, small.height) // 12)
    return (
        f"scale=w={cover.width}:h={cover.height}:flags=area,"
        f"crop=w={small.width}:h={small.height},"
        f"boxblur=luma_radius={radius}:luma_power=3:chroma_radius={radius // 2}:chroma_power=3,"
        f"scale=w={size.width}:h={size.height}:flags=bicubic,setsar=1"
    )


def at_rate(canvas: Canvas) -> str:
    """Return a chain to a constant frame rate that starts at 0 and has at least one frame.

    A video that starts later than its sound begins with copies of its first frame.
    """
    return f"fps=fps={canvas.rate}:start_time=0:eof_action=pass"


def lasting(frames: int) -> str:
    """Return a chain that gives exactly this many frames; the last frame is repeated."""
    return f"tpad=stop_mode=clone:stop=-1,trim=end_frame={frames}"


def plain(target: str, canvas: Canvas, color: str, frames: int) -> str:
    """Return a graph that makes frames of one colour, which is in its normal form."""
    size = canvas.size
    return (
        f"color=c={filter_color(color)}:s={size.width}x{size.height}:r={canvas.rate},"
        f"trim=end_frame=1,format=gbrp,scale=out_color_matrix=bt709:out_range=tv,"
        f"format=yuv420p,setsar=1,{BT709},{lasting(frames)}{target}"
    )


def faded(canvas: Canvas, frames: int, fade_in: float, fade_out: float) -> str:
    """Return a chain that fades the picture from and to black; empty without a fade.

    It starts with a comma.
    """
    text = ""
    if fade_in:
        text += f",fade=t=in:s=0:n={canvas.frames(fade_in)}"
    if fade_out:
        length = min(frames, canvas.frames(fade_out))
        text += f",fade=t=out:s={frames - length}:n={length}"
    return text
