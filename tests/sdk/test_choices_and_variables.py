"""Approvals, candidates and variables in compositions, and the server's view of them."""

from typing import Any

import pytest

from api.orders.plans import PlanBody
from api.orders.variables.substitution import fill_plan
from takeone import (
    Node,
    approval,
    captions,
    compose,
    fill,
    generate_audio,
    generate_image,
    generate_video,
    merge,
    variable,
)


def plan_of(*nodes: Node, **values: object) -> dict[str, Any]:
    """Return a plan that the server can read with these values."""
    plan = compose(*nodes).to_plan()
    filled = fill_plan(plan, values)
    assert filled.faults == ()
    PlanBody.model_validate(filled.plan)
    return plan


def test_chosen_draft_becomes_the_first_frame() -> None:
    drafts = generate_image(prompt="a kite", count=3, on_failure="continue")
    choose = approval(drafts, expires_after_seconds=600, name="choose")
    plan = plan_of(generate_video(prompt="it flies", image=choose))
    draft, decision, clip = plan["steps"]
    assert draft["count"] == 3
    assert decision == {
        "name": "choose",
        "kind": "approval",
        "params": {"options": [{"step": "image-1"}], "expiresAfterSeconds": 600},
    }
    assert clip["params"]["image"] == {"step": "choose"}


def test_approval_of_different_steps_names_each() -> None:
    clips = [generate_video(prompt=prompt) for prompt in ("a kite", "a boat")]
    (*_, decision) = plan_of(approval(*clips))["steps"]
    assert decision["params"] == {"options": [{"step": "video-1"}, {"step": "video-2"}]}


def test_approval_without_options_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        approval()


def test_candidate_is_used_by_its_number() -> None:
    drafts = generate_image(prompt="a kite", count=2, name="draft")
    plan = plan_of(generate_video(prompt="it flies", image=drafts.candidate(2)))
    assert plan["steps"][-1]["params"]["image"] == {"step": "draft-2"}
    with pytest.raises(ValueError, match="no candidate 3"):
        drafts.candidate(3)


def test_generated_names_avoid_those_of_candidates() -> None:
    drafts = generate_image(prompt="a kite", count=2, name="image")
    plan = plan_of(approval(drafts), generate_image(prompt="a boat"))
    assert [step["name"] for step in plan["steps"]] == ["image", "approval-1", "image-3"]


def test_variables_are_declared_where_they_are_used() -> None:
    subject = variable("subject", max_length=60, description="What the film shows")
    seconds = variable("seconds", "integer", choices=[5, 10], default=5)
    clip = generate_video(prompt=fill("{{subject}} at dusk", subject), duration=seconds)
    music = variable("music", "audio", default="https://example.com/calm.mp3")
    voice = generate_audio(text=subject)
    film = merge(clip, voice, {"media": music, "loop": True}, fade_in=variable("fade", "number"))
    plan = plan_of(captions(film, words=voice), subject="a kite", fade=0.5)
    assert plan["variables"] == {
        "subject": {"type": "text", "maxLength": 60, "description": "What the film shows"},
        "seconds": {"type": "integer", "choices": [5, 10], "default": 5},
        "music": {"type": "audio", "default": {"url": "https://example.com/calm.mp3"}},
        "fade": {"type": "number"},
    }
    params = {step["name"]: step["params"] for step in plan["steps"]}
    assert params["video-1"] == {
        "prompt": {"fill": "{{subject}} at dusk"},
        "duration": {"var": "seconds"},
    }
    assert params["merge-1"]["items"][-1] == {"media": {"var": "music"}, "loop": True}
    assert params["merge-1"]["fadeIn"] == {"var": "fade"}


def test_variable_alone_is_a_file_of_a_list() -> None:
    plan = plan_of(
        merge(variable("clip", "video"), variable("music", "audio")),
        clip={"url": "https://example.com/a.mp4"},
        music={"url": "https://example.com/a.mp3"},
    )
    assert plan["steps"][0]["params"]["items"] == [
        {"media": {"var": "clip"}},
        {"media": {"var": "music"}},
    ]


@pytest.mark.parametrize("text", ["a kite", "{{subject}} and {{other}}"])
def test_fill_needs_the_variables_of_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="must be the same"):
        fill(text, variable("subject"))


def test_variable_of_two_declarations_is_an_error() -> None:
    first = generate_image(prompt=variable("subject", max_length=9))
    second = generate_image(prompt=variable("subject"))
    with pytest.raises(ValueError, match="declared twice"):
        compose(first, second)


@pytest.mark.parametrize("name", ["Subject", "two_words", "a" * 41])
def test_variable_needs_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        variable(name)
