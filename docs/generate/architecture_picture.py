"""The architecture picture, an SVG that is readable on light and dark pages."""

from html import escape
from typing import Final, NamedTuple

WIDTH, HEIGHT = 790, 460

STYLE: Final = """\
text { font: 15px system-ui, sans-serif; fill: #1f2328; }
.small { font-size: 12.5px; fill: #59636e; }
.title { font-weight: 600; }
rect { fill: #f6f8fa; stroke: #8c959f; rx: 8px; }
.ours { fill: #ddf4ff; stroke: #0969da; }
.money { fill: #dafbe1; stroke: #1a7f37; }
path { fill: none; stroke: #59636e; stroke-width: 1.5; marker-end: url(#arrow); }
#arrow path { fill: #59636e; stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  rect { fill: #151b23; stroke: #656c76; }
  .ours { fill: #0c2d6b; stroke: #4493f8; }
  .money { fill: #04260f; stroke: #3fb950; }
  path { stroke: #9198a1; }
  #arrow path { fill: #9198a1; }
}"""


class Box(NamedTuple):
    """A part of the system: place, size, title and up to three lines of text."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    title: str
    lines: tuple[str, ...]


class Arrow(NamedTuple):
    """A path with a label at a place of its own; an empty label draws nothing."""

    path: str
    x: int
    y: int
    label: str


BOXES: Final = (
    Box(10, 40, 180, 74, "", "Your app", ("POST /api/generate-video", "receives the webhook")),
    Box(290, 40, 180, 74, "ours", "API", ("validates, prices, holds", "answers 202")),
    Box(
        290,
        190,
        180,
        92,
        "ours",
        "Worker",
        ("submit once, wait, settle", "store, deliver", "repair (reconciler)"),
    ),
    Box(590, 40, 170, 74, "", "Temporal", ("workflows, checkpoints,", "retries of what is safe")),
    Box(
        590,
        190,
        170,
        92,
        "money",
        "PostgreSQL",
        ("executions, jobs, sends", "ledger, budgets", "webhook events"),
    ),
    Box(290, 360, 180, 74, "", "Providers", ("fal, Replicate", "(sandbox in the demo)")),
    Box(590, 360, 170, 74, "", "Object storage", ("finished files", "S3 or R2, behind a CDN")),
)
ARROWS: Final = (
    Arrow("M190 66 H288", 200, 58, "one request"),
    Arrow("M290 236 H95 V116", 105, 228, "signed webhook"),
    Arrow("M470 66 H588", 482, 58, "start"),
    Arrow("M470 100 L588 202", 600, 180, "accept: one transaction"),
    Arrow("M590 100 L472 202", 412, 178, "tasks"),
    Arrow("M470 236 H588", 478, 228, "intent, cost"),
    Arrow("M350 284 V358", 252, 316, "one POST per"),
    Arrow("", 252, 333, "paid step"),
    Arrow("M410 358 V284", 418, 316, "status, bill"),
    Arrow("M470 270 L588 372", 545, 316, "file, streamed"),
    Arrow("M290 396 H240 V98 H288", 120, 316, "signed callback,"),
    Arrow("", 120, 333, "verified by API"),
)


def render() -> str:
    """Return the picture as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Architecture of Takeone</title>",
        f"<style>\n{STYLE}\n</style>",
        '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
        ' markerHeight="7" orient="auto-start-reverse">'
        '<path d="M0 0 L10 5 L0 10 z"/></marker></defs>',
        *(_arrow(arrow) for arrow in ARROWS),
        *(_box(box) for box in BOXES),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(box: Box) -> str:
    middle = box.x + box.width // 2
    lines = [
        f'<text class="small" x="{middle}" y="{box.y + 44 + 18 * number}"'
        f' text-anchor="middle">{escape(line)}</text>'
        for number, line in enumerate(box.lines)
    ]
    return "\n".join(
        (
            f'<rect class="{box.kind}" x="{box.x}" y="{box.y}"'
            f' width="{box.width}" height="{box.height}"/>',
            f'<text class="title" x="{middle}" y="{box.y + 24}"'
            f' text-anchor="middle">{escape(box.title)}</text>',
            *lines,
        )
    )


def _arrow(arrow: Arrow) -> str:
    line = f'<path d="{arrow.path}"/>' if arrow.path else ""
    return f'{line}<text class="small" x="{arrow.x}" y="{arrow.y}">{escape(arrow.label)}</text>'
