-- Jobs and their sends: the pay-once protocol in rows.

-- One purchase of a step. Buying a step again is a new job that supersedes the earlier one.
CREATE TABLE jobs (
    job_id           text PRIMARY KEY,
    execution_id     text NOT NULL,
    step_name        text NOT NULL,
    user_id          text NOT NULL REFERENCES users,
    generation       integer NOT NULL,
    provider         text NOT NULL,
    model            text NOT NULL,
    -- The key of the current send. NULL: the service's own key.
    provider_key_id  text,
    state            text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'submitting', 'unknown', 'submitted', 'completed', 'failed',
                         'cancelled')),
    -- An earlier send turned out to be accepted, so this purchase has no workflow that uses it.
    orphan           boolean NOT NULL DEFAULT false,
    supersedes       text REFERENCES jobs,
    send_number      integer NOT NULL DEFAULT 0,     -- the current send; 0: never sent
    provider_job_id  text,
    provider_urls    jsonb NOT NULL DEFAULT '{}',
    report           jsonb,                          -- the provider's final report
    failure          jsonb,
    deadline_at      timestamptz,                    -- set by the first send
    cancel_sent_at   timestamptz,                    -- a cancel request was sent to the provider
    callback_at      timestamptz,                    -- the last verified callback
    created_at       timestamptz NOT NULL DEFAULT now(),
    submitted_at     timestamptz,
    ended_at         timestamptz,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (execution_id, step_name) REFERENCES steps (execution_id, name),
    -- Foreign keys bypass row security; this one checks that the key belongs to the job's user.
    FOREIGN KEY (provider_key_id, user_id, provider)
        REFERENCES provider_keys (provider_key_id, user_id, provider),
    UNIQUE (provider, provider_job_id),
    CHECK (state <> 'submitted' OR provider_job_id IS NOT NULL)
);
CREATE INDEX ON jobs (execution_id);
CREATE INDEX jobs_unknown ON jobs (updated_at) WHERE state IN ('submitting', 'unknown');
CREATE INDEX jobs_in_flight ON jobs (provider, user_id)
    WHERE state IN ('submitting', 'unknown', 'submitted');
CREATE INDEX jobs_by_provider_key ON jobs (provider_key_id) WHERE provider_key_id IS NOT NULL;
-- At most one open purchase of a step at a time.
CREATE UNIQUE INDEX jobs_one_open_per_step ON jobs (execution_id, step_name)
    WHERE state IN ('waiting', 'submitting', 'unknown', 'submitted') AND NOT orphan;

-- Numbers every send of the database. A serial that a process has seen before proves that the
-- database was restored from an older backup.
CREATE SEQUENCE send_serials;

-- One HTTP create request. The row is committed before any byte leaves.
CREATE TABLE sends (
    job_id          text NOT NULL REFERENCES jobs,
    number          integer NOT NULL,
    user_id         text NOT NULL REFERENCES users,
    serial          bigint NOT NULL DEFAULT nextval('send_serials'),
    sender          text NOT NULL DEFAULT '',        -- the activity call that made the request
    provider_key_id text REFERENCES provider_keys,   -- NULL: the service's own key
    request         jsonb NOT NULL,                  -- the exact URL, headers (without the key) and body
    inputs          jsonb NOT NULL,                  -- the same in our terms; the cost is computed from them
    sent_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at     timestamptz,
    outcome         text CHECK (outcome IN ('accepted', 'not_accepted', 'unknown', 'found', 'absent')),
    status_code     integer,
    note            text,
    provider_job_id text,
    PRIMARY KEY (job_id, number)
);
CREATE UNIQUE INDEX ON sends (serial);
CREATE INDEX sends_by_provider_key ON sends (provider_key_id) WHERE provider_key_id IS NOT NULL;

-- Requests from a provider to us. A callback is a hint only: the result and the cost come from an
-- authenticated GET.
CREATE TABLE callbacks (
    provider         text NOT NULL,
    delivery_id      text NOT NULL,                  -- the same for each repetition of a callback
    job_id           text NOT NULL REFERENCES jobs,
    user_id          text NOT NULL REFERENCES users,
    send_number      integer NOT NULL,
    provider_job_id  text NOT NULL,
    adopted          boolean NOT NULL,               -- it supplied the id of a send with an unknown outcome
    received_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, delivery_id)
);
CREATE INDEX ON callbacks (job_id);

-- While a row exists, no paid send of its scope starts: 'all', 'provider/NAME' or 'user/usr_…'.
CREATE TABLE submit_pauses (
    scope       text PRIMARY KEY,
    reason      text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CALL enable_row_security('jobs');
CALL enable_row_security('sends');
CALL enable_row_security('callbacks');

GRANT SELECT, INSERT, UPDATE ON jobs, sends TO takeone_app, takeone_system;
GRANT SELECT, INSERT, UPDATE ON callbacks TO takeone_system;
GRANT SELECT ON submit_pauses TO takeone_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON submit_pauses TO takeone_system;
GRANT USAGE ON SEQUENCE send_serials TO takeone_app, takeone_system;
-- The recovery of a restored database raises the sequence above the restore marker.
GRANT SELECT, UPDATE ON SEQUENCE send_serials TO takeone_system;
