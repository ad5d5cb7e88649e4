-- Spend limits of API keys: what the orders of one key may cost per day and per month (UTC).

-- NULL: no limit. A key with the scope `admin` could create a key without a limit, so it has none.
ALTER TABLE api_keys
    ADD COLUMN daily_nano_usd_limit bigint CHECK (daily_nano_usd_limit >= 0),
    ADD COLUMN monthly_nano_usd_limit bigint CHECK (monthly_nano_usd_limit >= 0),
    ADD CONSTRAINT api_keys_limited_without_admin CHECK (
        NOT 'admin' = ANY (scopes) OR coalesce(daily_nano_usd_limit, monthly_nano_usd_limit) IS NULL
    );
GRANT SELECT (daily_nano_usd_limit, monthly_nano_usd_limit), UPDATE (daily_nano_usd_limit, monthly_nano_usd_limit)
    ON api_keys TO takeone_app;

-- The key whose request ordered the job. NULL: a token, or an order before this migration. Without a
-- foreign key: a restored database may lack a key that bought something.
ALTER TABLE charges ADD COLUMN key_id text;

-- The counters of each key, also of keys without a limit, by the day and the month of the hold.
-- A row is locked after the user's row of budgets.
CREATE TABLE key_spending (
    key_id            text NOT NULL,
    user_id           text NOT NULL REFERENCES users,
    period            text NOT NULL CHECK (period IN ('day', 'month')),
    starts_on         date NOT NULL,
    held_nano_usd     bigint NOT NULL DEFAULT 0 CHECK (held_nano_usd >= 0),
    settled_nano_usd  bigint NOT NULL DEFAULT 0 CHECK (settled_nano_usd >= 0),
    PRIMARY KEY (key_id, period, starts_on)
) WITH (fillfactor = 50);                             -- space for heap-only updates
CALL enable_row_security('key_spending');
GRANT SELECT, INSERT, UPDATE ON key_spending TO takeone_app, takeone_system;
GRANT DELETE ON key_spending TO takeone_system;
