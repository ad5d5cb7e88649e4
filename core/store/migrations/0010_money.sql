-- Money, in integers of nano-USD. The ledger is the truth; charges and budgets are its state and
-- its counters.

-- The money of one job: held before the first send, then settled or released.
CREATE TABLE charges (
    charge_id         text PRIMARY KEY,
    job_id            text NOT NULL UNIQUE REFERENCES jobs,
    execution_id      text NOT NULL REFERENCES executions,
    user_id           text NOT NULL REFERENCES users,
    provider          text NOT NULL,
    model             text NOT NULL,
    state             text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'settled', 'released')),
    basis             text CHECK (basis IN ('reported', 'computed', 'assumed')),
    -- The price book's entry at the time of the hold. The job is settled with it even when the
    -- price book has changed since.
    price             jsonb NOT NULL,
    held_nano_usd     bigint NOT NULL CHECK (held_nano_usd >= 0),
    -- The final cost: the bill less refunded_nano_usd.
    settled_nano_usd  bigint NOT NULL DEFAULT 0 CHECK (settled_nano_usd >= 0),
    refunded_nano_usd bigint NOT NULL DEFAULT 0 CHECK (refunded_nano_usd >= 0),
    -- The month and the day (UTC) of the hold.
    budget_month      date NOT NULL,
    budget_day        date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    created_at        timestamptz NOT NULL DEFAULT now(),
    ended_at          timestamptz,
    CHECK ((state = 'held') = (ended_at IS NULL)),
    CHECK (state <> 'settled' OR basis IS NOT NULL)
);
CREATE INDEX ON charges (execution_id);
CREATE INDEX ON charges (user_id, budget_month);
CREATE INDEX charges_open ON charges (job_id) WHERE state = 'held';

CREATE FUNCTION reject_price_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the price of charge % cannot change after the hold', OLD.charge_id;
END $$;
CREATE TRIGGER charges_price_is_immutable BEFORE UPDATE OF price ON charges
    FOR EACH ROW EXECUTE FUNCTION reject_price_change();

-- Every movement of money. Insert-only.
--   held balance    = held - settled - released
--   settled balance = settled + overage + adjustment + orphan - refund
CREATE TABLE ledger_entries (
    operation_id     text PRIMARY KEY,               -- makes each operation apply once: held/chg_…, settled/chg_…
    kind             text NOT NULL
        CHECK (kind IN ('held', 'settled', 'released', 'overage', 'adjustment', 'orphan', 'refund')),
    user_id          text NOT NULL REFERENCES users,
    execution_id     text NOT NULL REFERENCES executions,
    job_id           text NOT NULL REFERENCES jobs,
    charge_id        text NOT NULL REFERENCES charges,
    budget_month     date NOT NULL,
    amount_nano_usd  bigint NOT NULL CHECK (kind = 'adjustment' OR amount_nano_usd >= 0),
    at               timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON ledger_entries (user_id, budget_month);

-- The counters of a user's month. Admission compares them with the user's limits; the CHECKs only
-- forbid negative values, so a real cost above its hold always commits.
CREATE TABLE budgets (
    user_id            text NOT NULL REFERENCES users,
    budget_month       date NOT NULL,
    held_nano_usd      bigint NOT NULL DEFAULT 0 CHECK (held_nano_usd >= 0),
    settled_nano_usd   bigint NOT NULL DEFAULT 0 CHECK (settled_nano_usd >= 0),
    held_videos        bigint NOT NULL DEFAULT 0 CHECK (held_videos >= 0),
    settled_videos     bigint NOT NULL DEFAULT 0 CHECK (settled_videos >= 0),
    PRIMARY KEY (user_id, budget_month)
);

-- Alerts about a month's budget. The primary key makes each alert happen once.
CREATE TABLE budget_alerts (
    user_id       text NOT NULL REFERENCES users,
    budget_month  date NOT NULL,
    measure       text NOT NULL CHECK (measure IN ('usd', 'videos')),
    percent       integer NOT NULL CHECK (percent BETWEEN 1 AND 100),
    event_id      text REFERENCES webhooks,          -- NULL: the account had no default endpoint
    reached_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, budget_month, measure, percent)
);

-- The counters of all users together, by the day (UTC) of the hold.
CREATE TABLE daily_spending (
    day               date PRIMARY KEY,
    held_nano_usd     bigint NOT NULL DEFAULT 0 CHECK (held_nano_usd >= 0),
    settled_nano_usd  bigint NOT NULL DEFAULT 0 CHECK (settled_nano_usd >= 0)
);

-- Exactly one row: the limits of the whole service.
CREATE TABLE service_limits (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    daily_nano_usd  bigint CHECK (daily_nano_usd >= 0)   -- the daily spending cap; NULL: no cap
);
INSERT INTO service_limits DEFAULT VALUES;

CALL enable_row_security('charges');
CALL enable_row_security('ledger_entries');
CALL enable_row_security('budgets');
CALL enable_row_security('budget_alerts');

GRANT SELECT, INSERT, UPDATE ON charges, budgets, daily_spending TO takeone_app, takeone_system;
GRANT SELECT, INSERT ON ledger_entries, budget_alerts TO takeone_app, takeone_system;
GRANT SELECT ON service_limits TO takeone_app;
GRANT SELECT, UPDATE ON service_limits TO takeone_system;
