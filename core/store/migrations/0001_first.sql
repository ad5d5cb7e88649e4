-- The first migration: every noun of the product, and the three roles.
--
-- owner: runs migrations, owns everything, is used by no process that serves.
-- takeone_app: what a request of a user runs as; row-level security by takeone.user_id, set for each transaction.
-- takeone_system: authentication, callbacks, the sweep; sees all users, through policies of its own.
-- Roles belong to the whole cluster, so another database may have made them already.

DO $$
BEGIN
    CREATE ROLE takeone_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$
BEGIN
    CREATE ROLE takeone_system NOLOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

CREATE TABLE users (
    user_id                 text PRIMARY KEY,
    name                    text NOT NULL,
    webhook_secret_sealed   bytea NOT NULL,
    monthly_videos_limit    bigint CHECK (monthly_videos_limit >= 0),       -- NULL: no limit
    monthly_nano_usd_limit  bigint CHECK (monthly_nano_usd_limit >= 0),     -- NULL: no limit
    created_at              timestamptz NOT NULL DEFAULT now(),
    disabled_at             timestamptz
);

CREATE TABLE api_keys (
    key_id        text PRIMARY KEY,
    user_id       text NOT NULL REFERENCES users,
    name          text NOT NULL,
    prefix        text NOT NULL UNIQUE,          -- the public part of the key, what a request is looked up by
    secret_sha256 bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz
);
CREATE INDEX ON api_keys (user_id);

CREATE TABLE executions (
    execution_id           text PRIMARY KEY,
    user_id                text NOT NULL REFERENCES users,
    type                   text NOT NULL,
    status                 text NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    generation             integer NOT NULL DEFAULT 1,
    plan                   jsonb NOT NULL,
    request                jsonb NOT NULL,
    metadata               jsonb NOT NULL DEFAULT '{}',
    progress               integer NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),   -- frozen when it ends
    result                 jsonb,
    error                  jsonb,
    estimated_nano_usd     bigint NOT NULL,
    webhook_url            text,
    webhook_secret_sealed  bytea,                -- NULL: the user's default secret signs
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
CREATE INDEX executions_open ON executions (queued_at) WHERE status IN ('queued', 'running');

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

-- One purchase of a step. Buying a step again is a new job that names the one it supersedes.
CREATE TABLE jobs (
    job_id              text PRIMARY KEY,
    execution_id        text NOT NULL,
    step_name           text NOT NULL,
    user_id             text NOT NULL REFERENCES users,
    generation          integer NOT NULL,
    provider            text NOT NULL,
    model               text NOT NULL,
    state               text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'submitting', 'unknown', 'submitted', 'completed', 'failed', 'cancelled')),
    supersedes          text REFERENCES jobs,
    send_number         integer NOT NULL DEFAULT 0,      -- the current send; 0: never sent
    provider_job_id     text,
    provider_urls       jsonb NOT NULL DEFAULT '{}',
    report              jsonb,                           -- what the provider said at its end
    failure             jsonb,
    deadline_at         timestamptz,                     -- set by the first send
    cancel_sent_at      timestamptz,                     -- the provider was asked to end it
    callback_at         timestamptz,                     -- the last verified callback
    created_at          timestamptz NOT NULL DEFAULT now(),
    submitted_at        timestamptz,
    ended_at            timestamptz,
    updated_at          timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (execution_id, step_name) REFERENCES steps (execution_id, name),
    UNIQUE (provider, provider_job_id),
    CHECK (state <> 'submitted' OR provider_job_id IS NOT NULL)
);
CREATE INDEX ON jobs (execution_id);
CREATE INDEX jobs_unknown ON jobs (updated_at) WHERE state IN ('submitting', 'unknown');
-- At most one job of a step can be bought at a time.
CREATE UNIQUE INDEX jobs_one_open_per_step ON jobs (execution_id, step_name)
    WHERE state IN ('waiting', 'submitting', 'unknown', 'submitted');

-- One HTTP create request. Committed before any byte leaves.
CREATE TABLE sends (
    job_id          text NOT NULL REFERENCES jobs,
    number          integer NOT NULL,
    user_id         text NOT NULL REFERENCES users,
    request         jsonb NOT NULL,                  -- the exact URL, headers (without the key) and body
    inputs          jsonb NOT NULL,                  -- the same in our words; what the cost is computed from
    sent_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at     timestamptz,
    outcome         text CHECK (outcome IN ('accepted', 'not_accepted', 'unknown', 'found', 'absent')),
    status_code     integer,
    note            text,
    provider_job_id text,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE charges (
    charge_id         text PRIMARY KEY,
    job_id            text NOT NULL UNIQUE REFERENCES jobs,
    execution_id      text NOT NULL REFERENCES executions,
    user_id           text NOT NULL REFERENCES users,
    provider          text NOT NULL,
    model             text NOT NULL,
    state             text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'settled', 'released')),
    basis             text CHECK (basis IN ('reported', 'computed', 'assumed')),
    held_nano_usd     bigint NOT NULL CHECK (held_nano_usd >= 0),
    settled_nano_usd  bigint NOT NULL DEFAULT 0 CHECK (settled_nano_usd >= 0),
    budget_month      date NOT NULL,                 -- the month of the hold
    created_at        timestamptz NOT NULL DEFAULT now(),
    ended_at          timestamptz,
    CHECK ((state = 'held') = (ended_at IS NULL)),
    CHECK (state <> 'settled' OR basis IS NOT NULL)
);
CREATE INDEX ON charges (execution_id);
CREATE INDEX charges_open ON charges (job_id) WHERE state = 'held';

-- The truth about money: only ever added to.
--   held balance    = held - settled - released
--   settled balance = settled + overage + adjustment + orphan
CREATE TABLE ledger_entries (
    operation_id     text PRIMARY KEY,               -- what was done, once: held/chg_…, settled/chg_…
    kind             text NOT NULL
        CHECK (kind IN ('held', 'settled', 'released', 'overage', 'adjustment', 'orphan')),
    user_id          text NOT NULL REFERENCES users,
    execution_id     text NOT NULL REFERENCES executions,
    job_id           text NOT NULL REFERENCES jobs,
    charge_id        text NOT NULL REFERENCES charges,
    budget_month     date NOT NULL,
    amount_nano_usd  bigint NOT NULL CHECK (kind = 'adjustment' OR amount_nano_usd >= 0),
    at               timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON ledger_entries (user_id, budget_month);

-- Checked counters. A real cost above the hold always commits; the CHECK only forbids negatives.
CREATE TABLE budgets (
    user_id            text NOT NULL REFERENCES users,
    budget_month       date NOT NULL,
    held_nano_usd      bigint NOT NULL DEFAULT 0 CHECK (held_nano_usd >= 0),
    settled_nano_usd   bigint NOT NULL DEFAULT 0 CHECK (settled_nano_usd >= 0),
    held_videos        bigint NOT NULL DEFAULT 0 CHECK (held_videos >= 0),
    settled_videos     bigint NOT NULL DEFAULT 0 CHECK (settled_videos >= 0),
    PRIMARY KEY (user_id, budget_month)
);

-- A provider calling us. A hint only: the result and the cost come from an authenticated GET.
CREATE TABLE callbacks (
    provider         text NOT NULL,
    delivery_id      text NOT NULL,                  -- repeats of one callback carry the same
    job_id           text NOT NULL REFERENCES jobs,
    user_id          text NOT NULL REFERENCES users,
    send_number      integer NOT NULL,
    provider_job_id  text NOT NULL,
    adopted          boolean NOT NULL,               -- it told us the id of a send whose answer was not known
    received_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, delivery_id)
);
CREATE INDEX ON callbacks (job_id);

CREATE TABLE assets (
    asset_id      text PRIMARY KEY,
    job_id        text NOT NULL REFERENCES jobs,
    output_number integer NOT NULL,
    execution_id  text NOT NULL REFERENCES executions,
    user_id       text NOT NULL REFERENCES users,
    kind          text NOT NULL,
    object_key    text NOT NULL UNIQUE,
    size_bytes    bigint NOT NULL CHECK (size_bytes > 0),
    sha256        text NOT NULL,
    content_type  text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (job_id, output_number)
);
CREATE INDEX ON assets (execution_id);

-- One event to a user's address. The body is stored once and sent byte-identical on every try.
CREATE TABLE webhooks (
    event_id              text PRIMARY KEY,
    execution_id          text NOT NULL REFERENCES executions,
    generation            integer NOT NULL,
    user_id               text NOT NULL REFERENCES users,
    type                  text NOT NULL,
    url                   text NOT NULL,
    webhook_secret_sealed bytea,                     -- NULL: the user's default secret signs
    body                  bytea NOT NULL,
    state                 text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    delivery              integer NOT NULL DEFAULT 1,
    created_at            timestamptz NOT NULL DEFAULT now(),
    ended_at              timestamptz,
    UNIQUE (execution_id, generation, type)
);
CREATE INDEX webhooks_pending ON webhooks (created_at) WHERE state = 'pending';

CREATE TABLE webhook_attempts (
    event_id         text NOT NULL REFERENCES webhooks,
    delivery         integer NOT NULL,
    number           integer NOT NULL,
    user_id          text NOT NULL REFERENCES users,
    started_at       timestamptz NOT NULL DEFAULT now(),
    duration_ms      integer,
    status_code      integer,
    error            text,
    response_excerpt text,
    PRIMARY KEY (event_id, delivery, number)
);

CREATE TABLE idempotency_keys (
    user_id        text NOT NULL REFERENCES users,
    key            text NOT NULL,
    request_sha256 bytea NOT NULL,
    answer         bytea NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);

-- Every table of a user's is walled off by row, for the owner of the table too.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'users', 'executions', 'steps', 'jobs', 'sends', 'charges', 'ledger_entries', 'budgets', 'callbacks',
        'assets', 'webhooks', 'webhook_attempts', 'idempotency_keys'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_rows ON %I TO takeone_app USING (user_id = current_setting(''takeone.user_id'', true))', name);
        EXECUTE format('CREATE POLICY all_rows ON %I TO takeone_system USING (true)', name);
    END LOOP;
    ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
    ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_rows ON api_keys TO takeone_system USING (true);
END $$;

GRANT SELECT ON users TO takeone_app;
GRANT SELECT, INSERT, UPDATE ON executions, jobs, sends, charges, budgets, webhooks TO takeone_app;
GRANT SELECT, INSERT ON steps, ledger_entries, assets, webhook_attempts, idempotency_keys TO takeone_app;
GRANT UPDATE ON webhook_attempts TO takeone_app;

GRANT SELECT, INSERT, UPDATE ON users, api_keys, executions, jobs, sends, charges, budgets, callbacks, webhooks
    TO takeone_system;
GRANT SELECT, INSERT ON steps, ledger_entries, assets, webhook_attempts TO takeone_system;
GRANT SELECT, DELETE ON idempotency_keys TO takeone_system;
