"""Temporal payloads: sealed, opened with any configured key, and readable if unencrypted."""

import base64

import pytest
from temporalio.api.common.v1 import Payload

from core.platform.crypto.sealing import BrokenSealError, UnknownKeyError, key_id
from core.platform.settings.base import Settings
from core.platform.settings.load import load
from core.platform.settings.processes import ApiProcess, CodecProcess, WorkerProcess
from core.platform.temporal.payload_encryption import (
    ENCODING,
    KEY_ID,
    SealedPayloads,
    payload_codec,
    payload_converter,
)

pytestmark = pytest.mark.guarantee("G6")

OLD, NEW = b"o" * 32, b"n" * 32
TEXT = b'"a red kite over a grey harbour"'
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=TEXT)


def codec(*keys: bytes, encrypt: bool = True) -> SealedPayloads:
    return payload_codec(keys, encrypt=encrypt)


async def test_payload_is_sealed_and_opened_by_another_process() -> None:
    (sealed,) = await codec(NEW).encode([CLEAR])
    assert sealed.metadata == {"encoding": ENCODING, KEY_ID: key_id(NEW).encode()}
    assert b"json" not in sealed.SerializeToString()
    for form in (TEXT, TEXT.hex().encode(), base64.b64encode(TEXT)[:-4]):
        assert form not in sealed.SerializeToString()
    assert await codec(NEW).decode([sealed]) == [CLEAR]


async def test_unencrypted_payload_is_always_readable() -> None:
    for encrypt in (True, False):
        assert await codec(NEW, encrypt=encrypt).decode([CLEAR]) == [CLEAR]


async def test_disabled_encryption_writes_plain_and_reads_sealed_payloads() -> None:
    off = codec(NEW, encrypt=False)
    assert await off.encode([CLEAR]) == [CLEAR]
    assert await off.decode(await codec(NEW).encode([CLEAR])) == [CLEAR]


async def test_rotated_codec_opens_old_and_seals_with_newest_key() -> None:
    (before,) = await codec(OLD).encode([CLEAR])
    rotated = codec(NEW, OLD)
    assert await rotated.decode([before]) == [CLEAR]
    (after,) = await rotated.encode([CLEAR])
    assert await codec(NEW).decode([after]) == [CLEAR]
    with pytest.raises(UnknownKeyError, match=key_id(NEW)):
        await codec(OLD).decode([after])


async def test_missing_key_fails_a_worker_but_not_the_viewer() -> None:
    (sealed,) = await codec(NEW).encode([CLEAR])
    stranger = codec(OLD)
    with pytest.raises(UnknownKeyError) as refused:
        await stranger.decode([sealed])
    assert TEXT.decode() not in str(refused.value)
    assert stranger.readable(sealed) == sealed


@pytest.mark.parametrize("change", ["salt", "nonce", "text", "tag", "cut", "empty", "key id"])
async def test_modified_payload_is_rejected(change: str) -> None:
    (sealed,) = await codec(NEW, OLD).encode([CLEAR])
    at = {"salt": 0, "nonce": 20, "text": 40, "tag": len(sealed.data) - 1}
    data = bytearray(sealed.data)
    if change in at:
        data[at[change]] ^= 1
    elif change == "cut":
        data = data[:-1]
    elif change == "empty":
        data = data[:10]
    else:
        sealed.metadata[KEY_ID] = key_id(OLD).encode()
    sealed.data = bytes(data)
    with pytest.raises(BrokenSealError):
        await codec(NEW, OLD).decode([sealed])


async def test_equal_payloads_have_different_ciphertexts() -> None:
    one, other = codec(NEW), codec(NEW)
    seen = {payload.data for each in (one, one, other) for payload in await each.encode([CLEAR])}
    assert len(seen) == 3
    assert len({data[:16] for data in seen}) == 2, "each process has a salt of its own"


async def test_payload_of_another_codec_is_not_changed() -> None:
    theirs = Payload(metadata={"encoding": ENCODING}, data=b"by another codec")
    assert await codec(NEW).decode([theirs]) == [theirs]


def set_all(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    variables = {
        "DATABASE_URL": "postgresql://app:pass@localhost/takeone",
        "S3_BUCKET": "takeone",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "aws-secret-value",
        "FAL_KEY": "fal-secret-value",
        "ENCRYPTION_KEYS": base64.b64encode(NEW).decode(),
        **more,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("process", [ApiProcess, WorkerProcess])
@pytest.mark.parametrize("setting", ["true", "false"])
async def test_setting_enables_encryption_of_payloads(
    process: type[ApiProcess | WorkerProcess], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, TEMPORAL_ENCRYPT_PAYLOADS=setting)
    (payload,) = await payload_converter(load(process)).encode(["a prompt"])
    assert (b"a prompt" in payload.data) == (setting == "false")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"CODEC_HOST": "0.0.0.0"}, "CODEC_TOKEN"),
        ({"CODEC_HOST": "codec.example.com"}, "CODEC_TOKEN"),
        ({"CODEC_TOKEN": "too short"}, "CODEC_TOKEN"),
        ({"CODEC_ORIGINS": "*"}, "CODEC_ORIGINS"),
        ({"CODEC_ORIGINS": "https://ui.example.com/path"}, "CODEC_ORIGINS"),
    ],
)
def test_insecure_codec_settings_are_rejected(
    variables: dict[str, str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_all(monkeypatch, **variables)
    assert refusal(CodecProcess, capsys).startswith(f"{named}: ")


def test_codec_settings_on_loopback_require_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, CODEC_ORIGINS="https://UI.example.com/, http://localhost:8233")
    settings = load(CodecProcess)
    assert (settings.codec_token, settings.origins()) == (
        None,
        ["https://ui.example.com", "http://localhost:8233"],
    )


def refusal(settings: type[Settings], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        load(settings)
    assert stopped.value.code == 2
    return capsys.readouterr().err
