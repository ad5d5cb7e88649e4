-- Executions: one row for each request, with the steps of its plan.

CREATE TABLE executions (
    execution_id           text PRIMARY KEY,
    user_id                text NOT NULL REFERENCES users,
    type                   text NOT NULL,
    status                 text NOT NULL
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    -- A retry is a new generation of the same execution.
    generation             integer NOT NULL DEFAULT 1,
    plan                   jsonb NOT NULL,
    request                jsonb NOT NULL,
    metadata               jsonb NOT NULL DEFAULT '{}',
    -- The last reported value; it stays when the execution ends.
    progress               integer NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    result                 jsonb,
    error                  jsonb,
    estimated_nano_usd     bigint NOT NULL,
    -- The user's limit for the cost of all generations together. NULL: no limit.
    max_cost_nano_usd      bigint CHECK (max_cost_nano_usd >= 0),
    -- The month in which the video of the current generation counts.
    budget_month           date DEFAULT date_trunc('month', now() AT TIME ZONE 'UTC')::date,
    webhook_url            text,
    cancel_requested_at    timestamptz,
    cancel_reason          text,
    deadline_at            timestamptz NOT NULL,
    created_at             timestamptz NOT NULL DEFAULT now(),
    queued_at              timestamptz NOT NULL DEFAULT now(),
    started_at             timestamptz,
    ended_at               timestamptz,
    updated_at             timestamptz NOT NULL DEFAULT now(),
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (ended_at IS NOT NULL))
);
CREATE INDEX ON executions (user_id, execution_id DESC);
CREATE INDEX ON executions (user_id, budget_month);
CREATE INDEX executions_open ON executions (queued_at) WHERE status IN ('queued', 'running');
-- The queue of a user, oldest first.
CREATE INDEX executions_queued ON executions (user_id, queued_at, execution_id)
    WHERE status = 'queued';
-- For the report of money that was spent without a result.
CREATE INDEX executions_failed_or_cancelled ON executions (ended_at)
    WHERE status IN ('failed', 'cancelled');

CREATE TABLE steps (
    execution_id     text NOT NULL REFERENCES executions,
    name             text NOT NULL,
    user_id          text NOT NULL REFERENCES users,
    position         integer NOT NULL,
    kind             text NOT NULL,
    provider         text NOT NULL,
    model            text NOT NULL,
    parameters       jsonb NOT NULL,
    usual_seconds    integer NOT NULL CHECK (usual_seconds > 0),
    deadline_seconds integer NOT NULL CHECK (deadline_seconds > 0),
    PRIMARY KEY (execution_id, name)
);

-- How many executions of a user are open (queued or running), and how many are running.
CREATE TABLE concurrency_counters (
    user_id             text PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    open_executions     bigint NOT NULL DEFAULT 0 CHECK (open_executions >= 0),
    running_executions  bigint NOT NULL DEFAULT 0 CHECK (running_executions >= 0)
);

-- The response to a request with an Idempotency-Key, inserted in the same transaction as the
-- execution. The row has no execution id: the response contains it.
CREATE TABLE idempotency_keys (
    user_id        text NOT NULL REFERENCES users,
    key            text NOT NULL,
    request_sha256 bytea NOT NULL,
    response       bytea NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);
-- To find the key of an execution: both have the same created_at.
CREATE INDEX ON idempotency_keys (user_id, created_at);
-- To delete expired keys, oldest first.
CREATE INDEX ON idempotency_keys (created_at);

CALL enable_row_security('executions');
CALL enable_row_security('steps');
CALL enable_row_security('concurrency_counters');
CALL enable_row_security('idempotency_keys');

GRANT SELECT, INSERT, UPDATE ON executions, concurrency_counters TO takeone_app, takeone_system;
GRANT SELECT, INSERT ON steps TO takeone_app, takeone_system;
GRANT SELECT, INSERT ON idempotency_keys TO takeone_app;
-- A key that is used again after its 30 days replaces the old response.
GRANT UPDATE (request_sha256, response, created_at) ON idempotency_keys TO takeone_app;
GRANT SELECT, INSERT, DELETE ON idempotency_keys TO takeone_system;
