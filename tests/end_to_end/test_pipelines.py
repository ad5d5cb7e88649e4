"""Composed films through the HTTP API: every output is downloaded, decoded and checked."""

import asyncio
import io
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from pysubs2 import SSAFile

from core.domain.plans import StepKind
from tests.api.synthome_plans import SCRIBE, WHISPER, job
from tests.end_to_end.world import World
from tests.media.operations import sources
from tests.media.operations.sources import Frame, Samples, frames_of, sound_of

pytestmark = pytest.mark.guarantee("G1", "G3")

PAID = frozenset(kind.value for kind in StepKind)
FPS = 24
"""Of the videos of the sandbox, and so of the films made of them."""
TEXT = "It never asks where the wind comes from."
VOICE = {"text": TEXT, "voice": "JBFqnCBsd6RMkjVDRZzb"}
SPEECH = "eleven_flash_v2_5"
FLUX = "black-forest-labs/flux-schnell"
OFFSET = 0.5
MUSIC_HERTZ = 880
ALIKE = 8
"""Frames that differ less show the same, encoded again; see `difference`."""
RED, BLUE, YELLOW = (253, 0, 0), (0, 0, 254), (255, 255, 0)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A completed execution. body: its request. folder: for its files."""

    body: Mapping[str, Any]
    seen: Mapping[str, Any]
    folder: Path

    async def output(self, name: str) -> bytes:
        return await _downloaded(self.seen["result"]["outputs"][name])

    async def film(self, step: str = "result") -> Path:
        """Download a video, by default the result."""
        path = self.folder / f"{step}.mp4"
        if not path.exists():
            path.write_bytes(await _downloaded(self.file_of(step, "video")))
        return path

    def file_of(self, step: str, kind: str) -> Mapping[str, Any]:
        if step == "result":
            return self.seen["result"]
        files = self.seen["result"]["assets"]
        return next(file for file in files if (file["step"], file["kind"]) == (step, kind))

    async def words(self, step: str) -> list[dict[str, Any]]:
        return json.loads(await _downloaded(self.file_of(step, "transcript")))["words"]


async def _downloaded(file: Mapping[str, Any]) -> bytes:
    async with httpx.AsyncClient(trust_env=False) as cdn:
        return (await cdn.get(file["url"])).raise_for_status().content


def step(kind: str, name: str, model: str | None = None, **params: Any) -> dict[str, Any]:
    chosen = {} if model is None else {"model": model}
    return {"name": name, "kind": kind, **chosen, "params": params}


async def made(
    world: World,
    folder: Path,
    *steps: Mapping[str, Any],
    values: Mapping[str, Any] | None = None,
    **plan: Any,
) -> Made:
    """Run a plan as quoted. The paid steps are the bill, and the media steps are free.

    values: the plan is stored as a template, and run with these.
    """
    plan = {"version": 1, "steps": steps, **plan}
    ordered: dict[str, Any] = {"plan": plan}
    if values is not None:
        stored = await world.api.post("/api/templates", json={"name": "film", "plan": plan})
        assert stored.status_code == 201, stored.text
        ordered = {"template": stored.json()["id"], "values": values}
    body = {**ordered, "webhook": world.receiver.url}
    quoted = await world.api.post("/api/quotes", json=body)
    assert quoted.status_code == 200, quoted.text
    accepted = await world.api.post("/api/executions", json=body)
    assert accepted.status_code == 202, accepted.text
    execution_id: str = accepted.json()["executionId"]
    world.ids.append(execution_id)
    seen = await world.ended(execution_id, seconds=200)
    assert seen["status"] == "completed", seen
    assert (await world.webhook(execution_id))["result"] == seen["result"]
    assert seen["result"]["outputs"]["result"]["url"] == seen["result"]["url"]
    await world.check_money(execution_id)
    paid = [one["name"] for one in steps if one["kind"] in PAID]
    assert len(await world.bill_of(execution_id)) == len(await world.bill()) == len(paid)
    assert seen["cost"]["estimated"] == quoted.json()["worst"]
    assert seen["template"] == ordered.get("template")
    costs = {job["step"]: job["cost"]["settled"] for job in seen["jobs"]}
    assert {name for name, cost in costs.items() if cost != "0"} == set(paid)
    return Made(body=body, seen=seen, folder=folder)


async def check_reused(world: World, film: Made) -> None:
    """Run a plan again: no step is bought or rendered, and the answer has what that saved."""
    bill = await world.bill()
    quote = (await world.api.post("/api/quotes", json=film.body)).json()
    expected = {job["step"]: job["reuse"] for job in quote["jobs"]}
    assert [expected[name] for name in ("portrait", "voice", "host")] == ["yes"] * 3
    assert float(quote["expected"]) < float(quote["worst"])
    accepted = await world.api.post("/api/executions", json=film.body)
    execution_id: str = accepted.json()["executionId"]
    world.ids.append(execution_id)
    seen = await world.ended(execution_id, seconds=60)
    assert (seen["status"], seen["cost"]["settled"]) == ("completed", "0"), seen
    assert await world.bill() == bill
    assert seen["cost"]["saved"] == film.seen["cost"]["settled"]
    jobs = {job["step"]: job["id"] for job in film.seen["jobs"]}
    assert {job["step"]: job["reusedFrom"] for job in seen["jobs"]} == jobs
    hashes = [
        [(file["step"], file["sha256"]) for file in each["result"]["assets"]]
        for each in (seen, film.seen)
    ]
    assert hashes[0] == hashes[1]
    await world.check_money(execution_id)


def near(frame: Frame, color: tuple[int, int, int], tolerance: int = 60) -> int:
    """Return how many pixels have about this colour."""
    return int((np.abs(frame.astype(int) - np.array(color)).max(axis=2) <= tolerance).sum())


def spoken_frames(words: Sequence[Mapping[str, Any]], shift: float, total: int) -> list[int]:
    """Return the frames with a caption: the gaps between words are shorter than 0.2 s."""
    first, last = words[0]["start"] + shift, words[-1]["end"] + shift
    return [number for number in range(total) if first <= number / FPS < last]


def blurred(frame: Frame) -> Frame:
    """Return the mean colours of 8 by 8 parts."""
    return np.asarray(Image.fromarray(frame).resize((8, 8), Image.Resampling.BOX))


def difference(frame: Frame, other: Frame) -> float:
    """Return how different two frames look, whatever their sizes: 0 to 255."""
    return float(np.abs(blurred(frame).astype(int) - blurred(other).astype(int)).mean())


def word_starts(sound: Samples) -> list[float]:
    """Return when each word of the sandbox's speech begins: after 30 ms of silence."""
    loud = np.flatnonzero(np.abs(sound) > 0.05)
    starts = loud[np.diff(loud, prepend=-sources.RATE) > 0.03 * sources.RATE]
    return [float(start) / sources.RATE for start in starts]


def strength(sound: Samples, hertz: int, start: float) -> float:
    """Return the amplitude of a tone in a quarter of a second."""
    part = sound[round(start * sources.RATE) :][: sources.RATE // 4]
    wave = np.exp(-2j * np.pi * hertz * np.arange(len(part)) / sources.RATE)
    return float(2 * np.abs(np.mean(part * wave)))


def loudness(path: Path) -> float:
    """Return the integrated loudness in LUFS."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [
        program,
        "-nostdin",
        "-i",
        str(path),
        "-af",
        "ebur128=framelog=quiet",
        "-f",
        "null",
        "-",
    ]
    log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return float(re.findall(r"I: +(\S+) LUFS", log)[-1])


async def uploaded(world: World, file: Path) -> str:
    content = await asyncio.to_thread(file.read_bytes)
    answer = await world.api.post("/api/assets", files={"file": (file.name, content)})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["id"]


@pytest.mark.timeout(400)
async def test_picture_clip_voice_and_captions_make_a_film(world: World, tmp_path: Path) -> None:
    await world.settings(tiny_media=False)
    film = await made(
        world,
        tmp_path,
        step(
            "image", "picture", prompt={"fill": "a {{subject}} over a harbour"}, aspectRatio="9:16"
        ),
        step(
            "video", "clip", prompt="it dances", image={"step": "picture"},
            duration={"var": "seconds"}, resolution="480p",
        ),
        step("audio", "voice", SPEECH, **VOICE | {"text": {"var": "line"}}),
        step(
            "merge", "film", width=270, height=480, fit="extend",
            items=[{"media": {"step": "clip"}}, {"media": {"step": "voice"}, "offset": OFFSET}],
        ),
        step(
            "captions", "subs", video={"step": "film"},
            words={"step": "voice", "output": "words"}, shift=OFFSET, style={"preset": "tiktok"},
        ),
        step("poster", "cover", source={"step": "film"}, at=1),
        result="subs",
        outputs={"cover": {"step": "cover"}, "srt": {"step": "subs", "output": "srt"}},
        variables={
            "subject": {"type": "text", "maxLength": 40},
            "line": {"type": "text", "maxLength": 80},
            "seconds": {"type": "integer", "choices": [2, 5]},
        },
        values={"subject": "red kite", "line": TEXT, "seconds": 2},
    )  # fmt: skip
    words = await film.words("voice")
    assert [word["text"] for word in words] == TEXT.split()
    clip, plain = frames_of(await film.film("clip")), frames_of(await film.film("film"))
    assert len(clip) == 2 * FPS
    assert len(plain) == pytest.approx((OFFSET + 3.5) * FPS, abs=1), "extended for the voice"
    for number in (0, FPS, 2 * FPS - 1):
        assert difference(plain[number], clip[number]) < ALIKE
    assert difference(plain[-1], clip[-1]) < ALIKE, "its last frame stays"

    shown = frames_of(await film.film())
    assert (len(shown), shown[0].shape) == (len(plain), (480, 270, 3))
    yellow = [
        near(after, YELLOW) - near(before, YELLOW)
        for after, before in zip(shown, plain, strict=True)
    ]
    captioned = [number for number, pixels in enumerate(yellow) if pixels > 20]
    assert captioned == spoken_frames(words, OFFSET, len(shown))
    starts = [word["start"] + OFFSET for word in words]
    assert word_starts(sound_of(await film.film())) == pytest.approx(starts, abs=0.03)

    subtitles = SSAFile.from_string((await film.output("srt")).decode(), format_="srt")
    assert [event.plaintext for event in subtitles] == TEXT.split()
    assert [event.start / 1000 for event in subtitles] == pytest.approx(starts, abs=0.01)
    cover = np.asarray(Image.open(io.BytesIO(await film.output("cover"))).convert("RGB"))
    assert cover.shape == plain[0].shape
    assert difference(cover, plain[FPS]) < ALIKE


@pytest.mark.timeout(400)
async def test_three_clips_with_ducked_music_reach_the_loudness(
    world: World, tmp_path: Path
) -> None:
    await world.settings(tiny_media=False)
    tune = sources.ffmpeg(tmp_path / "music.wav", *sources.tone(2, MUSIC_HERTZ))
    film = await made(
        world,
        tmp_path,
        step(
            "video", "a", "fal-ai/bytedance/seedance/v1.5/pro/text-to-video",
            prompt="a kite", duration=4, resolution="480p", sound=True, seed=1,
        ),
        step("video", "b", prompt="a harbour", duration=2, resolution="480p", seed=2),
        step("video", "c", prompt="the sea", duration=2, resolution="480p", seed=3),
        step(
            "merge", "film", width=192, height=108,
            transition={"type": "fade", "duration": 0.5},
            items=[
                {"media": {"step": "a"}, "duration": 2.5},
                {"media": {"step": "b"}},
                {"media": {"step": "c"}},
                {
                    "media": {"asset": await uploaded(world, tune)},
                    "volume": 0.6, "loop": True, "duck": True, "fadeOut": 1,
                },
            ],
        ),
        step("loudness", "level", source={"step": "film"}, target=-14),
    )  # fmt: skip
    frames = frames_of(await film.film())
    assert len(frames) == pytest.approx(5.5 * FPS, abs=1)
    assert frames[0].shape == (108, 192, 3)
    clips = {name: frames_of(await film.film(name)) for name in "abc"}
    for name, at, place in (("a", 1.0, 1.0), ("b", 3.0, 1.0), ("c", 4.75, 1.25)):
        frame, clip_frame = frames[round(at * FPS)], round(place * FPS)
        others = {other: difference(frame, clips[other][clip_frame]) for other in clips}
        assert others[name] < ALIKE
        assert min(others, key=lambda other: others[other]) == name
    mixed = clips["a"][round(2.25 * FPS)] / 2.0 + clips["b"][round(0.25 * FPS)] / 2.0
    assert difference(frames[round(2.25 * FPS)], mixed.astype(np.uint8)) < ALIKE

    sound = sound_of(await film.film())
    under_sound, alone, faded = (strength(sound, MUSIC_HERTZ, start) for start in (1.0, 3.7, 5.25))
    assert under_sound < 0.7 * alone, "the music is quieter while the first clip has sound"
    assert 0.01 < faded < 0.5 * alone
    assert loudness(await film.film()) == pytest.approx(-14, abs=0.5)


@pytest.mark.timeout(300)
async def test_cut_out_hosts_stand_on_a_screen(world: World, tmp_path: Path) -> None:
    screen = sources.clip(
        tmp_path / "screen.mp4", "blue", *sources.tone(2), size="320x180", seconds=2
    )
    host = sources.clip(tmp_path / "host.mp4", "red", size="128x96", seconds=2)
    screen_id, host_id = await uploaded(world, screen), await uploaded(world, host)
    matting = "bria/video/background-removal/v3"
    film = await made(
        world,
        tmp_path,
        step("cutout", "green", matting, source={"asset": host_id}, background="green"),
        step("cutout", "clear", matting, source={"asset": host_id}, background="transparent"),
        step(
            "layers", "film", width=320, height=180,
            items=[
                {"media": {"asset": screen_id}, "main": True},
                {
                    "media": {"step": "green"}, "placement": "w-1/4 bottom-right",
                    "chromaKey": True, "chromaKeyColor": "#008000",
                },
                {"media": {"step": "clear"}, "placement": "w-1/4 top-left"},
            ],
        ),
    )  # fmt: skip
    frames = frames_of(await film.film())
    assert len(frames) == pytest.approx(2 * 25, abs=1)
    for frame in (frames[2], frames[25], frames[-3]):
        assert frame.shape == (180, 320, 3)
        for x, y in ((280, 150), (40, 30)):
            assert sources.is_near(sources.color_at(frame, x, y), RED, within=20), (x, y)
        # Around each host, within its box and next to it, the screen is seen.
        for x, y in ((243, 123), (316, 176), (234, 150), (3, 3), (76, 56), (160, 90)):
            assert sources.is_near(sources.color_at(frame, x, y), BLUE, within=20), (x, y)
    tone = sound_of(await film.film())
    assert sources.level(tone, 0.5, 1.5) == pytest.approx(-21, abs=1)


async def imported(world: World, *jobs: dict[str, Any]) -> dict[str, Any]:
    """Return the plan of Synthome's jobs."""
    body = {"synthome": {"jobs": list(jobs)}, "models": {WHISPER: SCRIBE}}
    answer = await world.api.post("/api/plans/import", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["plan"]


@pytest.mark.timeout(300)
async def test_imported_talking_head_is_billed_by_its_real_length(
    world: World, tmp_path: Path
) -> None:
    plan = await imported(
        world,
        job("portrait", "generateImage", modelId=FLUX, prompt="a friendly presenter", seed=7),
        job("voice", "generateAudio", modelId="elevenlabs/turbo-v2.5", text=TEXT),
        job(
            "host", "generate", "portrait", "voice", modelId="veed/fabric-1.0", resolution="480p",
            image="_imageJobDependency:portrait", audio="_audioJobDependency:voice",
        ),
        job("words", "transcribe", "host", modelId=WHISPER, videoUrl="_videoJobDependency:host"),
        job(
            "subs", "addSubtitles", "words", "host", videoUrl="_videoJobDependency:host",
            transcript="_transcriptJobDependency:words",
            # The sandbox's small videos have a short side of 48 pixels or less.
            style={"preset": "youtube", "fontSize": 200, "alignment": "2"},
        ),
    )  # fmt: skip
    outputs = {"vtt": {"step": "subs", "output": "vtt"}}
    seeded = {"portrait": {"reuse": True}}
    steps = [{**each, **seeded.get(each["name"], {})} for each in plan["steps"]]
    film = await made(world, tmp_path, *steps, result=plan["result"], outputs=outputs)
    host = next(job for job in film.seen["jobs"] if job["step"] == "host")["cost"]
    assert float(host["settled"]) == pytest.approx(4 * 0.08)
    assert float(host["estimated"]) > float(host["settled"]), "held at the longest speech"

    plain, shown = frames_of(await film.film("host")), frames_of(await film.film())
    assert len(shown) == len(plain) == pytest.approx(3.5 * FPS, abs=1)
    words = await film.words("words")
    assert [word["text"] for word in words] == TEXT.split()
    changed = [
        int((np.abs(after.astype(int) - before).max(axis=2) > 40).sum())
        for after, before in zip(shown, plain, strict=True)
    ]
    captioned = [number for number, pixels in enumerate(changed) if pixels > 20]
    assert captioned == spoken_frames(words, 0, len(shown))
    subtitles = SSAFile.from_string((await film.output("vtt")).decode(), format_="vtt")
    assert " ".join(event.plaintext.replace("\n", " ") for event in subtitles) == TEXT
    starts = [word["start"] for word in words]
    assert word_starts(sound_of(await film.film())) == pytest.approx(starts, abs=0.03)
    await check_reused(world, film)
