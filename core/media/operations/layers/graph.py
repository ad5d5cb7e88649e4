"""The filter graph of a layered film."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.media.operations.film import pictures, sounds
from core.media.operations.film.canvas import Canvas, Size, even
from core.media.operations.film.colors import bt709, channels
from core.media.operations.film.encoding import PICTURE, SOUND
from core.media.operations.layers.parameters import LayerItem, LayersParameters
from core.media.operations.layers.placement import Place, box_of, parse, place
from core.media.operations.layers.timing import Piece, Timing
from core.media.operations.port import CommandInput, InputFile, Probe

_FULL, _CENTER = parse("full"), parse("center")
_LARGE = 2
"""A source more than this many times larger than its place is made smaller before the key."""


@dataclass(slots=True)
class LayersGraph:
    """The inputs and the filter text of one film, part by part."""

    parameters: LayersParameters
    files: Mapping[str, InputFile]
    canvas: Canvas
    timing: Timing
    inputs: list[CommandInput] = field(default_factory=list[CommandInput])
    parts: list[str] = field(default_factory=list[str])

    @property
    def text(self) -> str:
        return ";\n".join(self.parts)

    @property
    def has_sound(self) -> bool:
        return any(self._is_audible(piece) for piece in self.timing.pieces)

    def build(self) -> None:
        """Add everything up to PICTURE and, if a layer is audible, SOUND."""
        self._pictures()
        if self.has_sound:
            self._sounds()

    def _pictures(self) -> None:
        pieces = self.timing.pieces
        for number, piece in enumerate(pieces):
            self._open(piece)
            if number == 0 and self._is_whole_background(piece):
                self._background_of(piece)
                continue
            if number == 0:
                color, frames = self.parameters.background, self.timing.frames
                self.parts.append(pictures.plain("[z0]", self.canvas, color, frames))
            self._overlay(number, piece, f"[z{number}]", f"[z{number + 1}]")
        fades = pictures.faded(
            self.canvas, self.timing.frames, self.parameters.fade_in, self.parameters.fade_out
        )
        end = pictures.lasting(self.timing.frames)
        self.parts.append(f"[z{len(pieces)}]{end}{fades}{PICTURE}")

    def _open(self, piece: Piece) -> None:
        options: tuple[str, ...] = ()
        if not piece.is_still:
            if piece.skipped:
                options += ("-ss", pictures.number(piece.skipped))
            if piece.item.repeats and piece.frames > piece.content:
                options += ("-stream_loop", "-1")
        self.inputs.append(CommandInput(file=self.files[piece.pointer], options=options))

    def _is_whole_background(self, piece: Piece) -> bool:
        """Return whether a layer needs no other background, which saves a third of the work."""
        item, probe = piece.item, self._probe(piece)
        spot = self._place(piece)
        return (
            not (item.chroma_key or probe.has_alpha)
            and item.opacity == 1
            and (piece.start, piece.frames) == (0, self.timing.frames)
            and (spot.shown == self.canvas.size or self._is_padded(spot))
        )

    def _is_padded(self, spot: Place) -> bool:
        """Return whether black bars complete a layer, as the background is black."""
        size, shown = self.canvas.size, spot.shown
        return (
            self.parameters.background == "#000000"
            and 0 <= spot.x <= size.width - shown.width
            and 0 <= spot.y <= size.height - shown.height
        )

    def _background_of(self, piece: Piece) -> None:
        spot, size = self._place(piece), self.canvas.size
        bars = f",pad=w={size.width}:h={size.height}:x={spot.x}:y={spot.y}:color=black"
        if spot.shown == size:
            bars = ""
        self.parts.append(
            f"[0:{self._probe(piece).video_stream}]{pictures.at_rate(self.canvas)},"
            f"{pictures.scaled(self._probe(piece), spot.scaled)}{_cropped(spot)}{bars},"
            f"{pictures.lasting(piece.frames)}[z1]"
        )

    def _overlay(self, number: int, piece: Piece, below: str, target: str) -> None:
        """Draw a piece over what is below it, in its frames only."""
        spot, probe = self._place(piece), self._probe(piece)
        rate = self.canvas.frame_rate
        chain = [pictures.at_rate(self.canvas)]
        if piece.item.chroma_key:
            chain.append(self._keyed(piece, probe, spot))
        else:
            chain.append(pictures.scaled(probe, spot.scaled, keep_alpha=True))
        if piece.item.opacity < 1:
            chain.append(f"lutyuv=a=val*{pictures.number(piece.item.opacity)}")
        chain.append(pictures.lasting(piece.frames))
        chain.append(f"settb=expr={rate.denominator}/{rate.numerator}")
        chain.append(f"setpts=PTS+{piece.start}")
        last = piece.start + piece.frames - 1
        self.parts.append(
            f"[{number}:{probe.video_stream}]{chain[0]},{chain[1]}{_cropped(spot)},"
            f"{','.join(chain[2:])}[l{number}];\n"
            f"{below}[l{number}]overlay=x={spot.x}:y={spot.y}:format=yuv420:eof_action=pass"
            f":enable='between(n,{piece.start},{last})'{target}"
        )

    def _keyed(self, piece: Piece, probe: Probe, spot: Place) -> str:
        """Return a chain that makes the key colour transparent, then scales to the place."""
        source = Size(even(probe.width), even(probe.height))
        if source.width > _LARGE * spot.scaled.width:
            source = Size(_LARGE * spot.scaled.width, _LARGE * spot.scaled.height)
        size = f"scale=w={spot.scaled.width}:h={spot.scaled.height}:{pictures.SCALER}"
        return (
            f"{pictures.scaled(probe, source, keep_alpha=True)},format=yuva444p,"
            f"{_key(piece.item)},{size}:in_color_matrix=bt709:out_color_matrix=bt709"
            f":out_range=tv,format=yuva420p,setsar=1,{pictures.BT709}"
        )

    def _sounds(self) -> None:
        length = self.canvas.samples(self.timing.frames)
        audible: list[str] = []
        for number, piece in enumerate(self.timing.pieces):
            if not self._is_audible(piece):
                continue
            probe = self._probe(piece)
            own = self.canvas.samples(piece.frames)
            volume = piece.item.volume
            self.parts.append(
                f"[{number}:{probe.audio_stream}]{sounds.stereo(probe)},{sounds.lasting(own)}"
                f"{sounds.louder(1 if volume is None else volume)},"
                f"{sounds.delayed(piece.at)},{sounds.lasting(length)}"
                f"[a{number}]"
            )
            audible.append(f"[a{number}]")
        self.parts.append(sounds.mixed(audible, "[mix]"))
        fades = sounds.faded(length, self.parameters.fade_in, self.parameters.fade_out)
        self.parts.append(sounds.limited("[mix]", f"{fades},{sounds.lasting(length)}{SOUND}"))

    def _is_audible(self, piece: Piece) -> bool:
        """Return whether a piece is part of the sound: of the leading layer, or by its volume."""
        volume = piece.item.volume
        if volume is None:
            volume = float(piece.layer == self.timing.leader)
        return volume > 0 and self._probe(piece).audio_stream is not None

    def _place(self, piece: Piece) -> Place:
        item = piece.item
        box = _FULL if piece.layer == 0 else _CENTER
        if item.placement is not None:
            box = box_of(item.placement)
        size = pictures.shown_size(self._probe(piece))
        return place(box, size, self.canvas.size, item.resize)

    def _probe(self, piece: Piece) -> Probe:
        return pictures.probe_of(self.files[piece.pointer])


def _cropped(spot: Place) -> str:
    """Return a chain that keeps the middle; empty if nothing is cut off. It starts with a comma."""
    if spot.scaled == spot.shown:
        return ""
    x, y = pictures.centered(spot.shown, spot.scaled)
    return f",crop=w={spot.shown.width}:h={spot.shown.height}:x={x}:y={y}"


def _key(item: LayerItem) -> str:
    """Return a chain that makes a colour transparent and takes its reflection off the edges."""
    luma, blue_difference, red_difference = bt709(item.chroma_key_color)
    key = (
        f"chromakey=color=0x{luma:02x}{blue_difference:02x}{red_difference:02x}:yuv=1"
        f":similarity={pictures.number(item.similarity)}:blend={pictures.number(item.blend)}"
    )
    red, green, blue = channels(item.chroma_key_color)
    if max(green, blue) <= red or green == blue:
        return key
    kind = "green" if green > blue else "blue"
    return f"{key},format=rgba,despill=type={kind}"
