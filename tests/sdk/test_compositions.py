"""The Python client's compositions: the plans that they make, and the server's view of them."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import takeone
from api.orders.plans import PlanBody
from core.domain.plans import OperationKind, StepKind
from core.media.operations.registry import OPERATIONS
from takeone import (
    Node,
    captions,
    compose,
    generate_audio,
    generate_image,
    generate_video,
    layers,
    lip_sync,
    loudness,
    merge,
    optional,
    poster,
    reframe,
    remove_background,
    talking_head,
    transcribe,
    video_model,
)

PAID = {
    StepKind.IMAGE: takeone.generate_image,
    StepKind.VIDEO: takeone.generate_video,
    StepKind.AUDIO: takeone.generate_audio,
    StepKind.TRANSCRIPT: takeone.transcribe,
    StepKind.CUTOUT: takeone.remove_background,
    StepKind.LIP_SYNC: takeone.lip_sync,
    StepKind.TALKING_HEAD: takeone.talking_head,
    StepKind.UPSCALE: takeone.upscale,
}


def builder(kind: OperationKind) -> Callable[..., Node]:
    return getattr(takeone, kind.value.replace("-", "_"))


def plan_of(*nodes: Node, **outputs: Any) -> dict[str, Any]:
    """Return a plan that the server can read."""
    plan = compose(*nodes, outputs=outputs).to_plan()
    PlanBody.model_validate(plan)
    return plan


def test_sentence_of_the_typescript_client_reads_the_same() -> None:
    model = video_model("bytedance/seedance-1-pro", "replicate")
    plan = plan_of(generate_video(model=model, prompt="a kite", duration=5))
    assert plan == {
        "version": 1,
        "steps": [
            {
                "name": "video-1",
                "kind": "video",
                "model": "bytedance/seedance-1-pro",
                "provider": "replicate",
                "params": {"prompt": "a kite", "duration": 5},
            }
        ],
        "result": "video-1",
    }


def test_film_with_voice_and_captions_is_one_plan() -> None:
    clip = generate_video(
        prompt="the kite dances",
        image=generate_image(prompt="a red kite", aspect_ratio="9:16", name="picture"),
        duration=5,
    )
    voice = generate_audio(text="It never asks.", model="eleven_flash_v2_5", name="voice")
    film = merge(clip, {"media": voice, "offset": 0.5}, fit="extend")
    subs = captions(film, words=voice, style={"preset": "tiktok", "font_size": 90})
    plan = plan_of(subs, cover=poster(film, at=1), srt=subs.output("srt"))
    names = [step["name"] for step in plan["steps"]]
    assert names == ["picture", "video-1", "voice", "merge-1", "captions-1", "poster-1"]
    params = {step["name"]: step["params"] for step in plan["steps"]}
    assert params["video-1"]["image"] == {"step": "picture"}
    assert params["merge-1"] == {
        "items": [{"media": {"step": "video-1"}}, {"media": {"step": "voice"}, "offset": 0.5}],
        "fit": "extend",
    }
    assert params["captions-1"] == {
        "video": {"step": "merge-1"},
        "words": {"step": "voice", "output": "words"},
        "style": {"preset": "tiktok", "fontSize": 90},
    }
    assert plan["result"] == "captions-1"
    assert plan["outputs"] == {
        "cover": {"step": "poster-1"},
        "srt": {"step": "captions-1", "output": "srt"},
    }


def test_node_used_twice_is_one_step() -> None:
    voice = generate_audio(text="It never asks.")
    host = talking_head("https://example.com/host.png", voice)
    plan = plan_of(captions(merge(host, voice), words=voice, style="youtube"))
    assert [step["kind"] for step in plan["steps"]].count("audio") == 1
    assert len(plan["steps"]) == 4


def test_equal_nodes_are_two_steps() -> None:
    clips = [generate_video(prompt="a kite") for _ in range(2)]
    plan = plan_of(merge(clips, transition="fade"))
    assert [step["name"] for step in plan["steps"]] == ["video-1", "video-2", "merge-1"]
    assert plan["steps"][-1]["params"]["transition"] == {"type": "fade"}


def test_unused_steps_before_the_last_are_outputs() -> None:
    film, cover = generate_video(prompt="a kite"), generate_image(prompt="a cover", name="cover")
    plan = plan_of(cover, film)
    assert (plan["result"], plan["outputs"]) == ("video-1", {"cover": {"step": "cover"}})


def test_optional_item_is_left_out_when_its_step_fails() -> None:
    extra = generate_video(prompt="a kite", on_failure="continue")
    plan = plan_of(merge(generate_video(prompt="the sea"), optional(extra)))
    items = plan["steps"][-1]["params"]["items"]
    assert items[1] == {"media": {"step": "video-2", "optional": True}}
    assert plan["steps"][1]["onFailure"] == "continue"


def test_texts_are_addresses_only_where_files_are() -> None:
    address = "https://example.com/a.mp4"
    steps = plan_of(
        merge(address, {"url": address}),
        lip_sync(address, audio={"asset": "asset_" + "0" * 32}),
        remove_background(address, background="green"),
        transcribe(address, language="en"),
        layers({"media": address, "placement": "full"}),
        loudness(address, target=-14),
        reframe(address, aspect_ratio="9:16", focus={"x": 0.3}),
    )["steps"]
    file = {"url": address}
    assert steps[0]["params"]["items"] == [{"media": file}, {"media": file}]
    assert steps[1]["params"] == {"source": file, "audio": {"asset": "asset_" + "0" * 32}}
    assert steps[2]["params"] == {"source": file, "background": "green"}
    assert steps[3]["params"] == {"source": file, "language": "en"}


def test_camel_case_keywords_are_accepted() -> None:
    (step,) = plan_of(generate_image(prompt="a kite", aspectRatio="1:1"))["steps"]
    assert step["params"]["aspectRatio"] == "1:1"


def test_alternative_models_are_listed() -> None:
    (step,) = plan_of(generate_video(prompt="a kite", model=["first", "second"]))["steps"]
    assert step["models"] == ["first", "second"]
    assert "model" not in step


def test_needs_come_before_the_step_that_waits() -> None:
    first = generate_image(prompt="a kite")
    plan = plan_of(generate_video(prompt="a kite", needs=[first]))
    assert plan["steps"][1]["needs"] == ["image-1"]


def test_options_of_steps_are_those_of_the_plan() -> None:
    clip = generate_video(prompt="a kite", seed=1, reuse=True, deadline_seconds=600)
    first, second = plan_of(merge(clip, deadline_seconds=60))["steps"]
    assert (first["reuse"], first["deadlineSeconds"]) == (True, 600)
    assert second["deadlineSeconds"] == 60


def test_model_of_another_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="chosen for video"):
        generate_image(prompt="a kite", model=video_model("some/model"))


def test_two_steps_of_one_name_are_an_error() -> None:
    pictures = [generate_image(prompt="a kite", name="picture") for _ in range(2)]
    with pytest.raises(ValueError, match="picture"):
        compose(*pictures)


def test_generated_names_avoid_given_ones() -> None:
    pictures = [generate_image(prompt="a kite", name="image-1"), generate_image(prompt="a kite")]
    names = [step["name"] for step in plan_of(*pictures)["steps"]]
    assert names == ["image-1", "image-2"]


def test_every_kind_of_step_has_a_builder() -> None:
    assert PAID.keys() == set(StepKind)
    for kind, build in PAID.items():
        assert f'"{kind.value}",' in inspect.getsource(build)
    for kind in OPERATIONS:
        assert builder(kind).__doc__


@pytest.mark.parametrize("kind", OPERATIONS)
def test_builder_has_every_parameter_of_its_operation(kind: OperationKind) -> None:
    parameters = set(inspect.signature(builder(kind)).parameters) - {"options"}
    fields = OPERATIONS[kind].parameters.model_fields
    assert parameters == {field.alias or name for name, field in fields.items()} or parameters == {
        "copy" if name == "copy_streams" else name for name in fields
    }
