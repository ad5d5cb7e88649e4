-- Webhooks: the endpoints of a user, the events for them, and each delivery attempt.

CREATE TABLE endpoints (
    endpoint_id             text PRIMARY KEY,
    user_id                 text NOT NULL REFERENCES users,
    url                     text NOT NULL,
    description             text NOT NULL DEFAULT '',
    -- Receives account events, and the events of executions without a webhook URL.
    is_default              boolean NOT NULL DEFAULT false,
    failing_since           timestamptz,              -- NULL: the last attempt succeeded, or none was made
    last_success_at         timestamptz,              -- updated at most once a minute
    last_failure_at         timestamptz,
    disabled_at             timestamptz,
    disabled_reason         text CHECK (disabled_reason IN ('user', 'gone', 'failing')),
    created_at              timestamptz NOT NULL DEFAULT now(),
    deleted_at              timestamptz,
    -- The target of the foreign key of webhooks.
    UNIQUE (endpoint_id, user_id),
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
    CHECK (deleted_at IS NULL OR NOT is_default)
);
-- Hashed, because a URL can be longer than an index entry.
CREATE UNIQUE INDEX endpoints_one_per_url ON endpoints (user_id, md5(url)) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX endpoints_one_default ON endpoints (user_id) WHERE is_default;
CREATE INDEX endpoints_by_user ON endpoints (user_id, endpoint_id DESC) WHERE deleted_at IS NULL;

-- One event for one endpoint. The body is stored once and sent byte-identical in every attempt.
CREATE TABLE webhooks (
    event_id              text PRIMARY KEY,
    user_id               text NOT NULL REFERENCES users,
    endpoint_id           text NOT NULL,
    -- NULL for account events, which the user's default secret signs.
    execution_id          text REFERENCES executions,
    generation            integer,
    sequence              integer CHECK (sequence > 0),  -- 1, 2, … over all generations of an execution
    type                  text NOT NULL,
    url                   text NOT NULL,
    body                  bytea NOT NULL,
    state                 text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'delivered', 'failed')),
    failed_reason         text
        CHECK (failed_reason IN ('exhausted', 'gone', 'endpoint_disabled', 'endpoint_deleted',
                                 'stopped')),
    delivery              integer NOT NULL DEFAULT 1,    -- a resend is a new delivery
    deferred_until        timestamptz,                   -- the endpoint had no capacity for the attempt
    created_at            timestamptz NOT NULL DEFAULT now(),
    ended_at              timestamptz,
    UNIQUE (execution_id, generation, type),
    -- Foreign keys bypass row security; this one checks that the endpoint belongs to the user.
    FOREIGN KEY (endpoint_id, user_id) REFERENCES endpoints (endpoint_id, user_id),
    CHECK ((execution_id IS NULL) = (generation IS NULL)),
    CHECK ((execution_id IS NULL) = (sequence IS NULL)),
    CHECK (failed_reason IS NULL OR state = 'failed')
);
CREATE INDEX webhooks_pending ON webhooks (created_at) WHERE state = 'pending';
CREATE INDEX webhooks_undelivered ON webhooks (created_at) WHERE state <> 'delivered';
-- The delivery log, newest first.
CREATE INDEX webhooks_by_user ON webhooks (user_id, created_at DESC, event_id DESC);
CREATE INDEX webhooks_by_endpoint ON webhooks (endpoint_id, created_at DESC, event_id DESC);

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

CALL enable_row_security('endpoints');
CALL enable_row_security('webhooks');
CALL enable_row_security('webhook_attempts');

GRANT SELECT, INSERT, UPDATE ON endpoints, webhooks TO takeone_app, takeone_system;
GRANT SELECT, INSERT ON webhook_attempts TO takeone_app, takeone_system;
GRANT UPDATE ON webhook_attempts TO takeone_app;
