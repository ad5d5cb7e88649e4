"""Plans in the form that the Synthome SDK makes, one or more for each of its operations.

The forms follow its compiler at commit 1ac63f8, also where it leaves operations uncompiled; prompts
and addresses are our own.
"""

from typing import Any, Final

SEEDANCE: Final = "bytedance/seedance-1-pro"
PICTURES: Final = "fal-ai/nano-banana"
WHISPER: Final = "openai/whisper:8099696689d249cf8b122d833c36ac3f75505c666a395ca40ef26f68e7d3d16e"
SCRIBE: Final = "fal-ai/elevenlabs/speech-to-text/scribe-v2"
MATTING: Final = "arielreplicate/robust_video_matting"
CUTOUT: Final = "codeplugtech/background_remover"
VOICE: Final = "JBFqnCBsd6RMkjVDRZzb"
FILES: Final = "https://files.example.com"

Plan = dict[str, Any]


def job(id_: str, type_: str, *depends: str, **params: Any) -> Plan:
    made: Plan = {"id": id_, "type": type_, "params": params, "output": f"${id_}"}
    return made | ({"dependsOn": list(depends)} if depends else {})


def plan(*jobs: Plan) -> Plan:
    return {"jobs": list(jobs)}


def clip(id_: str, prompt: str, *depends: str, **more: Any) -> Plan:
    chosen = {"provider": "replicate", "modelId": SEEDANCE, "unified": True}
    return job(id_, "generate", *depends, **chosen, **{"prompt": prompt, "duration": 5, **more})


def picture(id_: str, prompt: str, **more: Any) -> Plan:
    return job(id_, "generateImage", provider="fal", modelId=PICTURES, prompt=prompt, **more)


def speech(id_: str, text: str) -> Plan:
    chosen = {"provider": "elevenlabs", "modelId": "elevenlabs/turbo-v2.5"}
    return job(id_, "generateAudio", **chosen, text=text, voiceId=VOICE, stability=0.4)


def nested(made: Plan) -> Plan:
    """Return a job as the operation that the SDK leaves inside another one."""
    return {"type": made["type"], "params": made["params"]}


WORDS: Final = [
    {"word": "Ahoy", "start": 0.0, "end": 0.4},
    {"word": "{there}", "start": 0.4, "end": 0.9},
]
CLIP_OF_A_PICTURE: Final = plan(
    picture("job2", "a lighthouse in fog", aspectRatio="16:9", sendJobWebhook=True),
    clip("job1", "fog drifts", "job2", startImage="_imageJobDependency:job2", resolution="720p"),
)
SCENES: Final = plan(
    clip("job2", "a harbour at dawn"),
    clip("job3", "gulls over the pier", cameraMotion="fixed", seed=7),
    speech("job4", "The ferry leaves at nine."),
    job(
        "job1",
        "merge",
        "job2",
        "job3",
        "job4",
        items=[
            {"url": "_videoJobDependency:job2", "type": "video", "volume": 0.3},
            {"url": "_videoJobDependency:job3", "type": "video", "duration": 3},
            {"url": f"{FILES}/title.png", "type": "image", "duration": 2},
            {"url": "_audioJobDependency:job4", "type": "audio", "offset": 1.5},
            {"url": f"{FILES}/sea.mp3", "type": "audio", "offset": 0, "volume": 0.5},
        ],
    ),
)
TRANSCRIBED: Final = plan(
    clip("Final_Video", "a sailor speaks"),
    job(
        "transcribe",
        "transcribe",
        "Final_Video",
        provider="replicate",
        modelId=WHISPER,
        videoUrl="_videoJobDependency:Final_Video",
    ),
    job(
        "subs",
        "addSubtitles",
        "transcribe",
        "Final_Video",
        transcript="_transcriptJobDependency:transcribe",
        videoUrl="_videoJobDependency:Final_Video",
        style={"preset": "tiktok", "alignment": "2", "borderRadius": 8},
    ),
)
WORD_LIST: Final = plan(
    job(
        "job1",
        "addSubtitles",
        videoUrl=f"{FILES}/talk.mp4",
        transcript=WORDS,
        style={"fontWeight": "700", "borderStyle": 3, "outlineColor": "#102030", "padding": 20},
    )
)
HEAD_BEFORE_OFFICE: Final = plan(
    picture("job2", "an office, out of focus"),
    job(
        "job3",
        "generate",
        provider="fal",
        modelId="veed/fabric-1.0",
        unified=True,
        prompt="",
        resolution="480p",
        image=nested(picture("", "a presenter before green")),
        audio=nested(speech("", "Good morning.")),
    ),
    job(
        "job1",
        "layer",
        "job2",
        "job3",
        layers=[
            {"media": "_imageJobDependency:job2", "placement": "full"},
            {
                "media": "_videoJobDependency:job3",
                "placement": "full",
                "chromaKey": True,
                "chromaKeyColor": "0x00FF00",
                "main": True,
            },
        ],
    ),
)
LAYERS: Final = plan(
    job(
        "job1",
        "layer",
        layers=[
            {"media": [f"{FILES}/screen.mp4"], "main": True},
            {"media": [f"{FILES}/host.mp4"], "placement": "w-1/4 bottom-right", "similarity": 0.3},
            {"media": [f"{FILES}/logo.png"], "placement": "Bottom-Center"},
            {"media": [f"{FILES}/map.png"], "placement": "top-left-quarter"},
            {"media": [f"{FILES}/a.png", f"{FILES}/b.png"], "placement": "sequence"},
            {
                "media": [f"{FILES}/stamp.png"],
                "placement": {
                    "width": "iw/4",
                    "position": {"x": "W-w", "y": "40"},
                    "padding": 20,
                },
            },
            {
                "isTimeline": True,
                "timeline": [
                    {"media": f"{FILES}/one.png", "duration": 3, "placement": "top"},
                    {"media": f"{FILES}/two.png", "duration": 2, "placement": "top"},
                ],
                "totalDuration": 5,
                "needsAutoDuration": False,
                "explicitDuration": 5,
            },
        ],
        outputWidth=1280,
        outputHeight=720,
    )
)
CHAINED: Final = plan(
    clip("job1", "a dancer"),
    job("job2", "removeBackground", "job1", outputType="green-screen"),
    job("job3", "reframe", "job2", aspectRatio="9:16"),
)
CUT_OUT_PICTURE: Final = plan(
    picture("job1", "a red buoy"),
    job("job2", "removeImageBackground", "job1", image="$job1"),
    clip("job3", "it rocks", "job2", image="_imageJobDependency:job2"),
)
LIPS: Final = plan(
    speech("job1", "Cast off."),
    clip("job2", "a captain", "job1"),
    job("job3", "lipSync", "job2", audioUrl="_audioJobDependency:job1"),
)
GREEN_SCREEN: Final = plan(
    picture("generate-bg", "a stormy sky"),
    job(
        "final-video",
        "replaceGreenScreen",
        "generate-bg",
        video=f"{FILES}/green.mp4",
        background="_imageJobDependency:generate-bg",
        similarity=0.1,
        blend=0.15,
    ),
)
UNMERGED: Final = plan(
    {**clip("job1", "one"), "type": "generateVideo"}, clip("job2", "two"), clip("job3", "three")
)
NESTED_ITEMS: Final = plan(
    job(
        "job1",
        "merge",
        items=[
            {"type": "video", "operation": nested(clip("", "a buoy", image=None))},
            {"type": "image", "operation": nested(picture("", "the end")), "duration": 2},
        ],
    )
)
IMPORTED: Final[dict[str, Plan]] = {
    "a clip of a picture": CLIP_OF_A_PICTURE,
    "scenes with a voice and music": SCENES,
    "a list of words": WORD_LIST,
    "a talking head before an office": HEAD_BEFORE_OFFICE,
    "layers": LAYERS,
    "a chain by dependsOn alone": CHAINED,
    "a cut-out picture": CUT_OUT_PICTURE,
    "lip-sync": LIPS,
    "a green screen of an older plan": GREEN_SCREEN,
    "scenes that are not merged": UNMERGED,
    "operations inside a merge": NESTED_ITEMS,
}
"""Plans that are importable as they are."""
