-- Providers: the keys that users bring, and what every process must know about each provider.

-- Users' own provider keys. Each new key is a new row: jobs that were bought with an older key are
-- polled, cancelled and billed with that key. The key itself is in the table secrets.
CREATE TABLE provider_keys (
    provider_key_id  text PRIMARY KEY,
    user_id          text NOT NULL REFERENCES users,
    provider         text NOT NULL,
    version          integer NOT NULL CHECK (version > 0),   -- 1, 2, … for each user and provider
    hint             text NOT NULL,                          -- the last four characters of the key
    created_at       timestamptz NOT NULL DEFAULT now(),
    tested_at        timestamptz,
    test_outcome     text CHECK (test_outcome IN ('accepted', 'refused', 'unreachable')),
    replaced_at      timestamptz,                            -- a newer key exists
    deleted_at       timestamptz,                            -- the user removed its key
    erased_at        timestamptz,                            -- no job needed the key; it has no secret
    UNIQUE (user_id, provider, version),
    -- The target of the foreign key of jobs.
    UNIQUE (provider_key_id, user_id, provider),
    CHECK ((tested_at IS NULL) = (test_outcome IS NULL)),
    CHECK (erased_at IS NULL OR replaced_at IS NOT NULL OR deleted_at IS NOT NULL)
);
CREATE UNIQUE INDEX provider_keys_current ON provider_keys (user_id, provider)
    WHERE replaced_at IS NULL AND deleted_at IS NULL;
CREATE INDEX provider_keys_to_erase ON provider_keys (provider_key_id)
    WHERE erased_at IS NULL AND (replaced_at IS NOT NULL OR deleted_at IS NOT NULL);

-- The circuit breaker and the capacity of each provider, shared by all processes.
CREATE TABLE provider_states (
    provider           text PRIMARY KEY,
    -- Circuit breaker. tripped_at NULL: closed.
    tripped_at         timestamptz,
    tripped_code       text,                                          -- the failure code that tripped it
    tripped_status     integer,                                       -- the HTTP status of that response
    trips              integer NOT NULL DEFAULT 0 CHECK (trips >= 0), -- consecutive; each doubles the pause
    probe_at           timestamptz,                                   -- when the next probe is allowed
    probe_job_id       text,                                          -- the job whose send is the probe
    admitted_at        timestamptz,                                   -- when a request was last accepted as a probe
    quiet_until        timestamptz,                                   -- from the last Retry-After
    CHECK ((tripped_at IS NULL) = (probe_at IS NULL))
);

-- Jobs whose submit waits for capacity at its provider. Unlogged: the rows only decide the order.
CREATE UNLOGGED TABLE submit_queue (
    job_id      text PRIMARY KEY,
    provider    text NOT NULL,
    user_id     text NOT NULL,
    continuing  boolean NOT NULL,                     -- an earlier step of the execution is paid for
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON submit_queue (provider, seen_at);

CALL enable_row_security('provider_keys');
CALL enable_row_security('submit_queue');

GRANT SELECT, INSERT ON provider_keys TO takeone_app, takeone_system;
GRANT UPDATE (tested_at, test_outcome, replaced_at, deleted_at, erased_at)
    ON provider_keys TO takeone_app, takeone_system;
GRANT SELECT ON provider_states, submit_queue TO takeone_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_states, submit_queue TO takeone_system;
