"""Sizes of pictures and frames by resolution and aspect ratio."""

import math
from collections.abc import Iterable, Mapping

SHORT_SIDE = {
    "480p": 480, "580p": 580, "720p": 720, "768p": 768, "1080p": 1080, "1440p": 1440, "4k": 2160,
    "std": 720, "pro": 1080,
}  # fmt: skip
ASPECT_RATIOS = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "9:21")
Sizes = Mapping[str, tuple[int, int]]
FAL_SIZES: Sizes = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
MEGAPIXEL_SIZES: Sizes = {
    "1:1": (1024, 1024), "16:9": (1344, 768), "21:9": (1536, 640), "3:2": (1216, 832), "2:3": (832, 1216),
    "4:5": (896, 1088), "5:4": (1088, 896), "3:4": (896, 1152), "4:3": (1152, 896), "9:16": (768, 1344),
    "9:21": (640, 1536), "2:1": (1440, 720), "1:2": (720, 1440),
}  # fmt: skip
SCALES = {"0.25": 0.5, "1": 1.0, "1K": 1.0, "2K": 2.0, "4K": 4.0}
"""Of the sides of a picture, by the `resolution` that the caller names."""


def video_size(resolution: str, aspect_ratio: str) -> tuple[int, int]:
    """Return width and height; the long side is a multiple of 16 (480p 16:9 is 864x480)."""
    across, down = (int(part) for part in aspect_ratio.split(":"))
    short = SHORT_SIDE[resolution]
    long = math.ceil(short * max(across, down) / min(across, down) / 16) * 16
    if across == down:
        return short, short
    return (long, short) if across > down else (short, long)


def nearest_aspect_ratio(width: int, height: int, ratios: Iterable[str] = ASPECT_RATIOS) -> str:
    def distance(ratio: str) -> float:
        across, down = ratio.split(":")
        return abs(math.log(width / height) - math.log(int(across) / int(down)))

    return min(ratios, key=distance)
