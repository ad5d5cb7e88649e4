-- Users, how they authenticate, and how many requests they may send.

CREATE TABLE users (
    user_id                 text PRIMARY KEY,
    name                    text NOT NULL,
    -- NULL: no limit.
    monthly_videos_limit    bigint CHECK (monthly_videos_limit >= 0),
    monthly_nano_usd_limit  bigint CHECK (monthly_nano_usd_limit >= 0),
    -- Executions that may be open and running at the same time. NULL: the default from the settings.
    open_limit              bigint CHECK (open_limit >= 0),
    running_limit           bigint CHECK (running_limit >= 1),
    created_at              timestamptz NOT NULL DEFAULT now(),
    disabled_at             timestamptz
);

CREATE TABLE api_keys (
    key_id        text PRIMARY KEY,
    user_id       text NOT NULL REFERENCES users,
    name          text NOT NULL,
    -- The public part of the key; requests are looked up by it.
    prefix        text NOT NULL UNIQUE,
    secret_sha256 bytea NOT NULL,
    scopes        text[] NOT NULL DEFAULT '{read,generate}'
        CHECK (scopes <@ '{read,generate,admin}' AND cardinality(scopes) > 0),
    -- The key's own rate limits. NULL: the limit from the settings; 0: no limit.
    rate_writes   integer CHECK (rate_writes >= 0),
    rate_reads    integer CHECK (rate_reads >= 0),
    -- The id of the key, or the subject of the token, that created this key. NULL: an operator.
    made_by       text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz
);
CREATE INDEX ON api_keys (user_id);

-- Which user a token of an OIDC issuer authenticates.
CREATE TABLE identities (
    issuer     text NOT NULL,
    subject    text NOT NULL,
    user_id    text NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX ON identities (user_id);

CALL enable_row_security('users');
CALL enable_row_security('api_keys');
CALL enable_row_security('identities');

GRANT SELECT ON users TO takeone_app;
GRANT SELECT, INSERT, UPDATE ON users TO takeone_system;
-- A user reads its keys without their hashes, and can change a key only by revoking it.
GRANT SELECT (key_id, user_id, name, prefix, scopes, rate_writes, rate_reads, made_by,
              created_at, expires_at, revoked_at, last_used_at),
      INSERT,
      UPDATE (revoked_at)
    ON api_keys TO takeone_app;
GRANT SELECT, INSERT, UPDATE ON api_keys TO takeone_system;
GRANT SELECT ON identities TO takeone_app;
GRANT SELECT, INSERT, DELETE ON identities TO takeone_system;
