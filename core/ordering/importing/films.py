"""Import of jobs that put files together: `merge`, `layer` and `replaceGreenScreen`."""

from collections.abc import Mapping, Sequence
from typing import Final

from core.domain.media.content import MediaKind
from core.ordering.errors import FaultCode
from core.ordering.importing.conversion import Conversion
from core.ordering.importing.placements import SEQUENCE, placement
from core.ordering.importing.reading import Fields, Node, NoteCode, child_pointer
from core.ordering.importing.steps import Draft

_SOUND: Final = "audio"
_LOOK: Final = ("placement", "chromaKey", "chromaKeyColor", "similarity", "blend")
"""What a layer has, and each item of a timeline of Synthome."""
_FULL: Final = "full"


def merge(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `merge`. The sound ends with the film, as in Synthome."""
    node = fields.take("items")
    fields.refuse_rest(("items",))
    items: list[dict[str, object]] = []
    if node is None:
        _missing(conversion, draft, "items")
    else:
        draft.put("items", items, node)
        for place, entry in enumerate(_listed(conversion, node)):
            items.append(_merge_item(conversion, draft, place, entry))
    if any(_is_sound(conversion, item) for item in items):
        draft.params["fit"] = "cut"


def _is_sound(conversion: Conversion, item: Mapping[str, object]) -> bool:
    media = item.get("media")
    return item.get("type") == _SOUND or conversion.makes(media) is MediaKind.AUDIO


def _merge_item(conversion: Conversion, draft: Draft, place: int, node: Node) -> dict[str, object]:
    path = f"params/items/{place}"
    draft.fields[path] = node.pointer
    item: dict[str, object] = {}
    if isinstance(node.value, str):
        _put_media(conversion, draft, item, node, path)
        return item
    fields = Fields(node, conversion.report)
    media = fields.take("url", "operation", "media")
    if media is None:
        conversion.report.refuse(node.pointer, "has no url", FaultCode.MISSING)
    else:
        _put_media(conversion, draft, item, media, path)
    # Other types are guessed from the end of an address; what the file is decides here.
    kind = fields.take("type")
    if kind is not None and kind.value == _SOUND:
        item["type"] = _SOUND
    elif kind is not None:
        fields.ignore("offset", "Synthome has it for sounds alone")
    _copy(draft, item, fields, ("duration", "offset", "volume"), path)
    fields.refuse_rest(("url", "type", "duration", "offset", "volume"))
    return item


def layer(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `layer`."""
    node = fields.take("layers")
    items: list[object] = []
    if node is None:
        _missing(conversion, draft, "layers")
    else:
        draft.put("items", items, node)
        mains = _mains(conversion, node, fields.take("mainLayer"))
        for place, entry in enumerate(_listed(conversion, node)):
            item = _layer_item(conversion, draft, place, entry)
            if place in mains:
                item["main"] = True
            items.append(item)
    for theirs, ours in (
        ("outputDuration", "duration"),
        ("outputWidth", "width"),
        ("outputHeight", "height"),
    ):
        value = fields.take(theirs)
        if value is not None:
            draft.put(ours, value.value, value)
    fields.refuse_rest(("layers", "outputDuration", "outputWidth", "outputHeight", "mainLayer"))


def _mains(conversion: Conversion, layers: Node, chosen: Node | None) -> frozenset[int]:
    """Return the number of the main layer, if there is one: it decides the length."""
    entries = layers.entries()
    if chosen is not None:
        if isinstance(chosen.value, int) and 0 <= chosen.value < len(entries):
            return frozenset({chosen.value})
        conversion.report.refuse(
            chosen.pointer, f"must be the number of a layer, 0 to {len(entries) - 1}"
        )
        return frozenset()
    flags = [entry.members().get("main") for entry in entries]
    mains = [place for place, flag in enumerate(flags) if flag is not None and flag.value is True]
    for place in mains[1:]:
        conversion.report.note(
            child_pointer(entries[place].pointer, "main"),
            NoteCode.IGNORED,
            "is left out: only the first main layer counts, as in Synthome",
        )
    return frozenset(mains[:1])


def _layer_item(conversion: Conversion, draft: Draft, place: int, node: Node) -> dict[str, object]:
    path = f"params/items/{place}"
    draft.fields[path] = node.pointer
    item: dict[str, object] = {}
    if isinstance(node.value, str):
        _put_media(conversion, draft, item, node, path)
        return item
    fields = Fields(node, conversion.report)
    for name in ("main", "isTimeline", "totalDuration", "needsAutoDuration", "explicitDuration"):
        fields.take(name)
    timeline = fields.take("timeline")
    if timeline is not None:
        _timeline(conversion, draft, item, timeline, path)
    else:
        fields.ignore("duration", "Synthome has it for items of a timeline alone")
        look = _look(conversion, fields)
        media = fields.take("media", "url")
        if media is None:
            conversion.report.refuse(node.pointer, "has no media", FaultCode.MISSING)
        elif isinstance(media.value, list) and len(media.entries()) > 1:
            _sequence(conversion, draft, item, media, path)
        else:
            _put_media(conversion, draft, item, media, path)
        _put_look(draft, item, look, path)
    if place > 0:  # the first layer is the canvas
        item.setdefault("placement", _FULL)
    fields.refuse_rest(("media", *_LOOK, "main", "timeline"))
    return item


def _look(conversion: Conversion, fields: Fields) -> dict[str, tuple[object, Node]]:
    """Return where and how a layer is drawn, by our names."""
    look: dict[str, tuple[object, Node]] = {}
    for name in _LOOK:
        node = fields.take(name)
        if node is None:
            continue
        value = placement(conversion.report, node) if name == "placement" else node.value
        if value is not None:
            look[name] = (value, node)
    return look


def _put_look(
    draft: Draft, item: dict[str, object], look: Mapping[str, tuple[object, Node]], path: str
) -> None:
    for name, (value, node) in look.items():
        item[name] = _FULL if value == SEQUENCE else value
        draft.fields[f"{path}/{name}"] = node.pointer


def _timeline(
    conversion: Conversion, draft: Draft, item: dict[str, object], node: Node, path: str
) -> None:
    """Convert a timeline. Its items are drawn alike, because a layer has one look here."""
    parts: list[object] = []
    item["timeline"] = parts
    draft.fields[f"{path}/timeline"] = node.pointer
    first: dict[str, object] | None = None
    for place, entry in enumerate(_listed(conversion, node)):
        own = f"{path}/timeline/{place}"
        draft.fields[own] = entry.pointer
        fields = Fields(entry, conversion.report)
        look = _look(conversion, fields)
        values = {name: value for name, (value, _) in look.items()}
        if first is None:
            first = values
            _put_look(draft, item, look, path)
        elif values != first:
            conversion.report.refuse(
                entry.pointer,
                "is placed or keyed unlike the first item of its timeline, and a timeline is drawn "
                "in one way here. Make it a layer of its own",
                FaultCode.NOT_SUPPORTED,
            )
        part: dict[str, object] = {}
        media = fields.take("media", "url")
        if media is None:
            conversion.report.refuse(entry.pointer, "has no media", FaultCode.MISSING)
        else:
            _put_media(conversion, draft, part, media, own)
        fields.ignore("main", "an item of a timeline cannot be the main layer")
        _copy(draft, part, fields, ("duration",), own)
        fields.refuse_rest(("media", "duration", *_LOOK))
        parts.append(part)


def _sequence(
    conversion: Conversion, draft: Draft, item: dict[str, object], node: Node, path: str
) -> None:
    """Convert several files of one layer."""
    parts: list[object] = []
    item["timeline"] = parts
    draft.fields[f"{path}/timeline"] = node.pointer
    for place, entry in enumerate(node.entries()):
        part: dict[str, object] = {}
        _put_media(conversion, draft, part, entry, f"{path}/timeline/{place}")
        parts.append(part)
    conversion.report.note(
        node.pointer,
        NoteCode.CHANGED,
        "is a timeline: all files are shown, one after the other; Synthome showed the first alone",
    )


def replace_green_screen(conversion: Conversion, draft: Draft, fields: Fields) -> None:
    """Convert `replaceGreenScreen` of older plans into two layers."""
    items: list[object] = []
    background, video = fields.take("background"), fields.take("video", "videoUrl")
    for place, (name, node) in enumerate((("background", background), ("video", video))):
        item: dict[str, object] = {}
        if node is None:
            _missing(conversion, draft, name)
        elif place == 0 and isinstance(node.value, list) and len(node.entries()) > 1:
            _sequence(conversion, draft, item, node, f"params/items/{place}")
        else:
            _put_media(conversion, draft, item, node, f"params/items/{place}")
        if place == 1:
            item |= {"placement": _FULL, "chromaKey": True, "main": True}
            _copy(draft, item, fields, ("chromaKeyColor", "similarity", "blend"), "params/items/1")
        items.append(item)
    draft.params["items"] = items
    fields.refuse_rest(("video", "background", "chromaKeyColor", "similarity", "blend"))


def _put_media(
    conversion: Conversion, draft: Draft, item: dict[str, object], node: Node, path: str
) -> None:
    draft.fields[f"{path}/media"] = node.pointer
    file = conversion.file(node, draft)
    if file is not None:
        item["media"] = file


def _copy(
    draft: Draft, item: dict[str, object], fields: Fields, names: Sequence[str], path: str
) -> None:
    for name in names:
        node = fields.take(name)
        if node is not None:
            item[name] = node.value
            draft.fields[f"{path}/{name}"] = node.pointer


def _listed(conversion: Conversion, node: Node) -> list[Node]:
    if isinstance(node.value, list):
        return node.entries()
    conversion.report.refuse(node.pointer, "must be a list")
    return []


def _missing(conversion: Conversion, draft: Draft, name: str) -> None:
    pointer = draft.job.params.pointer
    conversion.report.refuse(pointer, f"has no {name}", FaultCode.MISSING)
