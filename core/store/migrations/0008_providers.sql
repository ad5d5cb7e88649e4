-- What a provider lets us do now, learned from its answers; and who waits for room there. Shared by every process.

CREATE TABLE provider_states (
    provider       text PRIMARY KEY,
    -- The breaker; tripped_at NULL: closed.
    tripped_at     timestamptz,
    tripped_code   text,                                          -- the failure code of the answer that tripped it
    tripped_status integer,
    trips          integer NOT NULL DEFAULT 0 CHECK (trips >= 0), -- in a row; each makes the pause longer
    probe_at       timestamptz,                                   -- from then on one send may try
    probe_job_id   text,                                          -- the job whose send tries now
    admitted_at    timestamptz,                                   -- when a request was last accepted so that it may try
    -- What its 429s have taught.
    max_in_flight  integer CHECK (max_in_flight > 0),             -- NULL: as many as the setting says
    lowered_at     timestamptz,
    quiet_until    timestamptz,                                   -- what the last Retry-After asked for
    CHECK ((tripped_at IS NULL) = (probe_at IS NULL))
);

-- Jobs whose submit waits for room at its provider. Only an order of service: lost in a crash, nothing is missing.
CREATE UNLOGGED TABLE room_waits (
    job_id      text PRIMARY KEY,
    provider    text NOT NULL,
    user_id     text NOT NULL,
    continuing  boolean NOT NULL,                                  -- it stands on a step that is paid
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON room_waits (provider, seen_at);

CREATE INDEX jobs_in_flight ON jobs (provider, user_id) WHERE state IN ('submitting', 'unknown', 'submitted');

ALTER TABLE room_waits ENABLE ROW LEVEL SECURITY;
ALTER TABLE room_waits FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON room_waits TO takeone_app USING (user_id = current_setting('takeone.user_id', true));
CREATE POLICY all_rows ON room_waits TO takeone_system USING (true);

GRANT SELECT ON provider_states, room_waits TO takeone_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_states, room_waits TO takeone_system;
