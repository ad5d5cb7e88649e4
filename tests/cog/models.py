"""The models file of the tests: one server, entered several times with other constants."""

import json
from pathlib import Path

_MODEL = """
[[models]]
name = {name}
kind = "image"
url = {url}
usual_seconds = 1
deadline_seconds = {deadline}
constants = {constants}
price = {{ unit = {unit}, usd = {usd} }}
inputs = [
    {{ name = "prompt", required = true }},
    {{ name = "seed" }},
]
"""


def models_file(folder: Path, url: str, *, deadline_seconds: int = 120) -> Path:
    """Write the file: a model that draws, one that the file `held` holds, and one that fails."""
    file = folder / "models.toml"
    constants = {
        "painter": "{}",
        "held-painter": f"{{ held_by = {json.dumps(str(folder / 'held'))} }}",
        "broken-painter": "{ fail = true }",
    }
    text = "".join(
        _MODEL.format(
            name=json.dumps(name),
            url=json.dumps(url),
            deadline=deadline_seconds,
            constants=constant,
            unit=json.dumps("run" if name == "painter" else "gpu_second"),
            usd=json.dumps("0.002" if name == "painter" else "0.0001"),
        )
        for name, constant in constants.items()
    )
    file.write_text(text, encoding="utf-8")
    return file
