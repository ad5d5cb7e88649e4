"""How the end of a prediction is read, without a server."""

import base64

import pytest

from core.domain.failures import FailureCode
from core.domain.media.content import MediaKind
from core.domain.states import JobState
from core.providers.models import OutputField
from core.providers.vendors.cog.wire import read_report
from tests.cog.model.painter import png

FIELDS = (OutputField(path="output", kind=MediaKind.IMAGE),)


def inline(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


PICTURE = inline(png(b"red"))
URL = "https://files.example/picture.png"


@pytest.mark.parametrize("output", [PICTURE, [PICTURE, PICTURE], URL])
def test_files_of_the_models_kind_complete_a_run(output: object) -> None:
    report = read_report({"status": "succeeded", "output": output}, FIELDS)
    assert report.state is JobState.COMPLETED
    assert [file.url for file in report.outputs] == (
        output if isinstance(output, list) else [output]
    )


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (None, FailureCode.PROVIDER_EMPTY_OUTPUT),
        ([], FailureCode.PROVIDER_EMPTY_OUTPUT),
        ("a poem", FailureCode.PROVIDER_EMPTY_OUTPUT),
        ({"picture": PICTURE}, FailureCode.PROVIDER_EMPTY_OUTPUT),
        (inline(b"a poem", "text/plain"), FailureCode.OUTPUT_INVALID),
        ([PICTURE, inline(b"")], FailureCode.OUTPUT_INVALID),
        ("data:image/png,raw", FailureCode.OUTPUT_INVALID),
        ("data:image/png;base64,====", FailureCode.OUTPUT_INVALID),
    ],
)
def test_run_without_a_usable_file_fails_at_no_cost(output: object, code: FailureCode) -> None:
    report = read_report({"status": "succeeded", "output": output}, FIELDS)
    assert (report.state, report.charged) == (JobState.FAILED, False)
    assert report.failure is not None
    assert report.failure.code is code


def test_file_at_another_path_is_found() -> None:
    fields = (OutputField(path="output.picture", kind=MediaKind.IMAGE),)
    report = read_report({"status": "succeeded", "output": {"picture": PICTURE}}, fields)
    assert [file.url for file in report.outputs] == [PICTURE]
