-- Users' own keys at the providers, sealed; and with which of them each job, and each of its sends, is bought.

-- Each key that is put is a row of its own: what was bought with an older one is polled, cancelled and billed with that.
CREATE TABLE provider_keys (
    provider_key_id  text PRIMARY KEY,
    user_id          text NOT NULL REFERENCES users,
    provider         text NOT NULL,
    version          integer NOT NULL CHECK (version > 0),   -- 1, 2, … of this user at this provider
    key_sealed       bytea,                                  -- NULL: erased
    hint             text NOT NULL,                          -- its last four characters
    created_at       timestamptz NOT NULL DEFAULT now(),
    tested_at        timestamptz,
    test_outcome     text CHECK (test_outcome IN ('accepted', 'refused', 'unreachable')),
    replaced_at      timestamptz,                            -- there is a newer one
    deleted_at       timestamptz,                            -- its user has none now
    erased_at        timestamptz,
    UNIQUE (user_id, provider, version),
    UNIQUE (provider_key_id, user_id, provider),
    CHECK ((tested_at IS NULL) = (test_outcome IS NULL)),
    CHECK (erased_at IS NULL OR key_sealed IS NULL),
    CHECK (erased_at IS NULL OR replaced_at IS NOT NULL OR deleted_at IS NOT NULL)
);
CREATE UNIQUE INDEX provider_keys_current ON provider_keys (user_id, provider)
    WHERE replaced_at IS NULL AND deleted_at IS NULL;
CREATE INDEX provider_keys_to_erase ON provider_keys (provider_key_id)
    WHERE erased_at IS NULL AND (replaced_at IS NOT NULL OR deleted_at IS NOT NULL);

ALTER TABLE provider_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON provider_keys TO takeone_app USING (user_id = current_setting('takeone.user_id', true));
CREATE POLICY all_rows ON provider_keys TO takeone_system USING (true);
GRANT SELECT, INSERT ON provider_keys TO takeone_app, takeone_system;
GRANT UPDATE (key_sealed, tested_at, test_outcome, replaced_at, deleted_at, erased_at) ON provider_keys
    TO takeone_app, takeone_system;

-- NULL: the service's own key. A job's is that of its current send; a send keeps the one it was sent with.
-- The foreign key also says that it is a key of the job's user, at the job's provider.
ALTER TABLE jobs
    ADD COLUMN provider_key_id text,
    ADD FOREIGN KEY (provider_key_id, user_id, provider) REFERENCES provider_keys (provider_key_id, user_id, provider);
ALTER TABLE sends ADD COLUMN provider_key_id text REFERENCES provider_keys;
CREATE INDEX jobs_by_provider_key ON jobs (provider_key_id) WHERE provider_key_id IS NOT NULL;
CREATE INDEX sends_by_provider_key ON sends (provider_key_id) WHERE provider_key_id IS NOT NULL;

-- Those that have a secret of their own, for the command that seals them anew.
CREATE INDEX executions_with_secret ON executions (execution_id) WHERE webhook_secret_sealed IS NOT NULL;
CREATE INDEX webhooks_with_secret ON webhooks (event_id) WHERE webhook_secret_sealed IS NOT NULL;
