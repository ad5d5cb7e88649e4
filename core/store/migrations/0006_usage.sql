-- What a user has used of a month, and being told when it passes a threshold.

-- Where an account hears of what concerns no single execution. NULL: nothing is sent.
ALTER TABLE users ADD COLUMN webhook_url text;

-- An event may be about the account: then it has no execution, and the user's default secret signs it.
ALTER TABLE webhooks ALTER COLUMN execution_id DROP NOT NULL;
ALTER TABLE webhooks ALTER COLUMN generation DROP NOT NULL;
ALTER TABLE webhooks ADD CHECK ((execution_id IS NULL) = (generation IS NULL));
ALTER TABLE webhooks ADD CHECK (execution_id IS NOT NULL OR webhook_secret_sealed IS NULL);

-- A threshold that a month's budget has reached: each once, however often the budget passes it.
CREATE TABLE budget_thresholds (
    user_id       text NOT NULL REFERENCES users,
    budget_month  date NOT NULL,
    measure       text NOT NULL CHECK (measure IN ('usd', 'videos')),
    percent       integer NOT NULL CHECK (percent BETWEEN 1 AND 100),
    event_id      text REFERENCES webhooks,              -- NULL: the account had no address then
    reached_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, budget_month, measure, percent)
);
ALTER TABLE budget_thresholds ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_thresholds FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON budget_thresholds TO takeone_app USING (user_id = current_setting('takeone.user_id', true));
CREATE POLICY all_rows ON budget_thresholds TO takeone_system USING (true);
GRANT SELECT, INSERT ON budget_thresholds TO takeone_app, takeone_system;

-- A user's month, by day and by model.
CREATE INDEX ON charges (user_id, budget_month);
CREATE INDEX ON executions (user_id, budget_month);

-- Money that was spent, and nothing delivered.
CREATE INDEX executions_fruitless ON executions (ended_at) WHERE status IN ('failed', 'cancelled');
CREATE INDEX webhooks_undelivered ON webhooks (created_at) WHERE state <> 'delivered';
