-- The webhook desk: where a user's webhooks go and how these addresses fare, secrets that are being replaced, and the
-- order of an execution's events.

CREATE TABLE endpoints (
    endpoint_id             text PRIMARY KEY,
    user_id                 text NOT NULL REFERENCES users,
    url                     text NOT NULL,
    description             text NOT NULL DEFAULT '',
    is_default              boolean NOT NULL DEFAULT false,   -- hears of the account, and of requests without an address
    secret_sealed           bytea,                            -- NULL: the user's default secret signs
    previous_secret_sealed  bytea,                            -- signs beside it until then
    previous_secret_until   timestamptz,
    failing_since           timestamptz,                      -- NULL: the last try was taken, or there was none
    last_success_at         timestamptz,                      -- to the minute
    last_failure_at         timestamptz,
    disabled_at             timestamptz,
    disabled_reason         text CHECK (disabled_reason IN ('user', 'gone', 'failing')),
    created_at              timestamptz NOT NULL DEFAULT now(),
    deleted_at              timestamptz,
    UNIQUE (endpoint_id, user_id),
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
    CHECK ((previous_secret_sealed IS NULL) = (previous_secret_until IS NULL)),
    CHECK (deleted_at IS NULL OR NOT is_default)
);
-- By its hash: an address may be longer than an entry of an index.
CREATE UNIQUE INDEX endpoints_one_per_url ON endpoints (user_id, md5(url)) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX endpoints_one_default ON endpoints (user_id) WHERE is_default;
CREATE INDEX endpoints_listed ON endpoints (user_id, endpoint_id DESC) WHERE deleted_at IS NULL;
-- Those that have secrets of their own, for the command that seals them anew.
CREATE INDEX endpoints_with_secret ON endpoints (endpoint_id)
    WHERE secret_sealed IS NOT NULL OR previous_secret_sealed IS NOT NULL;

-- The default secret that signs beside the new one until then.
ALTER TABLE users
    ADD COLUMN previous_webhook_secret_sealed bytea,
    ADD COLUMN previous_webhook_secret_until timestamptz,
    ADD CHECK ((previous_webhook_secret_sealed IS NULL) = (previous_webhook_secret_until IS NULL));

ALTER TABLE webhooks
    ADD COLUMN endpoint_id text,
    ADD COLUMN sequence integer CHECK (sequence > 0),    -- of an execution's events: 1, 2, … over its generations
    ADD COLUMN failed_reason text
        CHECK (failed_reason IN ('exhausted', 'gone', 'endpoint_disabled', 'endpoint_deleted', 'stopped')),
    ADD COLUMN put_back_until timestamptz;               -- its endpoint had no room for the next try until about then

-- What there is already. The owner sees no rows through forced row-level security.
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;
ALTER TABLE webhooks NO FORCE ROW LEVEL SECURITY;
INSERT INTO endpoints (endpoint_id, user_id, url, is_default, created_at)
SELECT 'end_' || lpad(to_hex((extract(epoch FROM f.since) * 1000)::bigint), 12, '0')
              || '7' || substr(h.hash, 1, 3) || '8' || substr(h.hash, 4, 15),
       f.user_id, f.url, f.is_default, f.since
FROM (
    SELECT known.user_id, known.url, min(known.at) AS since, bool_or(known.of_account) AS is_default
    FROM (
        SELECT w.user_id, w.url, w.created_at AS at, false AS of_account FROM webhooks AS w
        UNION ALL
        SELECT u.user_id, u.webhook_url, u.created_at, true FROM users AS u WHERE u.webhook_url IS NOT NULL
    ) AS known
    GROUP BY known.user_id, known.url
) AS f
CROSS JOIN LATERAL (SELECT md5(f.user_id || ' ' || f.url) AS hash) AS h;
UPDATE webhooks AS w
SET endpoint_id = e.endpoint_id
FROM endpoints AS e
WHERE e.user_id = w.user_id AND md5(e.url) = md5(w.url) AND e.url = w.url;
UPDATE webhooks AS w
SET sequence = numbered.number
FROM (
    SELECT event_id, row_number() OVER (PARTITION BY execution_id ORDER BY generation, created_at, event_id) AS number
    FROM webhooks WHERE execution_id IS NOT NULL
) AS numbered
WHERE numbered.event_id = w.event_id;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
ALTER TABLE webhooks FORCE ROW LEVEL SECURITY;

ALTER TABLE users DROP COLUMN webhook_url;
-- An endpoint of the webhook's own user: foreign keys look through row-level security.
ALTER TABLE webhooks
    ALTER COLUMN endpoint_id SET NOT NULL,
    ADD FOREIGN KEY (endpoint_id, user_id) REFERENCES endpoints (endpoint_id, user_id),
    ADD CHECK ((execution_id IS NULL) = (sequence IS NULL)),
    ADD CHECK (failed_reason IS NULL OR state = 'failed');
-- The delivery log, the newest first.
CREATE INDEX webhooks_logged ON webhooks (user_id, created_at DESC, event_id DESC);
CREATE INDEX webhooks_of_endpoint ON webhooks (endpoint_id, created_at DESC, event_id DESC);

ALTER TABLE endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE endpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON endpoints TO takeone_app USING (user_id = current_setting('takeone.user_id', true));
CREATE POLICY all_rows ON endpoints TO takeone_system USING (true);
GRANT SELECT, INSERT, UPDATE ON endpoints TO takeone_app, takeone_system;
GRANT UPDATE (webhook_secret_sealed, previous_webhook_secret_sealed, previous_webhook_secret_until) ON users
    TO takeone_app;
