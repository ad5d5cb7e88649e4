-- Approval steps: an execution waits until its user chooses one of the options or rejects them all.

-- The row of a job that has begun to wait. Its decision ends the job in the same transaction.
CREATE TABLE approvals (
    job_id        text PRIMARY KEY REFERENCES jobs,
    user_id       text NOT NULL REFERENCES users,
    execution_id  text NOT NULL REFERENCES executions,
    -- The steps to choose from, each with the job that has its files.
    options       jsonb NOT NULL,
    -- The steps that an approval starts, and their low and expected price together.
    rest          jsonb NOT NULL,
    opened_at     timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    decided_at    timestamptz,
    choice        text,                              -- NULL with decided_at: rejected
    noted_at      timestamptz,                       -- the workflow has continued
    CHECK (choice IS NULL OR decided_at IS NOT NULL)
);
CREATE INDEX ON approvals (execution_id);
-- Decisions that their workflows do not have yet.
CREATE INDEX approvals_not_noted ON approvals (decided_at)
    WHERE decided_at IS NOT NULL AND noted_at IS NULL;

CALL enable_row_security('approvals');
GRANT SELECT, INSERT, UPDATE ON approvals TO takeone_app, takeone_system;

-- A running execution that only waits for a decision has no slot.
ALTER TABLE executions
    ADD COLUMN paused_at timestamptz,                       -- NULL: it has its slot
    ADD COLUMN paused interval NOT NULL DEFAULT '0';        -- how long it had none before
-- Such executions are open, and neither running nor waiting for a slot.
ALTER TABLE concurrency_counters
    ADD COLUMN paused_executions bigint NOT NULL DEFAULT 0 CHECK (paused_executions >= 0);

-- Each approval of a generation has its event; the end has one.
ALTER TABLE webhooks DROP CONSTRAINT webhooks_execution_id_generation_type_key;
CREATE UNIQUE INDEX webhooks_one_per_end ON webhooks (execution_id, generation, type)
    WHERE type <> 'execution.waiting_for_approval';
