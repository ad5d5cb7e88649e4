"""A raised hold of a step whose price follows another step's file, after a restore."""

import io
import wave
from collections.abc import AsyncGenerator

import pytest

from core.domain.media.content import CONTENT_TYPES, MediaKind
from core.domain.messages.jobs import JobRef, SubmitOutcome
from core.domain.states import JobState
from core.store.money.reports.ledger_check import list_findings
from core.store.recovery.start_memo import StartMemo, get_accepted
from tests.activities.test_measured_inputs import (
    SECOND_NANO_USD,
    buy,
    ordered,
    sent_seconds,
)
from tests.maintenance.test_recovery import FakeHistories, recorded, recover, sent
from tests.support.activity_harness import ActivityHarness

pytestmark = [pytest.mark.usefixtures("no_restore_marker"), pytest.mark.guarantee("G3", "G4")]

SECONDS = 30


async def lengthen(harness: ActivityHarness, speech: JobRef) -> None:
    """Replace a speech by a longer one, before it is stored: in the bucket and in its row."""
    files, job = harness.assets.files, await harness.job(speech)
    for content_type in CONTENT_TYPES[MediaKind.AUDIO]:
        await files.objects.delete(files.object_key(job.job_id, 0, MediaKind.AUDIO, content_type))
    sound = io.BytesIO()
    with wave.open(sound, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(1)
        writer.setframerate(8000)
        writer.writeframes(bytes(8000 * SECONDS))

    async def chunks() -> AsyncGenerator[bytes]:
        yield sound.getvalue()

    asset, _ = await files.put(job, 0, MediaKind.AUDIO, chunks())
    assert asset.media is not None
    assert asset.media.duration_seconds == SECONDS
    await harness.as_owner(
        "UPDATE assets SET object_key = $2, size_bytes = $3, sha256 = $4, content_type = $5, "
        "media = jsonb_set(media, '{duration_seconds}', '30') WHERE job_id = $1",
        job.job_id,
        asset.object_key,
        asset.size_bytes,
        asset.sha256,
        asset.content_type,
    )


async def held(harness: ActivityHarness, ref: JobRef) -> int:
    async with harness.database.as_user(ref.user_id) as conn:
        return await conn.fetchval(
            "SELECT held_nano_usd FROM charges WHERE job_id = $1", ref.job_id
        )


async def test_raised_hold_is_held_again_after_a_restore(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await ordered(harness)
    async with harness.database.as_user(one.head.user_id) as conn:
        accepted = StartMemo(document=(await get_accepted(conn, one.head.execution_id)).document)
    await buy(harness, one)
    assert (await harness.run(harness.assets.store, one.speech)).failure is None
    await lengthen(harness, one.speech)
    lost = harness.sandbox.fault("drop_after_accept")
    assert (await harness.run(harness.jobs.submit, one.head)).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(lost) == 1
    assert await held(harness, one.head) == SECONDS * SECOND_NANO_USD > one.held_nano_usd
    jobs = {ref.job_id: await sent(harness, ref) for ref in (one.speech, one.head)}

    await harness.as_owner("CREATE TABLE uploads AS SELECT * FROM assets WHERE job_id IS NULL")
    await harness.as_owner(
        "TRUNCATE executions, execution_events, budgets, daily_spending, usage_money, usage_videos CASCADE"
    )
    await harness.as_owner("INSERT INTO assets SELECT * FROM uploads")  # older than the backup
    await recover(harness, monkeypatch, FakeHistories(recorded(accepted, jobs)))

    head = await harness.job(one.head)
    assert head.state is JobState.UNKNOWN, "its request is known"
    assert await held(harness, one.head) == SECONDS * SECOND_NANO_USD
    assert await sent_seconds(harness, one.head) == SECONDS
    async with harness.database.as_system() as conn:
        assert await list_findings(conn) == []
