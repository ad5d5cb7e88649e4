-- Secrets at rest, encrypted with a key of ENCRYPTION_KEYS (core/platform/crypto/sealing.py).

CREATE TABLE secrets (
    secret_id    text PRIMARY KEY,
    -- 'webhook_secret', or 'provider_key/NAME'.
    kind         text NOT NULL CHECK (kind = 'webhook_secret' OR kind LIKE 'provider_key/_%'),
    -- The id of the user, endpoint, execution or provider key that the secret belongs to. A foreign
    -- key is not possible: the owner is in one of four tables.
    owner_id     text NOT NULL,
    user_id      text NOT NULL REFERENCES users,
    -- The encryption key that opens the value. Rotation looks for rows with another key.
    key_id       text NOT NULL,
    sealed       bytea NOT NULL,
    -- Set when a webhook secret is replaced: it also signs until then. NULL: the current secret.
    valid_until  timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (valid_until IS NULL OR kind = 'webhook_secret')
);
CREATE UNIQUE INDEX secrets_one_current ON secrets (owner_id, kind) WHERE valid_until IS NULL;
CREATE UNIQUE INDEX secrets_one_previous ON secrets (owner_id, kind) WHERE valid_until IS NOT NULL;
CREATE INDEX ON secrets (key_id, kind);

CALL enable_row_security('secrets');
GRANT SELECT, INSERT, DELETE, UPDATE (valid_until) ON secrets TO takeone_app;
GRANT SELECT, INSERT, DELETE, UPDATE ON secrets TO takeone_system;
