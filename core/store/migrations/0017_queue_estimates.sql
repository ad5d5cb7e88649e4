-- How long an order will wait is estimated when it is accepted, from what is waiting and from what
-- ended recently.

-- The moving average of the time from a start to an end. NULL: no execution has ended yet.
ALTER TABLE concurrency_counters ADD COLUMN recent_run_seconds float8;

-- The open jobs of each provider key, measured once a minute. No row: none, or not measured yet.
CREATE TABLE provider_queues (
    provider      text PRIMARY KEY,                 -- a scope, as in provider_states
    jobs          integer NOT NULL CHECK (jobs > 0),
    users         integer NOT NULL CHECK (users > 0),
    work_seconds  float8 NOT NULL,                  -- how long the jobs occupy a slot, added up
    slots         integer NOT NULL CHECK (slots > 0),
    measured_at   timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON provider_queues TO takeone_app;
GRANT SELECT, INSERT, DELETE ON provider_queues TO takeone_system;

-- For how long the last jobs took.
CREATE INDEX jobs_completed ON jobs (ended_at) WHERE state = 'completed';
